"""What row-level security costs: `python -m bench.isolation [--rounds 5]`.

One PostgreSQL and one server with one worker under the serving role, limits of calls off. Each
round does the same work twice: with the policies as shipped, and with row-level security switched
off for the same tables, which differs in nothing else; which comes first changes from round to
round. A file of new orders is loaded; then stock calls of 10 events, pages of 100 orders and
searches of 100 come one after the other. Figures are medians of the rounds.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import psycopg

from bench import calls, databases, report
from tests import service
from tests.road import ndjson
from tests.service import Merchant
from tests.shop import order, product

PRODUCTS, EVENTS, ROWS = 200, 10, 100
GUARDED = """
SELECT oid::regclass::text FROM pg_class
WHERE relrowsecurity AND relnamespace = 'public'::regnamespace ORDER BY 1
"""
FILE = "a file of orders, orders/s"
TIMED = (
    "a stock call of 10 events, ms",
    "a page of 100 orders, ms",
    "a search, 100 orders, ms",
)
Figures = dict[str, list[float]]


class Shop(NamedTuple):
    """A merchant with products, and how much of each work a round does."""

    merchant: Merchant
    goods: list[str]
    orders: int
    calls: int


def main() -> None:
    options = _options()
    found: dict[bool, Figures] = {True: defaultdict(list), False: defaultdict(list)}
    with (
        databases.server() as server,
        tempfile.TemporaryDirectory() as home,
        service.running(Path(home), server, workers=1, HEADRACE_TENANT_PER_MINUTE="off") as running,
    ):
        shop = _stocked(running.add_tenant(), options)
        _work(shop, defaultdict(list))  # plans and caches are warm
        for at in range(options.rounds):
            for is_on in (True, False) if at % 2 else (False, True):
                with _security(running.environment["DATABASE_URL"], is_on):
                    _work(shop, found[is_on])
        machine = report.machine(server) | {"load": f"{os.getloadavg()[0]:.1f}"}
    print(_text(machine, found))
    if options.json:
        named = {"on": found[True], "off": found[False]}
        options.json.write_text(json.dumps({"machine": machine, **named}, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.isolation", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--orders", type=int, default=50_000, help="of the file of a round")
    parser.add_argument("--calls", type=int, default=200, help="of each kind in a round")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def _stocked(merchant: Merchant, options: argparse.Namespace) -> Shop:
    goods = [str(uuid4()) for _ in range(PRODUCTS)]
    status = merchant.load("products.ndjson", ndjson(*(product(product_id=one) for one in goods)))
    _require(status["outcomes"]["inserted"] == PRODUCTS, status["outcomes"])
    return Shop(merchant, goods, options.orders, options.calls)


@contextmanager
def _security(url: str, is_on: bool) -> Iterator[None]:
    """Row-level security of the guarded tables as shipped, or switched off meanwhile."""
    with psycopg.connect(url, autocommit=True) as owner:
        tables = [table for (table,) in owner.execute(GUARDED)]
        _require(bool(tables), "no table has policies")
        try:
            for table in [] if is_on else tables:
                owner.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
            yield
        finally:
            for table in tables:
                owner.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


def _work(shop: Shop, figures: Figures) -> None:
    figures[FILE].append(_file(shop))
    address = f"/api/v1/tenants/{shop.merchant.tenant}"
    lists = (f"{address}/orders/?limit={ROWS}", f"{address}/orders/search?limit={ROWS}")
    asked = [[calls.request("GET", path, shop.merchant.key)] * shop.calls for path in lists]
    for name, requests in zip(TIMED, ([*_stock_calls(shop)], *asked), strict=True):
        figures[name].append(_milliseconds(shop, requests))


def _file(shop: Shop) -> float:
    """Orders a second, from the first byte sent to the end of the upload."""
    data = ndjson(*(order() for _ in range(shop.orders)))
    began = time.perf_counter()
    token = shop.merchant.send("orders.ndjson", data).json()["upload_token"]
    while not (status := shop.merchant.status(token))["finished"]:
        time.sleep(0.02)
    seconds = time.perf_counter() - began
    _require(status["outcomes"]["inserted"] == shop.orders, status["outcomes"])
    return shop.orders / seconds


def _stock_calls(shop: Shop) -> Iterator[bytes]:
    path = f"/api/v1/tenants/{shop.merchant.tenant}/stock/bulk_update"
    for at in range(shop.calls):
        goods = (shop.goods[(at * EVENTS + place) % PRODUCTS] for place in range(EVENTS))
        events = ({"stock_event_id": str(uuid4()), "product_id": one, "delta": 1} for one in goods)
        yield calls.request("POST", path, shop.merchant.key, ndjson(*events))


def _milliseconds(shop: Shop, requests: Sequence[bytes]) -> float:
    """The median of calls over one connection."""
    done = calls.as_fast_as_possible(shop.merchant.service.port, requests, 1)
    _require(done.statuses == {200: len(requests)}, done.statuses)
    return 1e3 * done.percentile(0.5)


def _require(holds: bool, found: object) -> None:
    if not holds:
        raise RuntimeError(f"not what was expected: {found}")


def _text(machine: dict[str, str], found: dict[bool, Figures]) -> str:
    rows = [["", "policies on", "off", "on/off", "of the rounds"]]
    rows += [_row(name, found[True][name], found[False][name]) for name in (FILE, *TIMED)]
    told = ", ".join(f"{name} {value}" for name, value in machine.items())
    return "\n".join((told, "", *report.table(rows)))


def _row(name: str, on: list[float], off: list[float]) -> list[str]:
    """Ratios are those of one round, whose two halves had the same machine."""
    ratios = [one / other for one, other in zip(on, off, strict=True)]
    medians = statistics.median(on), statistics.median(off)
    digits = 0 if name == FILE else 1
    return [
        name,
        *(f"{value:,.{digits}f}" for value in medians),
        f"{statistics.median(ratios):.2f}",
        f"{min(ratios):.2f}–{max(ratios):.2f}",
    ]


if __name__ == "__main__":
    main()
