"""A chunk's job: down the road, or to an early end."""

from typing import Any

import numpy as np
from django.db.models import Exists
from django.db.models.functions import Coalesce, Now

from apps.core import jobs, logs
from apps.core.isolation import tenant_transaction
from apps.core.jobs import MAX_ATTEMPTS, Lease
from apps.ingestions import accounts, ledger, notices, order, parking, sources
from apps.ingestions.models import Chunk, ChunkState, Segment, Upload
from headrace.pipeline import run, verify
from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.report import Outcome, SegmentReport

INGEST = "ingest"


def queue(chunk: Chunk) -> None:
    """Let a worker take the chunk, as part of the caller's transaction."""
    jobs.enqueue(
        INGEST, chunk.id, chunk.tenant_id, group=chunk.upload_id, rank=order.rank_of(chunk)
    )


def process(lease: Lease) -> None:
    """Take the job's chunk from its stored bytes to accounted rows."""
    chunk = Chunk.objects.select_related("upload").get(pk=lease.subject)
    logs.bind(chunk=chunk.id, upload=chunk.upload_id)
    own = ledger.ChunkLedger(chunk, lease, _landed)
    own.stop_if_cancelled()
    _begin(chunk, lease)
    with sources.scratch(lease.job) as folder:
        run.run(ledger.load_of(chunk), ledger.dialect(), own, folder)
    wake_others(chunk)  # again, for those who looked before our commit and parked after


def _begin(chunk: Chunk, lease: Lease) -> None:
    """Show that the file is at work; a holder who stood still since shows nothing."""
    waiting = Chunk.objects.filter(Exists(lease.held()), pk=chunk.pk, state=ChunkState.RECEIVED)
    waiting.update(
        started_at=Coalesce("started_at", Now()),
        state=ChunkState.PROMOTING if chunk.is_planned else ChunkState.VERIFYING,
    )


def _landed(chunk: Chunk) -> None:
    wake_others(chunk)
    ledger.tell_of_landing(chunk)


def wake_others(chunk: Chunk) -> None:
    """Queue wakes for lines that wait for this chunk's rows, and for its own that need not wait."""
    parking.wake_waiting(chunk.tenant_id, chunk.entity)
    parking.wake_ready(chunk)


def give_up(lease: Lease, failure: Permanent) -> None:
    """End the job's chunk early; what has not landed stays unprocessed.

    A file that was stopped by a cancel goes on if its sender has resumed the upload since.
    """
    chunk = Chunk.objects.get(pk=lease.subject)
    received = 0 if chunk.is_planned else _lines_received(chunk, lease, failure)
    with tenant_transaction(chunk.tenant_id):
        upload = Upload.objects.select_for_update().get(pk=chunk.upload_id)
        if failure.code is FailureCode.CANCELLED and upload.cancelled_at is None:
            return lease.give_back()
        _end_early(accounts.locked(chunk), failure, received)
        notices.tell_of_a_files_end(chunk, lease)
        lease.end(jobs.state_after(failure), failure.code)
    parking.wake_waiting(chunk.tenant_id, chunk.entity)
    ledger.tell_of_landing(chunk)


def _end_early(chunk: Chunk, failure: Permanent, received: int) -> None:
    accounts.give_rows_back(chunk)
    Chunk.objects.filter(pk=chunk.pk).update(
        state=_state_after(failure, chunk),
        code=failure.code,
        message=str(failure),
        ended_at=Now(),
        settled_at=Now(),
        **({} if chunk.is_planned else _unprocessed(received)),
    )
    if chunk.is_planned:
        _settle_what_landed(chunk, failure)


def _state_after(failure: Permanent, chunk: Chunk) -> ChunkState:
    if failure.code is FailureCode.CANCELLED:
        return ChunkState.CANCELLED
    nothing_landed = failure.code is FailureCode.CORRUPT and not chunk.is_planned
    return ChunkState.CORRUPT if nothing_landed else ChunkState.FAILED


def _lines_received(chunk: Chunk, lease: Lease, failure: Permanent) -> int:
    """All lines of a file that pass A has not read to its end.

    If counting kills the process too, the next claim takes what is known.
    """
    was_stopped = failure.code in (FailureCode.CANCELLED, FailureCode.QUARANTINED)
    if not was_stopped or lease.attempts > MAX_ATTEMPTS + 1:
        return failure.received
    return max(failure.received, verify.count(ledger.load_of(chunk)))


def _unprocessed(received: int) -> dict[str, Any]:
    return {"lines_received": received, "unprocessed": received}


def _settle_what_landed(chunk: Chunk, failure: Permanent) -> None:
    """Outcomes by line of the landed segments, and of the lines that the failure names."""
    refused = SegmentReport(rejects=list(failure.rejects))
    lines = np.array([reject.line for reject in failure.rejects], np.int64)
    refused.add(Outcome.REJECTED, lines)
    accounts.keep_report(chunk, refused, taken_from=Outcome.UNPROCESSED)
    outcomes = accounts.merged_outcomes(chunk)
    outcomes.mark(lines, Outcome.REJECTED)
    Chunk.objects.filter(pk=chunk.pk).update(outcomes=outcomes.pack())
    # Taken over: were they merged again after a resume, they would undo what woke in between.
    landed = Segment.objects.filter(chunk=chunk).exclude(report=None)
    landed.update(report=SegmentReport().pack())
