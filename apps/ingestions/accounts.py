"""What became of every line, in the database: counters, outcomes, rejects, parked lines.

Counters move in the transaction that has the effect, so they sum to the lines received at any
instant; `unprocessed` is what has not been reached.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta

import msgspec
from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now

from apps.core import metrics
from apps.ingestions.models import Chunk, ChunkState, ParkedLine, RejectRows, Segment
from apps.tenants import quotas
from apps.tenants.quotas import RowsExceeded
from headrace.pipeline import report
from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.report import (
    Counts,
    Group,
    Groups,
    LineOutcomes,
    Outcome,
    RejectPage,
    SegmentReport,
    unpack_segment,
)

Expiries = Mapping[int, datetime]  #: until when lines may wait


def take_rows(chunk: Chunk, received: int, rejected: int) -> date:
    """Count the sound lines of a file for today, in the transaction that plans how they land.

    Raises Permanent where the day has no room for them: none of them lands then.
    """
    try:
        return quotas.take_rows(chunk.tenant_id, received - rejected)
    except RowsExceeded as exceeded:
        raise Permanent(FailureCode.ROW_QUOTA, str(exceeded), received) from None


def give_rows_back(chunk: Chunk) -> None:
    """Where nothing of a file that ended early has landed: a resume counts it anew."""
    landed = Segment.objects.filter(chunk=chunk).exclude(report=None)
    if chunk.counted_on is not None and not landed.exists():
        counted = chunk.lines_received - chunk.rejected
        quotas.give_back(chunk.tenant_id, chunk.counted_on, counted)
        Chunk.objects.filter(pk=chunk.pk).update(counted_on=None)


def keep_rejects(chunk: Chunk, pages: Iterable[RejectPage]) -> None:
    """Store rejects and count them by group, in the caller's tenant transaction."""
    known = Chunk.objects.values_list("reject_groups", flat=True).get(pk=chunk.pk)
    groups = Groups(msgspec.convert(known, list[Group]))
    for page in pages:
        _keep_page(chunk, page)
        for group in page.groups:
            groups.join(group)
    Chunk.objects.filter(pk=chunk.pk).update(reject_groups=msgspec.to_builtins(list(groups)))


def _keep_page(chunk: Chunk, page: RejectPage) -> None:
    RejectRows.objects.create(
        chunk=chunk,
        tenant_id=chunk.tenant_id,
        first_line=page.first_line,
        rows=page.rows,
        codes=sorted({group.code for group in page.groups}),
        blob=page.blob,
    )


def keep_report(
    chunk: Chunk, found: SegmentReport, *, taken_from: Outcome, expiries: Expiries | None = None
) -> None:
    """Counters, rejects and parked lines of a report, in the transaction that landed it.

    The lines leave the outcome `taken_from` for those of the report. A line that was parked
    before, until `expiries`, waits no longer for being parked again.
    """
    moved = found.counts
    moved[taken_from] -= sum(moved.values())
    Chunk.objects.filter(pk=chunk.pk).update(
        level_mismatches=F("level_mismatches") + found.mismatches,
        **{name: F(name) + number for name, number in moved.items() if number},
    )
    if found.rejects:
        in_order = sorted(found.rejects, key=lambda reject: reject.line)
        keep_rejects(chunk, report.pages(in_order))
    _keep_parked(chunk, found, expiries or {})
    metrics.count_rows(chunk.entity, found.counts)


def _keep_parked(chunk: Chunk, found: SegmentReport, expiries: Expiries) -> None:
    if not found.parked:
        return
    # The database's time: hosts may disagree.
    now = Chunk.objects.annotate(now=Now()).values_list("now", flat=True).get(pk=chunk.pk)
    expires = now + timedelta(hours=settings.HEADRACE_PARKED_HOURS)
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
                expires_at=expiries.get(parked.line, expires),
            )
            for parked in found.parked
        ),
        batch_size=1_000,
    )


def locked(chunk: Chunk) -> Chunk:
    """The chunk as it stands, held until the commit: a wake writes outcomes too."""
    return Chunk.objects.select_for_update().get(pk=chunk.pk)


def merged_outcomes(chunk: Chunk) -> LineOutcomes:
    """The outcome of every line: what pass A decided, and what the landed segments did."""
    outcomes = LineOutcomes.unpack(bytes(chunk.outcomes))
    landed = Segment.objects.filter(chunk=chunk).exclude(report=None)
    for blob in landed.values_list("report", flat=True).iterator():
        for outcome, lines in unpack_segment(bytes(blob or b"")):
            outcomes.mark(lines, outcome)
    return outcomes


def landed_state(rejected: int) -> ChunkState:
    """The state of a chunk whose every line has its outcome."""
    return ChunkState.COMPLETED_WITH_REJECTS if rejected else ChunkState.COMPLETED


def check_sums(chunk: Chunk, outcomes: LineOutcomes) -> None:
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
