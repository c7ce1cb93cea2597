"""Price calls beside a call that does nothing and a textbook view: `python -m bench.prices`.

One PostgreSQL, one gunicorn at a time with the settings of `manage.py serve`, the same client, 8
connections that are kept. Limits are raised by setting, so every call is counted and none refused:
once in the database and, where a Redis is found, once there. Contestants take turns, and figures
are medians of the rounds. "CPU" is that of all cores together, per call; what nobody used is idle.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import UUID, uuid4

import psutil

from bench import calls, databases, report
from bench.calls import Called, request
from tests import brokers, service
from tests.servers import free_port
from tests.service import ROOT, Merchant, Service
from tests.shop import product

CONNECTIONS = 8
SHOPS, PRODUCTS = 4, 500  # products of each
RATE = 100  # of the steady calls
RAISED = {"HEADRACE_TENANT_PER_MINUTE": "60000000", "HEADRACE_PRODUCT_PER_MINUTE": "60000000"}
EMPTY, PRICE = "empty call", "price event"
PRICE_REDIS, TEXTBOOK = "price event, counted by Redis", "textbook view"


@dataclass(frozen=True)
class Figure:
    """One round of one contestant: calls a second, milliseconds, and CPU microseconds a call."""

    name: str
    rate: float
    p50: float
    p95: float
    steady_p50: float
    steady_p95: float
    cpu: dict[str, float]


def main() -> None:
    options = _options()
    with databases.server() as server, ExitStack() as stack:
        contests = list(_contests(server, stack))
        figures = [
            figure
            for number in range(options.rounds)
            for figure in _round(contests[:: -1 if number % 2 else 1], options)
        ]
        machine = report.machine(server)
    print(_text(machine, figures, options))
    if options.json:
        content = {"machine": machine, "figures": [asdict(figure) for figure in figures]}
        options.json.write_text(json.dumps(content, indent=2) + "\n")


@dataclass(frozen=True)
class Contest:
    """A server that runs, and what makes so many requests of it."""

    name: str
    port: int
    running: Service
    requests: Callable[[int], list[bytes]]
    status: int


def _contests(server: str, stack: ExitStack) -> Iterator[Contest]:
    running = stack.enter_context(_running(server, stack))
    shops = [_shop(running) for _ in range(SHOPS)]
    empty = [request("GET", "/api/v1/whoami/", shop.key) for shop, _ in shops]
    yield Contest(EMPTY, running.port, running, lambda n: calls.repeated(empty, n), 200)
    yield Contest(PRICE, running.port, running, lambda n: _price_calls(shops, n), 201)
    textbook = stack.enter_context(_textbook(running))
    yield Contest(TEXTBOOK, textbook, running, lambda n: _textbook_calls(shops, n), 200)
    if (redis := _redis(stack)) is not None:
        other = stack.enter_context(_running(server, stack, HEADRACE_REDIS_URL=redis))
        more = [_shop(other) for _ in range(SHOPS)]
        yield Contest(PRICE_REDIS, other.port, other, lambda n: _price_calls(more, n), 201)


def _running(server: str, stack: ExitStack, **settings: str):
    home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    return service.running(home, server, workers=1, **RAISED, **settings)


def _redis(stack: ExitStack) -> str | None:
    home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    try:
        return stack.enter_context(brokers.broker("redis", home)).url
    except BaseException as skipped:
        if type(skipped).__name__ != "Skipped":
            raise
        return None


def _shop(running: Service) -> tuple[Merchant, list[UUID]]:
    """A new merchant and the ids of its products, which are loaded as a file."""
    shop = running.add_tenant()
    goods = [uuid4() for _ in range(PRODUCTS)]
    records = [product(product_id=str(key), price=100) for key in goods]
    data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    status = shop.load("products.ndjson", data)
    if status["outcomes"]["inserted"] != PRODUCTS:
        raise RuntimeError(f"products did not land: {status['outcomes']}")
    return shop, goods


def _price_calls(shops: Sequence[tuple[Merchant, list[UUID]]], number: int) -> list[bytes]:
    """Price events over all products in turn: changes of some percent, each under a key of its own.

    Shops and products change with every call, as they do where many merchants call.
    """
    draws = random.Random(number)
    made = []
    for place in range(number):
        shop, goods = shops[place % len(shops)]
        path = f"/api/v1/tenants/{shop.tenant}/products/{goods[place // len(shops) % PRODUCTS]}"
        body = b'{"new_price": %.2f, "source": "till"}' % draws.uniform(97, 103)
        key = uuid4().hex
        made.append(request("POST", f"{path}/price-event/", shop.key, body, Idempotency_Key=key))
    return made


def _textbook_calls(shops: Sequence[tuple[Merchant, list[UUID]]], number: int) -> list[bytes]:
    draws = random.Random(number)
    made = []
    for place in range(number):
        shop, goods = shops[place % len(shops)]
        path = f"/tenants/{shop.tenant}/products/{goods[place // len(shops) % PRODUCTS]}/price/"
        made.append(request("POST", path, shop.key, b'{"price": %.2f}' % draws.uniform(97, 103)))
    return made


@contextmanager
def _textbook(running: Service) -> Iterator[int]:
    """The port of the textbook view, on the same database, under the same gunicorn settings."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "bench.textbook_prices:application"]
    command += ["--bind", f"127.0.0.1:{port}", "--name", f"127.0.0.1:{port}"]
    command += ["--worker-class", "gthread"]
    command += ["--workers", str(os.cpu_count()), "--threads", "12", "--keep-alive", "75"]
    process = subprocess.Popen(
        [*command, "--log-level", "warning"], cwd=ROOT, env=running.environment
    )
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(40)


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            calls.as_fast_as_possible(port, [request("GET", "/", "")], 1)
        except (OSError, RuntimeError):
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the textbook view does not start")


