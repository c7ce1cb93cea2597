"""What webhooks are told of files: that an upload has ended, that levels have fallen below 0.

An upload has ended when all its files have and nothing is queued for them; that is so more than
once if files are added, resumed or woken afterwards.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, Sum

from apps.core.jobs import ACTIVE, Lease
from apps.core.models import Job
from apps.ingestions.models import BROKEN, ENDED, Chunk, ChunkState, Upload
from apps.webhooks import kinds, outbox
from headrace.pipeline.report import Fall, Outcome


def await_others(chunk: Chunk) -> None:
    """Let files of an upload that end at once see each other; before their own rows are locked."""
    if outbox.is_watched(chunk.tenant_id):
        Upload.objects.select_for_update().get(pk=chunk.upload_id)


def tell_of_a_files_end(chunk: Chunk, lease: Lease) -> None:
    """The file has ended, in this transaction: tell of its upload if that has ended too."""
    if outbox.is_watched(chunk.tenant_id) and _has_ended(chunk, lease):
        _tell(chunk, _facts(chunk))


def tell_of_a_wakes_end(chunk: Chunk, lease: Lease) -> None:
    """Lines that waited have landed or not: tell of the upload where that makes a difference."""
    if not (outbox.is_watched(chunk.tenant_id) and _has_ended(chunk, lease)):
        return
    facts = _facts(chunk)
    last = outbox.last_of(chunk.tenant_id, chunk.upload_id)
    if last is None or (last[0], last[1]["files"]) != (_kind(facts), facts["files"]):
        _tell(chunk, facts)


def tell_of_falls(tenant: UUID, falls: Sequence[Fall]) -> None:
    """Levels have fallen below 0, in this transaction; a file may have millions of them."""
    told = [{"product_id": fall.owner, "level": fall.level} for fall in falls]
    for start in range(0, len(told), kinds.MOST_PRODUCTS):
        some = {"products": told[start : start + kinds.MOST_PRODUCTS]}
        if not outbox.put(tenant, kinds.STOCK_NEGATIVE, some):
            return


def _has_ended(chunk: Chunk, lease: Lease) -> bool:
    """Whether nothing but the job at hand is queued or running for the chunk's upload."""
    chunks = Chunk.objects.filter(upload=chunk.upload_id)
    if chunks.exclude(state__in=ENDED).exists():
        return False
    at_work = Job.objects.filter(subject__in=chunks.values("pk"), state__in=ACTIVE)
    return not at_work.exclude(pk=lease.job).exists()


def _tell(chunk: Chunk, facts: dict[str, Any]) -> None:
    outbox.put(chunk.tenant_id, _kind(facts), facts, chunk.upload_id)


def _kind(facts: dict[str, Any]) -> str:
    is_well = facts["status"] == ChunkState.COMPLETED and not facts["outcomes"][Outcome.PARKED]
    return kinds.UPLOAD_COMPLETED if is_well else kinds.UPLOAD_NEEDS_ATTENTION


def _facts(chunk: Chunk) -> dict[str, Any]:
    """What is told of an upload that has ended: its status, summed up."""
    upload = Upload.objects.get(pk=chunk.upload_id)
    counts = {outcome.value: Sum(outcome.value) for outcome in Outcome}
    files = {"received": Count("pk"), "failed": Count("pk", filter=Q(state__in=BROKEN))}
    cancelled = Count("pk", filter=Q(state=ChunkState.CANCELLED))
    sums = Chunk.objects.filter(upload=upload).aggregate(
        **counts, **files, cancelled=cancelled, lines=Sum("lines_received")
    )
    return {
        "upload_token": upload.token,
        "status": _state(sums),
        "files": {name: sums[name] for name in files},
        "lines_received": sums["lines"],
        "outcomes": {name: sums[name] for name in counts},
        "status_url": f"/api/v1/ingest/sessions/{upload.token}/status/",
    }


def _state(sums: dict[str, int]) -> str:
    """As the upload's status says it."""
    if sums["cancelled"]:
        return ChunkState.CANCELLED.value
    if sums["failed"]:
        return ChunkState.FAILED.value
    is_well = not sums[Outcome.REJECTED]
    return (ChunkState.COMPLETED if is_well else ChunkState.COMPLETED_WITH_REJECTS).value
