"""What is kept of a chunk, and how long: first its outcomes and rejects go, then its stored file.

Both wait until no line is parked, count from the last line that got its outcome, and leave the
counters. docs/retention.md has the rules as a table.
"""

import logging
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from apps.core import objects, retention
from apps.core.isolation import tenant_transaction
from apps.core.jobs import Lease
from apps.core.retention import ago
from apps.ingestions.models import ENDED, Chunk, RejectRows, Segment, Upload

log = logging.getLogger(__name__)
CHUNKS = 50  # of one tenant in a transaction
PAGES = 100  # of rejects; some 40 kB each
SOURCES = 50


def drop_details(lease: Lease) -> bool:
    """A step: the outcomes, rejects and segments of some chunks of one tenant.

    What is too much for one transaction is left for the next; until then `outcomes` is empty
    and `details_dropped_at` is not set.
    """
    due = list(_details_due().order_by("settled_at").values_list("tenant_id", "pk")[:CHUNKS])
    if due:
        tenant = due[0][0]
        with tenant_transaction(tenant):
            _drop_details(_locked(_details_due(), [pk for owner, pk in due if owner == tenant]))
            lease.fence()
    return bool(due)


def _drop_details(chunks: list[UUID]) -> None:
    Chunk.objects.filter(pk__in=chunks).update(outcomes=b"")
    rejects = _remove_some(RejectRows.objects.filter(chunk__in=chunks), PAGES)
    segments = _remove_some(Segment.objects.filter(chunk__in=chunks), retention.BATCH)
    if rejects < PAGES and segments < retention.BATCH:
        Chunk.objects.filter(pk__in=chunks).update(details_dropped_at=Now())


def _remove_some(rows: QuerySet, most: int) -> int:
    keys = list(rows.values_list("pk", flat=True)[:most])
    return rows.filter(pk__in=keys).delete()[0]


def drop_sources(lease: Lease) -> bool:
    """A step: the stored files of some chunks.

    A kill between the commit and the deletion leaves an object that no chunk names, which
    leftovers.remove_orphans finds.
    """
    due = list(_sources_due().order_by("settled_at").values_list("pk", flat=True)[:SOURCES])
    if due:
        with transaction.atomic(durable=True):
            chunks = Chunk.objects.filter(pk__in=_locked(_sources_due(), due))
            dropped = list(chunks.values_list("source", flat=True))
            chunks.update(source="")
            lease.fence()
        objects.delete(dropped)
    return bool(due)


def _locked(due: QuerySet[Chunk], keys: list[UUID]) -> list[UUID]:
    """Those of the chunks that are still due, until the end of the transaction."""
    chosen = due.filter(pk__in=keys).order_by("pk").select_for_update()
    return list(chosen.values_list("pk", flat=True))


def _details_due() -> QuerySet[Chunk]:
    old = Q(settled_at__lt=ago(days=settings.HEADRACE_DETAIL_DAYS))
    return _settled().filter(old, details_dropped_at=None)


def _sources_due() -> QuerySet[Chunk]:
    """A rejected line is read from the source, so that one of them keeps it for longer."""
    cutoff = ago(days=settings.HEADRACE_SOURCE_DAYS)
    is_needless = Q(rejected=0) | Q(details_dropped_at__lt=cutoff)
    return _settled().exclude(source="").filter(is_needless, settled_at__lt=cutoff)


def _settled() -> QuerySet[Chunk]:
    return Chunk.objects.filter(state__in=ENDED, ended_at__isnull=False, parked=0)


def remove_uploads(lease: Lease) -> bool:
    """A step: uploads that never got a file, some time after they expired."""
    old = ago(days=settings.HEADRACE_DETAIL_DAYS)
    is_old = Q(expires_at__lt=old) | Q(expires_at=None, created_at__lt=old)
    chunks = Chunk.objects.filter(upload=OuterRef("pk"))
    return retention.remove(Upload.objects.filter(is_old, ~Exists(chunks)), lease)
