"""Sales as they were computed last, and what is still to be computed.

Days and hours come from what is kept, products and categories from the lines themselves. Answers
are remembered for an hour by the version of what is kept, which every request looks up: whatever
process recomputed it, an answer of an older version is not given again.
"""

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.db.models import Count, Max, Subquery, Sum

from apps.catalog.models import MODELS
from apps.core import wire
from apps.core.briefly import Briefly
from apps.core.isolation import tenant_reading
from apps.core.problems import Problem
from apps.ingestions.models import Chunk
from apps.metrics import counting, customer_sets, requests, services, statements
from apps.metrics.models import DailyMetrics, DirtyDay, HourlyMetrics, SalesRollup
from apps.metrics.requests import Asked
from headrace.entities.orders import ORDERS
from headrace.entities.products import PRODUCTS

REMEMBERED_SECONDS = 3_600
REMEMBERED = 64  # answers of a process, of 2 MB at most
SUMMED = (
    *("order_count", "total_revenue", "gross_sales", "return_count", "returned_amount"),
    *("adjustment_count", "adjusted_amount", "item_count", "returned_items", "line_revenue"),
)
KEPT = ("day", "hour")
Row = dict[str, Any]
_OUTDATED = (
    "The figures have changed since the page before, or the question has: begin anew without"
    f" cursor. Where they change all the time, ask for up to {requests.MOST_ROWS:,} rows a page or"
    " for days that are over."
)
_DAYS = Count("day", distinct=True)
_encode = msgspec.json.Encoder(decimal_format="number").encode


class Key(NamedTuple):
    """All that an answer depends on."""

    tenant: UUID
    version: int
    statuses: str
    rows: str
    asked: Asked

    def mark(self) -> str:
        """The same for all pages of the same figures."""
        question = self._replace(asked=self.asked._replace(limit=0, offset=0))
        return blake2b(repr(question).encode(), digest_size=8).hexdigest()


_answers: Briefly[Key, bytes] = Briefly(REMEMBERED_SECONDS, REMEMBERED)


def sales(tenant: UUID, asked: Asked) -> bytes:
    """The answer as JSON. Raises Problem for a page that follows others of other figures."""
    with tenant_reading(tenant):
        key, state = _now(tenant, asked)
        about = _encode(_about(asked, state))
        _check_mark(asked, key)
        found = _answers.get_or_look_up(key, lambda key: _looked_up(key, asked))
    # Two objects become one.
    return about[:-1] + b"," + found[1:]


def _looked_up(key: Key, asked: Asked) -> bytes:
    """What is recomputed while the first page is read makes its cursor outdated; a later page
    must look again.
    """
    found = _encode(_found(key))
    if asked.mark:
        _check_mark(asked, _now(key.tenant, asked)[0])
    return found


def _check_mark(asked: Asked, key: Key) -> None:
    if asked.mark not in ("", key.mark()):
        raise Problem("cursor_outdated", _OUTDATED)


def _now(tenant: UUID, asked: Asked) -> tuple[Key, SalesRollup | None]:
    # The list before the version: days that are taken off it in between give a version that no
    # other key has with them. The other way round they would give the key of before.
    rows = "" if asked.group_by in KEPT else _version_of_rows(tenant, asked)
    state = _state(asked)
    version, statuses = (state.version, state.statuses) if state else (0, "")
    question = asked._replace(precision="", mark="")
    return Key(tenant, version, statuses, rows, question), state


def _version_of_rows(tenant: UUID, asked: Asked) -> str:
    """Another one with each transaction that may have changed an order or a line of these days
    since they were computed, or a product's name or category.
    """
    files = Chunk.objects.filter(tenant_id=tenant, entity=PRODUCTS.name)
    products = files.aggregate(Max("number"), Sum("inserted"), Sum("updated"), Max("ended_at"))
    # Counted too: the transaction that took its number first may commit last.
    listed = _listed(asked).aggregate(Count("id"), Max("id"))
    return f"{products}{listed}"


def _about(asked: Asked, state: Any) -> Row:
    return {
        "group_by": asked.group_by,
        "start_date": str(asked.start),
        "end_date": str(asked.end),
        "time_zone": "UTC",
        "method": "exact_rollup" if asked.group_by in KEPT else "exact_lines",
        "precision": "exact",
        "statuses": state.statuses.split(",") if state else [],
        "version": state.version if state else 0,
        "as_of": wire.instant(state.rolled_at) if state else None,
        "pending_days": (state.pending or 0) if state else _days_before_any(asked),
    }


def _state(asked: Asked) -> SalesRollup | None:
    """What the tenant's figures are, with the number of days that are still to be computed."""
    number = _listed(asked).values("tenant_id").annotate(days=_DAYS).values("days")
    state: SalesRollup | None = SalesRollup.objects.annotate(pending=Subquery(number)).first()
    return state


