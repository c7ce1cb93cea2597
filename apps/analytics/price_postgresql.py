"""The statements of a price event on PostgreSQL: a trip locks and looks, another one writes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from django.conf import settings
from django.db import connection
from psycopg.pq import TransactionStatus

from apps.analytics.price_rows import (
    BY_A_CALL,
    EVENT_COLUMNS,
    Event,
    Found,
    Outcome,
    Span,
    containing,
    postponed,
)
from apps.analytics.price_sessions import LOCK_SECONDS, prepare_once
from apps.core.idempotency import Kept, Key
from apps.core.isolation import binding, tenant_statements
from headrace.entities.price_history import PRICE_HISTORY
from headrace.pipeline.dialects.postgresql import SERIALIZE_SHARED, lock_name
from headrace.pipeline.dialects.trips import BEGIN, COMMIT, Statement, trip
from headrace.pricing.detection import PRODUCT_PRICES


class PostgreSQL:
    """Two trips: one locks and looks, one writes."""

    @contextmanager
    def transaction(self, tenant: UUID) -> Iterator[None]:
        """Begun, bound and committed by statements that travel with the others.

        Django's would have trips of their own. What was not committed by `write` is rolled back.
        """
        prepare_once(_prepare_session)
        raw = connection.connection
        try:
            with tenant_statements(tenant):
                yield
        finally:
            if raw.pgconn.transaction_status != TransactionStatus.IDLE:
                _roll_back(raw)

    def look(self, tenant: UUID, product: UUID, key: Key) -> Found | None:
        raw = connection.connection
        wanted = {"tenant": tenant, "product": product, "scope": key.scope, "key": key.text}
        wanted |= {"hours": settings.HEADRACE_IDEMPOTENCY_HOURS, "moment": None}
        locked = SERIALIZE_SHARED, {"name": lock_name(tenant, PRICE_HISTORY)}
        *_, products, rows = trip(
            raw, BEGIN, binding(tenant), locked, (_LOCK, wanted), (_LOOK, wanted)
        )
        if not products:
            return None
        while True:
            looked = _Looked(*rows[0])
            if (later := postponed(looked.moment, looked.last, looked.ahead)) == looked.moment:
                return _found(products[0], looked)
            [rows] = trip(raw, (_LOOK, {**wanted, "moment": later}))

    def write(self, outcome: Outcome) -> None:
        """Write and commit. A unique violation says that the key is another request's by now."""
        keeping = _keeping(outcome)
        moving = (_KEEP, keeping) if outcome.move is None else (_MOVE, keeping | _moving(outcome))
        insert = _INSERT_ANOMALY if outcome.is_anomaly else _INSERT_EVENT
        written = moving, (insert, outcome.event._asdict()), COMMIT
        forgotten = [(_FORGET, keeping)] if outcome.has_old_answer else []
        trip(connection.connection, *forgotten, *written)


def _roll_back(raw: Any) -> None:
    """A connection that cannot even do this must not serve anybody else."""
    try:
        raw.execute("ROLLBACK")
    except psycopg.Error:
        connection.close()


class _Looked(NamedTuple):
    """A row of _LOOK."""

    moment: datetime
    last_number: int
    fingerprint: str | None
    status: int | None
    body: str | None
    location: str | None
    is_old: bool | None
    next_start: datetime | None
    ahead: datetime | None
    id: UUID | None
    start: datetime | None
    end: datetime | None
    prices: str | None

    @property
    def last(self) -> Span | None:
        return Span(self.id, self.start, self.end) if self.id and self.start else None


def _found(product: Sequence[Any], looked: _Looked) -> Found:
    price, category = product
    own = (looked.fingerprint, looked.status, looked.body, looked.location)
    return Found(
        price=price,
        category=category,
        moment=looked.moment,
        last_number=looked.last_number,
        current=containing(looked.last, looked.moment),
        next_start=looked.next_start,
        prices=[Decimal(text) for text in reversed((looked.prices or "").split())],
        kept=Kept(*own) if looked.is_old is False else None,  # type: ignore[arg-type]
        has_old_answer=bool(looked.is_old),
    )


def _moving(outcome: Outcome) -> dict[str, Any]:
    event, move = outcome.event, outcome.move
    assert move is not None
    return {
        "product": event.product_id,
        "price": event.new_price,
        "start": event.processed_at,
        "end": move.end,
        "interval": move.interval,
        "cut": move.cut.id if move.cut else None,
        "sequence": move.sequence,
    }


