"""Everything of a tenant at once: an export of each record type and of each bundle that there is
something for, and a manifest of what they hold.

There is no second road: the exports are ordinary ones, made by their jobs and downloaded like any
other. Each shows the state of the database at its own beginning; those of a tenant that only
reads meanwhile all show the same one.
"""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction

from apps.audit import services as audit
from apps.audit.models import Action
from apps.core import retention
from apps.core.jobs import Lease
from apps.core.problems import Problem
from apps.core.retention import ago
from apps.exports import asked, bundles, selectors, services
from apps.exports.models import ACTIVE, Export, ExportState, Takeout
from apps.tenants import doors
from apps.tenants.models import Tenant
from headrace.entities import ENTITIES
from headrace.pipeline.formats import NDJSON

USUAL_FORMAT = NDJSON


def order_own(tenant: UUID, *, format: str, compression: str, asked_by: str) -> Takeout:
    """The same for the tenant itself. Raises Problem."""
    with transaction.atomic():
        own = doors.hold(tenant)
        doors.check_reading(own.state)
        return order(own, format, compression, asked_by)


def order(
    tenant: Tenant, format_: str, compression: str, asked_by: str, *, is_operators: bool = False
) -> Takeout:
    """Queue an export of every record type, in the transaction that holds the tenant's row.

    `asked_by` is the id of a key, or a command. Raises Problem.
    """
    exports = [
        *(asked.everything(entity.name, format_, compression).export() for entity in ENTITIES),
        *bundles.exports(tenant.pk, compression),
    ]
    services.check_room(tenant, len(exports), is_operators=is_operators)
    for export in exports:
        export.tenant_id = tenant.pk
        export.is_operators = is_operators
        services.queue(export)
    takeout = Takeout.objects.create(
        tenant_id=tenant.pk,
        format=format_,
        compression=compression,
        exports=[str(export.pk) for export in exports],
        asked_by=asked_by,
    )
    audit.record(tenant.pk, Action.TENANT_EXPORTED, takeout.pk, exports=takeout.exports)
    return takeout


def takeout_of(tenant: UUID, key: UUID) -> Takeout:
    """The tenant's takeout. Raises Problem."""
    found = Takeout.objects.filter(tenant_id=tenant, pk=key).first()
    if found is None:
        raise Problem("not_found", "Check the address and whose it is.")
    return found


def manifest(takeout: Takeout) -> dict[str, Any]:
    """What a takeout holds: of each record type its rows, its bytes and their digest.

    It is complete once `status` is `completed`. An export that was removed since is `expired`.
    """
    exports = exports_of(takeout)
    files = [_file(export) for export in exports]
    return {
        "takeout_id": takeout.pk,
        "tenant_id": takeout.tenant_id,
        "format": takeout.format,
        "compression": takeout.compression,
        "status": _state([export.state for export in exports], len(takeout.exports)),
        "created_at": takeout.created_at,
        "rows": sum(file["rows"] for file in files),
        "bytes": sum(file["bytes"] for file in files),
        "files": files,
    }


def exports_of(takeout: Takeout) -> list[Export]:
    """Its exports that are still known, in the load order of their record types."""
    found = {str(row.pk): row for row in Export.objects.filter(pk__in=takeout.exports)}
    return [found[key] for key in takeout.exports if key in found]


def export_of(takeout: Takeout, key: UUID) -> Export:
    """One of its exports. Raises Problem."""
    if str(key) not in takeout.exports:
        raise Problem("not_found", "The takeout's manifest has the ids of its exports.")
    return selectors.export_of(takeout.tenant_id, key)


def _file(export: Export) -> dict[str, Any]:
    address = export.address
    is_ready = export.state == ExportState.COMPLETED
    return {
        "export_id": export.pk,
        "entity": export.entity,
        "filename": selectors.filename(export),
        "status": export.state,
        "code": export.code or None,
        "message": export.message or None,
        "rows": export.rows,
        "bytes": export.bytes,
        "sha256": export.sha256 or None,
        "download_url": f"{address}download" if is_ready else None,
    }


def _state(states: list[str], number: int) -> ExportState:
    """That of the whole: of several the one which says most about why it cannot be fetched yet."""
    if len(states) < number:
        return ExportState.EXPIRED
    for state in (ExportState.FAILED, ExportState.CANCELLED, ExportState.EXPIRED):
        if state in states:
            return state
    if any(state in ACTIVE for state in states):
        return ExportState.RUNNING
    return ExportState.COMPLETED


def remove_old(lease: Lease) -> bool:
    """A step: takeouts whose exports nobody is told of any more."""
    days = settings.HEADRACE_EXPORT_DAYS + settings.HEADRACE_JOB_DAYS
    return retention.remove(Takeout.objects.filter(created_at__lt=ago(days=days)), lease)
