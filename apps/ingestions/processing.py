"""A chunk's job: the pipeline's ledger in the database, and how a chunk ends.

Counters move in the transaction that has the effect, so they sum to the lines received at any
instant; `unprocessed` is what has not been reached.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone

from apps.core.isolation import tenant_transaction
from apps.core.jobs import Lease
from apps.core.models import JobState
from apps.ingestions import parking, sources
from apps.ingestions.models import (
    BROKEN,
    ENDED,
    Chunk,
    ChunkState,
    MissingParent,
    ParkedLine,
    RejectRows,
    Segment,
)
from apps.tenants.models import Tenant
from headrace.entities import BY_NAME
from headrace.pipeline import dialects, report, run
from headrace.pipeline.dialects.base import Dialect
from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.load import Load
from headrace.pipeline.report import (
    Counts,
    LineOutcomes,
    Outcome,
    Reject,
    RejectPage,
    SegmentReport,
    unpack_segment,
)
from headrace.pipeline.scratch import Bounds
from headrace.pipeline.verify import Verified


def process(lease: Lease) -> None:
    """Take the job's chunk from its stored bytes to accounted rows."""
    chunk = Chunk.objects.select_related("upload").get(pk=lease.subject)
    Chunk.objects.filter(pk=chunk.pk, started_at=None).update(
        started_at=Now(), state=ChunkState.VERIFYING
    )
    with sources.scratch(lease.job) as folder:
        run.run(load_of(chunk), dialect(), ChunkLedger(chunk, lease), folder)
    parking.wake_waiting(chunk.tenant_id, chunk.entity)
    parking.wake_ready(chunk)


def give_up(lease: Lease, code: FailureCode, message: str, received: int) -> None:
    """End the job's chunk as failed; what has not landed stays unprocessed."""
    state = ChunkState.CORRUPT if code is FailureCode.CORRUPT else ChunkState.FAILED
    chunk = Chunk.objects.get(pk=lease.subject)
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
    return {"outcomes": merged_outcomes(chunk).pack()}


def merged_outcomes(chunk: Chunk) -> LineOutcomes:
    """The outcome of every line: what pass A decided, and what the landed segments did."""
    outcomes = LineOutcomes.unpack(bytes(chunk.outcomes))
    landed = Segment.objects.filter(chunk=chunk).exclude(report=None)
    for blob in landed.values_list("report", flat=True).iterator():
        for outcome, lines in unpack_segment(bytes(blob or b"")):
            outcomes.mark(lines, outcome)
    return outcomes


def dialect() -> Dialect:
    """The dialect of the configured database."""
    return dialects.dialect(connection.vendor)


def load_of(chunk: Chunk) -> Load:
    """What the pipeline needs to know about a chunk."""
    return Load(
        entity=BY_NAME[chunk.entity],
        tenant=chunk.tenant_id,
        number=chunk.number,
        open_source=lambda: sources.store().open(chunk.source),
        sha256=chunk.sha256,
        compression=chunk.compression,
        zone=ZoneInfo(Tenant.objects.get(pk=chunk.tenant_id).time_zone),
        parks=chunk.upload.on_missing_parent == MissingParent.PARK,
        renews=_has_older_unfinished(chunk),
        max_bytes=settings.HEADRACE_MAX_UNPACKED_BYTES,
    )


def _has_older_unfinished(chunk: Chunk) -> bool:
    """Whether an older file may still bring older values: unfinished, resumable or parked."""
    older = Chunk.objects.filter(
        tenant_id=chunk.tenant_id, entity=chunk.entity, number__lt=chunk.number
    )
    return older.filter(~Q(state__in=ENDED) | Q(state__in=BROKEN) | Q(parked__gt=0)).exists()


@contextmanager
def fenced(lease: Lease) -> Iterator[Any]:
    """A tenant's transaction on the raw connection; its last statement is the fence."""
    lease.check()
    connection.close_if_unusable_or_obsolete()
    try:
        with tenant_transaction(lease.tenant):
            yield connection.connection
            lease.fence()
    except Exception as error:
        # The engine knows the driver's exceptions, and uses the connection past Django.
        connection.errors_occurred = True
        cause = error.__cause__ if isinstance(error, DatabaseError) else None
        raise cause or error from error


