"""How long events and the log of their deliveries are kept."""

from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from apps.core import retention
from apps.core.isolation import tenant_transaction
from apps.core.jobs import Lease
from apps.core.retention import ago
from apps.webhooks import schedule
from apps.webhooks.models import Attempt, Delivery, DeliveryState, Event


def expire(lease: Lease) -> bool:
    """A step: deliveries that came to no attempt for longer than the schedule is, have failed."""
    pending = Delivery.objects.filter(state=DeliveryState.PENDING)
    late = pending.filter(due_at__lt=ago(seconds=sum(schedule.WAITS)))
    keys = list(late.values_list("pk", flat=True)[: retention.BATCH])
    if keys:
        with transaction.atomic(durable=True):
            late.filter(pk__in=keys).update(state=DeliveryState.FAILED, ended_at=Now())
            lease.fence()
    return bool(keys)


def remove_deliveries(lease: Lease) -> bool:
    """A step: some deliveries of one tenant that ended long ago, with their attempts and events."""
    old = ago(days=settings.HEADRACE_WEBHOOK_DAYS)
    ended = Delivery.objects.exclude(state=DeliveryState.PENDING).filter(ended_at__lt=old)
    tenant = ended.values_list("tenant_id", flat=True).first()
    if tenant is None:
        return False
    some = ended.filter(tenant_id=tenant).values_list("pk", "event_id")[: retention.BATCH]
    found = dict(some)
    with tenant_transaction(tenant):
        _remove(ended.filter(pk__in=found), Attempt.objects.filter(delivery_id__in=found))
        _remove_events({*found.values()})
        lease.fence()
    return True


def _remove(deliveries: QuerySet, attempts: QuerySet) -> None:
    attempts.delete()
    deliveries.delete()


def _remove_events(keys: set[UUID]) -> None:
    """Those that are on no other way."""
    others = Delivery.objects.filter(event_id=OuterRef("event_id"))
    Event.objects.filter(~Exists(others), pk__in=keys).delete()
