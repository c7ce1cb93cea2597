"""What an operator does with tenants: make, suspend, limit, take everything out, erase.

The command and the views both come here; what a tenant's state does not allow is a Problem.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from django.conf import settings
from django.db import IntegrityError, transaction

from apps.audit import services as audit
from apps.audit.models import Action
from apps.core import jobs, objects, retention
from apps.core.jobs import Lease
from apps.core.problems import Problem
from apps.exports import takeouts
from apps.exports.models import Takeout
from apps.lifecycle import erasing
from apps.lifecycle.models import ACTIVE, Erasure, ErasureState
from apps.tenants import doors, keys
from apps.tenants.models import Tenant, TenantDay, TenantState


class Created(NamedTuple):
    """A new tenant, and a key of all its scopes, which cannot be shown again."""

    tenant: Tenant
    key: str


def create(facts: Mapping[str, Any]) -> Created:
    """Make a tenant of checked facts; without a `tenant_id` it gets one. Raises Problem."""
    tenant = Tenant(**{"tenant_id": uuid4(), **facts})
    doors.check_new(tenant.pk)
    try:
        with transaction.atomic():
            tenant.save(force_insert=True)
            audit.record(tenant.pk, Action.TENANT_CREATED, tenant.pk, **facts)
            return Created(tenant, keys.mint(tenant))
    except IntegrityError:
        raise Problem("tenant_exists", "Leave tenant_id out, or name one that is free.") from None


def change(
    tenant: UUID, facts: Mapping[str, Any], action: Action = Action.TENANT_CHANGED
) -> Tenant:
    """Set checked facts, quotas among them, and leave the others. Raises Problem."""
    with transaction.atomic():
        found = held(tenant)
        before = {name: getattr(found, name) for name in facts}
        if changed := audit.changes(before, facts):
            audit.record(tenant, action, tenant, **changed)
        for name, value in facts.items():
            setattr(found, name, value)
        found.save(update_fields=[*facts, "updated_at"])
    return found


def suspend(tenant: UUID, state: str) -> Tenant:
    """Let the tenant only read, or do nothing at all. Raises Problem: one that is being erased
    stays suspended.
    """
    with transaction.atomic():
        held(tenant)
        if state != TenantState.SUSPENDED:
            doors.check_stays(tenant)
        return change(tenant, {"state": state}, Action.TENANT_SUSPENDED)


def resume(tenant: UUID) -> Tenant:
    """Let the tenant do everything again. Raises Problem once it is being erased."""
    with transaction.atomic():
        doors.check_stays(held(tenant).pk)
        return change(tenant, {"state": TenantState.ACTIVE}, Action.TENANT_RESTORED)


def take_out(tenant: UUID, *, format: str, compression: str, asked_by: str) -> Takeout:
    """Have everything of the tenant exported. Raises Problem."""
    with transaction.atomic():
        found = held(tenant)
        doors.check_stays(tenant)
        return takeouts.order(found, format=format, compression=compression, asked_by=asked_by)


def erase(tenant: UUID, confirm: str, asked_by: str) -> Erasure:
    """Have a suspended tenant erased; `confirm` is its name or its id. Raises Problem.

    Asked for again it gives the erasure that there is, and takes up one that failed.
    """
    if not objects.is_ours():
        told = "the files under HEADRACE_HOME are another database's; see docs/retention.md"
        raise Problem("unavailable", f"Nothing is erased: {told}.")
    with transaction.atomic():
        found = held(tenant)
        _check_confirmed(found, confirm)
        if (erasure := _latest(tenant)) is None:
            erasure = Erasure.objects.create(tenant_id=tenant, asked_by=asked_by)
            audit.record(tenant, Action.TENANT_ERASED, erasure.pk)
            _queue(erasure.pk)
        else:
            take_up(erasure.pk)
    erasure.refresh_from_db()
    return erasure


def take_up(erasure: UUID) -> bool:
    """Queue an erasure that failed again; False if it has not."""
    with transaction.atomic():
        failed = Erasure.objects.filter(pk=erasure, state=ErasureState.FAILED)
        if not failed.update(state=ErasureState.QUEUED, code="", message="", ended_at=None):
            return False
        _queue(erasure)
    return True


def remove_days(lease: Lease) -> bool:
    """A step of a cleanup: counts of days that no file is counted for any more."""
    old = retention.ago(days=settings.HEADRACE_JOB_DAYS)
    return retention.remove(TenantDay.objects.filter(day__lt=old), lease)


def held(tenant: UUID) -> Tenant:
    """The tenant's row, held to the end of the transaction. Raises Problem."""
    found = Tenant.objects.select_for_update().filter(pk=tenant).first()
    if found is None:
        raise Problem("not_found", "There is no tenant with this id; the list has those there are.")
    return found


def _check_confirmed(tenant: Tenant, confirm: str) -> None:
    if tenant.state != TenantState.SUSPENDED:
        raise Problem(
            "not_suspended",
            f"It is {tenant.state}: suspend it first, so that nothing comes in any more.",
        )
    if confirm not in (tenant.name, str(tenant.pk)):
        raise Problem("invalid_value", "Send the tenant's name or its id as confirm: it is final.")


def _latest(tenant: UUID) -> Erasure | None:
    """The erasure of the tenant that is there: an earlier one of the same id is done."""
    rows = Erasure.objects.filter(tenant_id=tenant).exclude(state=ErasureState.DONE)
    return rows.order_by("-requested_at").first()


def is_erasing(tenant: UUID) -> bool:
    """Whether the tenant is being erased, or was as far as a failed erasure came."""
    return Erasure.objects.filter(tenant_id=tenant, state__in=(*ACTIVE, "failed")).exists()


def _queue(erasure: UUID) -> None:
    jobs.enqueue_once(erasing.ERASE, erasure, retention.NOBODY)
