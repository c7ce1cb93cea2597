"""The job that keeps a tenant's figures: queued when days are listed, and by the sweep."""

import time
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from apps.catalog.models import MODELS
from apps.core import dialect, jobs
from apps.core.isolation import tenant_reading
from apps.core.jobs import ACTIVE, Lease
from apps.core.models import Job, JobState, Priority
from apps.core.retention import ago
from apps.ingestions.models import Chunk
from apps.ingestions.processing import INGEST
from apps.metrics import services
from apps.metrics.models import DirtyDay, SalesRollup
from apps.tenants.models import Tenant
from headrace.entities import BY_NAME
from headrace.entities.orders import ORDERS
from headrace.pipeline.errors import Permanent

ROLLUP = "rollup"
SWEEP_SECONDS = 60.0
REST = 50  # times as long as a sweep took
LATE_SECONDS = 900
QUIET_SECONDS = 3_600  # after a rollup that could not succeed
PUT_OFF_SECONDS = 3.0


class Pace:
    """How many days a transaction takes, so that it lasts as long as one may here."""

    def __init__(self) -> None:
        is_embedded = dialect.current().pause_seconds > 0
        self._seconds = 0.05 if is_embedded else 1.0
        self.days = 1 if is_embedded else 8

    def learn(self, batch: services.Batch) -> None:
        """Twice as many where it was quick, half as many where it was slow."""
        if batch.seconds > 2 * self._seconds:
            self.days = max(1, self.days // 2)
        elif batch.seconds < self._seconds and batch.days == self.days:
            self.days *= 2


def queue(tenant: UUID) -> None:
    """Have the tenant's listed days recomputed, as part of the caller's transaction if any."""
    jobs.enqueue_once(ROLLUP, tenant, tenant, priority=Priority.LOW)


def queue_after(chunk: Chunk) -> None:
    """A file has landed, or some of it."""
    if BY_NAME[chunk.entity].days is None:
        return
    with tenant_reading(chunk.tenant_id):
        is_due = DirtyDay.objects.exists()
    if is_due:
        queue(chunk.tenant_id)


def process(lease: Lease) -> None:
    """The job: batches of days until none is listed. Raises GiveBack as soon as a file waits."""
    if _is_early(lease):
        lease.put_off(PUT_OFF_SECONDS)
        return
    pace = Pace()
    while True:
        lease.check()
        batch = services.roll_up(lease.tenant, pace.days, lease.fence)
        if batch.is_last:
            break
        pace.learn(batch)
        if jobs.is_urgent_work_waiting():  # a batch has progressed, and figures can wait
            raise jobs.GiveBack("others wait")
        time.sleep(dialect.current().pause_seconds)
    with transaction.atomic(durable=True):
        lease.end(JobState.DONE)


def _is_early(lease: Lease) -> bool:
    """Whether another worker is at these figures, for whose lock we would wait, or files are at
    work, or will be, that may list the same days once more. Late figures wait for no file.
    """
    others = jobs.running().filter(kind=ROLLUP, subject=lease.subject).exclude(pk=lease.job)
    files = Job.objects.filter(kind=INGEST, tenant_id=lease.tenant, state__in=ACTIVE)
    can_wait = lease.held().filter(priority=Priority.LOW)
    return others.exists() or (can_wait.exists() and files.exists())


def give_up(lease: Lease, failure: Permanent) -> None:
    """The days stay listed; the sweep tries again after a while."""
    with transaction.atomic(durable=True):
        lease.end(jobs.state_after(failure), failure.code)


class _Sweep:
    """Looks at every tenant, and then rests."""

    def __init__(self) -> None:
        self._rests_until = 0.0

    def __call__(self) -> None:
        began = time.monotonic()
        if began >= self._rests_until:
            queue_all()
            took = time.monotonic() - began
            self._rests_until = began + max(SWEEP_SECONDS, REST * took)


sweep = _Sweep()


def queue_all() -> None:
    """Queue a rollup for every tenant with something to recompute.

    One that has waited long takes turns with files, or it would never run where these never end.
    """
    late = Job.objects.filter(kind=ROLLUP, state=JobState.QUEUED, priority=Priority.LOW)
    late.filter(created_at__lt=ago(seconds=LATE_SECONDS)).update(priority=Priority.NORMAL)
    for tenant in Tenant.objects.values_list("tenant_id", flat=True):
        if _is_due(tenant) and not _is_at_work(tenant):
            queue(tenant)


def _is_due(tenant: UUID) -> bool:
    with tenant_reading(tenant):
        if DirtyDay.objects.exists():
            return True
        state = SalesRollup.objects.first()
        if state is None:  # orders that came before days were listed
            return bool(MODELS[ORDERS.name].objects.exists())
        return bool(state.statuses != services.statuses())


def _is_at_work(tenant: UUID) -> bool:
    """Whether a rollup waits or runs, or could not succeed a while ago."""
    failed = Q(state__in=(JobState.FAILED, JobState.QUARANTINED))
    lately = failed & Q(ended_at__gte=ago(seconds=QUIET_SECONDS))
    own = Job.objects.filter(kind=ROLLUP, subject=tenant)
    return own.filter(Q(state__in=ACTIVE) | lately).exists()
