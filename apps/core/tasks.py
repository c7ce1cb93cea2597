"""What Celery runs: look into the job table. Messages carry an id at most, and decide nothing."""

import os
import socket
import time

from django.conf import settings

from apps.core import doorbell, jobs, worker
from apps.core.broker import app

_claims: jobs.Claims | None = None


@app.task(name="headrace.work")
def work(job: int | None = None) -> None:
    """Work until nothing is left to claim, or for some minutes.

    `job` is the one that rang, for whoever reads the message; the fairest comes first.
    """
    end = time.monotonic() + settings.HEADRACE_CLAIM_SECONDS
    while (lease := _own_claims().next()) is not None:
        if waiting := jobs.waiting(1):
            doorbell.ring(waiting[0])  # for another worker, or this one when its time is up
        worker.execute(lease)
        if time.monotonic() > end:
            break


@app.task(name="headrace.sweep")
def sweep() -> None:
    """Do what is due, and ring for every job that waits: its own ring may have been lost."""
    worker.sweep()
    for job in jobs.waiting(settings.HEADRACE_SWEEP_RINGS):
        doorbell.ring(job)


def _own_claims() -> jobs.Claims:
    """The claims of this process; made after the fork, so that each has its own."""
    global _claims
    if _claims is None:
        _claims = jobs.Claims(f"{socket.gethostname()}:{os.getpid()}")
    return _claims
