"""What is told of anomalies: a product's as a stream, a tenant's as a feed to follow."""

import threading
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from apps.analytics import price_wire
from apps.analytics.models import PriceEvent, PriceFeed
from apps.catalog.models import MODELS
from apps.core import blocks, dialect, seats
from apps.core.isolation import tenant_reading
from apps.core.problems import Problem
from apps.core.retention import ago
from apps.tenants import keys

ROWS = 500  # of a look into the server's cursor
LOOK_SECONDS = 0.25
LATEST = "latest"
_COLUMNS = (
    *("event_id", "product_id", "old_price", "new_price", "claimed_old_price", "pct_change"),
    *("severity", "reasons", "source", "metadata", "status", "processed_at", "feed_number"),
)


class Anomaly(msgspec.Struct):
    """A row of price_events, as price_wire wants it."""

    event_id: UUID
    product_id: UUID
    old_price: Any
    new_price: Any
    claimed_old_price: Any
    pct_change: str | None
    severity: str
    reasons: str
    source: str
    metadata: str | None
    status: str
    processed_at: datetime
    feed_number: int


def check_product(tenant: UUID, product: UUID) -> None:
    """Raises Problem if the tenant has no such product."""
    with tenant_reading(tenant):
        if not MODELS["products"].objects.filter(product_id=product).exists():
            raise Problem("not_found", "Check the address and whose it is.")


def stream(tenant: UUID, product: UUID, hours: int, limit: int | None) -> Iterator[bytes]:
    """The product's anomalies of the last hours, newest first, and a last line about them.

    The rows come from a cursor of the server's, so memory does not grow with them. A stream
    without its last line has broken off. To close it ends the transaction that it reads in.
    """
    with closing(_lines(tenant, product, hours, limit)) as lines:
        yield from blocks.joined(lines)


def _lines(
    tenant: UUID, product: UUID, hours: int, limit: int | None
) -> Generator[bytes, None, None]:
    count, is_truncated = 0, False
    with tenant_reading(tenant):
        rows = PriceEvent.objects.filter(
            product_id=product, feed_number__isnull=False, processed_at__gte=ago(hours=hours)
        ).order_by("-processed_at", "-feed_number")
        wanted = rows if limit is None else rows[: limit + 1]
        for row in _from_server(wanted.values_list(*_COLUMNS)):
            if count == limit:
                is_truncated = True
                break
            count += 1
            yield price_wire.encode(price_wire.anomaly(Anomaly(*row))) + b"\n"
    about = {"product_id": product, "count": count, "hours": hours, "limit": limit}
    yield price_wire.encode({"_meta": {**about, "truncated": is_truncated}}) + b"\n"


def _from_server(rows: QuerySet[Any, Any]) -> Iterable[tuple[Any, ...]]:
    """The rows of a query, ROWS of them in memory at once."""
    if dialect.current().name in ("mariadb", "mysql"):
        return _unbuffered(rows)
    return rows.iterator(chunk_size=ROWS)


def _unbuffered(rows: QuerySet[Any, Any]) -> Iterator[tuple[Any, ...]]:
    """Django's cursor of MariaDB would read all rows first.

    Until the last row was read the connection can do nothing else; left before, it is closed.
    """
    from pymysql.cursors import SSCursor  # noqa: PLC0415 - needed where this database is chosen

    statement, parameters = rows.query.sql_with_params()
    connection.ensure_connection()
    cursor = connection.connection.cursor(SSCursor)
    is_read = False
    try:
        cursor.execute(statement, parameters)
        while found := cursor.fetchmany(ROWS):
            yield from (_read(row) for row in found)
        is_read = True
    finally:
        if is_read:
            cursor.close()
        else:
            connection.close()


def _read(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """MariaDB's values as Django would give them."""
    event, product, *middle, moment, number = row
    return UUID(event), UUID(product), *middle, moment.replace(tzinfo=UTC), number


class _Waiters:
    """The threads of this process that may wait for news; the others must stay for work.

    Each holds a seat too, as bodies and downloads do. Where too many wait there is a short wait
    all the same, or those who ask again at once would take the threads one after the other.
    """

    def __init__(self) -> None:
        self._free = threading.Semaphore(max(1, settings.HEADRACE_THREADS // 3))

    def wait(self, tenant: UUID, number: int, seconds: float) -> None:
        """Until there is an anomaly behind this number; no transaction stays open meanwhile."""
        if not self._free.acquire(blocking=False):
            return time.sleep(LOOK_SECONDS)
        try:
            with seats.Seat(tenant):
                _look_out(tenant, number, time.monotonic() + seconds)
        except Problem:
            time.sleep(LOOK_SECONDS)
        finally:
            self._free.release()


def _look_out(tenant: UUID, number: int, end: float) -> None:
    while last_number(tenant) <= number and time.monotonic() < end:
        time.sleep(LOOK_SECONDS)


_waiters = _Waiters()


def last_number(tenant: UUID) -> int:
    """The number of the tenant's last anomaly, 0 before the first."""
    with tenant_reading(tenant):
        return PriceFeed.objects.values_list("last_number", flat=True).first() or 0


def page(tenant: UUID, after: str | None, wait: int, limit: int) -> dict[str, Any]:
    """The tenant's next anomalies, in the order of their commits, and where to go on.

    Numbers have no gaps and are given in that order, so whoever goes on behind the last one that
    was seen misses none. Raises Problem.
    """
    last = last_number(tenant)
    number = last if after == LATEST else _number(after)
    if number > last:
        raise Problem(
            "invalid_request", "The cursor is ahead of what there is: begin again without after."
        )
    if wait:
        _waiters.wait(tenant, number, wait)
        keys.check_caller()
    with tenant_reading(tenant):
        rows = PriceEvent.objects.filter(feed_number__gt=number).order_by("feed_number")
        found = [Anomaly(*row) for row in rows.values_list(*_COLUMNS)[:limit]]
    last = found[-1].feed_number if found else number
    return {"data": [price_wire.anomaly(one) for one in found], "next_cursor": str(last)}


def _number(after: str | None) -> int:
    if after is None:
        return 0
    if not (after.isascii() and after.isdecimal() and len(after) < 19):
        raise Problem("invalid_request", "Send after as next_cursor had it, or as latest.")
    return int(after)
