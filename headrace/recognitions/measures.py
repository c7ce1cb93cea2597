"""What a load has done and how long it took, under the names of its documentation."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

COUNTED = ("recognitions_processed", "images_processed", "bytes_uploaded")
TIMED = ("storage_upload", "db_bulk_copy")
_RULE = "=" * 50


class Measures:
    """Counters and clocks that threads share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._operations: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def count(self, name: str, by: int = 1) -> None:
        """Add to one of COUNTED."""
        with self._lock:
            self._counts[name] += by

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add what is done meanwhile, unless it raises, to one of TIMED."""
        began = time.monotonic()
        yield
        with self._lock:
            self._operations[name] += 1
            self._seconds[name] += time.monotonic() - began

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def told(self) -> dict[str, Any]:
        """Everything, for programs: seconds, counts with rates, operations with times."""
        seconds = max(self.seconds, 0.001)
        return {
            "seconds": round(seconds, 3),
            "throughput": {
                name: {"total": self._counts[name], "per_second": self._counts[name] / seconds}
                for name in COUNTED
            },
            "operations": {
                name: {
                    "count": self._operations[name],
                    "mean_seconds": self._seconds[name] / max(1, self._operations[name]),
                    "total_seconds": self._seconds[name],
                }
                for name in TIMED
            },
        }

    def lines(self) -> list[str]:
        """The same for people, as documented."""
        told = self.told()
        lines = ["Performance Metrics:", _RULE, f"Total execution time: {span(told['seconds'])}"]
        lines += ["", "Throughput:"]
        lines += [f"  {name}: {_rate(name, **one)}" for name, one in told["throughput"].items()]
        lines += ["", "Operation timings:"]
        lines += [f"  {name}: {_timing(**one)}" for name, one in told["operations"].items()]
        return [*lines, "", _RULE]


def span(seconds: float) -> str:
    """A time in words, to the second once it has minutes."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest}s"


def _rate(name: str, total: int, per_second: float) -> str:
    if name == "bytes_uploaded":
        return f"{total:,} ({per_second / 1e6:.1f} MB/s)"
    return f"{total:,} ({per_second:.1f}/s)"


def _timing(count: int, mean_seconds: float, total_seconds: float) -> str:
    return f"{count} ops, avg {mean_seconds:.3f}s, total {total_seconds:.1f}s"
