"""What a person sees on stderr while an export is written and fetched."""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Display

from headrace.client.answers import ExportStatus
from headrace.client.progress import Progress, megabytes


class Lines(Progress):
    """Plain lines, at most one every five seconds: for logs and pipes."""

    def __init__(self, verbose: bool = False) -> None:
        super().__init__(verbose)
        self._first: tuple[float, int] | None = None
        self._spoke = time.monotonic()  # what takes less than a line's time needs none

    def written(self, status: ExportStatus) -> None:
        """Show how far the server is."""
        if self._may_speak():
            self.note(f"{status.status}: {written_text(status)}")

    def fetched(self, size: int, total: int) -> None:
        """Show how many bytes have come."""
        began, before = self._first = self._first or (time.monotonic(), size)
        if self._may_speak():
            rate = (size - before) / max(0.001, time.monotonic() - began)
            self.note(f"fetched {megabytes(size)} of {megabytes(total)}{_left(total - size, rate)}")


def _left(size: int, rate: float) -> str:
    return f", {megabytes(rate)}/s, about {size / rate:.0f} s left" if rate else ""


class Bar(Lines):
    """The same as a bar, on a terminal."""

    def __init__(self, verbose: bool = False) -> None:
        super().__init__(verbose)
        self._console = Console(stderr=True)
        self._shown = ""
        self._display: Display | None = None
        self._task = TaskID(0)

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def written(self, status: ExportStatus) -> None:
        self._show("written", TextColumn("{task.fields[told]}"))
        self._draw(status.rows, status.rows_expected, written_text(status))

    def fetched(self, size: int, total: int) -> None:
        self._show("fetched", DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._draw(size, total)

    def close(self) -> None:
        super().close()
        self._clear()

    def _show(self, what: str, *columns: ProgressColumn) -> None:
        if self._shown != what:
            self._clear()
            text = TextColumn("{task.description}")
            self._display = Display(text, BarColumn(30), *columns, console=self._console)
            self._task = self._display.add_task(what, total=None, told="")
            self._shown = what
            self._display.start()

    def _draw(self, done: int, total: int | None, told: str = "") -> None:
        if self._display is not None:
            self._display.update(self._task, completed=done, total=total, told=told)

    def _clear(self) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None


def written_text(status: ExportStatus) -> str:
    """Rows written of those expected, the rate, and what is left."""
    of = "" if status.rows_expected is None else f" of {status.rows_expected:,}"
    parts = [f"{status.rows:,}{of} rows"]
    parts += [f"{status.rows_per_second:,.0f}/s"] if status.rows_per_second else []
    parts += [f"about {status.eta_seconds:.0f} s left"] if status.eta_seconds else []
    return ", ".join(parts)
