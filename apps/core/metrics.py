"""What Prometheus may know. Every metric is declared here, once; none has a tenant in a label.

Counters live in files under HEADRACE_HOME/metrics, which all processes of a host share. What the
database knows better is read from it at each scrape (`Reading`).
"""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple

from django.conf import settings
from django.db import transaction
from prometheus_client import CollectorRegistry, Counter, Histogram, values
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector


class Slot:
    """The number of this process among those that live; it names the process's files.

    A process that starts takes over the number and the counters of one that ended. So counters
    outlive restarts, and there are never more files than processes that lived at once.
    """

    def __init__(self) -> None:
        self._process = 0
        self._number = 0
        self._held: IO[bytes] | None = None

    def __call__(self) -> int:
        if self._process != os.getpid():  # also after a fork: the number is the parent's
            self._number, self._held = _free_number()
            self._process = os.getpid()
        return self._number


def _free_number() -> tuple[int, IO[bytes]]:
    for number in count():
        file = (folder() / f"{number}.lock").open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            return number, file
    raise AssertionError("count() does not end")


def folder() -> Path:
    """Where the processes of this host keep their counters."""
    found: Path = settings.HEADRACE_HOME / "metrics"
    found.mkdir(parents=True, exist_ok=True)
    return found


values.ValueClass = values.MultiProcessValue(Slot())  # type: ignore[no-untyped-call]


class Reading(NamedTuple):
    """A figure that is read from the database when it is asked for."""

    name: str
    about: str
    labels: tuple[str, ...] = ()


Samples = Iterable[tuple[tuple[str, ...], float]]

ROWS = Counter(
    "headrace_rows_total",
    "Lines by the outcome they got, when it was committed; a parked line counts again when it lands"
    " or is rejected",
    ["entity", "outcome"],
)
RECEIVED_BYTES = Counter(
    "headrace_received_bytes_total", "Bytes of accepted files, as they were sent", ["entity"]
)
RECEIVED_FILES = Counter("headrace_received_files_total", "Accepted files", ["entity"])
CHUNK_SECONDS = Histogram(
    "headrace_chunk_seconds",
    "Seconds from a file's first claim to its end, by the state it ended in",
    ["entity", "state"],
    buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000),
)
SEGMENT_SECONDS = Histogram(
    "headrace_segment_seconds",
    "Seconds of the transactions that landed a segment",
    ["entity"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
)
CLAIMS = Counter("headrace_claims_total", "Jobs taken by a worker", ["kind"])
RETRIES = Counter(
    "headrace_retries_total",
    "Jobs given back: a `passing` trouble, a `defect` of ours, or to let others have a `turn`",
    ["kind", "reason"],
)
LEASES_LOST = Counter(
    "headrace_leases_lost_total", "Jobs that another worker took over while they ran", ["kind"]
)
WEBHOOKS = Counter(
    "headrace_webhook_attempts_total",
    "Webhooks sent, by what came of it: `taken`, or an error of docs/webhooks.md",
    ["result"],
)
JOBS = Reading("headrace_jobs", "Jobs that have not ended", ("kind", "state"))
QUEUE_LAG = Reading(
    "headrace_queue_lag_seconds", "How long the oldest job that could be claimed now has waited"
)
PARKED_LINES = Reading("headrace_parked_lines", "Lines that wait for the row they refer to")
QUEUED_BYTES = Reading("headrace_queued_bytes", "Bytes of files that have not ended")

# Who reads what; the apps that own the tables say so when they are ready.
READERS: dict[Reading, Callable[[], Samples]] = {}


def registry() -> CollectorRegistry:
    """The counters of all processes and the readings of this instant."""
    found = CollectorRegistry()
    MultiProcessCollector(found, str(folder()))  # type: ignore[no-untyped-call]
    found.register(Readings())
    return found


class Readings:
    """The collector of what the database knows."""

    def describe(self) -> list[GaugeMetricFamily]:
        return []  # or registering it would already ask the database

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for reading, read in READERS.items():
            family = GaugeMetricFamily(reading.name, reading.about, labels=reading.labels)
            for labels, value in read():
                family.add_metric(labels, value)
            yield family


def count_rows(entity: str, counts: Mapping[Any, int]) -> None:
    """Count lines by outcome once the caller's transaction has committed."""
    when_committed(partial(_add_rows, entity, dict(counts)))


def _add_rows(entity: str, counts: Mapping[Any, int]) -> None:
    for outcome, lines in counts.items():
        if lines:
            ROWS.labels(entity, str(outcome)).inc(lines)


def count_file(entity: str, size: int) -> None:
    """Count an accepted file once the caller's transaction has committed."""
    when_committed(RECEIVED_FILES.labels(entity).inc)
    when_committed(partial(RECEIVED_BYTES.labels(entity).inc, size))


def when_committed(effect: Callable[[], None]) -> None:
    """Have the effect after the commit; a metric that fails is logged and fails nothing else."""
    transaction.on_commit(effect, robust=True)
