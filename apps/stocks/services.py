"""Stock events whose sender waits: all those of a product apply together, or none of them.

What is more than a request can wait for goes down the road of files, with the same promise.
"""

import io
from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from django.conf import settings
from django.db import connection

from apps.core import attempts, dialect, idempotency, metrics
from apps.core.idempotency import Answer
from apps.core.isolation import tenant_transaction
from apps.core.problems import PROBLEMS, Problem
from apps.ingestions import notices
from apps.ingestions import services as files
from apps.ingestions.services import Delivery, Door, Reception
from apps.stocks import answers
from apps.tenants import doors, quotas
from apps.tenants.models import NegativeLevels
from apps.tenants.quotas import RowsExceeded
from apps.webhooks import outbox
from headrace.entities.stock_events import STOCK_EVENTS
from headrace.pipeline import calls, owners
from headrace.pipeline.calls import Call, TooManyRecords
from headrace.pipeline.dialects.statements import TENANT
from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.formats import JSON, NDJSON
from headrace.pipeline.load import Load

DOOR = Door(STOCK_EVENTS.name, (NDJSON, JSON), 202, names_events=True)
ASKED_AT_ONCE = 10_000  # products; a statement of SQLite has room for 32,766 values
_encode = msgspec.json.Encoder().encode


def update(delivery: Delivery) -> Answer:
    """Apply the events of a body, or queue it where it is too large to wait for. Raises Problem.

    With an idempotency key the body is applied once for it. Without one, every event needs an id
    of its own, by which it is applied once.
    """
    reception = Reception(delivery.body, delivery.tenant)
    body = reception.hold(settings.HEADRACE_STOCK_INLINE_BYTES)
    if body is None:
        return _queue(delivery, reception)
    tenant = _tenant(delivery.tenant)
    load = _load(delivery, reception, body, tenant)
    try:
        call = calls.read(load, settings.HEADRACE_STOCK_INLINE_EVENTS)
    except TooManyRecords:
        return _queue(delivery, reception)
    except Permanent as failure:
        if failure.code is FailureCode.BOMB:  # more than is unpacked here, maybe not too much
            return _queue(delivery, reception)
        raise _unusable(failure) from None
    if not call.received:
        raise Problem("empty_file", "Send at least one event.")
    return _applied(delivery, reception, load, call, quotas.most_rows(tenant.max_rows_per_day))


def _queue(delivery: Delivery, reception: Reception) -> Answer:
    if delivery.key is None:
        raise Problem(
            "idempotency_key_required",
            f"Send an Idempotency-Key header with more than"
            f" {settings.HEADRACE_STOCK_INLINE_EVENTS:,} events or"
            f" {settings.HEADRACE_STOCK_INLINE_BYTES:,} bytes: they are queued.",
        )
    return files.take_in(delivery, reception)


def _unusable(failure: Permanent) -> Exception:
    """What is wrong with the body as a whole; what is wrong with us stays what it is."""
    return Problem(failure.code, f"{failure}.") if failure.code in PROBLEMS else failure


class _Tenant(NamedTuple):
    """What of a tenant's row matters here."""

    time_zone: str
    negative_levels: str
    last_number: int
    max_rows_per_day: int | None


def _load(delivery: Delivery, reception: Reception, body: bytes, tenant: _Tenant) -> Load:
    reading = files.reading_for(delivery, reception)
    may_be_negative = tenant.negative_levels == NegativeLevels.ALLOW
    return Load(
        entity=STOCK_EVENTS,
        tenant=delivery.tenant,
        # That of the last file, and no lock on the tenant's row: calls are ordered among
        # themselves by the locks on the levels, and their events never replace a row.
        number=tenant.last_number,
        open_source=lambda: io.BytesIO(body),
        sha256=reception.sha256,
        **reading._asdict(),
        zone=ZoneInfo(tenant.time_zone),
        parks=False,
        max_bytes=settings.HEADRACE_STOCK_INLINE_UNPACKED_BYTES,
        may_be_negative=may_be_negative,
        watches_falls=may_be_negative and outbox.is_watched(delivery.tenant),
        whole_owners=True,
        name_event=_namer(delivery),
    )


def _tenant(tenant: UUID) -> _Tenant:
    """Past the models, which take five times as long. Raises Problem unless it may write."""
    with connection.cursor() as cursor:
        cursor.execute(_TENANT, [tenant.hex])
        state, *facts = cursor.fetchone() or [None]
    doors.check_state(state)
    return _Tenant(*facts)


_TENANT = (
    "SELECT state, time_zone, negative_levels, last_number, max_rows_per_day"
    " FROM tenants WHERE tenant_id = %s"
)


def _namer(delivery: Delivery) -> Callable[[int], UUID]:
    key = delivery.key
    return owners.event_names(key.tenant, key.text) if key else _refuse_nameless


def _refuse_nameless(line: int) -> UUID:
    raise Problem(
        "idempotency_key_required",
        f"Send an Idempotency-Key header: the event on line {line} has no stock_event_id, so a"
        " repetition could not be told from another event.",
    )


def _applied(
    delivery: Delivery, reception: Reception, load: Load, call: Call, most_rows: int
) -> Answer:
    key = delivery.key
    print_ = files.fingerprint(delivery, reception) if key else ""

    def transaction() -> Answer:
        with tenant_transaction(delivery.tenant):
            if key and (kept := idempotency.kept(key)):
                return kept.answer(print_)
            if most_rows:  # elsewhere no call waits for another's count
                _count(delivery.tenant, call)
            answer = _landed(load, call)
            if key:
                idempotency.keep(key, print_, answer)
            return answer

    return attempts.until_done(transaction)


def _count(tenant: UUID, call: Call) -> None:
    """Raises Problem if the tenant's day has no room for the events."""
    try:
        quotas.take_rows(tenant, call.received)
    except RowsExceeded as exceeded:
        raise quotas.refusal(exceeded) from None


def _landed(load: Load, call: Call) -> Answer:
    """Land the call in the surrounding transaction, and tell what came of it."""
    report = calls.land(connection.connection, dialect.current(), load, call)
    events = answers.processed(call, report)
    content = answers.told(call, report, events, _levels(load.tenant, list(events)))
    metrics.count_rows(STOCK_EVENTS.name, report.counts)
    notices.tell_of_falls(load.tenant, report.falls)
    return Answer(200, _encode(content).decode(), location="")


def _levels(tenant: UUID, products: list[str]) -> dict[UUID, int]:
    """The levels of these products, as the surrounding transaction has left them."""
    found: dict[UUID, int] = {}
    table = STOCK_EVENTS.level_table
    assert table is not None
    names = {"table": table.name, "key": table.key, "tenant": TENANT}
    with connection.cursor() as cursor:
        for start in range(0, len(products), ASKED_AT_ONCE):
            ids = [UUID(product).hex for product in products[start : start + ASKED_AT_ONCE]]
            names["ids"] = ", ".join(["%s"] * len(ids))
            cursor.execute(_LEVELS.format(**names), [tenant.hex, *ids])
            found.update(cursor.fetchall())
    if connection.features.has_native_uuid_field:
        return found
    return {UUID(str(product)): level for product, level in found.items()}


_LEVELS = "SELECT {key}, level FROM {table} WHERE {tenant} = %s AND {key} IN ({ids})"
