"""First bytes of searches and of pages: `python -m bench.search [--orders 2000000]`.

One tenant with so many orders and one with a tenth, on a PostgreSQL with fresh statistics; a server
with the settings of `manage.py serve`. A search is sent without a limit and left after its first
byte, again and again; so are pages of 100 rows, which are read whole. At last one search is read to
its end. Orders lie in the table in the order of their ids, as a bulk load leaves them, and their
dates are random: the worst that reading by date can meet.
"""

import argparse
import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID

import psycopg

from bench import databases, report
from tests import service
from tests.service import Merchant

CUSTOMERS = 50_000
PAUSE = 0.1  # seconds
REPEATED = UUID(int=1 << 100)  #: a customer of many orders
ORDERS = """
INSERT INTO orders (tenant_id, order_id, external_order_id, kind, customer_id,
    customer_name_snapshot, total_amount, currency, order_status, order_date, raw_payload,
    source_sequence)
SELECT %(tenant)s, key, 'SO-' || lpad(n::text, 8, '0'),
    CASE n %% 50 WHEN 0 THEN 'return' ELSE 'sale' END,
    CASE WHEN n %% 20 = 0 THEN %(repeated)s
        ELSE lpad(to_hex(n %% %(customers)s + 1), 32, '0')::uuid END,
    'Customer ' || n %% %(customers)s, round((random() * random() * 1000)::numeric, 2),
    CASE n %% 3 WHEN 0 THEN 'EUR' ELSE 'USD' END,
    CASE n %% 200 WHEN 0 THEN 'refunded' WHEN 1 THEN 'pending' ELSE 'delivered' END,
    timestamptz '2024-01-01' + random() * interval '700 days',
    '{"channel": "web", "coupon": null, "lines": [1, 2]}', 0
FROM (SELECT n, gen_random_uuid() AS key FROM generate_series(1, %(orders)s) n ORDER BY 2) numbered
"""
# Parameters, by what is searched.
SEARCHES = {
    "all": {},
    "a week": {"start_date": "2024-06-03", "end_date": "2024-06-09"},
    "a status, 0.5 % of all": {"status": "refunded"},
    "two statuses, 1 %": {"status": "refunded,pending"},
    "a customer with 5 % of all": {"customer_id": str(REPEATED)},
    "a customer with 40 orders": {"customer_id": str(UUID(int=7))},
    "amounts, 1 %": {"min_amount": "860"},
    "returns in euros in a month": {
        "kind": "return",
        "currency": "EUR",
        "start_date": "2024-06-01",
        "end_date": "2024-06-30",
    },
    "text in 1 % of the numbers": {"q": "77"},
    "text in one number": {"q": "0012345"},
    "no order has the status": {"status": "returned"},
    "no order has the amount": {"min_amount": "5000"},
}
PAGES = {
    "a page of orders": ("orders/", {}),
    "a page behind half of them": ("orders/", {"cursor": f"orders~{UUID(int=1 << 127)}"}),
    "orders of a customer": ("orders/", {"customer_id": str(UUID(int=7))}),
    "one order by its number": ("orders/", {"external_order_id": "SO-00012345"}),
}
HEAD = ["", "first byte p50", "p95 ms"]


def main() -> None:
    options = _options()
    with (
        databases.server() as server,
        tempfile.TemporaryDirectory() as home,
        service.running(Path(home), server, workers=1) as running,
    ):
        shop, other = running.add_tenant(), running.add_tenant()
        _fill(running.environment["DATABASE_URL"], shop, options.orders)
        _fill(running.environment["DATABASE_URL"], other, options.orders // 10)
        searches = {
            name: _times(lambda asked=asked: _first_byte(shop, asked), options.times)
            for name, asked in SEARCHES.items()
        }
        pages = {
            name: _times(lambda path=path, asked=asked: _whole(shop, path, asked), options.times)
            for name, (path, asked) in PAGES.items()
        }
        began = time.perf_counter()
        size = _whole(shop, "orders/search", {})
        seconds = time.perf_counter() - began
        machine = report.machine(server)
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"{options.orders:,} orders of one tenant, {options.times} times each\n")
    print("\n".join(report.table([HEAD, *map(_row, searches.items())])))
    print()
    print("\n".join(report.table([["", "whole p50", "p95 ms"], *map(_row, pages.items())])))
    print(
        f"\nall of them: {options.orders / seconds:,.0f} orders/s, {size / seconds / 1e6:.0f} MB/s"
    )
    if options.json:
        content = {"machine": machine, "searches": searches, "pages": pages, "seconds": seconds}
        options.json.write_text(json.dumps(content, indent=2) + "\n")


def _fill(url: str, shop: Merchant, orders: int) -> None:
    """Past the service: what is measured is reading."""
    values = {"tenant": shop.tenant, "orders": orders, "customers": CUSTOMERS}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(ORDERS, {**values, "repeated": REPEATED})
        connection.execute("VACUUM ANALYZE orders")


def _times(call: Callable[[], object], number: int) -> list[float]:
    """Milliseconds of so many calls behind one that warmed up.

    Between them there is time to end what was left half-way, which holds one of a few seats.
    """
    call()
    found = []
    for _ in range(number):
        time.sleep(PAUSE)
        began = time.perf_counter()
        call()
        found.append((time.perf_counter() - began) * 1e3)
    return found


def _first_byte(shop: Merchant, asked: dict[str, str]) -> int:
    with _answer(shop, "orders/search", asked) as answer:
        return len(answer.read(1))


def _whole(shop: Merchant, path: str, asked: dict[str, str]) -> int:
    size = 0
    with _answer(shop, path, asked) as answer:
        while block := answer.read(1 << 20):
            size += len(block)
    return size


def _answer(shop: Merchant, path: str, asked: dict[str, str]) -> http.client.HTTPResponse:
    """The answer, on a connection that ends with it."""
    opened = http.client.HTTPConnection("127.0.0.1", shop.service.port, timeout=120)
    address = f"/api/v1/tenants/{shop.tenant}/{path}?{urlencode(asked)}"
    opened.request("GET", address, headers={"X-API-Key": shop.key, "Connection": "close"})
    answer = opened.getresponse()
    if answer.status != 200:
        raise RuntimeError(f"{path} {asked}: {answer.status} {answer.read()!r}")
    return answer


def _row(measured: tuple[str, list[float]]) -> list[str]:
    name, found = measured
    p95 = sorted(found)[min(int(len(found) * 0.95), len(found) - 1)]
    return [name, f"{statistics.median(found):.1f}", f"{p95:.1f}"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.search", description=__doc__)
    parser.add_argument("--orders", type=int, default=2_000_000)
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


if __name__ == "__main__":
    main()