class ChunkLedger:
    """run.Ledger on the chunk's rows."""

    def __init__(self, chunk: Chunk, lease: Lease) -> None:
        self._chunk = chunk
        self._lease = lease

    def tick(self, records: int) -> None:
        self._lease.check()

    def transaction(self) -> Any:
        return fenced(self._lease)

    def bounds(self) -> list[Bounds] | None:
        self._chunk.refresh_from_db()
        if not self._chunk.is_planned:
            return None
        return [Bounds(*row) for row in self._rows().values_list("low", "high")]

    def pending(self) -> list[int]:
        return list(self._rows().filter(report=None).values_list("number", flat=True))

    def record_plan(self, verified: Verified, bounds: list[Bounds]) -> None:
        chunk = self._chunk
        rejected = verified.outcomes.counts()[Outcome.REJECTED]
        with fenced(self._lease):
            codes = self._keep_pages(verified.reject_pages())
            Segment.objects.bulk_create(
                Segment(chunk=chunk, number=number, low=bound.low, high=bound.high)
                for number, bound in enumerate(bounds)
            )
            Chunk.objects.filter(pk=chunk.pk).update(
                state=ChunkState.PROMOTING,
                is_planned=True,
                lines_received=verified.received,
                rejected=rejected,
                unprocessed=verified.received - rejected,
                outcomes=verified.outcomes.pack(),
                unknown_keys=verified.unknown_keys,
                reject_codes=codes,
            )

    def record_segment(self, number: int, report: SegmentReport) -> None:
        self._rows().filter(number=number).update(report=report.pack())
        keep_report(self._chunk, report, taken_from=Outcome.UNPROCESSED)

    def finish(self) -> None:
        # Without a fence: it is no progress that would keep a poison chunk out of quarantine.
        with tenant_transaction(self._chunk.tenant_id):
            dialect().refresh_statistics(connection.connection, BY_NAME[self._chunk.entity])
        with tenant_transaction(self._chunk.tenant_id):
            self._chunk.refresh_from_db()
            outcomes = merged_outcomes(self._chunk)
            _check_sums(self._chunk, outcomes)
            Chunk.objects.filter(pk=self._chunk.pk).update(
                state=landed_state(self._chunk.rejected),
                outcomes=outcomes.pack(),
                ended_at=Now(),
            )
            self._rows().delete()
            self._lease.end(JobState.DONE)

    def _rows(self) -> Any:
        return Segment.objects.filter(chunk=self._chunk).order_by("number")

    def _keep_pages(self, pages: Iterator[RejectPage]) -> dict[str, int]:
        codes: Counter[str] = Counter()
        for page in pages:
            keep_page(self._chunk, page)
            codes.update(page.codes)
        return dict(codes)


def landed_state(rejected: int) -> ChunkState:
    """The state of a chunk whose every line has its outcome."""
    return ChunkState.COMPLETED_WITH_REJECTS if rejected else ChunkState.COMPLETED


def _check_sums(chunk: Chunk, outcomes: LineOutcomes) -> None:
    """The law: one outcome a line, the same by line and by counter, equal to the other count."""
    by_line = outcomes.counts()
    if by_line != chunk.counts or sum(by_line.values()) != chunk.lines_received:
        raise Permanent(
            FailureCode.SUM_RULE,
            f"{chunk.lines_received} lines received, outcomes by line {_plain(by_line)},"
            f" by counter {_plain(chunk.counts)}",
        )
    if by_line[Outcome.UNPROCESSED]:
        raise Permanent(FailureCode.SUM_RULE, f"lines without outcome: {_plain(by_line)}")


def _plain(counts: Counts) -> dict[str, int]:
    return {outcome.value: number for outcome, number in counts.items() if number}


def keep_page(chunk: Chunk, page: RejectPage) -> None:
    """Store rejects, in the caller's tenant transaction."""
    RejectRows.objects.create(
        chunk=chunk,
        tenant_id=chunk.tenant_id,
        first_line=page.first_line,
        rows=page.rows,
        codes=page.codes,
        blob=page.blob,
    )


def keep_report(chunk: Chunk, found: SegmentReport, *, taken_from: Outcome) -> None:
    """Counters, rejects and parked lines of a report, in the transaction that landed it.

    The lines leave the outcome `taken_from` for those of the report.
    """
    moved = found.counts
    moved[taken_from] -= sum(moved.values())
    Chunk.objects.filter(pk=chunk.pk).update(
        **{name: F(name) + number for name, number in moved.items() if number}
    )
    _keep_rejects(chunk, found.rejects)
    _keep_parked(chunk, found)


def _keep_rejects(chunk: Chunk, rejects: list[Reject]) -> None:
    if not rejects:
        return
    codes: Counter[str] = Counter()
    for page in report.pages(sorted(rejects, key=lambda reject: reject.line)):
        keep_page(chunk, page)
        codes.update(page.codes)
    known = Chunk.objects.values_list("reject_codes", flat=True).get(pk=chunk.pk)
    Chunk.objects.filter(pk=chunk.pk).update(reject_codes=dict(Counter(known) + codes))


def _keep_parked(chunk: Chunk, found: SegmentReport) -> None:
    expires = timezone.now() + timedelta(hours=settings.HEADRACE_PARKED_HOURS)
    ParkedLine.objects.bulk_create(
        (
            ParkedLine(
                chunk=chunk,
                tenant_id=chunk.tenant_id,
                line=parked.line,
                offset=parked.offset,
                field=parked.field,
                entity=parked.entity,
                key=parked.key,
                expires_at=expires,
            )
            for parked in found.parked
        ),
        batch_size=1_000,
    )
