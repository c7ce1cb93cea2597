"""Recomputing days whose orders have changed, as a whole and from what the tables hold.

A transaction holds the tenant's row, reads the days that are listed, recomputes them and takes
exactly those entries off the list that it has read. A load that commits meanwhile has listed its
days once more: they are done next. So whatever is repeated, late or cut short, the figures are
those of the rows as soon as the list is empty.
"""

import time
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import connection, models
from django.db.models.functions import Now

from apps.core.isolation import tenant_transaction
from apps.metrics import counting, customer_sets, statements
from apps.metrics.counting import Day, Hour, Tally
from apps.metrics.models import DailyMetrics, DirtyDay, HourlyMetrics, SalesRollup
from apps.metrics.statements import Statement

ALL = 1_000_000  # days: more than there are
IDS_AT_ONCE = 10_000  # SQLite has room for 32,766 values
LARGEST = 2**63 - 1  # integer of SQLite
MOST = 4  # a batch of more than a fourth of the days is better read as a whole
Spans = list[tuple[date, date]]
Row = dict[str, Any]


def nothing() -> None:
    """What a recomputation without a lease ends with."""


class Batch(NamedTuple):
    """How many days were recomputed in how many seconds, and whether no more are listed."""

    days: int
    seconds: float
    is_last: bool


def statuses() -> str:
    """What the figures depend on besides the rows."""
    return ",".join(sorted(settings.HEADRACE_SALES_STATUSES))


def roll_up(tenant: UUID, most_days: int = ALL, fence: Callable[[], None] = nothing) -> Batch:
    """Recompute the first of the listed days in one transaction, with `fence` as its last step."""
    began = time.monotonic()
    with tenant_transaction(tenant):
        state = _held(tenant)
        if state.statuses != statuses():
            run(statements.mark_all(id_of(tenant)))
            state.statuses = statuses()
        listed = DirtyDay.objects.order_by("day").values_list("day", flat=True).distinct()
        days = list(listed[: most_days + 1])
        if chosen := days[:most_days]:
            entries = _entries(chosen)
            _recompute(tenant, chosen, state)
            _take_off(entries)
            state.version += 1
        state.rolled_at = Now()
        state.save()
        fence()
    return Batch(len(chosen), time.monotonic() - began, len(days) <= most_days)


def list_all(tenant: UUID) -> None:
    """List every day as changed."""
    with tenant_transaction(tenant):
        _held(tenant)
        run(statements.mark_all(id_of(tenant)))


def _held(tenant: UUID) -> SalesRollup:
    """The tenant's row, locked: who comes next sees what we have committed."""
    SalesRollup.objects.bulk_create([SalesRollup(tenant_id=tenant)], ignore_conflicts=True)
    held: SalesRollup = SalesRollup.objects.select_for_update().get()
    return held


def _entries(days: Sequence[date]) -> list[int]:
    """What lists these days, and is committed; read before their rows are."""
    known = set(days)
    between = DirtyDay.objects.filter(day__gte=days[0], day__lte=days[-1])
    return [id_ for id_, day in between.values_list("id", "day") if day in known]


def _recompute(tenant: UUID, days: Sequence[date], state: SalesRollup) -> None:
    if len(days) * MOST > DailyMetrics.objects.values("metric_date").distinct().count():
        for setting in statements.spelling().settings_for_most:
            run(Statement(setting, ()))
    key, spans = id_of(tenant), statements.ranges(days)
    state.customers += run(statements.new_customers(key, spans, state.customers))
    hours = counting.tallies(rows(statements.hours(key, spans)))
    for model in (HourlyMetrics, DailyMetrics):
        _remove(model, key, spans)
    _insert(HourlyMetrics, [_hourly(key, *hour) for hour in sorted(hours.items(), key=_first)])
    by_day = counting.by_day(hours)
    _insert(DailyMetrics, [_daily(key, *day) for day in sorted(by_day.items(), key=_first)])


def _first(item: tuple[Any, Tally]) -> Any:
    return item[0]


def _remove(model: type[models.Model], key: Any, spans: Spans) -> None:
    dated = statements.within("metric_date", spans)
    where = f"tenant_id = %s AND {dated.text}"
    run(Statement(f"DELETE FROM {model._meta.db_table} WHERE {where}", (key, *dated.values)))


def _hourly(key: Any, hour: Hour, tally: Tally) -> Row:
    day, number, currency = hour
    return {
        "tenant_id": key,
        "metric_date": day,
        "hour": number,
        "currency": currency,
        "unique_customers": len(tally.buyers()),
        **tally.figures(),
    }


def _daily(key: Any, day: Day, tally: Tally) -> Row:
    figures, customers = tally.figures(), tally.buyers()
    return {
        "tenant_id": key,
        "metric_date": day[0],
        "currency": day[1],
        "unique_customers": len(customers),
        "customers": customer_sets.packed(customers),
        "avg_order_value": counting.average(figures["gross_sales"], figures["order_count"]),
        **figures,
    }


def _insert(model: type[models.Model], made: Sequence[Row]) -> None:
    """Rows as plain values: a third of the time that the models' own way takes."""
    if not made:
        return
    values = [tuple(row.values()) for row in made]
    if connection.vendor == "sqlite":
        values = [tuple(map(_as_sqlite_keeps_it, row)) for row in values]
    marks = ", ".join(["%s"] * len(made[0]))
    text = f"INSERT INTO {model._meta.db_table} ({', '.join(made[0])}) VALUES ({marks})"
    with connection.cursor() as cursor:
        cursor.executemany(text, values)


def _as_sqlite_keeps_it(value: Any) -> Any:
    """Money in its smallest unit, dates as texts."""
    if isinstance(value, Decimal):
        units = int(value.scaleb(4))
        # As a blob, because a text of digits in a column of integers would become a float.
        return units if abs(units) <= LARGEST else str(units).encode()
    return str(value) if isinstance(value, date) else value


def _take_off(ids: Sequence[int]) -> None:
    for start in range(0, len(ids), IDS_AT_ONCE):
        DirtyDay.objects.filter(id__in=ids[start : start + IDS_AT_ONCE]).delete()


def id_of(tenant: UUID) -> Any:
    """The tenant as a value of the database's statements."""
    return models.UUIDField().get_db_prep_value(tenant, connection)


def run(statement: Statement) -> int:
    """The number of rows that a statement changed."""
    with connection.cursor() as cursor:
        cursor.execute(statement.text, statement.values)
        return int(cursor.rowcount)


def rows(statement: Statement) -> list[Any]:
    """The rows of a statement."""
    with connection.cursor() as cursor:
        cursor.execute(statement.text, statement.values)
        return list(cursor.fetchall())
