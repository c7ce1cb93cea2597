"""What Celery runs: look into the job table. Messages carry an id at most, and decide nothing."""

import time

from django.conf import settings

from apps.core import doorbell, jobs, retention, worker
from apps.core.broker import app

_turns: worker.Turns | None = None


@app.task(name="headrace.work")
def work(job: int | None = None, drain: bool = False) -> None:
    """Run the fairest job; `drain` goes on until none is left, or for a while.

    `job` is the one that rang, for whoever reads the message. One message, one job: they do not
    pile up while there is more work than workers.
    """
    end = time.monotonic() + settings.HEADRACE_CLAIM_SECONDS
    while (lease := _own_turns().take()) is not None:
        worker.ring_for_freed(lease)
        if not drain or time.monotonic() > end:
            break


@app.task(name="headrace.sweep")
def sweep() -> None:
    """Do what is due, and ring for jobs that wait: their own ring may have been lost."""
    worker.sweep()
    for job in jobs.overdue(settings.HEADRACE_SWEEP_RINGS):
        doorbell.ring(job, drain=True)


@app.task(name="cleanup_expired_data")
def cleanup_expired_data() -> None:
    """Queue a cleanup; the sweep does so where no beat runs."""
    retention.queue()


def _own_turns() -> worker.Turns:
    """Those of this process; made after the fork, so that each has its own."""
    global _turns
    if _turns is None:
        _turns = worker.Turns()
    return _turns
