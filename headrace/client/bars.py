"""The same progress as bars, on a terminal."""

from collections.abc import Mapping

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

from headrace.client.answers import Outcomes, UploadStatus
from headrace.client.progress import Progress, landed_text

_MOST_TENANT_BARS = 8
_ALL = ""


class Bars(Progress):
    """A bar a tenant, and one for all; only that one beyond eight tenants."""

    def __init__(self, verbose: bool = False) -> None:
        super().__init__(verbose)
        self._console = Console(stderr=True)
        self._display: Display | None = None
        self._bars: dict[str, TaskID] = {}

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False)

    def begin_sending(self, tenants: Mapping[str, tuple[str, int]]) -> None:
        super().begin_sending(tenants)
        self._open(
            {tenant: label for tenant, (label, _) in tenants.items()},
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        for tenant_id in tenants:
            self._draw_sending(tenant_id)

    def end_sending(self) -> None:
        self._clear()

    def begin_waiting(self, tenants: Mapping[str, str]) -> None:
        self._open(tenants, TextColumn("{task.fields[told]}"))

    def landed(self, statuses: Mapping[str, UploadStatus]) -> None:
        for tenant_id, status in statuses.items():
            self._draw_landed(tenant_id, status)
        self._draw_landed(_ALL, *statuses.values())

    def close(self) -> None:
        super().close()
        self._clear()

    def _clear(self) -> None:
        if self._display is not None:
            self._display.stop()
            self._display = None

    def _open(self, tenants: Mapping[str, str], *columns: ProgressColumn) -> None:
        self._clear()
        self._display = Display(
            TextColumn("{task.description}"), BarColumn(30), *columns, console=self._console
        )
        shown = dict(tenants) if 1 < len(tenants) <= _MOST_TENANT_BARS else {}
        self._bars = {
            tenant: self._display.add_task(label, total=None, told="")
            for tenant, label in {**shown, _ALL: "all"}.items()
        }
        self._display.start()

    def _draw_sending(self, tenant_id: str) -> None:
        self._draw(tenant_id, self._sent[tenant_id], self._totals[tenant_id])
        self._draw(_ALL, *self._sent_of_total())

    def _draw_landed(self, tenant_id: str, *statuses: UploadStatus) -> None:
        outcomes = sum((status.outcomes for status in statuses), Outcomes())
        received = sum(status.lines_received for status in statuses)
        self._draw(tenant_id, outcomes.total, received, landed_text(*statuses))

    def _draw(self, tenant_id: str, done: int, total: int, told: str = "") -> None:
        if self._display is not None and tenant_id in self._bars:
            bar = self._bars[tenant_id]
            self._display.update(bar, completed=done, total=total or None, told=told)
