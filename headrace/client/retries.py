"""How long a request is tried again, and how long it waits between two tries."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

import stamina

from headrace.client.errors import HeadraceError

T = TypeVar("T")

#: Called with the error and the seconds until the next try.
OnRetry = Callable[[HeadraceError, float], None]

_FIRST_WAIT = 0.2
_LONGEST_WAIT = 15.0
_LONGEST_TOLD_WAIT = 60.0  # whatever Retry-After says; what is to last for hours is not waited for


class Patience:
    """The seconds that one request may lose to failures; a backoff hook for stamina.

    Waits and silence are charged, time in which the body moves is not: a file that needs an
    hour may be sent again after a drop in its 59th minute, and a dead server still ends the
    request within about `seconds`.
    """

    def __init__(self, seconds: float, on_retry: OnRetry) -> None:
        self._seconds = self._left = seconds
        self._furthest = 0
        self._on_retry = on_retry
        self._tries = 0
        self._quiet_since = time.monotonic()

    def moved(self) -> None:
        """Note that a piece of the body has just gone out."""
        self._quiet_since = time.monotonic()

    def came(self, size: int) -> None:
        """Note how many bytes of a body that is continued where it broke are there. More than
        ever before make good for what was lost until then."""
        if size > self._furthest:
            self._furthest, self._left, self._tries = size, self._seconds, 0

    def __call__(self, error: Exception) -> float | bool:
        """The seconds to wait before the next try, or False to give up."""
        if not isinstance(error, HeadraceError) or not error.retryable:
            return False
        if (error.retry_after or 0.0) > max(self._seconds, _LONGEST_TOLD_WAIT):
            return False
        self._tries += 1
        wait = self._wait_after(error)
        self._left -= time.monotonic() - self._quiet_since + wait
        if self._left < 0:
            return False
        self._on_retry(error, wait)
        self._quiet_since = time.monotonic() + wait
        return wait

    def _wait_after(self, error: HeadraceError) -> float:
        backoff = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (self._tries - 1))
        jittered = backoff * random.uniform(0.5, 1.0)
        # Jitter goes on top of what the server asked for, so that waiters do not return as one.
        told = min(error.retry_after or 0.0, _LONGEST_TOLD_WAIT)
        return told + jittered * 0.2 if told else jittered


def patiently(patience: Patience, request: Callable[[], T]) -> T:
    """The request's result, tried as long as `patience` lasts. Raises its last HeadraceError."""
    for attempt in stamina.retry_context(on=patience, attempts=None, timeout=None):
        with attempt:
            return request()
    raise AssertionError("a retry context ends by returning or raising")
