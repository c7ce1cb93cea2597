"""The embedded worker: a process of its own that claims jobs and runs their handlers."""

import errno
import logging
import os
import socket
import threading
import time
from collections.abc import Callable

from django.conf import settings
from django.db import Error, InterfaceError, OperationalError, close_old_connections

from apps.core import doorbell, jobs, logs, metrics, origins
from apps.core.jobs import Lease
from headrace.pipeline.errors import FailureCode, LeaseLost, Permanent, Retryable, TookTooLong

log = logging.getLogger(__name__)
IDLE_SECONDS = 0.1
LONGEST_WAIT = 60.0  # seconds until a job that met trouble is tried again
#: Set once the process is told to end: who looks at it begins nothing more.
STOPPING = threading.Event()
LEFT_SECONDS = 0.5  # a job that waits so long is one that no other worker is free for


class Worker:
    """Works until `stop` is set; a job that is running then is finished first."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._turns = Turns()

    def run(self) -> None:
        """Claim and run jobs, sweeping now and then. A database that is away is waited for."""
        while not self._stop.is_set():
            try:
                busy = self._turns.take() is not None
            except Error:
                log.exception("the database did not answer; trying again")
                busy = False
            if not busy:
                close_old_connections()
                self._stop.wait(IDLE_SECONDS)


class Turns:
    """The turns of a process at the job table: sweep if that is due, then run the fairest job."""

    def __init__(self) -> None:
        self._claims = jobs.Claims(_name())
        self._next_sweep = 0.0

    def take(self) -> Lease | None:
        """The lease of the job that was run; None if there was none."""
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + settings.HEADRACE_SWEEP_SECONDS
            sweep()
        lease = self._claims.next()
        if lease is not None:
            execute(lease)
        return lease


class Interludes:
    """The turns that others get in the midst of a job that cannot give its claim back.

    What no other worker is free for is run here, in the same thread, for as long as the job
    itself had since its last interlude, or until nothing waits. One that took longer than that
    gives the job as much time before the next one, so that each has about half of the worker.
    """

    def __init__(self) -> None:
        self._claims = jobs.Claims(_name(), jobs.left_waiting(LEFT_SECONDS))
        self._ended = time.monotonic()
        self._lent = 0.0

    def give(self) -> None:
        """Let others have their turn, if it is one. The job's transaction must not be this
        thread's: its rows come by a connection of their own.
        """
        began = time.monotonic()
        own = min(began - self._ended, settings.HEADRACE_CLAIM_SECONDS)
        if own >= min(self._lent, settings.HEADRACE_CLAIM_SECONDS):
            self._run_for(own)
            self._ended, self._lent = time.monotonic(), time.monotonic() - began

    def _run_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not STOPPING.is_set():
            if (lease := self._claims.next()) is None:
                return
            execute(lease)
            ring_for_freed(lease)


def _name() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def ring_for_freed(lease: Lease) -> None:
    """Tell other workers of jobs that waited for this one to end."""
    for freed in jobs.freed_by(lease, settings.HEADRACE_SWEEP_RINGS):
        doorbell.ring(freed)


def sweep() -> None:
    """Do what is due: what a crash, a lost message or the passing of time has left undone."""
    for due in jobs.SWEEPS:
        due()


def execute(lease: Lease) -> None:
    """Run a claimed job to its end, its release or the loss of its lease."""
    ids = {"job": lease.job, "kind": lease.kind, "tenant": lease.tenant, "subject": lease.subject}
    with logs.context(**ids), origins.of_job(lease.kind):
        _execute(lease)
        log.info("job has left this worker", extra={"seconds": round(lease.age, 3)})


def _execute(lease: Lease) -> None:
    try:
        with jobs.heartbeat(lease):
            _run(lease)
    except LeaseLost:
        _note_the_loss(lease)
    except jobs.GiveBack:
        metrics.RETRIES.labels(lease.kind, "turn").inc()
        if _let_go(lease, lease.give_back):
            doorbell.ring(lease.job)
    except Exception as error:
        log.exception("job %s did not succeed; it will be tried again", lease.job)
        metrics.RETRIES.labels(lease.kind, "passing" if _is_passing(error) else "defect").inc()
        _release_after(lease, error)


def _note_the_loss(lease: Lease) -> None:
    metrics.LEASES_LOST.labels(lease.kind).inc()
    log.warning("job %s was taken over by another worker", lease.job)


def _run(lease: Lease) -> None:
    handler = jobs.HANDLERS[lease.kind]
    if lease.attempts > jobs.MAX_ATTEMPTS:
        message = f"claimed {jobs.MAX_ATTEMPTS} times without progress"
        handler.give_up(lease, Permanent(FailureCode.QUARANTINED, message))
        return
    try:
        handler.run(lease)
    except Permanent as failure:
        handler.give_up(lease, failure)


def _release_after(lease: Lease, error: Exception) -> None:
    """Give the job back. A database or a disk that had no room for it is no fault of the job's."""
    text = str(error) if isinstance(error, Retryable) else type(error).__name__
    wait = min(LONGEST_WAIT, 0.5 * 2 ** (lease.attempts + lease.troubles))
    is_passing = _is_passing(error)
    _let_go(lease, lambda: lease.release(wait, text, is_passing=is_passing))


def _is_passing(error: Exception) -> bool:
    if isinstance(error, TookTooLong):
        return False
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return is_full or isinstance(error, Retryable | OperationalError | InterfaceError)


def _let_go(lease: Lease, step: Callable[[], None]) -> bool:
    """False if another worker has the job by now."""
    close_old_connections()
    try:
        step()
    except LeaseLost:
        _note_the_loss(lease)
        return False
    return True
