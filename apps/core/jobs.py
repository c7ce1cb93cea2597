"""The job table: enqueue, claim, keep, fence, end. The database is the truth about all work.

A claim is a guarded update whose count must be 1, so it works on every database. Times are
the database's. A worker that lost its lease finds out at the fence, the last statement of
every transaction with an effect, and rolls back.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from itertools import count
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import Error, connection, transaction
from django.db.models import Count, Exists, Min, OuterRef, Q, QuerySet
from django.db.models.expressions import CombinedExpression, F, Value
from django.db.models.functions import Greatest, Now

from apps.core import doorbell, metrics
from apps.core.models import Job, JobState, Priority
from headrace.pipeline.errors import FailureCode, HeadraceError, LeaseLost, Permanent

log = logging.getLogger(__name__)
MAX_ATTEMPTS = 5
ACTIVE = (JobState.QUEUED, JobState.RUNNING)


class GiveBack(HeadraceError):
    """The job has progressed and goes on later: others shall have the worker in between."""


class Handler(NamedTuple):
    """What a kind of job does, and how its subject ends when it never will succeed."""

    run: "Callable[[Lease], None]"
    give_up: "Callable[[Lease, Permanent], None]"
    retry: Callable[[UUID], bool] | None = None  # queue a broken subject again; False: it is not
    is_whole: bool = False  # one claim from its beginning to its end, with interludes for others


HANDLERS: dict[str, Handler] = {}
SWEEPS: list[Callable[[], None]] = []


def enqueue(
    kind: str,
    subject: UUID,
    tenant: UUID,
    *,
    group: UUID | None = None,
    rank: int = 0,
    priority: Priority = Priority.NORMAL,
) -> None:
    """Queue a job, as part of the caller's transaction; the doorbell rings when it commits."""
    job = Job.objects.create(
        kind=kind, subject=subject, tenant_id=tenant, group=group, rank=rank, priority=priority
    )
    transaction.on_commit(partial(doorbell.ring, job.pk), robust=True)


def enqueue_once(
    kind: str,
    subject: UUID,
    tenant: UUID,
    *,
    group: UUID | None = None,
    rank: int = 0,
    priority: Priority = Priority.NORMAL,
) -> None:
    """Queue a job unless one of its kind already waits for the subject."""
    if not Job.objects.filter(kind=kind, subject=subject, state=JobState.QUEUED).exists():
        enqueue(kind, subject, tenant, group=group, rank=rank, priority=priority)


@dataclass
class Lease:
    """The right to work on a job for as long as `epoch` is the job's."""

    job: int
    epoch: int
    kind: str
    subject: UUID
    tenant: UUID
    attempts: int
    troubles: int = 0
    lost: bool = field(default=False)
    taken: float = field(default_factory=time.monotonic)

    @property
    def age(self) -> float:
        """Seconds since the claim."""
        return time.monotonic() - self.taken

    @property
    def is_tired(self) -> bool:
        """Whether the claim has lasted so long that others should have the worker now."""
        return self.age > settings.HEADRACE_CLAIM_SECONDS

    def check(self) -> None:
        """Raises LeaseLost once a heartbeat has found out."""
        if self.lost:
            raise LeaseLost(f"job {self.job} has another worker")

    def fence(self) -> None:
        """The last statement of a transaction with an effect; it counts as progress."""
        self._update(lease_expires=_lease_end(), attempts=0, troubles=0)

    def end(self, state: JobState, error: str = "") -> None:
        """Fence and end the job, as the last statement of its last transaction."""
        self._update(state=state, ended_at=Now(), lease_expires=None, error=error)

    def give_back(self) -> None:
        """Progress was made: the job goes on when it is claimed again."""
        self._update(attempts=0, troubles=0, error="", **self._queued_in(0))

    def put_off(self, seconds: float) -> None:
        """Have the job claimed again after so many seconds: its time has not come."""
        self._update(attempts=0, troubles=0, error="", **self._queued_in(seconds))

    def release(self, seconds: float, error: str, *, is_passing: bool) -> None:
        """Have the job tried again after so many seconds.

        What was counted since the claim stays: a fence has begun anew. An error that passes is
        no attempt.
        """
        tried = {"attempts": Greatest(F("attempts") - 1, 0), "troubles": F("troubles") + 1}
        self._update(error=error, **(tried if is_passing else {}), **self._queued_in(seconds))

    def _queued_in(self, seconds: float) -> dict[str, object]:
        return {"state": JobState.QUEUED, "lease_expires": None, "run_after": _in(seconds)}

    def keep(self) -> None:
        """Heartbeat: prolong the lease, or note that it is lost."""
        self.lost = not self.held().update(lease_expires=_lease_end())

    def held(self) -> QuerySet[Job]:
        """The job, as long as it is ours."""
        return Job.objects.filter(pk=self.job, epoch=self.epoch, state=JobState.RUNNING)

    def _update(self, **changes: object) -> None:
        if self.held().update(**changes) != 1:
            raise LeaseLost(f"job {self.job} has another worker")


