"""Bodies that come too slowly: nobody may hold a thread for ever by sending little.

Operator's note: a read returns when its block is full, however slowly it fills, and a timeout of
the socket begins anew with every byte. So a thread beside the read shuts the socket, which the
server gives as `gunicorn.socket`, when the time is up; one thread for all reads of a process, since
to start one costs more than to read a small body. Headers and the idle time between requests
are the server's matter, or that of a proxy in front of it.
"""

import socket
import threading
import time
from contextlib import suppress
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from apps.core.problems import Problem

BLOCK = 1 << 18
SMALL_SECONDS = 10  # for a body of no length


def small(length: int) -> float:
    """The seconds for a body that is held whole in memory: it has no reason to come late."""
    patience = min(SMALL_SECONDS, settings.HEADRACE_BODY_SILENCE_SECONDS)
    return patience + length / settings.HEADRACE_MIN_BYTES_PER_SECOND


class Pace:
    """Reads a body that keeps a minimum rate, or ends within so many seconds."""

    def __init__(self, request: HttpRequest, seconds: float | None = None) -> None:
        self._stream = request.META["wsgi.input"]
        self._socket: Any = request.META.get("gunicorn.socket")
        self._seconds = seconds
        self._started = time.monotonic()
        self._bytes = 0
        self._is_shut = False

    def __enter__(self) -> "Pace":
        if self._socket is not None:
            self._socket.settimeout(settings.HEADRACE_BODY_SILENCE_SECONDS)
            _watch.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        _watch.remove(self)

    def read(self, size: int) -> bytes:
        """The next bytes, none at the end. Raises Problem if they do not come, or too slowly."""
        try:
            block: bytes = self._stream.read(size)
        except TimeoutError:
            raise _too_slow() from None
        except Exception:  # the server's own kinds: the sender went away or broke the coding
            raise _too_slow() if self._is_shut else _too_early() from None
        if self._is_shut:
            raise _too_slow()
        self._bytes += len(block)
        return block

    def stop(self) -> None:
        """Wait for no more of the body: what is read later is its end."""
        self._is_shut = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RD)

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self._deadline()

    def _deadline(self) -> float:
        """When even a full block would be too little on average."""
        if self._seconds is not None:
            return self._started + self._seconds
        seconds = (self._bytes + BLOCK) / settings.HEADRACE_MIN_BYTES_PER_SECOND
        return self._started + settings.HEADRACE_BODY_SILENCE_SECONDS + seconds


class _Watch:
    """The thread that stops bodies when they are late. It sleeps while none is read."""

    TICK = 0.05  # seconds

    def __init__(self) -> None:
        self._reads: set[Pace] = set()
        self._has_reads = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, read: Pace) -> None:
        with self._lock:
            self._reads.add(read)
            self._has_reads.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def remove(self, read: Pace) -> None:
        with self._lock:
            self._reads.discard(read)
            if not self._reads:
                self._has_reads.clear()

    def _run(self) -> None:
        while self._has_reads.wait():
            time.sleep(self.TICK)
            with self._lock:  # or a read that ends now would leave its socket to be shut
                late = [read for read in self._reads if read.is_late]
                for read in late:
                    read.stop()
                self._reads.difference_update(late)


_watch = _Watch()


def _too_slow() -> Problem:
    rate = settings.HEADRACE_MIN_BYTES_PER_SECOND
    return Problem("too_slow", f"Send at least {rate:,} bytes a second, or smaller files.")


def _too_early() -> Problem:
    return Problem("invalid_request", "The body ends too early.")
