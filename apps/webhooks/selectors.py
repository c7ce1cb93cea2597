"""What is told of webhooks: endpoints without their secrets, and the log of deliveries."""

from collections import defaultdict
from typing import Any, NamedTuple
from uuid import UUID

from django.db.models import F, Q
from django.db.models.functions import Now

from apps.core.isolation import tenant_reading
from apps.core.problems import Problem
from apps.webhooks import schedule, signing
from apps.webhooks.models import Attempt, Delivery, DeliveryState, Endpoint, Lane

Page = tuple[list[dict[str, Any]], str | None]  #: rows, and the cursor of the next page


class Log(NamedTuple):
    """Which deliveries of an endpoint: in a `state`, behind the one that `after` names."""

    endpoint: UUID
    state: str | None
    after: UUID | None
    limit: int


def endpoints(tenant: UUID) -> list[dict[str, Any]]:
    """All endpoints of the tenant, the oldest first."""
    with tenant_reading(tenant):
        found = list(Endpoint.objects.annotate(now=Now()).order_by("created_at", "pk"))
        lanes = {lane.endpoint_id: lane for lane in Lane.objects.filter(tenant_id=tenant)}
    return [_told(one, lanes[one.endpoint_id]) for one in found if one.endpoint_id in lanes]


def endpoint(tenant: UUID, key: UUID) -> dict[str, Any]:
    """One endpoint. Raises Problem."""
    with tenant_reading(tenant):
        found = Endpoint.objects.annotate(now=Now()).filter(pk=key).first()
        lane = Lane.objects.filter(tenant_id=tenant, endpoint_id=key).first()
    if found is None or lane is None:
        raise Problem("not_found", "Check the address and whose it is.")
    return _told(found, lane)


def _told(endpoint: Any, lane: Lane) -> dict[str, Any]:
    overlaps = endpoint.old_until is not None and endpoint.old_until > endpoint.now
    return {
        "endpoint_id": endpoint.endpoint_id,
        "url": endpoint.url,
        "description": endpoint.description,
        "events": lane.events,
        "enabled": lane.is_open,
        "disabled_because": lane.closed_because or None,
        "failures": lane.failures,
        "held_until": lane.held_until,
        "old_secret_until": endpoint.old_until if overlaps else None,
        "created_at": endpoint.created_at,
    }


def deliveries(tenant: UUID, asked: Log) -> Page:
    """A page of an endpoint's deliveries, the newest first, each with its attempts."""
    endpoint(tenant, asked.endpoint)
    rows = Delivery.objects.filter(tenant_id=tenant, endpoint_id=asked.endpoint)
    if asked.state:
        rows = rows.filter(state=asked.state)
    if asked.after:
        rows = rows.filter(_older(tenant, asked.after))
    newest = (F("created_at").desc(), F("delivery_id").desc())
    found = list(rows.order_by(*newest)[: asked.limit + 1])
    page = found[: asked.limit]
    cursor = str(page[-1].pk) if len(found) > asked.limit else None
    return _logged(tenant, page), cursor


def _older(tenant: UUID, after: UUID) -> Q:
    last = Delivery.objects.filter(tenant_id=tenant, pk=after).first()
    if last is None:
        raise Problem("invalid_request", "Send cursor as next_cursor gave it, for the same list.")
    same_moment = Q(created_at=last.created_at, delivery_id__lt=last.pk)
    return Q(created_at__lt=last.created_at) | same_moment


def _logged(tenant: UUID, page: list[Delivery]) -> list[dict[str, Any]]:
    attempts: dict[UUID, list[Attempt]] = defaultdict(list)
    with tenant_reading(tenant):
        keys = [row.pk for row in page]
        for attempt in Attempt.objects.filter(delivery_id__in=keys).order_by("id"):
            attempts[attempt.delivery_id].append(attempt)
    return [_delivery(row, attempts[row.pk]) for row in page]


def _delivery(row: Delivery, attempts: list[Attempt]) -> dict[str, Any]:
    waits = row.state == DeliveryState.PENDING
    return {
        "delivery_id": row.delivery_id,
        "webhook_id": signing.message_id(row.event_id),
        "type": row.type,
        "state": row.state,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
        "next_attempt_at": row.due_at if waits else None,
        "attempts_left": schedule.ATTEMPTS - row.attempts if waits else 0,
        "attempts": [
            {
                "at": one.at,
                "status": one.status,
                "duration_ms": one.milliseconds,
                "error": one.error or None,
                "answer": one.answer,
            }
            for one in attempts
        ],
    }
