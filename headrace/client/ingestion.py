"""A whole run: every tenant's files sent, and landed if that is waited for."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self, TypeVar

import httpx2

from headrace.client import errors, http
from headrace.client.journal import Journal
from headrace.client.plan import DataFile, Plan, TenantFiles
from headrace.client.progress import Progress
from headrace.client.tenant_run import ParkedGrace, TenantRun

T = TypeVar("T")

_FIRST_LOOK = 0.1
_SLOWEST_LOOK = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to run. `jobs` counts files at once; `retry_for` and `parked_grace` are seconds.

    `rejects_out` is an existing folder for refused records, which only a run that waits knows.
    `delimiter` is that of CSV files, "" the usual one.
    """

    api_url: str
    wait: bool = False
    jobs: int = 2
    retry_for: float = http.RETRY_FOR
    parked_grace: float = 10.0
    rejects_out: Path | None = None
    delimiter: str = ""


class Ingestion:
    """The run of a plan. Entering it takes every tenant's journal and its lock.

    `halted` is the error that ended the run for all tenants, None if none did. Raises
    JournalError on entry if another client is at work on the same data.
    """

    def __init__(
        self,
        plan: Plan,
        keys: Mapping[str, str],
        journals: Path,
        options: Options,
        progress: Progress,
    ) -> None:
        self.plan = plan
        self.options = options
        self.runs: list[TenantRun] = []
        self.halted: errors.HeadraceError | None = None
        self.seconds = 0.0
        self._keys = keys
        self._journals = journals
        self._progress = progress
        self._held = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as held:
            pool = held.enter_context(httpx2.Client(timeout=http.TIMEOUT))
            self.runs = [self._run_of(tenant, held, pool) for tenant in self.plan.tenants]
            self._held = held.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After Ctrl-C threads may still be sending. Their journals stay locked until the process
        # ends, a moment later, so that no other client meets a file half accepted.
        if kind is not KeyboardInterrupt:
            self._held.close()

    def run(self) -> None:
        """Send, and wait if asked to."""
        started = time.monotonic()
        try:
            self._join()
            self._send()
            if self.options.wait:
                self._wait()
                self._fetch_rejects()
            # Not before all tenants are through: an interrupted run must continue for all.
            for run in self.runs:
                run.close_journal(landed=self.options.wait)
        except errors.HeadraceError as error:
            self.halted = error
        self.seconds = time.monotonic() - started

    def _run_of(self, tenant: TenantFiles, held: ExitStack, pool: httpx2.Client) -> TenantRun:
        api_url = http.base_url(self.options.api_url)
        client = http.HeadraceClient(
            api_url,
            self._keys[tenant.tenant_id],
            retry_for=self.options.retry_for,
            on_retry=self._progress.retrying,
            http=pool,
        )
        journal = held.enter_context(Journal(self._journals, api_url, tenant.tenant_id))
        grace = ParkedGrace(self.options.parked_grace)
        return TenantRun(tenant, client, journal, self._progress, grace, self.options.delimiter)

    def _join(self) -> None:
        """Open or continue every upload before the first byte is sent, so that a wrong URL or
        a refused key shows at once. Raises HeadraceError if there is no Headrace to talk to."""
        for run in self.runs:
            try:
                run.join()
            except errors.Refused as error:
                if isinstance(error, errors.UploadClosed):
                    raise  # no such address: this is another service's URL
                run.refuse(error)

    def _send(self) -> None:
        self._progress.begin_sending(
            {run.tenant.tenant_id: (_label(run), run.tenant.size) for run in self.runs}
        )
        in_parallel(lambda task: task[0].send(task[1]), _interleaved(self.runs), self.options.jobs)
        self._progress.end_sending()

    def _wait(self) -> None:
        moving = [run for run in self.runs if run.accepted and run.refusal is None]
        self._progress.begin_waiting({run.tenant.tenant_id: _label(run) for run in moving})
        pause = _FIRST_LOOK
        while moving:
            moving = [run for run in moving if not run.has_come_to_rest()]
            self._progress.landed(
                {run.tenant.tenant_id: run.status for run in self.runs if run.status}
            )
            if moving:
                time.sleep(pause)
            pause = min(_SLOWEST_LOOK, pause * 1.5)

    def _fetch_rejects(self) -> None:
        folder = self.options.rejects_out
        if folder is not None:
            for run in self.runs:
                run.fetch_rejects(folder)


def in_parallel(work: Callable[[T], None], tasks: Iterator[T], jobs: int) -> None:
    """Do `work` on each task, `jobs` at once. The first error ends it and is raised here.

    The threads are daemons: after Ctrl-C nobody waits for a file that is half sent. The
    journal is right at every instant, so there is nothing to clean up in them.
    """
    line: SimpleQueue[T] = SimpleQueue()
    for task in tasks:
        line.put(task)
    failed: list[BaseException] = []

    def take_all() -> None:
        while not failed:
            try:
                work(line.get_nowait())
            except Empty:
                return
            except BaseException as error:
                failed.append(error)

    workers = min(jobs, line.qsize())
    threads = [threading.Thread(target=take_all, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def _interleaved(runs: list[TenantRun]) -> Iterator[tuple[TenantRun, DataFile]]:
    """Every file once, a file of each tenant in turn."""
    for row in zip_longest(*([(run, file) for file in run.tenant.files] for run in runs)):
        yield from (task for task in row if task is not None)


def _label(run: TenantRun) -> str:
    return run.tenant.name or run.tenant.tenant_id
