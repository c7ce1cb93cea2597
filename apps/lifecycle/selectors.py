"""What an operator is told of tenants: settings, quotas, what is used of them, erasures."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import F, Model, QuerySet

from apps.core.problems import Problem
from apps.ingestions.models import Chunk
from apps.lifecycle.models import Erasure
from apps.tenants import quotas
from apps.tenants.models import ApiKey, Tenant

#: The quotas of a tenant's row, with the setting of those that are null.
QUOTAS = {
    "max_stored_bytes": "HEADRACE_MAX_STORED_BYTES",
    "max_rows_per_day": "HEADRACE_MAX_ROWS_PER_DAY",
    "max_active_uploads": "HEADRACE_MAX_ACTIVE_UPLOADS",
    "max_queued_bytes": "HEADRACE_MAX_QUEUED_BYTES",
    "max_calls_per_minute": "HEADRACE_TENANT_PER_MINUTE",
    "max_product_calls_per_minute": "HEADRACE_PRODUCT_PER_MINUTE",
}
_FACTS = ("tenant_id", "name", "state", "time_zone", "on_missing_parent", "negative_levels")
Page = tuple[list[dict[str, Any]], str | None]


def tenants(cursor: UUID | None, limit: int) -> Page:
    """A page of tenants by id, and the cursor of the next one."""
    rows = Tenant.objects.order_by("pk")
    if cursor is not None:
        rows = rows.filter(pk__gt=cursor)
    return _page(rows, limit, listed)


def listed(tenant: Tenant) -> dict[str, Any]:
    """A tenant as lists have it."""
    return {name: getattr(tenant, name) for name in (*_FACTS, "created_at", "updated_at")}


def tenant(key: UUID) -> dict[str, Any]:
    """A tenant with its quotas, and what is used of them. Raises Problem."""
    found = Tenant.objects.filter(pk=key).first()
    if found is None:
        raise Problem("not_found", "There is no tenant with this id; the list has those there are.")
    erasure = Erasure.objects.filter(tenant_id=key).order_by("-requested_at").first()
    return {
        **listed(found),
        "quotas": {name: getattr(found, name) for name in QUOTAS},
        "limits": limits_of(found),
        "used": used(key),
        "keys": ApiKey.objects.filter(tenant_id=key, revoked_at=None).count(),
        "erasure_id": erasure and erasure.pk,
    }


def limits_of(tenant: Tenant) -> dict[str, int]:
    """What holds: the quotas, and for those that are null the settings."""
    own = {name: getattr(tenant, name) for name in QUOTAS}
    return {
        name: getattr(settings, QUOTAS[name]) if value is None else value
        for name, value in own.items()
    }


def used(key: UUID) -> dict[str, int]:
    """What a tenant uses of its quotas."""
    waiting = Chunk.objects.filter(tenant_id=key, ended_at=None)
    sizes = list(waiting.values_list("upload_id", "bytes"))
    return {
        "stored_bytes": quotas.kept_bytes(key),
        "rows_today": quotas.day_of(key).rows,
        "active_uploads": len({upload for upload, _ in sizes}),
        "queued_bytes": sum(size for _, size in sizes),
    }


def erasures(cursor: UUID | None, limit: int) -> Page:
    """A page of erasures, the newest first, and the cursor of the next one. Raises Problem."""
    rows = Erasure.objects.all()
    if cursor is not None:
        last = _erasure(cursor)
        older: datetime = last.requested_at
        rows = rows.filter(requested_at__lt=older) | rows.filter(requested_at=older, pk__lt=last.pk)
    return _page(rows.order_by(F("requested_at").desc(), F("pk").desc()), limit, proof)


def erasure(key: UUID) -> dict[str, Any]:
    """An erasure and its proof. Raises Problem."""
    return proof(_erasure(key))


def proof(erasure: Erasure) -> dict[str, Any]:
    """What is told of an erasure: who asked, when, and the counts before and after."""
    return {
        "erasure_id": erasure.pk,
        "tenant_id": erasure.tenant_id,
        "status": erasure.state,
        "asked_by": erasure.asked_by,
        "requested_at": erasure.requested_at,
        "started_at": erasure.started_at,
        "ended_at": erasure.ended_at,
        "code": erasure.code or None,
        "message": erasure.message or None,
        "before": erasure.before,
        "after": erasure.after,
    }


def _erasure(key: UUID) -> Erasure:
    found = Erasure.objects.filter(pk=key).first()
    if found is None:
        raise Problem(
            "not_found", "There is no erasure with this id; the list has those there are."
        )
    return found


def _page(rows: QuerySet[Any], limit: int, told: Callable[[Any], dict[str, Any]]) -> Page:
    found: list[Model] = list(rows[: limit + 1])
    cursor = str(found[limit - 1].pk) if len(found) > limit else None
    return [told(row) for row in found[:limit]], cursor
