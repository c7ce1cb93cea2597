"""Retention: a job removes what is not kept any longer, in batches that a kill may end anywhere.

A step does one batch, in a transaction whose last statement is
the fence: a worker that lost the job removes nothing. What is left is found by asking again, so
nothing has to be remembered between two batches, nor between two claims.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid5

from django.conf import settings
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.expressions import CombinedExpression, Value
from django.db.models.functions import Now

from apps.core import dialect, jobs
from apps.core.jobs import ACTIVE, Lease
from apps.core.models import IdempotencyKey, Job, JobState, Priority, RateLimit
from headrace.pipeline.errors import Permanent

CLEANUP = "cleanup"
NOBODY = UUID(int=0)
SUBJECT = uuid5(NOBODY, CLEANUP)
BATCH = 500  # rows; SQLite's write transactions stay near 10 ms
IDLE_SECONDS = 3_600  # of a bucket; more than clocks differ

Step = Callable[[Lease], bool]  #: does a batch; False once there was nothing to do
STEPS: list[Step] = []


def add_steps(*steps: Step) -> None:
    """Let cleanups do these too, after those that they do already."""
    STEPS.extend(steps)


def ago(**duration: float) -> CombinedExpression:
    """The database's time so long before now."""
    return Now() - Value(timedelta(**duration))


def sweep() -> None:
    """Queue a cleanup if the last one is long enough ago; one that waited as long is urgent."""
    period = ago(seconds=settings.HEADRACE_CLEANUP_SECONDS)
    own = Job.objects.filter(kind=CLEANUP, subject=SUBJECT)
    if not own.filter(Q(state__in=ACTIVE) | Q(ended_at__gte=period)).exists():
        jobs.enqueue(CLEANUP, SUBJECT, NOBODY, priority=Priority.LOW)
    # Or a queue that is never empty would keep everything for ever.
    late = own.filter(state=JobState.QUEUED, priority=Priority.LOW, created_at__lt=period)
    if late.exists():
        late.update(priority=Priority.NORMAL)


def queue() -> None:
    """Queue a cleanup unless one waits."""
    jobs.enqueue_once(CLEANUP, SUBJECT, NOBODY, priority=Priority.LOW)


def process(lease: Lease) -> None:
    """The job: every step until nothing is left. Raises GiveBack when others should have a turn."""
    for step in STEPS:
        while step(lease):
            lease.check()
            if lease.is_tired:
                raise jobs.GiveBack
            time.sleep(dialect.current().pause_seconds)
    with transaction.atomic(durable=True):
        lease.end(JobState.DONE)


def give_up(lease: Lease, failure: Permanent) -> None:
    """The next cleanup finds what this one left."""
    with transaction.atomic(durable=True):
        lease.end(jobs.state_after(failure), failure.code)


def remove(rows: QuerySet, lease: Lease) -> bool:
    """Delete a batch of the rows, for steps; False if there was none."""
    keys = list(rows.order_by().values_list("pk", flat=True)[:BATCH])
    if keys:
        with transaction.atomic(durable=True):
            # Not delete(), which would look for rows that refer to these and delete them too.
            rows.filter(pk__in=keys)._raw_delete(rows.db)
            lease.fence()
    return bool(keys)


def remove_idempotency_keys(lease: Lease) -> bool:
    """Keys that replay no answer any longer."""
    cutoff = ago(hours=settings.HEADRACE_IDEMPOTENCY_HOURS)
    return remove(IdempotencyKey.objects.filter(created_at__lt=cutoff), lease)


def remove_rate_limits(lease: Lease) -> bool:
    """Buckets that have long been full: there is no difference to none."""
    idle = RateLimit.objects.filter(full_at__lt=int((time.time() - IDLE_SECONDS) * 1e6))
    if not idle.exists():
        return False
    with transaction.atomic(durable=True):
        # Not those that a call is taking from: two who each wait for the other's locks are stuck.
        free = idle.order_by("pk").select_for_update(skip_locked=True)
        keys = list(free.values_list("pk", flat=True)[:BATCH])
        rows = RateLimit.objects.filter(pk__in=keys)
        rows._raw_delete(rows.db)
        lease.fence()
    return bool(keys)


def remove_sessions(lease: Lease) -> bool:
    """Sessions of the admin that have expired."""
    return remove(Session.objects.filter(expire_date__lt=Now()), lease)


def remove_jobs(lease: Lease) -> bool:
    """Jobs that ended long ago."""
    ended = Job.objects.exclude(state__in=ACTIVE)
    return remove(ended.filter(ended_at__lt=ago(days=settings.HEADRACE_JOB_DAYS)), lease)