def _keeping(outcome: Outcome) -> dict[str, Any]:
    key, answer = outcome.key, outcome.answer
    return {
        "tenant": key.tenant,
        "scope": key.scope,
        "key": key.text,
        "fingerprint": outcome.fingerprint,
        "status": answer.status,
        "location": answer.location,
        "body": answer.body,
    }


def _prepare_session(raw: Any) -> None:
    """Wait for locks no longer."""
    raw.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")


# Not FOR UPDATE: loads that refer to the product lock its key, which a new price leaves alone.
_LOCK = Statement(
    "SELECT price, category_id FROM products"
    " WHERE tenant_id = %(tenant)s AND product_id = %(product)s FOR NO KEY UPDATE"
)
_HISTORY = (
    "FROM price_history WHERE tenant_id = %(tenant)s AND product_id = %(product)s"
    " AND effective_from {} clock.moment"
)
_LOOK = Statement(f"""
WITH clock AS MATERIALIZED (
    SELECT COALESCE(CAST(%(moment)s AS timestamptz), clock_timestamp()) AS moment
)
SELECT clock.moment, tenants.last_number, kept.*, later.*, newest.*
FROM clock
JOIN tenants ON tenants.tenant_id = %(tenant)s
LEFT JOIN LATERAL (
    SELECT fingerprint, status, body, location,
           created_at < clock.moment - make_interval(hours => %(hours)s) AS is_old
    FROM idempotency_keys
    WHERE tenant_id = %(tenant)s AND scope = %(scope)s AND key = %(key)s
) kept ON true
LEFT JOIN LATERAL (
    SELECT MIN(effective_from), MAX(effective_from) FILTER (WHERE {BY_A_CALL})
    {_HISTORY.format(">")}
) later ON true
LEFT JOIN LATERAL (
    SELECT (array_agg(id))[1], (array_agg(effective_from))[1], (array_agg(effective_to))[1],
           string_agg(CAST(price AS text), ' ')
    FROM (SELECT id, effective_from, effective_to, price {_HISTORY.format("<=")}
          ORDER BY effective_from DESC LIMIT {PRODUCT_PRICES}) newest_first
) newest ON true""")
_FORGET = Statement("""
DELETE FROM idempotency_keys
WHERE tenant_id = %(tenant)s AND scope = %(scope)s AND key = %(key)s""")
_INSERT_KEY = """
INSERT INTO idempotency_keys (tenant_id, scope, key, fingerprint, status, location, body)
VALUES (%(tenant)s, %(scope)s, %(key)s, %(fingerprint)s, %(status)s, %(location)s, %(body)s)"""
_KEEP = Statement(_INSERT_KEY)
# The next interval opens when the last one is cut: it asks how many were.
_MOVE = Statement(f"""
WITH kept AS ({_INSERT_KEY}
), cut AS (
    UPDATE price_history SET effective_to = %(start)s, source_sequence = %(sequence)s
    WHERE tenant_id = %(tenant)s AND id = %(cut)s
    RETURNING 1
), opened AS (
    INSERT INTO price_history
           (tenant_id, id, product_id, price, effective_from, effective_to, source_sequence)
    SELECT CAST(%(tenant)s AS uuid), CAST(%(interval)s AS uuid), CAST(%(product)s AS uuid),
           CAST(%(price)s AS numeric), CAST(%(start)s AS timestamptz),
           CAST(%(end)s AS timestamptz), CAST(%(sequence)s AS bigint)
    FROM (SELECT COUNT(*) FROM cut) done
)
UPDATE products SET price = %(price)s, source_sequence = %(sequence)s
WHERE tenant_id = %(tenant)s AND product_id = %(product)s""")
_EVENT = ", ".join(f"%({name})s" for name in Event._fields)
_INSERT_EVENT = Statement(f"INSERT INTO price_events ({EVENT_COLUMNS}) VALUES ({_EVENT}, NULL)")
_INSERT_ANOMALY = Statement(f"""
WITH feed AS (
    INSERT INTO price_feeds AS own (tenant_id, last_number) VALUES (%(tenant_id)s, 1)
    ON CONFLICT (tenant_id) DO UPDATE SET last_number = own.last_number + 1
    RETURNING last_number
)
INSERT INTO price_events ({EVENT_COLUMNS})
VALUES ({_EVENT}, (SELECT last_number FROM feed))""")
