"""The statements of a price event on SQLite and MariaDB, one after the other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from apps.analytics.price_rows import (
    BY_A_CALL,
    EVENT_COLUMNS,
    Event,
    Found,
    Move,
    Outcome,
    Span,
    containing,
    postponed,
)
from apps.analytics.price_sessions import LOCK_SECONDS, prepare_once, share_history
from apps.core import idempotency
from apps.core.idempotency import Key
from apps.core.isolation import tenant_transaction
from headrace.pricing.detection import PRODUCT_PRICES


class Spelling(NamedTuple):
    """How a database keeps what Python's types do not say by themselves."""

    lock: str
    clock: Callable[[], datetime]
    moment: Callable[[datetime], Any]
    read_moment: Callable[[Any], datetime]
    money: Callable[[Decimal], Any]
    read_money: Callable[[Any], Decimal]
    prepare: Callable[[Any], None]


class Portable:
    """One statement after the other, through Django's cursor; ids are texts of 32 digits."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling

    @contextmanager
    def transaction(self, tenant: UUID) -> Iterator[None]:
        prepare_once(self._spelling.prepare)
        with tenant_transaction(tenant):
            yield

    def look(self, tenant: UUID, product: UUID, key: Key) -> Found | None:
        own = self._spelling
        with connection.cursor() as cursor:
            share_history(tenant)
            cursor.execute(
                "SELECT price, category_id FROM products"
                f" WHERE tenant_id = %s AND product_id = %s{own.lock}",
                [tenant.hex, product.hex],
            )
            row = cursor.fetchone()
            if row is None:
                return None
            kept = idempotency.kept(key)
            cursor.execute("SELECT last_number FROM tenants WHERE tenant_id = %s", [tenant.hex])
            [last_number] = cursor.fetchone()
            moment = own.clock()
            while True:
                next_start, ahead = self._later(cursor, tenant, product, moment)
                history = self._earlier(cursor, tenant, product, moment)
                last = history[0][0] if history else None
                if (later := postponed(moment, last, ahead)) == moment:
                    break
                moment = later
        price, category = row
        return Found(
            price=own.read_money(price),
            category=UUID(category) if category else None,
            moment=moment,
            last_number=last_number,
            current=containing(last, moment),
            next_start=next_start,
            prices=[price for _, price in reversed(history)],
            kept=kept,
        )

    def _later(
        self, cursor: Any, tenant: UUID, product: UUID, moment: datetime
    ) -> tuple[datetime | None, datetime | None]:
        """When the next interval starts, and the last of those to come that a call made."""
        cursor.execute(_LATER, [tenant.hex, product.hex, self._spelling.moment(moment)])
        first, ahead = cursor.fetchone()
        read = self._spelling.read_moment
        return first and read(first), ahead and read(ahead)

    def _earlier(
        self, cursor: Any, tenant: UUID, product: UUID, moment: datetime
    ) -> list[tuple[Span, Decimal]]:
        """The last intervals that have begun, the newest first."""
        own = self._spelling
        cursor.execute(
            "SELECT id, effective_from, effective_to, price FROM price_history"
            " WHERE tenant_id = %s AND product_id = %s AND effective_from <= %s"
            f" ORDER BY effective_from DESC LIMIT {PRODUCT_PRICES}",
            [tenant.hex, product.hex, own.moment(moment)],
        )
        return [
            (
                Span(UUID(key), own.read_moment(start), end and own.read_moment(end)),
                own.read_money(price),
            )
            for key, start, end, price in cursor.fetchall()
        ]

    def write(self, outcome: Outcome) -> None:
        event, move = outcome.event, outcome.move
        with connection.cursor() as cursor:
            if move is not None:
                self._move(cursor, event, move)
            idempotency.keep(outcome.key, outcome.fingerprint, outcome.answer)
            number = _next_number(cursor, event.tenant_id) if outcome.is_anomaly else None
            cursor.execute(_INSERT_EVENT, [*self._row(event), number])

    def _move(self, cursor: Any, event: Event, move: Move) -> None:
        own = self._spelling
        tenant, product = event.tenant_id.hex, event.product_id.hex
        start, price = own.moment(event.processed_at), own.money(event.new_price)
        if move.cut is not None:
            cursor.execute(_CUT, [start, move.sequence, tenant, move.cut.id.hex])
        end = move.end and own.moment(move.end)
        cursor.execute(
            _OPEN, [tenant, move.interval.hex, product, price, start, end, move.sequence]
        )
        cursor.execute(_REPRICE, [price, move.sequence, tenant, product])

    def _row(self, event: Event) -> list[Any]:
        return [self._kept(value) for value in event]

    def _kept(self, value: Any) -> Any:
        match value:
            case UUID():
                return value.hex
            case Decimal():
                return self._spelling.money(value)
            case datetime():
                return self._spelling.moment(value)
        return value


_CUT = (
    "UPDATE price_history SET effective_to = %s, source_sequence = %s"
    " WHERE tenant_id = %s AND id = %s"
)
_OPEN = (
    "INSERT INTO price_history"
    " (tenant_id, id, product_id, price, effective_from, effective_to, source_sequence)"
    " VALUES (%s, %s, %s, %s, %s, %s, %s)"
)
_REPRICE = (
    "UPDATE products SET price = %s, source_sequence = %s WHERE tenant_id = %s AND product_id = %s"
)
_INSERT_EVENT = f"INSERT INTO price_events ({EVENT_COLUMNS}) VALUES ({', '.join(['%s'] * 14)})"
_LATER = (
    "SELECT MIN(effective_from),"
    f" MAX(CASE WHEN {BY_A_CALL} THEN effective_from END)"
    " FROM price_history WHERE tenant_id = %s AND product_id = %s AND effective_from > %s"
)


def _next_number(cursor: Any, tenant: UUID) -> int:
    """The tenant's next feed number. Nobody else gets one before our commit."""
    of_tenant = "WHERE tenant_id = %s"
    cursor.execute(
        f"UPDATE price_feeds SET last_number = last_number + 1 {of_tenant}", [tenant.hex]
    )
    if not cursor.rowcount:
        cursor.execute("INSERT INTO price_feeds VALUES (%s, 1)", [tenant.hex])
        return 1
    cursor.execute(f"SELECT last_number FROM price_feeds {of_tenant}", [tenant.hex])
    [number] = cursor.fetchone()
    return int(number)


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


def _mariadb_clock() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT UTC_TIMESTAMP(6)")
        [moment] = cursor.fetchone()
    return _in_utc(moment)


def _wait_no_longer(raw: Any) -> None:
    with raw.cursor() as cursor:
        cursor.execute(
            f"SET innodb_lock_wait_timeout = {LOCK_SECONDS}, lock_wait_timeout = {LOCK_SECONDS}"
        )


MARIADB = Spelling(
    lock=" FOR UPDATE",
    clock=_mariadb_clock,
    moment=_naive,
    read_moment=_in_utc,
    money=lambda price: price,
    read_money=lambda price: price,
    prepare=_wait_no_longer,
)
SQLITE = Spelling(
    lock="",
    clock=lambda: datetime.now(UTC),  # it has none of its own, and its times have milliseconds
    moment=lambda moment: _naive(moment).isoformat(" "),
    read_moment=lambda text: _in_utc(datetime.fromisoformat(text)),
    money=lambda price: int(price.scaleb(4)),
    read_money=lambda units: Decimal(units).scaleb(-4),
    prepare=lambda raw: None,
)
