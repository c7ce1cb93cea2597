"""How many bytes of a tenant's are kept, and how many of its rows may land in a day.

Kept bytes are those of received files, of exports that can be downloaded, and of photos: whoever
adds files or exports asks while it holds the tenant's row, so that two at once do not both find the
same room. Rows are counted when it is decided that they land, by a guarded update of the day's
count: the sound lines of a file all at once, before the first of them lands, and the events of a
stock call in its transaction. What the day has no room for lands as a whole on another one.

Days are those of UTC, on the database's clock.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now

from apps.core.problems import Problem
from apps.tenants import doors
from apps.tenants.models import Tenant, TenantDay

#: What the apps keep of a tenant, in bytes.
KEPT: list[Callable[[UUID], int]] = []


class RowsExceeded(Exception):
    """The day has no room for the rows; the text says how much there is, and when there is more."""

    def __init__(self, day: "Day", rows: int) -> None:
        super().__init__(day.told(rows))
        self.day = day


class Day(NamedTuple):
    """A tenant's day: how many rows have been counted of how many. `most` 0 is no limit."""

    most: int
    rows: int
    now: datetime

    @property
    def seconds_left(self) -> int:
        """Until the next one begins."""
        midnight = self.now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return max(1, -int((self.now - midnight).total_seconds()))

    def told(self, rows: int) -> str:
        """Why so many rows more are too many."""
        next_day = self.now.date() + timedelta(days=1)
        return (
            f"{rows:,} more rows are too many: {self.rows:,} of {self.most:,} were taken on"
            f" {self.now.date()} (UTC). There is room again on {next_day}, 00:00 UTC; the operator"
            " may raise max_rows_per_day before"
        )


def kept_bytes(tenant: UUID) -> int:
    """What is kept of the tenant's, by all apps."""
    return sum(kept(tenant) for kept in KEPT)


def most_bytes(own: int | None) -> int:
    """The limit of a tenant whose row says so; 0 is none."""
    return settings.HEADRACE_MAX_STORED_BYTES if own is None else own


def most_rows(own: int | None) -> int:
    """The same of rows a day."""
    return settings.HEADRACE_MAX_ROWS_PER_DAY if own is None else own


def check_bytes(tenant: Tenant, size: int) -> None:
    """Raises Problem if the tenant may not keep `size` bytes more.

    It holds under concurrency in the transaction that holds the tenant's row.
    """
    most = most_bytes(tenant.max_stored_bytes)
    if most and (kept := kept_bytes(tenant.pk)) + size > most:
        raise Problem("storage_quota", _too_many(kept, most, size), kept_bytes=kept, most=most)


def _too_many(kept: int, most: int, size: int) -> str:
    return (
        f"{size:,} more bytes are too many: {kept:,} of {most:,} are kept, in received files,"
        f" exports and photos. Files go {settings.HEADRACE_SOURCE_DAYS} days after they have"
        f" landed, exports {settings.HEADRACE_EXPORT_DAYS} days after they were made; the operator"
        " may raise max_stored_bytes before."
    )


def check_day(tenant: UUID) -> None:
    """A first look, before a body is read. Raises Problem if no row may land today any more."""
    day = day_of(tenant)
    if day.most and day.rows >= day.most:
        raise refusal(RowsExceeded(day, 1))


def refusal(exceeded: RowsExceeded) -> Problem:
    """The answer to a caller whose rows the day has no room for."""
    day = exceeded.day
    problem = Problem("row_quota", f"{exceeded}.", rows_today=day.rows, most=day.most)
    problem.headers = {"Retry-After": str(day.seconds_left)}
    return problem


def day_of(tenant: UUID) -> Day:
    """The tenant's day as it stands."""
    own, now = _limit_and_time(tenant)
    counted = TenantDay.objects.filter(tenant_id=tenant, day=now.date())
    return Day(most_rows(own), counted.values_list("rows", flat=True).first() or 0, now)


def take_rows(tenant: UUID, rows: int) -> date:
    """Count rows, in the transaction that decides that they land; the day that they count for.

    Raises RowsExceeded, and nothing is counted then.
    """
    own, now = _limit_and_time(tenant)
    day, most = now.date(), most_rows(own)
    counted = TenantDay.objects.filter(tenant_id=tenant, day=day)
    room = counted.filter(rows__lte=most - rows) if most else counted
    # The row first, and only where there is none an insert: that would lock what others wait for.
    if not counted.exists():
        TenantDay.objects.bulk_create([TenantDay(tenant_id=tenant, day=day)], ignore_conflicts=True)
    if not room.update(rows=F("rows") + rows):
        raise RowsExceeded(day_of(tenant), rows)
    return day


def give_back(tenant: UUID, day: date, rows: int) -> None:
    """Rows that were counted for a day, of a file of which nothing has landed."""
    TenantDay.objects.filter(tenant_id=tenant, day=day).update(rows=F("rows") - rows)


def _limit_and_time(tenant: UUID) -> tuple[int | None, datetime]:
    found = Tenant.objects.annotate(now=Now()).filter(pk=tenant)
    row = found.values_list("max_rows_per_day", "now").first()
    if row is None:
        raise doors.absent()
    return row
