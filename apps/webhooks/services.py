"""What a tenant does with its endpoints: make, change, remove, rotate, test; replay deliveries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet, Value
from django.db.models.functions import Now

from apps.audit import services as audit
from apps.audit.models import Action
from apps.core.isolation import tenant_transaction
from apps.core.problems import Problem
from apps.tenants import doors
from apps.webhooks import addresses, delivery, kinds, outbox, signing
from apps.webhooks.addresses import Refused
from apps.webhooks.models import Delivery, DeliveryState, Endpoint, Lane

OVERLAP_HOURS, MOST_OVERLAP_HOURS = 24, 168


@dataclass(frozen=True)
class Wanted:
    """What a new endpoint shall be."""

    url: str
    events: Sequence[str]
    description: str


def create(tenant: UUID, wanted: Wanted) -> tuple[UUID, str]:
    """Make an endpoint; its id, and the secret that is not shown again. Raises Problem."""
    check(wanted.url)
    endpoint = Endpoint(
        tenant_id=tenant,
        url=wanted.url,
        description=wanted.description,
        salt=signing.new_salt(),
    )
    key = endpoint.endpoint_id
    with tenant_transaction(tenant):
        _check_room(tenant)
        endpoint.save(force_insert=True)
        events = sorted(set(wanted.events))
        Lane.objects.create(endpoint_id=key, tenant_id=tenant, events=events)
        audit.record(tenant, Action.WEBHOOK_CREATED, key, events=events, **_host(wanted.url))
    return key, signing.secret_of(key, endpoint.salt)


def _host(url: str) -> dict[str, str | None]:
    """What of an address is recorded: the rest may hold what only its owner should know."""
    return {"host": urlsplit(url).hostname}


def _check_room(tenant: UUID) -> None:
    """Raises Problem. One at a time: requests that come at once would all find the same room."""
    doors.check_state(doors.hold(tenant).state)
    most = settings.HEADRACE_MAX_WEBHOOKS
    if Lane.objects.filter(tenant_id=tenant).count() >= most:
        raise Problem("too_many", f"A tenant has at most {most} endpoints; delete one first.")


def check(url: str) -> None:
    """Raises Problem for a URL that would not be called, as far as is known now."""
    try:
        target = addresses.read(url, https_only=settings.PRODUCTION)
        addresses.resolve(target, settings.HEADRACE_WEBHOOK_ALLOW)
    except Refused as refused:
        raise Problem("address_refused", str(refused), reason=refused.code) from None


def change(tenant: UUID, endpoint: UUID, changes: Mapping[str, Any]) -> None:
    """Change what is given of an endpoint. Raises Problem."""
    if "url" in changes:
        check(changes["url"])
    own = {name: changes[name] for name in ("url", "description") if name in changes}
    with tenant_transaction(tenant):
        lane = _lanes(tenant, endpoint).select_for_update().first()
        if lane is None:
            raise _absent()
        if own:
            Endpoint.objects.filter(pk=endpoint).update(**own)
        _change_lane(lane, changes)
        told = {name: value for name, value in changes.items() if name not in own}
        told |= {"description": "changed"} if "description" in own else {}
        told |= _host(own["url"]) if "url" in own else {}
        audit.record(tenant, Action.WEBHOOK_CHANGED, endpoint, **told)


def _change_lane(lane: Lane, changes: Mapping[str, Any]) -> None:
    found = Lane.objects.filter(pk=lane.pk)
    if "events" in changes:
        found.update(events=sorted(set(changes["events"])))
    if "url" in changes:
        found.update(held_until=None)
    is_open = changes.get("enabled", lane.is_open)
    if lane.is_open and not is_open:
        delivery.close(lane.pk, "by request")
    if is_open and not lane.is_open:
        found.update(is_open=True, closed_because="", failures=0, held_until=None)


def remove(tenant: UUID, endpoint: UUID) -> None:
    """Send nothing more to an endpoint, and forget it. Raises Problem."""
    with tenant_transaction(tenant):
        if not _lanes(tenant, endpoint).delete()[0]:
            raise _absent()
        Endpoint.objects.filter(pk=endpoint).delete()
        delivery.close(endpoint, "removed")
        audit.record(tenant, Action.WEBHOOK_DELETED, endpoint)


def rotate(tenant: UUID, endpoint: UUID, overlap_hours: int) -> str:
    """Give an endpoint a new secret, and return it; the old one signs too for so many hours."""
    salt = signing.new_salt()
    with tenant_transaction(tenant):
        found = Endpoint.objects.select_for_update().filter(pk=endpoint).first()
        if found is None:
            raise _absent()
        until = Now() + Value(timedelta(hours=overlap_hours))
        Endpoint.objects.filter(pk=endpoint).update(salt=salt, old_salt=found.salt, old_until=until)
        audit.record(tenant, Action.WEBHOOK_ROTATED, endpoint, overlap_hours=overlap_hours)
    return signing.secret_of(endpoint, salt)


def test(tenant: UUID, endpoint: UUID) -> Delivery:
    """Send a test event to an endpoint. Raises Problem."""
    with tenant_transaction(tenant):
        _check_open(tenant, endpoint)
        event = outbox.event_of(tenant, kinds.TEST, {"endpoint_id": endpoint})
        [made] = outbox.write(event, [endpoint])
        _hurry(endpoint)
        audit.record(tenant, Action.WEBHOOK_TESTED, endpoint)
    return made


def replay(tenant: UUID, endpoint: UUID, which: UUID) -> None:
    """Send a delivery again, whatever became of it. Raises Problem."""
    with tenant_transaction(tenant):
        if not _replayed(tenant, endpoint, Delivery.objects.filter(pk=which)):
            raise _absent()


def replay_failed(tenant: UUID, endpoint: UUID, since: datetime) -> int:
    """Send again what has failed of the events since a time; how many they are. Raises Problem."""
    with tenant_transaction(tenant):
        failed = Delivery.objects.filter(state=DeliveryState.FAILED, created_at__gte=since)
        return _replayed(tenant, endpoint, failed)


def _replayed(tenant: UUID, endpoint: UUID, chosen: QuerySet[Delivery]) -> int:
    _check_open(tenant, endpoint)
    own = chosen.filter(tenant_id=tenant, endpoint_id=endpoint)
    count = own.update(state=DeliveryState.PENDING, attempts=0, due_at=Now(), ended_at=None)
    _hurry(endpoint)
    if count:
        audit.record(tenant, Action.WEBHOOK_REPLAYED, endpoint, deliveries=count)
    return count


def _hurry(endpoint: UUID) -> None:
    """Somebody waits: a lane that rests after failures need not."""
    Lane.objects.filter(pk=endpoint).update(held_until=None)
    outbox.ring_after_commit()


def _check_open(tenant: UUID, endpoint: UUID) -> None:
    """Take the lane until the transaction ends. Raises Problem."""
    # Locked before its deliveries, as everywhere.
    lane = _lanes(tenant, endpoint).select_for_update().first()
    if lane is None:
        raise _absent()
    if not lane.is_open:
        raise Problem("endpoint_disabled", "Enable it first: PATCH it with enabled=true.")


def _lanes(tenant: UUID, endpoint: UUID) -> QuerySet[Lane]:
    return Lane.objects.filter(tenant_id=tenant, endpoint_id=endpoint)


def _absent() -> Problem:
    return Problem("not_found", "Check the address and whose it is.")
