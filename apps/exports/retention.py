"""How long exports are kept, and what dead workers have left of them."""

import logging
from itertools import islice
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Sum

from apps.core import objects, retention
from apps.core.jobs import Lease
from apps.core.retention import ago
from apps.exports import writing
from apps.exports.models import ACTIVE, Export, ExportState

log = logging.getLogger(__name__)
EXPORTS = 50
KEYS = 500


def kept_bytes(tenant: UUID) -> int:
    """The exports of a tenant that can be downloaded."""
    kept = Export.objects.filter(tenant_id=tenant, state=ExportState.COMPLETED)
    return int(kept.aggregate(bytes=Sum("bytes", default=0))["bytes"])


def expire(lease: Lease) -> bool:
    """A step: the objects of some exports that were completed long enough ago.

    A kill between the commit and the deletion leaves objects to `remove_orphans`.
    """
    old = ago(days=settings.HEADRACE_EXPORT_DAYS)
    due = Export.objects.filter(state=ExportState.COMPLETED, ended_at__lt=old)
    found = dict(due.order_by("ended_at").values_list("pk", "parts")[:EXPORTS])
    if found:
        with transaction.atomic(durable=True):
            due.filter(pk__in=found).update(state=ExportState.EXPIRED, parts=[])
            lease.fence()
        objects.delete(part["key"] for parts in found.values() for part in parts)
    return bool(found)


def remove_exports(lease: Lease) -> bool:
    """A step: the rows of exports that nothing can be downloaded of any more."""
    old = ago(days=settings.HEADRACE_EXPORT_DAYS + settings.HEADRACE_JOB_DAYS)
    ended = Export.objects.exclude(state__in=(*ACTIVE, ExportState.COMPLETED))
    return retention.remove(ended.filter(ended_at__lt=old), lease)


def remove_orphans(lease: Lease) -> bool:
    """A step, whole in one call: parts that no export names, once their claim must have ended."""
    if objects.is_ours():
        aged = objects.store().aged(writing.FOLDER, settings.HEADRACE_ORPHAN_HOURS * 3600)
        while keys := list(islice(aged, KEYS)):
            _remove_unnamed(keys, lease)
            if lease.is_tired:
                break
    return False


def _remove_unnamed(keys: list[str], lease: Lease) -> None:
    lease.check()
    kept = _named(keys)
    if orphans := [key for key in keys if key not in kept]:
        with transaction.atomic(durable=True):
            lease.fence()
        objects.delete(orphans)
        log.info("removed %s parts that no export names", len(orphans))


def _named(keys: list[str]) -> set[str]:
    """Those of the keys that must stay: of completed exports, and of those still at work."""
    rows = Export.objects.filter(pk__in={_export_of(key) for key in keys} - {None})
    found = list(rows.values_list("pk", "state", "parts"))  # at once: one may complete meanwhile
    kept = {part["key"] for _, _, parts in found for part in parts}
    at_work = {key for key, state, _ in found if state in ACTIVE}
    return kept | {key for key in keys if _export_of(key) in at_work}


def _export_of(key: str) -> UUID | None:
    """The export of a key `exports/<tenant>/<export>/<epoch>/<part>`."""
    try:
        return UUID(key.split("/")[2])
    except (IndexError, ValueError):
        return None
