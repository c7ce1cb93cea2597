"""Bodies that come too slowly: nobody may hold a thread for ever by sending little.

Operator's note: a read returns when its block is full, however slowly it fills, and a timeout of
the socket begins anew with every byte. So a thread beside the read shuts the socket, which the
server gives as `gunicorn.socket`, when the time is up. Headers and the idle time between requests
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


class Pace:
    """Reads a body that keeps a minimum rate, or ends within so many seconds."""

    def __init__(self, request: HttpRequest, seconds: float | None = None) -> None:
        self._stream = request.META["wsgi.input"]
        self._socket: Any = request.META.get("gunicorn.socket")
        self._seconds = seconds
        self._started = time.monotonic()
        self._bytes = 0
        self._is_over = threading.Event()
        self._is_shut = False

    def __enter__(self) -> "Pace":
        if self._socket is not None:
            self._socket.settimeout(settings.HEADRACE_BODY_SILENCE_SECONDS)
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

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

    def _watch(self) -> None:
        while not self._is_over.wait(max(0, self._deadline() - time.monotonic())):
            if time.monotonic() > self._deadline():
                self.stop()
                return

    def _deadline(self) -> float:
        """When even a full block would be too little on average."""
        if self._seconds is not None:
            return self._started + self._seconds
        seconds = (self._bytes + BLOCK) / settings.HEADRACE_MIN_BYTES_PER_SECOND
        return self._started + settings.HEADRACE_BODY_SILENCE_SECONDS + seconds


def _too_slow() -> Problem:
    rate = settings.HEADRACE_MIN_BYTES_PER_SECOND
    return Problem("too_slow", f"Send at least {rate:,} bytes a second, or smaller files.")


def _too_early() -> Problem:
    return Problem("invalid_request", "The body ends too early.")
