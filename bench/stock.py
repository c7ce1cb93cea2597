"""Stock events by calls and by files, beside a textbook loop: `python -m bench.stock`.

One PostgreSQL and one server, limits of calls off. 100,000 events over 1,000 products, as calls of
10,000 over 2 connections, and as one file from its sending to its end; the textbook loop applies
a part of as many, in a process without a server, on a database of its own. Contestants take turns,
and figures are medians of the rounds. Then calls of 10 events come steadily.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from uuid import uuid4

from bench import calls, databases, report
from bench.calls import request
from tests import service
from tests.service import ROOT, Merchant
from tests.shop import product

EVENTS, PRODUCTS, PER_CALL, CONNECTIONS = 100_000, 1_000, 10_000, 2
TEXTBOOK_EVENTS = 3_000
SMALL, RATES, SECONDS = 10, (50, 100), 10
Rates = dict[str, list[float]]


def main() -> None:
    options = _options()
    with (
        databases.server() as server,
        tempfile.TemporaryDirectory() as home,
        service.running(Path(home), server, workers=1, HEADRACE_TENANT_PER_MINUTE="off") as running,
    ):
        shop = running.add_tenant()
        goods = _goods(shop)
        rates: Rates = defaultdict(list)
        for _ in range(options.rounds):
            rates["calls of 10,000"].append(_by_calls(shop, goods))
            rates["a file"].append(_by_file(shop, goods))
            rates["textbook loop"].append(_textbook(server))
        steady = {rate: _steady(shop, goods, rate) for rate in RATES}
        machine = report.machine(server)
    found = {name: statistics.median(some) for name, some in rates.items()}
    print(_text(machine, found, steady))
    if options.json:
        content = {"machine": machine, "events_a_second": dict(rates), "p95_ms": steady}
        options.json.write_text(json.dumps(content, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def _goods(shop: Merchant) -> list[str]:
    goods = [str(uuid4()) for _ in range(PRODUCTS)]
    status = shop.load("products.ndjson", _lines(product(product_id=one) for one in goods))
    if status["outcomes"]["inserted"] != PRODUCTS:
        raise RuntimeError(f"products did not land: {status['outcomes']}")
    return goods


def _events(goods: list[str], number: int) -> list[dict[str, object]]:
    return [
        {
            "stock_event_id": str(uuid4()),
            "product_id": random.choice(goods),
            "delta": random.randint(1, 9),
        }
        for _ in range(number)
    ]


def _lines(records) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def _call(shop: Merchant, goods: list[str], events: int) -> bytes:
    path = f"/api/v1/tenants/{shop.tenant}/stock/bulk_update"
    return request("POST", path, shop.key, _lines(_events(goods, events)))


def _by_calls(shop: Merchant, goods: list[str]) -> float:
    requests = [_call(shop, goods, PER_CALL) for _ in range(EVENTS // PER_CALL)]
    done = calls.as_fast_as_possible(shop.service.port, requests, CONNECTIONS)
    _require(done.statuses == {200: len(requests)}, done.statuses)
    return EVENTS / done.seconds


def _by_file(shop: Merchant, goods: list[str]) -> float:
    """From the first byte sent to the end of the upload, which is looked for all the time."""
    data = _lines(_events(goods, EVENTS))
    began = time.perf_counter()
    token = shop.send("stock_events.ndjson", data).json()["upload_token"]
    while not (status := shop.status(token))["finished"]:
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    _require(status["outcomes"]["inserted"] == EVENTS, status["outcomes"])
    return EVENTS / seconds


def _textbook(server: str) -> float:
    """As many loops at once as ours has connections."""
    with (
        databases.migrated(server) as name,
        tempfile.TemporaryDirectory() as home,
    ):
        environment = databases.environment(databases.url_of(server, name), home)
        command = [sys.executable, "-m", "bench.textbook_stock", str(TEXTBOOK_EVENTS)]
        _loop([*command[:-1], "1", str(PRODUCTS)], environment)  # makes the tables
        loops = [
            subprocess.Popen(
                [*command, str(PRODUCTS)], cwd=ROOT, env=environment, stdout=subprocess.PIPE
            )
            for _ in range(CONNECTIONS)
        ]
        return sum(TEXTBOOK_EVENTS / float(loop.communicate()[0]) for loop in loops)


def _loop(command: list[str], environment: dict[str, str]) -> None:
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)


def _steady(shop: Merchant, goods: list[str], rate: int) -> dict[str, float]:
    """Milliseconds of calls of a few events that come at an even rate."""
    requests = [_call(shop, goods, SMALL) for _ in range(rate * SECONDS)]
    calls.steadily(shop.service.port, requests[:rate], 8, rate)
    done = calls.steadily(shop.service.port, requests[rate:], 8, rate)
    _require(done.statuses == {200: len(requests) - rate}, done.statuses)
    return {f"p{share}": round(1e3 * done.percentile(share / 100), 1) for share in (50, 95, 99)}


def _require(holds: bool, found: object) -> None:
    if not holds:
        raise RuntimeError(f"not what was expected: {found}")


def _text(machine: object, found: dict[str, float], steady: dict[int, dict[str, float]]) -> str:
    loop = found["textbook loop"]
    lines = [f"{machine}", ""]
    lines += [
        f"{name:<16} {rate:>9,.0f} events/s  x{rate / loop:.1f}" for name, rate in found.items()
    ]
    lines += [
        f"calls of {SMALL} events at {rate}/s: "
        + ", ".join(f"{name} {milliseconds} ms" for name, milliseconds in times.items())
        for rate, times in steady.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
