"""What an operator does to a job by hand. Each is a guarded update: it changes a job or nothing."""

from collections.abc import Callable

from apps.audit import services as audit
from apps.audit.models import Action
from apps.core import jobs
from apps.core.models import Job, JobState
from headrace.pipeline.errors import FailureCode, Permanent

BROKEN = (JobState.FAILED, JobState.QUARANTINED, JobState.CANCELLED)


class NothingChanged(Exception):
    """The job was not in a state that allows this; the message says what it is and what to do."""


def retry(job: Job) -> str:
    """Queue the subject of a job that ended badly again. Raises NothingChanged."""
    if job.state not in BROKEN:
        raise NothingChanged(f"it is {job.state}; only {', '.join(BROKEN)} jobs are retried")
    if not _again(job):
        raise NothingChanged("its subject is queued, or has ended well, since")
    _record(job, "retry")
    return "its subject is queued again"


def _record(job: Job, done: str) -> None:
    """In the log of the job's tenant; the service's own have that of nobody."""
    audit.record(job.tenant_id, Action.JOB_CHANGED, job.subject, kind=job.kind, done=done)


def _handler(job: Job) -> jobs.Handler:
    handler = jobs.HANDLERS.get(job.kind)
    if handler is None:
        raise NothingChanged(f"this release knows no jobs of the kind {job.kind}")
    return handler


def _again(job: Job) -> bool:
    handler = _handler(job)
    return handler.retry(job.subject) if handler.retry else jobs.requeue(job)


def quarantine(job: Job) -> str:
    """Take a job out: whoever runs it loses it, and its subject ends. Raises NothingChanged."""
    handler = _handler(job)
    lease = jobs.seize(job)
    if lease is None:
        raise NothingChanged(f"it is {job.state}, or has moved since; look at it again")
    reason = Permanent(FailureCode.QUARANTINED, "an operator took the job out")
    with jobs.heartbeat(lease):
        handler.give_up(lease, reason)
    _record(job, "quarantine")
    return "it is quarantined and its subject has ended"


def release(job: Job) -> str:
    """End the lease of a running job, for the next worker that looks. Raises NothingChanged."""
    if not jobs.expire(job):
        raise NothingChanged(f"it is {job.state} without a live lease, or has moved since")
    _record(job, "release")
    return "its lease has ended; any worker takes it now"


ACTIONS: dict[str, Callable[[Job], str]] = {
    "retry": retry,
    "quarantine": quarantine,
    "release": release,
}
