"""What a tenant reads of its log."""

from typing import Any
from uuid import UUID

import msgspec

from apps.audit.asking import Asked
from apps.audit.models import AuditEntry
from apps.core import pages, wire
from apps.core.isolation import tenant_reading
from apps.core.origins import Kind

_TOLD = ("id", "recorded_at", "action", "actor_kind", "actor", "address", "request_id", "subject")
_TENANTS_SIDE = (Kind.KEY, Kind.NOBODY)


def entries(tenant: UUID, asked: Asked) -> tuple[list[dict[str, Any]], str | None]:
    """A page of entries, the newest first, and the cursor of the next one."""
    with tenant_reading(tenant):
        rows = AuditEntry.objects.order_by("-id").filter(**_conditions(asked))
        found = list(rows.values(*_TOLD, "details")[: asked.limit + 1])
    page = [for_tenants(row) for row in found[: asked.limit]]
    for row in page:
        row["details"] = msgspec.Raw(row["details"].encode())
        row["recorded_at"] = wire.instant(row["recorded_at"])
    is_last = len(found) <= asked.limit
    return page, None if is_last else pages.cursor_behind(page[-1]["id"], mark=asked.mark)


def for_tenants(row: dict[str, Any]) -> dict[str, Any]:
    """The entry, but not how the operator's machines are called, which is not a tenant's matter."""
    return row if row["actor_kind"] in _TENANTS_SIDE else row | {"address": ""}


def _conditions(asked: Asked) -> dict[str, object]:
    ends = [end for end in (asked.end, asked.after) if end is not None]
    wanted: dict[str, object] = {
        "id__gte": asked.first,
        "id__lt": min(ends, default=None),
        "action__in": asked.actions,
    }
    if asked.key:
        wanted |= {"actor_kind": "key", "actor": asked.key}
    return {name: value for name, value in wanted.items() if value}
