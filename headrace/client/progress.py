"""What a person sees on stderr while files are sent and landed. Never anything on stdout."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping

from headrace.client.answers import Outcomes, UploadStatus
from headrace.client.errors import HeadraceError

_LINE_EVERY = 5.0


class Progress:
    """Plain lines, at most one every five seconds: for logs and pipes.

    `Bars` draws the same on a terminal. Threads may share it.
    """

    def __init__(self, verbose: bool = False) -> None:
        self._verbose = verbose
        self._closed = False
        self._lock = threading.RLock()
        self._moved: dict[tuple[str, str], int] = {}
        self._sent: Counter[str] = Counter()
        self._totals: dict[str, int] = {}
        self._began = time.monotonic()
        self._spoke = 0.0

    def note(self, text: str) -> None:
        """Say something that everyone should see."""
        if not self._closed:
            self._print(text)

    def detail(self, text: str) -> None:
        """Say something to those who asked for detail."""
        if self._verbose:
            self.note(text)

    def retrying(self, error: HeadraceError, wait: float) -> None:
        """Say that a request failed and is tried again after `wait` seconds."""
        if self._verbose or wait >= 1:
            self.note(f"trying again in {wait:.1f} s: {error.code}: {error.detail}")

    def begin_sending(self, tenants: Mapping[str, tuple[str, int]]) -> None:
        """Show the sending of, per tenant id, a label and a number of bytes."""
        self._totals = {tenant: size for tenant, (_, size) in tenants.items()}
        self._began = self._spoke = time.monotonic()

    def file_moved(self, tenant_id: str, filename: str, sent: int) -> None:
        """Note that `sent` bytes of a file have gone out; fewer than before after a retry."""
        with self._lock:
            self._sent[tenant_id] += sent - self._moved.get((tenant_id, filename), 0)
            self._moved[tenant_id, filename] = sent
            self._draw_sending(tenant_id)

    def file_known(self, tenant_id: str, size: int) -> None:
        """Note that a file of `size` bytes need not be sent."""
        with self._lock:
            self._totals[tenant_id] -= size
            self._draw_sending(tenant_id)

    def end_sending(self) -> None:
        """Show that the last file is through."""
        sent = self._sent.total()
        if sent:
            self.note(f"sent {megabytes(sent)} in {time.monotonic() - self._began:.1f} s")

    def begin_waiting(self, tenants: Mapping[str, str]) -> None:
        """Show the landing of the tenants, label by id."""
        self._spoke = 0.0

    def landed(self, statuses: Mapping[str, UploadStatus]) -> None:
        """Show how far the uploads are, status by tenant id."""
        if self._may_speak():
            self.note(f"landed {landed_text(*statuses.values())}")

    def close(self) -> None:
        """Draw and say no more."""
        self._closed = True

    def _print(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def _draw_sending(self, tenant_id: str) -> None:
        if self._may_speak():
            sent, total = self._sent_of_total()
            rate = sent / max(0.001, time.monotonic() - self._began)
            left = f", about {(total - sent) / rate:.0f} s left" if rate else ""
            self.note(f"sent {megabytes(sent)} of {megabytes(total)}, {megabytes(rate)}/s{left}")

    def _sent_of_total(self) -> tuple[int, int]:
        return self._sent.total(), sum(self._totals.values())

    def _may_speak(self) -> bool:
        now = time.monotonic()
        if now - self._spoke < _LINE_EVERY:
            return False
        self._spoke = now
        return True


def megabytes(size: float) -> str:
    """A number of bytes for people."""
    return f"{size / 1e6:,.1f} MB"


def landed_text(*statuses: UploadStatus) -> str:
    """Lines with an outcome of lines received, the rate, what is left and what was not taken."""
    outcomes = sum((status.outcomes for status in statuses), Outcomes())
    received = sum(status.lines_received for status in statuses)
    moving = [status for status in statuses if not status.finished]
    rate = sum(status.lines_per_second or 0.0 for status in moving)
    eta = max((status.eta_seconds or 0.0 for status in moving), default=0.0)
    parts = [f"{outcomes.total:,} of {received:,} lines"]
    parts += [f"{rate:,.0f}/s"] if rate else []
    parts += [f"about {eta:.0f} s left"] if eta else []
    return f"{', '.join(parts)}; rejected {outcomes.rejected:,}, parked {outcomes.parked:,}"
