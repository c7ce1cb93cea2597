"""Invariant 8 of sales: figures of days and hours are a count of the rows.

A day that is listed as changed is left out: its figures are about to be computed. The sets of
customers are checked by their size.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from typing import Any

from tests import sales
from tests.chaos.evidence import Evidence, Row, broken, moment
from tests.sales import Order


def check(evidence: Evidence) -> Iterator[str]:
    listed = {(row["tenant_id"], _date(row["day"])) for row in evidence.table("dirty_days")}
    orders = _orders(evidence)
    for state in evidence.table("sales_rollups"):
        tenant, statuses = state["tenant_id"], state["statuses"].split(",")
        own = [order for order in orders[tenant] if (tenant, order.placed.date()) not in listed]
        for table, bucket in (
            ("tenant_daily_metrics", _day),
            ("tenant_hourly_metrics", _hour),
        ):
            kept = {
                (bucket(row), row["currency"]): _figures(row)
                for row in evidence.table(table)
                if row["tenant_id"] == tenant and (tenant, _date(row["metric_date"])) not in listed
            }
            expected = sales.buckets(own, _OF_ORDER[table], statuses)
            yield from _differences(f"{table} of tenant {tenant}", expected, kept)


_OF_ORDER: dict[str, Callable[[Order], Any]] = {
    "tenant_daily_metrics": sales.day,
    "tenant_hourly_metrics": sales.hour,
}


def _differences(where: str, expected: dict[Any, tuple], kept: dict[Any, tuple]) -> Iterator[str]:
    for at in sorted(expected.keys() | kept.keys(), key=str):
        wanted, found = expected.get(at), kept.get(at)
        if wanted != found:
            yield broken(8, f"{where}, {at}", wanted or "no row", found or "no row")


def _orders(evidence: Evidence) -> dict[str, list[Order]]:
    lines = defaultdict(list)
    for row in evidence.table("order_items"):
        line = (row["product_id"], row["quantity"], _money(row["line_total"]))
        lines[row["tenant_id"], row["order_id"]].append(line)
    found = defaultdict(list)
    for row in evidence.table("orders"):
        found[row["tenant_id"]].append(_order(row, lines[row["tenant_id"], row["order_id"]]))
    return found


def _order(row: Row, lines: list[tuple[str, int, Decimal]]) -> Order:
    return Order(
        row["order_id"],
        row["kind"],
        row["customer_id"],
        _money(row["total_amount"]),
        row["currency"],
        row["order_status"],
        moment(row["order_date"]),
        lines,
    )


def _figures(row: Row) -> tuple:
    return (
        *(
            Decimal(row[name]) if name.endswith(("_count", "_items")) else _money(row[name])
            for name in sales.FIGURES
        ),
        row["unique_customers"],
    )


def _money(value: Any) -> Decimal:
    """SQLite keeps integers of the smallest unit, or their digits as bytes."""
    value = int(value) if isinstance(value, bytes) else value
    return Decimal(value).scaleb(-4) if isinstance(value, int) else value


def _day(row: Row) -> date:
    return _date(row["metric_date"])


def _hour(row: Row) -> tuple[date, int]:
    return _date(row["metric_date"]), row["hour"]


def _date(value: Any) -> date:
    return date.fromisoformat(value) if isinstance(value, str) else value
