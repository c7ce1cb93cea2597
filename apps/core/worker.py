"""The embedded worker: a process of its own that claims jobs and runs their handlers."""

import logging
import os
import socket
import threading
import time

from django.conf import settings
from django.db import Error, InterfaceError, OperationalError, close_old_connections

from apps.core import jobs
from apps.core.jobs import Lease
from headrace.pipeline.errors import FailureCode, LeaseLost, Permanent, Retryable

log = logging.getLogger(__name__)
IDLE_SECONDS = 0.1


class Worker:
    """Works until `stop` is set; a job that is running then is finished first."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._claims = jobs.Claims(f"{socket.gethostname()}:{os.getpid()}")
        self._next_sweep = 0.0

    def run(self) -> None:
        """Claim and run jobs, sweeping now and then. A database that is away is waited for."""
        while not self._stop.is_set():
            try:
                busy = self.step()
            except Error:
                log.exception("the database did not answer; trying again")
                busy = False
            if not busy:
                close_old_connections()
                self._stop.wait(IDLE_SECONDS)

    def step(self) -> bool:
        """Sweep if it is due and run one job. False if there was none."""
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + settings.HEADRACE_SWEEP_SECONDS
            for sweep in jobs.SWEEPS:
                sweep()
        lease = self._claims.next()
        if lease is not None:
            execute(lease)
        return lease is not None


def execute(lease: Lease) -> None:
    """Run a claimed job to its end, its release or the loss of its lease."""
    try:
        with jobs.heartbeat(lease):
            _run(lease)
    except LeaseLost:
        log.warning("job %s was taken over by another worker", lease.job)
    except Exception as error:
        log.exception("job %s did not succeed; it will be tried again", lease.job)
        _release(lease, error)


def _run(lease: Lease) -> None:
    handler = jobs.HANDLERS[lease.kind]
    if lease.attempts > jobs.MAX_ATTEMPTS:
        message = f"claimed {jobs.MAX_ATTEMPTS} times without progress"
        handler.give_up(lease, FailureCode.QUARANTINED, message, 0)
        return
    try:
        handler.run(lease)
    except Permanent as failure:
        handler.give_up(lease, failure.code, str(failure), failure.received)


def _release(lease: Lease, error: Exception) -> None:
    """Give the job back. A database that had no room or time for it is no fault of the job's."""
    close_old_connections()
    is_defect = not isinstance(error, Retryable | OperationalError | InterfaceError)
    text = str(error) if isinstance(error, Retryable) else type(error).__name__
    try:
        lease.release(0.5 * 2**lease.attempts, text, lease.attempts - (not is_defect))
    except LeaseLost:
        log.warning("job %s was taken over by another worker", lease.job)