def _days_before_any(asked: Asked) -> int:
    """How many days are to be computed where none ever was: at least one if there are orders."""
    listed = int(_listed(asked).aggregate(days=_DAYS)["days"])
    return listed or int(MODELS[ORDERS.name].objects.exists())


def _listed(asked: Asked) -> Any:
    return DirtyDay.objects.filter(day__gte=asked.start, day__lte=asked.end).order_by()


def _found(key: Key) -> Row:
    asked, days = key.asked, _days(key.asked)
    rows = _GROUPED[asked.group_by](key.tenant, asked, days)
    page = rows[: asked.limit]
    is_last = len(rows) <= asked.limit
    following = requests.cursor_of(asked.offset + asked.limit, key.mark())
    return {
        "totals": _totals(days),
        "unique_customers": customer_sets.size_of_union(row["customers"] for row in days),
        "data": page,
        "next_cursor": None if is_last else following,
    }


def _days(asked: Asked) -> list[Row]:
    kept = DailyMetrics.objects.filter(metric_date__gte=asked.start, metric_date__lte=asked.end)
    if asked.currency:
        kept = kept.filter(currency=asked.currency)
    columns = ("metric_date", "currency", *SUMMED, "avg_order_value", "unique_customers")
    days = list(kept.order_by("metric_date", "currency").values(*columns, "customers"))
    for row in days:
        row["customers"] = customer_sets.unpacked(bytes(row["customers"]))
    return days


def _totals(days: list[Row]) -> list[Row]:
    """By currency; a customer of several days is counted once."""
    found = []
    for currency in sorted({row["currency"] for row in days}):
        own = [row for row in days if row["currency"] == currency]
        summed: Row = {name: sum(row[name] for row in own) for name in SUMMED}
        summed["unique_customers"] = customer_sets.size_of_union(row["customers"] for row in own)
        average = counting.average(summed["gross_sales"], summed["order_count"])
        found.append({"currency": currency, **_told(summed, average)})
    return found


def _by_day(tenant: UUID, asked: Asked, days: list[Row]) -> list[Row]:
    wanted = days[asked.offset : asked.offset + asked.limit + 1]
    return [
        {
            "date": row["metric_date"],
            "currency": row["currency"],
            **_told(row, row["avg_order_value"]),
        }
        for row in wanted
    ]


def _by_hour(tenant: UUID, asked: Asked, days: list[Row]) -> list[Row]:
    kept = HourlyMetrics.objects.filter(metric_date__gte=asked.start, metric_date__lte=asked.end)
    if asked.currency:
        kept = kept.filter(currency=asked.currency)
    ordered = kept.order_by("metric_date", "hour", "currency").values()
    return [
        {
            "hour": f"{row['metric_date']}T{row['hour']:02}:00:00Z",
            "currency": row["currency"],
            **_told(row, counting.average(row["gross_sales"], row["order_count"])),
        }
        for row in ordered[asked.offset : asked.offset + asked.limit + 1]
    ]


def _by_product(tenant: UUID, asked: Asked, days: list[Row]) -> list[Row]:
    return [
        {"product_id": _dashed(product), "sku": sku, "name": name, **_of_lines(rest)}
        for product, sku, name, *rest in _lines(tenant, asked)
    ]


def _by_category(tenant: UUID, asked: Asked, days: list[Row]) -> list[Row]:
    return [
        {"category_id": _dashed(category), **_of_lines(rest)}
        for category, *rest in _lines(tenant, asked)
    ]


_GROUPED: dict[str, Callable[[UUID, Asked, list[Row]], list[Row]]] = {
    "day": _by_day,
    "hour": _by_hour,
    "product": _by_product,
    "category": _by_category,
}


def _lines(tenant: UUID, asked: Asked) -> Iterable[Any]:
    span: list[tuple[date, date]] = [(asked.start, asked.end + timedelta(days=1))]
    page = (asked.limit + 1, asked.offset)
    key = services.id_of(tenant)
    return services.rows(statements.lines(key, span, asked.group_by, asked.currency, page))


def _of_lines(values: list[Any]) -> Row:
    currency, orders, lines, pieces, back, sold, returned, revenue, customers = values
    return {
        "currency": currency,
        "order_count": int(orders),
        "line_count": int(lines),
        "item_count": int(pieces),
        "returned_items": int(back),
        "gross_sales": counting.money(sold),
        "returned_amount": counting.money(returned),
        "total_revenue": counting.money(revenue),
        "unique_customers": int(customers),
    }


def _told(row: Row, average: Decimal | None) -> Row:
    """Figures as the wire has them."""
    return {
        **{name: row[name] for name in SUMMED},
        "avg_order_value": average,
        "unique_customers": row["unique_customers"],
    }


def _dashed(key: Any) -> str | None:
    return None if key is None else str(UUID(str(key)))
