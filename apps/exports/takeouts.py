"""Everything of a tenant at once: an export of each record type and of each bundle, and a manifest
of what they hold.

There is no second road: the exports are ordinary ones, made by their jobs and downloaded like any
other. Each shows the state of the database at its own beginning; those of a tenant that only
reads meanwhile all show the same one.
"""

from collections.abc import Collection
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
from apps.tenants.authentication import Holder
from apps.tenants.models import Tenant
from apps.tenants.scopes import OF_TENANTS
from headrace.entities import BY_NAME, ENTITIES
from headrace.pipeline.formats import NDJSON
from headrace.reading.parquet import PARQUET

USUAL_FORMAT = NDJSON


def order_own(tenant: UUID, *, format: str, compression: str, asked_by: Holder) -> Takeout:
    """One of what the holder of a key of the tenant may read. Raises Problem."""
    with transaction.atomic():
        own = doors.hold(tenant)
        doors.check_reading(own.state)
        exports = _exports(tenant, format, compression, asked_by.scopes)
        services.check_room(own, len(exports))
        return _queue(exports, tenant, format, compression, asked_by.key_id)


def order(tenant: Tenant, *, format: str, compression: str, asked_by: str) -> Takeout:
    """One of everything, for an operator who holds the tenant's row; it may be kept beyond the
    tenant's quota of bytes. `asked_by` is the id of a key, or a command. Raises Problem.
    """
    exports = _exports(tenant.pk, format, compression, OF_TENANTS)
    services.check_room(tenant, len(exports), is_operators=True)
    for export in exports:
        export.is_operators = True
    return _queue(exports, tenant.pk, format, compression, asked_by)


def _exports(tenant: UUID, format_: str, compression: str, scopes: Collection[str]) -> list[Export]:
    """What there is for somebody with these scopes, not saved. Raises Problem."""
    return [
        *(asked.everything(entity.name, format_, compression).export() for entity in ENTITIES),
        *bundles.exports(tenant, compression, scopes),
    ]


def _queue(
    exports: list[Export], tenant: UUID, format_: str, compression: str, asked_by: str
) -> Takeout:
    """Have the exports made, in the transaction that holds the tenant's row."""
    for export in exports:
        export.tenant_id = tenant
        services.queue(export)
    takeout = Takeout.objects.create(
        tenant_id=tenant,
        format=format_,
        compression=compression,
        exports=[str(export.pk) for export in exports],
        asked_by=asked_by,
    )
    audit.record(tenant, Action.TENANT_EXPORTED, takeout.pk, exports=takeout.exports)
    return takeout


def takeout_of(tenant: UUID, key: UUID) -> Takeout:
    """The tenant's takeout. Raises Problem."""
    found = Takeout.objects.filter(tenant_id=tenant, pk=key).first()
    if found is None:
        raise Problem("not_found", "Check the address and whose it is.")
    return found


def manifest(takeout: Takeout) -> dict[str, Any]:
    """What a takeout holds: of each file its rows, its bytes and their digest, and whether it may
    be sent back as it is; and what it is without.

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
        "withheld": bundles.withheld([export.entity for export in exports]),
        "files": files,
    }


def exports_of(takeout: Takeout) -> list[Export]:
    """Its exports that are still known: record types in their load order, then what else it has."""
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
        "resendable": export.entity in BY_NAME and export.format != PARQUET,
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
