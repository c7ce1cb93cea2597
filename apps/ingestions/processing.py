"""A chunk's job: down the road, or to an early end."""

from typing import Any

from django.db.models.functions import Now

from apps.core.isolation import tenant_transaction
from apps.core.jobs import Lease
from apps.core.models import JobState
from apps.ingestions import accounts, ledger, parking, sources
from apps.ingestions.models import Chunk, ChunkState
from headrace.pipeline import run
from headrace.pipeline.errors import FailureCode


def process(lease: Lease) -> None:
    """Take the job's chunk from its stored bytes to accounted rows."""
    chunk = Chunk.objects.select_related("upload").get(pk=lease.subject)
    Chunk.objects.filter(pk=chunk.pk, started_at=None).update(
        started_at=Now(), state=ChunkState.VERIFYING
    )
    with sources.scratch(lease.job) as folder:
        own = ledger.ChunkLedger(chunk, lease, wake_others)
        run.run(ledger.load_of(chunk), ledger.dialect(), own, folder)
    wake_others(chunk)  # again, for those who looked before our commit and parked after


def wake_others(chunk: Chunk) -> None:
    """Queue wakes for lines that wait for this chunk's rows, and for its own that need not wait."""
    parking.wake_waiting(chunk.tenant_id, chunk.entity)
    parking.wake_ready(chunk)


def give_up(lease: Lease, code: FailureCode, message: str, received: int) -> None:
    """End the job's chunk as failed; what has not landed stays unprocessed."""
    chunk = Chunk.objects.get(pk=lease.subject)
    nothing_landed = code is FailureCode.CORRUPT and not chunk.is_planned
    state = ChunkState.CORRUPT if nothing_landed else ChunkState.FAILED
    changes = _landed_so_far(chunk) if chunk.is_planned else _unprocessed(received)
    ended = JobState.QUARANTINED if code is FailureCode.QUARANTINED else JobState.FAILED
    with tenant_transaction(chunk.tenant_id):
        Chunk.objects.filter(pk=chunk.pk).update(
            state=state, code=code, message=message, ended_at=Now(), **changes
        )
        lease.end(ended, code)
    parking.wake_waiting(chunk.tenant_id, chunk.entity)


def _unprocessed(received: int) -> dict[str, Any]:
    return {"lines_received": received, "unprocessed": received}


def _landed_so_far(chunk: Chunk) -> dict[str, Any]:
    return {"outcomes": accounts.merged_outcomes(chunk).pack()}
