"""What a run has done so far, told on standard error while it runs and summed up at its end."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

EVERY = 2.0  #: seconds between two lines


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run made. Seconds are on the clock, CPU seconds those of this process.

    `faults` counts the lines that the truth file tells of, by fault.
    """

    rows: dict[str, int]
    files: int
    bytes: int
    faults: dict[str, int]
    seconds: float
    cpu_seconds: float

    @property
    def total_rows(self) -> int:
        return sum(self.rows.values())

    @property
    def rows_per_second(self) -> float:
        return self.total_rows / max(self.seconds, 1e-9)

    @property
    def rows_per_cpu_second(self) -> float:
        """The figure to compare machines by: other work on the machine does not change it."""
        return self.total_rows / max(self.cpu_seconds, 1e-9)


class Progress:
    """Counts rows and files; `verbose` names every file."""

    def __init__(self, verbose: bool = False) -> None:
        self._verbose = verbose
        self._rows: Counter[str] = Counter()
        self._files = 0
        self._bytes = 0
        self._faults: dict[str, int] = {}
        self._started = self._told = time.perf_counter()
        self._cpu_started = time.process_time()
        self._told_rows = 0

    def say(self, message: str) -> None:
        """A line on standard error."""
        print(message, file=sys.stderr, flush=True)

    def wrote(self, entity: str, rows: int) -> None:
        self._rows[entity] += rows
        now = time.perf_counter()
        if now - self._told >= EVERY:
            self._tell(entity, now)

    def finished(self, name: str, size: int, rows: int) -> None:
        self._files += 1
        self._bytes += size
        if self._verbose:
            self.say(f"{name}: {rows:,} rows, {size:,} bytes")

    def spoilt(self, faults: Mapping[str, int]) -> None:
        self._faults = dict(faults)

    def summary(self) -> Summary:
        return Summary(
            rows=dict(self._rows),
            files=self._files,
            bytes=self._bytes,
            faults=self._faults,
            seconds=time.perf_counter() - self._started,
            cpu_seconds=time.process_time() - self._cpu_started,
        )

    def _tell(self, entity: str, now: float) -> None:
        total = self._rows.total()
        rate = (total - self._told_rows) / (now - self._told)
        self.say(f"{entity}: {self._rows[entity]:,} rows; {total:,} in all, {rate:,.0f} rows/s")
        self._told, self._told_rows = now, total
