"""What waits and what runs, for people and for Prometheus: read, never changed here."""

from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db.models import Count, Max, Min
from django.db.models.functions import Coalesce, Now

from apps.core import jobs, metrics
from apps.core.models import Job, JobState


class ListedJob(NamedTuple):
    """A job as an operator sees it. Seconds are the database's."""

    id: int
    kind: str
    subject: UUID
    tenant: UUID
    state: str
    epoch: int
    attempts: int
    lease_seconds_left: float | None
    worker: str
    age_seconds: float
    error: str


def depth() -> metrics.Samples:
    """Jobs by kind and state; a kind that has none says 0, so that no series breaks off."""
    found = dict.fromkeys(((kind, state) for kind in jobs.HANDLERS for state in jobs.ACTIVE), 0)
    active = Job.objects.filter(state__in=jobs.ACTIVE).order_by()
    for kind, state, number in active.values_list("kind", "state").annotate(Count("id")):
        found[kind, JobState(state)] = number
    return [((kind, state.value), number) for (kind, state), number in found.items()]


def lag() -> metrics.Samples:
    """How long the job has waited that waits longest for a worker."""
    return [((), lag_seconds())]


def lag_seconds() -> float:
    # A job whose lease ran out waits since then, one in the queue since it was due.
    times = jobs.runnable().aggregate(
        since=Min(Coalesce("lease_expires", "run_after")), now=Max(Now())
    )
    return _seconds(times["now"] - times["since"]) if times["since"] else 0.0


def live() -> int:
    """How many jobs have a worker that shows signs of life."""
    return jobs.running().count()


def listed(state: str | None, kind: str | None, limit: int) -> list[ListedJob]:
    """The newest jobs, or those of a state or a kind."""
    wanted = {name: value for name, value in (("state", state), ("kind", kind)) if value}
    rows = Job.objects.filter(**wanted).order_by("-id").annotate(now=Now())[:limit]
    return [_listed(row) for row in rows]


def _listed(job: Job) -> ListedJob:
    now: datetime = job.now  # type: ignore[attr-defined]
    return ListedJob(
        id=job.pk,
        kind=job.kind,
        subject=job.subject,
        tenant=job.tenant_id,
        state=job.state,
        epoch=job.epoch,
        attempts=job.attempts,
        lease_seconds_left=_seconds(job.lease_expires - now) if job.lease_expires else None,
        worker=job.worker,
        age_seconds=_seconds(now - job.created_at),
        error=job.error,
    )


def _seconds(span: timedelta) -> float:
    return round(span.total_seconds(), 1)