def _round(contests: Sequence[Contest], options: argparse.Namespace) -> Iterator[Figure]:
    for contest in contests:
        figure = _measured(contest, options)
        print(f"{figure.name}: {figure.rate:,.0f} calls/s", flush=True)
        yield figure


def _measured(contest: Contest, options: argparse.Namespace) -> Figure:
    warm = contest.requests(400)
    _checked(contest, calls.as_fast_as_possible(contest.port, warm, CONNECTIONS))
    fast = contest.requests(options.calls)
    before = _cpu(contest)
    called = _checked(contest, calls.as_fast_as_possible(contest.port, fast, CONNECTIONS))
    used = {role: cpu - before.get(role, 0.0) for role, cpu in _cpu(contest).items()}
    used = {"client": called.cpu, **used}
    slow = contest.requests(RATE * options.seconds)
    steady = _checked(contest, calls.steadily(contest.port, slow, CONNECTIONS, RATE))
    return Figure(
        contest.name,
        called.rate,
        called.percentile(0.5) * 1e3,
        called.percentile(0.95) * 1e3,
        steady.percentile(0.5) * 1e3,
        steady.percentile(0.95) * 1e3,
        {role: cpu / len(fast) * 1e6 for role, cpu in used.items()},
    )


def _checked(contest: Contest, called: Called) -> Called:
    if set(called.statuses) != {contest.status}:
        errors = [line for line in contest.running.log().splitlines() if '"exception"' in line]
        raise RuntimeError(f"{contest.name}: {dict(called.statuses)}\n{''.join(errors[-1:])}")
    return called


def _cpu(contest: Contest) -> dict[str, float]:
    """CPU seconds so far of the server on the port and of the database's backends."""
    found = {"server": 0.0, "database": 0.0}
    database = databases.name_of(contest.running.environment["DATABASE_URL"])
    for process in psutil.process_iter(["cmdline", "cpu_times"]):
        line = " ".join(process.info["cmdline"] or ())
        times = process.info["cpu_times"]
        if f"127.0.0.1:{contest.port}" in line and "gunicorn" in line:
            found["server"] += times.user + times.system
        elif f" {database} " in line:
            found["database"] += times.user + times.system
    return found


def _text(machine: dict[str, str], figures: Sequence[Figure], options: argparse.Namespace) -> str:
    names = list(dict.fromkeys(figure.name for figure in figures))
    by_name = {name: [one for one in figures if one.name == name] for name in names}
    rates = {name: statistics.median(one.rate for one in own) for name, own in by_name.items()}
    head = ["", "calls/s", "p50 ms", "p95 ms", f"p50 at {RATE}/s", f"p95 at {RATE}/s"]
    head += ["client µs", "server µs", "database µs"]
    lines = [
        "",
        ", ".join(f"{name} {value}" for name, value in machine.items()),
        f"{SHOPS} tenants with {PRODUCTS} products each, {CONNECTIONS} connections,"
        f" {options.calls:,} calls and {options.seconds} s of {RATE} calls/s;"
        f" medians of {options.rounds} rounds; CPU a call",
        "",
        *report.table([head, *(_row(name, own) for name, own in by_name.items())]),
        "",
    ]
    for name, rate in rates.items():
        if name != EMPTY:
            lines.append(f"{name} / {EMPTY}: {rate / rates[EMPTY]:.2f}")
    lines.append(f"{PRICE} / {TEXTBOOK}: {rates[PRICE] / rates[TEXTBOOK]:.2f}")
    return "\n".join((*lines, "", *_verdicts(by_name, rates)))


def _row(name: str, own: Sequence[Figure]) -> list[str]:
    def middle(value: Callable[[Figure], float]) -> float:
        return statistics.median(value(figure) for figure in own)

    times = ("p50", "p95", "steady_p50", "steady_p95")
    return [
        name,
        f"{middle(lambda one: one.rate):,.0f}",
        *(f"{middle(lambda one, at=at: getattr(one, at)):.1f}" for at in times),
        *(
            f"{middle(lambda one, role=role: one.cpu[role]):,.0f}"
            for role in ("client", "server", "database")
        ),
    ]


def _verdicts(by_name: dict[str, list[Figure]], rates: dict[str, float]) -> Iterator[str]:
    for name in filter(lambda name: name.startswith(PRICE), by_name):
        slow = statistics.median(figure.steady_p95 for figure in by_name[name])
        yield f"{name}, calls/s ≥ 1,000: {_verdict(rates[name] >= 1_000)}"
        yield f"{name}, p95 at {RATE}/s under 10 ms: {_verdict(slow < 10)}"


def _verdict(is_reached: bool) -> str:
    return "reached" if is_reached else "MISSED"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.prices", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each contestant (default 3)")
    parser.add_argument("--calls", type=int, default=6_000, help="as fast as possible, a round")
    parser.add_argument("--seconds", type=int, default=10, help="of the steady calls, a round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
