"""Sales counted one order after the other: the second opinion on what the service keeps and tells.

It reads the rows of orders and their lines past the service and shares nothing with its SQL.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID

from tests.service import Merchant, Service

SALES = ("delivered", "shipped")
CLOSED = ("completed", "returned", "refunded")
ORDERS = "order_id, kind, customer_id, total_amount, currency, order_status, order_date"
LINES = "order_id, product_id, quantity, line_total"
FIGURES = (
    *("order_count", "total_revenue", "gross_sales", "return_count", "returned_amount"),
    *("adjustment_count", "adjusted_amount", "item_count", "returned_items", "line_revenue"),
)


@dataclass
class Bucket:
    counts: dict[str, Any] = field(default_factory=lambda: dict.fromkeys(FIGURES, Decimal(0)))
    customers: set[str] = field(default_factory=set)

    def told(self) -> tuple:
        """In the order of FIGURES, and the number of customers."""
        return (*self.counts.values(), len(self.customers))


@dataclass
class Order:
    id: str
    kind: str
    customer: str | None
    total: Decimal
    currency: str
    status: str
    placed: datetime
    lines: list[tuple[str, int, Decimal]] = field(default_factory=list)

    def counts(self, sales: Iterable[str]) -> bool:
        return self.status in sales or (self.kind != "sale" and self.status in CLOSED)

    @property
    def sign(self) -> int:
        return -1 if self.kind == "return" and self.total > 0 else 1


def orders(service: Service, tenant: UUID) -> list[Order]:
    """Those of a tenant, with their lines."""
    mine = f"tenant_id = {service.spelled(tenant)}"
    found = {
        row[0]: Order(*row[:3], _money(service, row[3]), *row[4:6], _moment(row[6]))
        for row in service.ask(f"SELECT {ORDERS} FROM orders WHERE {mine}")
    }
    for order, product, pieces, total in service.ask(
        f"SELECT {LINES} FROM order_items WHERE {mine}"
    ):
        found[order].lines.append((product, pieces, _money(service, total)))
    return list(found.values())


def _money(service: Service, value: Any) -> Decimal:
    digits = value.decode() if isinstance(value, bytes) else value
    return Decimal(digits).scaleb(-4) if service.dialect == "sqlite" else Decimal(digits)


def _moment(value: Any) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def buckets(
    found: Iterable[Order], key: Callable[[Order], Any], sales: Iterable[str] = SALES
) -> dict[Any, tuple]:
    """The figures by key and currency."""
    told: dict[Any, Bucket] = defaultdict(Bucket)
    for order in found:
        if order.counts(sales):
            _count(told[key(order), order.currency], order)
    return {at: bucket.told() for at, bucket in told.items()}


def _count(bucket: Bucket, order: Order) -> None:
    total = order.total * order.sign
    pieces = sum(number for _, number, _ in order.lines) * order.sign
    bucket.counts["total_revenue"] += total
    bucket.counts["line_revenue"] += sum(amount for *_, amount in order.lines) * order.sign
    if order.kind == "sale":
        bucket.counts["order_count"] += 1
        bucket.counts["gross_sales"] += total
        bucket.counts["item_count"] += pieces
        bucket.customers |= {order.customer} - {None}
    elif order.kind == "return":
        bucket.counts["return_count"] += 1
        bucket.counts["returned_amount"] -= total
        bucket.counts["returned_items"] -= pieces
    else:
        bucket.counts["adjustment_count"] += 1
        bucket.counts["adjusted_amount"] += total


def day(order: Order) -> date:
    return order.placed.date()


def hour(order: Order) -> tuple[date, int]:
    return order.placed.date(), order.placed.hour


def kept_days(service: Service, tenant: UUID) -> dict[Any, tuple]:
    """What tenant_daily_metrics holds, in the form of `buckets` by day."""
    return {
        (_date(day), currency): _figures(service, rest)
        for day, currency, *rest in _kept(
            service, tenant, "tenant_daily_metrics", "metric_date, currency"
        )
    }


def kept_hours(service: Service, tenant: UUID) -> dict[Any, tuple]:
    return {
        ((_date(day), hour), currency): _figures(service, rest)
        for day, hour, currency, *rest in _kept(
            service, tenant, "tenant_hourly_metrics", "metric_date, hour, currency"
        )
    }


def _kept(service: Service, tenant: UUID, table: str, key: str) -> list[tuple]:
    columns = ", ".join(FIGURES)
    mine = f"tenant_id = {service.spelled(tenant)}"
    return service.ask(f"SELECT {key}, {columns}, unique_customers FROM {table} WHERE {mine}")


def _figures(service: Service, values: list[Any]) -> tuple:
    figures = (
        Decimal(value) if name.endswith(("_count", "_items")) else _money(service, value)
        for name, value in zip(FIGURES, values[:-1], strict=True)
    )
    return (*figures, values[-1])


def _date(value: Any) -> date:
    return date.fromisoformat(value) if isinstance(value, str) else value


def average(amount: Decimal, number: Decimal) -> Decimal | None:
    return (amount / number).quantize(Decimal("0.0001"), ROUND_HALF_UP) if number else None


def listed_days(service: Service, tenant: UUID) -> int:
    """How many entries say that a day has changed."""
    [(number,)] = service.ask(
        f"SELECT COUNT(*) FROM dirty_days WHERE tenant_id = {service.spelled(tenant)}"
    )
    return number


def assert_kept_figures_are_those_of_the_rows(merchant: Merchant) -> None:
    service, tenant = merchant.service, merchant.tenant
    found = orders(service, tenant)
    assert kept_days(service, tenant) == buckets(found, day)
    assert kept_hours(service, tenant) == buckets(found, hour)