def state_after(failure: Permanent) -> JobState:
    """The state that a job ends in when it never will succeed."""
    states = {
        FailureCode.QUARANTINED: JobState.QUARANTINED,
        FailureCode.CANCELLED: JobState.CANCELLED,
    }
    return states.get(failure.code, JobState.FAILED)


def _in(seconds: float) -> CombinedExpression:
    return Now() + Value(timedelta(seconds=seconds))


def _lease_end() -> CombinedExpression:
    return _in(settings.HEADRACE_LEASE_SECONDS)


class Claims:
    """Claims of one worker, fair between tenants.

    First the tenant that has the fewest jobs running, then the one that this worker served
    longest ago, then the one that waits longest. Of a tenant's jobs, those that are whole and the
    others take turns: neither waits for all that was queued before, nor for a long file's end.

    `chosen` says which jobs may be claimed at all.
    """

    def __init__(self, worker: str, chosen: Q | None = None) -> None:
        self._worker = worker
        self._chosen = chosen or Q()
        self._turn = count(1)
        self._served: dict[UUID | tuple[UUID, bool], int] = {}

    def next(self) -> Lease | None:
        """Claim a job; None if nothing can run now."""
        for candidate in self._candidates():
            job = Job.objects.get(pk=candidate)
            lease = self._take(job)
            if lease is not None:
                place = (job.tenant_id, job.kind in whole_kinds())
                self._served[job.tenant_id] = self._served[place] = next(self._turn)
                return lease
        return None

    def _is_any(self) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(*self._look)
            return cursor.fetchone() is not None

    @cached_property
    def _look(self) -> tuple[str, tuple[Any, ...]]:
        # Spelled once: idle workers look ten times a second, and spelling takes most of a look.
        return runnable().filter(self._chosen).values("pk")[:1].query.sql_with_params()

    def _candidates(self) -> list[int]:
        """The oldest runnable job of each priority, tenant and kind, the fairest choice first."""
        if not self._is_any():
            return []
        found = runnable().filter(self._chosen).values_list("priority", "tenant_id", "kind")
        busy, whole = dict(running().values_list("tenant_id").annotate(Count("id"))), whole_kinds()
        ordered = sorted(
            (
                priority,
                busy.get(tenant, 0),
                self._served.get(tenant, 0),
                self._served.get((tenant, kind in whole), 0),
                oldest,
            )
            for priority, tenant, kind, oldest in found.annotate(Min("id"))
        )
        return [oldest for *_, oldest in ordered]

    def _take(self, job: Job) -> Lease | None:
        # Looked at again in the update: since it was found the job may have been claimed, ended
        # or, by a fence of its holder, prolonged.
        taken = Job.objects.filter(_claimable(), pk=job.pk, epoch=job.epoch).update(
            state=JobState.RUNNING,
            epoch=F("epoch") + 1,
            attempts=F("attempts") + 1,
            lease_expires=_lease_end(),
            worker=self._worker,
        )
        if not taken:
            return None
        metrics.CLAIMS.labels(job.kind).inc()
        return _lease_of(job, attempts=job.attempts + 1)


def _lease_of(job: Job, attempts: int) -> Lease:
    whose = (job.kind, job.subject, job.tenant_id)
    return Lease(job.pk, job.epoch + 1, *whose, attempts, job.troubles)


def _claimable() -> Q:
    due = Q(state=JobState.QUEUED, run_after__lte=Now())
    abandoned = Q(state=JobState.RUNNING, lease_expires__lt=Now())
    return due | abandoned


