"""What test_audit.py has done inside of processes that have Django set up for a database."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import Error, transaction
from django.db.models.functions import Now

from apps.audit import numbers, retention, services
from apps.audit.models import Action, AuditEntry, AuditErasure
from apps.core.isolation import NoTenant, tenant_reading, tenant_transaction
from apps.core.jobs import Lease
from apps.core.models import Job, JobState
from apps.core.retention import ago


def _lease(tenant: UUID) -> Lease:
    """The right to work on a job that no worker will claim."""
    job = Job.objects.create(
        kind="none", subject=tenant, tenant_id=tenant, state=JobState.RUNNING, epoch=1
    )
    Job.objects.filter(pk=job.pk).update(lease_expires=ago(hours=-1), run_after=Now())
    return Lease(job.pk, 1, "none", tenant, tenant, attempts=1)


def _write(tenant: UUID, days: float) -> None:
    moment = datetime.now(UTC) - timedelta(days=days)
    entry = AuditEntry(
        id=numbers.at(round(moment.timestamp() * 1e9)),
        tenant_id=tenant,
        recorded_at=moment,
        action=Action.TENANT_CHANGED,
        subject=f"{days:g}",
        details="{}",
    )
    with tenant_transaction(tenant):
        entry.save(force_insert=True)


def _left(tenant: UUID) -> list[str]:
    with tenant_reading(tenant):
        own = AuditEntry.objects.filter(action__in=(Action.TENANT_CHANGED, Action.TENANT_ERASED))
        return list(own.order_by("id").values_list("subject", flat=True))


def _is_refused(tenant: UUID, until: datetime) -> bool:
    try:
        retention.remove_until(tenant, until, _lease(tenant))
    except Error:
        return True
    return False


def by_age(name: str) -> Any:
    tenant = UUID(name)
    for days in (500, 401, 399, 31, 29, 0):
        _write(tenant, days)
    _write(services.NOBODY, 401)
    is_more = retention.remove_old(_lease(tenant))
    kept = _left(tenant)
    before_a_month = datetime.now(UTC) - timedelta(days=30, minutes=1)
    younger = _is_refused(tenant, datetime.now(UTC) - timedelta(days=28))
    unchanged = _left(tenant)
    retention.remove_until(tenant, before_a_month, _lease(tenant))
    return [is_more, kept, _left(services.NOBODY), younger, unchanged, _left(tenant)]


def by_erasure(name: str) -> Any:
    tenant = UUID(name)
    for days in (3, 2, 1):
        _write(tenant, days)
    before = _is_refused(tenant, datetime.now(UTC))
    until = services.allow_erasure(tenant)
    services.record(tenant, Action.TENANT_ERASED, "later")
    after = _is_refused(tenant, datetime.now(UTC))
    removed = retention.remove_until(tenant, until, _lease(tenant))
    return [before, after, removed, _left(tenant), _is_order_kept(tenant)]


def _is_order_kept(tenant: UUID) -> bool:
    orders = AuditErasure.objects.filter(tenant_id=tenant)
    for change in (orders.delete, lambda: orders.update(actor="")):
        try:
            with transaction.atomic():
                change()
        except Error:
            continue
        return False
    return orders.count() == 1


def in_transactions(name: str, another: str) -> Any:
    """Entries of a transaction that is bound to nobody, to the tenant, and to another one."""
    tenant, told = UUID(name), []
    with transaction.atomic():
        services.record(tenant, Action.TENANT_CHANGED, "kept")
        Job.objects.filter(pk=0).update(epoch=0)  # control rows go on being written after it
        services.record(UUID(another), Action.TENANT_CHANGED, "another's")
    try:
        with transaction.atomic():
            services.record(tenant, Action.TENANT_CHANGED, "rolled back")
            raise LookupError
    except LookupError:
        told.append("rolled back")
    with tenant_transaction(tenant):
        services.record(tenant, Action.TENANT_CHANGED, "bound")
    try:
        with tenant_transaction(UUID(another)):
            services.record(tenant, Action.TENANT_CHANGED, "refused")
    except NoTenant:
        told.append("refused")
    return [told, _left(tenant)]


def erased(name: str) -> Any:
    """What is left after each call, an entry being recorded between the first two."""
    tenant, told = UUID(name), []
    for days in (40, 3, 2, 1, -0.01):  # the last by a host whose clock is ahead
        _write(tenant, days)
    told.append(retention.erase(tenant, _lease(tenant)))
    services.record(tenant, Action.TENANT_CHANGED, "while it was erased")
    while retention.erase(tenant, _lease(tenant)):
        told.append(len(_left(tenant)))
    return [told, _left(tenant), AuditErasure.objects.filter(tenant_id=tenant).count()]
