"""Parked lines: woken when the row they wait for has landed, rejected when their time is up.

Against the lost wake-up (a child looks, the parent commits and wakes nobody, the child parks)
both sides look again after their commit, and the sweep repeats it.
"""

import logging
import time
from collections.abc import Callable, Iterator
from uuid import UUID

import numpy as np
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from apps.catalog.models import MODELS
from apps.core import jobs, logs
from apps.core.isolation import tenant_reading, tenant_transaction
from apps.core.jobs import Lease
from apps.core.models import Job, JobState
from apps.ingestions import accounts, ledger, notices, order, sources
from apps.ingestions.models import ENDED, LANDED, Chunk, ParkedLine
from headrace.entities import BY_NAME, ENTITIES
from headrace.pipeline import run
from headrace.pipeline.errors import (
    HeadraceError,
    Permanent,
    RejectCode,
    Retryable,
)
from headrace.pipeline.report import (
    Fault,
    LineOutcomes,
    Lines,
    Outcome,
    Reject,
    SegmentReport,
)

log = logging.getLogger(__name__)
WAKE = "wake"
WOKEN_AT_ONCE = 100_000  # lines of one reading of the source
PARENTS = {reference.entity for entity in ENTITIES for reference in entity.references}


class Resumed(HeadraceError):
    """The chunk is at work again: its parked lines are its own matter until it ends."""


class _Sweep:
    """Looks at every chunk with parked lines, and then rests twenty times as long as that took."""

    def __init__(self) -> None:
        self._rests_until = 0.0

    def __call__(self) -> None:
        """Queue a wake for every chunk with parked lines that can land or whose time is up."""
        started = time.monotonic()
        if started < self._rests_until:
            return
        parked = Chunk.objects.filter(parked__gt=0, state__in=ENDED)
        for chunk in parked.defer("outcomes").order_by("tenant_id", "number"):
            wake_ready(chunk)
        self._rests_until = time.monotonic() + 20 * (time.monotonic() - started)


sweep = _Sweep()


def wake_waiting(tenant: UUID, entity: str) -> None:
    """Rows of `entity` have landed: wake the chunks that waited for them."""
    if entity not in PARENTS:
        return
    waiting = Chunk.objects.filter(tenant_id=tenant, parked__gt=0, state__in=ENDED)
    for chunk in waiting.defer("outcomes").order_by("number"):  # a wake may wait for an earlier
        wake_ready(chunk)


def wake_ready(chunk: Chunk) -> None:
    """Queue a wake for the chunk if one of its parked lines can land, or has waited too long."""
    with tenant_reading(chunk.tenant_id):
        is_due = _expired(chunk).exists() or (_ready(chunk).exists() and not _is_hopeless(chunk))
    if is_due:
        group = chunk.upload_id if order.has_places(chunk) else None
        jobs.enqueue_once(WAKE, chunk.id, chunk.tenant_id, group=group, rank=order.rank_of(chunk))


def _is_hopeless(chunk: Chunk) -> bool:
    """The last wake ended badly: another would too. The lines wait for their time to be up."""
    last = Job.objects.filter(kind=WAKE, subject=chunk.id).order_by("-id").first()
    return last is not None and last.state in (JobState.FAILED, JobState.QUARANTINED)


def process(lease: Lease) -> None:
    """The job: land what can land now, reject what waited too long."""
    chunk = Chunk.objects.select_related("upload").get(pk=lease.subject)
    logs.bind(chunk=chunk.id, upload=chunk.upload_id)
    try:
        _settle_all(chunk, lease)
    except Resumed:
        log.info("the file was resumed; its end wakes again")
    _end(chunk, lease)


def _settle_all(chunk: Chunk, lease: Lease) -> None:
    while len(lines := _lines(chunk, _expired)):
        for part in _parts(lines):
            _expire(chunk, lease, part)
    while len(lines := _lines(chunk, _ready)):
        _wake(chunk, lease, lines)
        ledger.tell_of_landing(chunk)
        wake_waiting(chunk.tenant_id, chunk.entity)


def _end(chunk: Chunk, lease: Lease) -> None:
    with tenant_transaction(lease.tenant):
        notices.await_others(chunk)
        notices.tell_of_a_wakes_end(chunk, lease)
        lease.end(JobState.DONE)


