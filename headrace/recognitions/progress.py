"""What a person sees on stderr meanwhile: a bar with rate and ETA, or a line now and then."""

import sys
import threading
import time
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_LINE_EVERY = 5.0  # seconds


class Lines:
    """Plain lines, for logs and pipes. Threads may share it."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._began = self._spoke = time.monotonic()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing is drawn that would have to go."""

    def moved(self, done: int) -> None:
        """So many more are done."""
        with self._lock:
            self._done += done
            now = time.monotonic()
            if now - self._spoke >= _LINE_EVERY:
                self._spoke = now
                print(self._line(now), file=sys.stderr, flush=True)

    def _line(self, now: float) -> str:
        rate = self._done / max(0.001, now - self._began)
        left = (self._total - self._done) / rate if rate else 0.0
        share = 100 * self._done // max(1, self._total)
        return f"Processing {share}% | {self._done}/{self._total} | {rate:.0f}/s | ETA: {left:.0f}s"


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0.0:.0f}/s")


class Bar:
    """The same on a terminal."""

    def __init__(self, total: int) -> None:
        self._display = Progress(
            TextColumn("Processing"),
            BarColumn(30),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TextColumn("ETA:"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._task = self._display.add_task("", total=total)

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._display.stop()

    def moved(self, done: int) -> None:
        """So many more are done."""
        self._display.advance(self._task, done)


def shown(total: int) -> Bar | Lines:
    """The one that suits where stderr goes."""
    return Bar(total) if sys.stderr.isatty() else Lines(total)
