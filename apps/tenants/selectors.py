"""What is told of keys: never the key itself, nor its hash."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Now

from apps.core import pages
from apps.core.problems import Problem
from apps.tenants import keys
from apps.tenants.models import ApiKey, KeyStatus


def listed(tenant: UUID | None) -> QuerySet[ApiKey]:
    """The keys of a tenant, or of operators, the newest first. Hidden are those that are off."""
    rows = ApiKey.objects.filter(tenant=tenant, is_demo__in=keys.kinds())
    return rows.defer("secret_hash").annotate(at=Now()).order_by("-pk")


def page(tenant: UUID, behind: int | None, limit: int) -> tuple[list[dict[str, Any]], str | None]:
    """A page of a tenant's keys, and the cursor of the next one."""
    rows = listed(tenant)
    found = list((rows if behind is None else rows.filter(pk__lt=behind))[: limit + 1])
    shown = found[:limit]
    cursor = pages.cursor_behind(shown[-1].pk) if len(found) > limit else None
    return [facts(row) for row in shown], cursor


def key_of(tenant: UUID | None, key_id: str) -> Any:
    """The tenant's key with this id. Raises Problem."""
    found = listed(tenant).filter(key_id=key_id).first()
    if found is None:
        raise Problem("not_found", "Check the address and whose it is.")
    return found


def facts(row: Any) -> dict[str, Any]:
    """What is told of a key that one of the above found."""
    return {
        "key_id": row.key_id,
        "label": row.label,
        "scopes": row.may,
        "status": _status(row),
        "max_calls_per_minute": row.max_calls_per_minute,
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
        "last_used_at": row.last_used_at,
        "replaced_by": row.replaced_by,
    }


def _status(row: Any) -> KeyStatus:
    if row.revoked_at:
        return KeyStatus.REVOKED
    has_expired = row.expires_at is not None and row.expires_at <= row.at
    return KeyStatus.EXPIRED if has_expired else KeyStatus.VALID
