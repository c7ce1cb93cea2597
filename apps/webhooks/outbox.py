"""The outbox: what happened is written in the transaction in which it happens.

Of an event that nobody wants nothing is written. An event is for the endpoints that are there when
its transaction looks: whoever has been told that an endpoint is there, gets what begins after that.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db import connection, transaction

from apps.core import jobs
from apps.core.jobs import ACTIVE
from apps.core.models import Job, Priority
from apps.core.retention import NOBODY
from apps.webhooks.models import Delivery, Event, Lane

DELIVER = "webhooks"
SUBJECT = UUID("1f0a8c5e-2f0c-4b57-9c59-0c5f6d5a7c11")  #: of the one job for all endpoints
_encode = msgspec.json.Encoder().encode
Data = Mapping[str, Any]


def is_watched(tenant: UUID) -> bool:
    """Whether the tenant has an endpoint at all."""
    with connection.cursor() as cursor:  # past the models, for calls that are counted
        cursor.execute("SELECT 1 FROM webhook_lanes WHERE tenant_id = %s LIMIT 1", [tenant.hex])
        return cursor.fetchone() is not None


def put(tenant: UUID, kind: str, data: Data, subject: UUID | None = None) -> bool:
    """Write an event as part of the tenant's transaction; False if no endpoint takes it.

    Where Django began the transaction, a worker is told after the commit; elsewhere the caller
    does that by `ring`.
    """
    takers = _takers(tenant, kind)
    if takers:
        write(_event(tenant, kind, data, subject), takers)
    return bool(takers)


def write(event: Event, takers: Sequence[UUID]) -> list[Delivery]:
    """Write an event and its way to these endpoints."""
    # One by one: bulk_create would begin a transaction where another's statements already have.
    event.save(force_insert=True)
    deliveries = [_delivery(event, endpoint) for endpoint in takers]
    for delivery in deliveries:
        delivery.save(force_insert=True)
    ring_after_commit()
    return deliveries


def event_of(tenant: UUID, kind: str, data: Data) -> Event:
    """An event that is not written yet."""
    return _event(tenant, kind, data, None)


def last_of(tenant: UUID, subject: UUID) -> tuple[str, dict[str, Any]] | None:
    """The type and data of the last event about something; within the tenant's transaction."""
    found = Event.objects.filter(tenant_id=tenant, subject=subject).order_by("-created_at").first()
    return None if found is None else (found.type, msgspec.json.decode(found.body)["data"])


def ring() -> None:
    """Have the deliveries sent that are due. Whoever does not is found out by the sweep."""
    at_work = Job.objects.filter(kind=DELIVER, subject=SUBJECT, state__in=ACTIVE)
    if not at_work.exists():
        jobs.enqueue(DELIVER, SUBJECT, NOBODY, priority=Priority.LOW)


def ring_after_commit() -> None:
    """Ring once the transaction that Django began has committed."""
    if connection.in_atomic_block:
        transaction.on_commit(ring, robust=True)


def _takers(tenant: UUID, kind: str) -> list[UUID]:
    lanes = Lane.objects.filter(tenant_id=tenant, is_open=True)
    return [key for key, kinds in lanes.values_list("endpoint_id", "events") if kind in kinds]


def _event(tenant: UUID, kind: str, data: Data, subject: UUID | None) -> Event:
    moment = datetime.now(UTC)
    body = _encode({"type": kind, "timestamp": moment, "data": data}).decode()
    return Event(tenant_id=tenant, type=kind, subject=subject, body=body, created_at=moment)


def _delivery(event: Event, endpoint: UUID) -> Delivery:
    return Delivery(
        tenant_id=event.tenant_id,
        endpoint_id=endpoint,
        event_id=event.event_id,
        type=event.type,
        created_at=event.created_at,
    )