def give_up(lease: Lease, failure: Permanent) -> None:
    """The lines stay parked until their time is up."""
    chunk = Chunk.objects.defer("outcomes").get(pk=lease.subject)
    with tenant_transaction(lease.tenant):
        notices.await_others(chunk)
        notices.tell_of_a_wakes_end(chunk, lease)
        lease.end(jobs.state_after(failure), f"{failure.code}: {failure}")


def _ready(chunk: Chunk) -> QuerySet[ParkedLine]:
    """The chunk's parked lines whose row is there."""
    is_there = Q()
    for reference in BY_NAME[chunk.entity].references:
        parents = MODELS[reference.entity].objects.filter(
            **{BY_NAME[reference.entity].key: OuterRef("key")}
        )
        is_there |= Q(entity=reference.entity) & Q(Exists(parents))
    return ParkedLine.objects.filter(chunk=chunk).filter(is_there)


def _expired(chunk: Chunk) -> QuerySet[ParkedLine]:
    return ParkedLine.objects.filter(chunk=chunk, expires_at__lt=Now())


def _lines(chunk: Chunk, selected: Callable[[Chunk], QuerySet[ParkedLine]]) -> Lines:
    """The first of the selected lines."""
    with tenant_reading(chunk.tenant_id):
        chosen = selected(chunk).order_by("line").values_list("line", flat=True)
        return np.array(chosen[:WOKEN_AT_ONCE], np.int64)


def _parts(lines: Lines) -> Iterator[Lines]:
    size = ledger.dialect().segment_rows
    return (lines[start : start + size] for start in range(0, len(lines), size))


def _wake(chunk: Chunk, lease: Lease, lines: Lines) -> None:
    def settle(part: Lines, report: SegmentReport) -> None:
        _settle(chunk, part, report)

    def are_settled(part: Lines) -> bool:
        with tenant_reading(chunk.tenant_id):
            return not ParkedLine.objects.filter(chunk=chunk, line__in=part.tolist()).exists()

    with sources.scratch(lease.job) as folder:
        run.wake(
            ledger.load_of(chunk),
            ledger.dialect(),
            lambda: ledger.fenced(lease),
            lines,
            folder,
            settle,
            are_settled,
        )


def _expire(chunk: Chunk, lease: Lease, lines: Lines) -> None:
    with ledger.fenced(lease):
        parked = ParkedLine.objects.filter(chunk=chunk, line__in=lines.tolist())
        report = SegmentReport(rejects=[_too_late(line) for line in parked])
        report.add(Outcome.REJECTED, lines)
        _settle(chunk, lines, report)


def _too_late(parked: ParkedLine) -> Reject:
    message = f"expected the id of one of your {parked.entity}; none came in time"
    fault = Fault(RejectCode.REFERENCE_MISSING, parked.field, str(parked.key), message)
    return Reject.of(parked.line, parked.offset, "parked", (fault,))


def _settle(chunk: Chunk, lines: Lines, report: SegmentReport) -> None:
    """Give parked lines the outcomes of a report, in the transaction that landed it."""
    settled = np.concatenate([*report.outcomes.values(), np.empty(0, np.int64)])
    if not np.array_equal(np.sort(settled), lines):
        raise RuntimeError("a woken line has no outcome, or two")
    locked = accounts.locked(chunk)
    if locked.state not in ENDED:
        raise Resumed
    parked = ParkedLine.objects.filter(chunk=chunk, line__in=lines.tolist())
    expiries = dict(parked.values_list("line", "expires_at"))
    if parked.delete()[0] != len(lines):
        raise Retryable("another worker has woken some of these lines")
    outcomes = LineOutcomes.unpack(bytes(locked.outcomes))
    for outcome, decided in report.outcomes.items():
        outcomes.mark(decided, outcome)
    accounts.keep_report(chunk, report, taken_from=Outcome.PARKED, expiries=expiries)
    notices.tell_of_falls(chunk.tenant_id, report.falls)
    locked.refresh_from_db()
    state = locked.state
    if state in LANDED:
        state = accounts.landed_state(locked.rejected)
    Chunk.objects.filter(pk=chunk.pk).update(
        outcomes=outcomes.pack(), state=state, settled_at=Now()
    )