def seize(job: Job) -> Lease | None:
    """Take a job from the queue or from its holder, for an operator; None if it has moved since."""
    held = Job.objects.filter(pk=job.pk, epoch=job.epoch, state__in=ACTIVE)
    taken = held.update(
        state=JobState.RUNNING, epoch=F("epoch") + 1, lease_expires=_lease_end(), worker="operator"
    )
    if not taken:
        return None
    return _lease_of(job, job.attempts)


def expire(job: Job) -> bool:
    """End the lease of a running job; the next claim raises the epoch. False if it has none."""
    return bool(running().filter(pk=job.pk, epoch=job.epoch).update(lease_expires=_in(-1)))


def requeue(job: Job) -> bool:
    """Queue an ended job again, unless another of its kind is at work on its subject."""
    same = Job.objects.filter(kind=job.kind, subject=job.subject, state__in=ACTIVE)
    if same.exists():
        return False
    ended = Job.objects.filter(pk=job.pk, epoch=job.epoch, state=job.state)
    return bool(
        ended.update(
            state=JobState.QUEUED,
            attempts=0,
            troubles=0,
            run_after=Now(),
            ended_at=None,
            error="",
            worker="",
        )
    )


def stop_all(tenant: UUID, reason: str) -> None:
    """End the tenant's jobs, as part of the caller's transaction. Who holds one has lost it: it
    finds out at the fence, and has no effect any more.
    """
    Job.objects.filter(tenant_id=tenant, state__in=ACTIVE).update(
        state=JobState.CANCELLED,
        epoch=F("epoch") + 1,
        ended_at=Now(),
        lease_expires=None,
        error=reason,
    )


def runnable() -> QuerySet[Job]:
    """Jobs that could be claimed now."""
    ahead = Job.objects.filter(group=OuterRef("group"), rank__lt=OuterRef("rank"), state__in=ACTIVE)
    return Job.objects.filter(_claimable()).exclude(Exists(ahead)).order_by()


def overdue(limit: int) -> list[int]:
    """Some jobs that wait longer than a sweep's period: nobody may have been told of them."""
    since = _in(-settings.HEADRACE_SWEEP_SECONDS)
    late = Q(state=JobState.RUNNING) | Q(run_after__lt=since)
    return list(runnable().filter(late).order_by("id").values_list("pk", flat=True)[:limit])


def freed_by(lease: Lease, limit: int) -> list[int]:
    """Some jobs that waited for the lease's job to end, and do not any more."""
    own = Job.objects.filter(pk=lease.job)
    behind = runnable().filter(group=own.values("group")[:1], rank__gt=own.values("rank")[:1])
    return list(behind.order_by("id").values_list("pk", flat=True)[:limit])


def waiting(limit: int) -> list[int]:
    """Some jobs that could be claimed now, the oldest first."""
    return list(runnable().order_by("priority", "id").values_list("pk", flat=True)[:limit])


def whole_kinds() -> set[str]:
    """The kinds of jobs that cannot give their claim back."""
    return {kind for kind, handler in HANDLERS.items() if handler.is_whole}


def left_waiting(seconds: float) -> Q:
    """Jobs for an interlude: not those that can wait, nor whole ones, and only what no worker
    has taken for so many seconds: where others are free they are quicker.
    """
    is_urgent = Q(priority__lt=Priority.LOW, run_after__lte=_in(-seconds))
    return is_urgent & ~Q(kind__in=whole_kinds())


def is_urgent_work_waiting() -> bool:
    """Whether a job could be claimed now that comes before those of low priority."""
    return runnable().filter(priority__lt=Priority.LOW).exists()


def running() -> QuerySet[Job]:
    """Jobs whose holder has shown signs of life."""
    return Job.objects.filter(state=JobState.RUNNING, lease_expires__gte=Now()).order_by()


@contextmanager
def heartbeat(lease: Lease) -> Iterator[None]:
    """Keep the lease from a thread of its own, three times in its length."""
    stopped = threading.Event()

    def beat() -> None:
        while not stopped.wait(settings.HEADRACE_LEASE_SECONDS / 3) and not lease.lost:
            try:
                lease.keep()
            except Error:
                log.warning("heartbeat of job %s did not reach the database", lease.job)
                connection.close()
        connection.close()

    thread = threading.Thread(target=beat, name=f"heartbeat-{lease.job}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
