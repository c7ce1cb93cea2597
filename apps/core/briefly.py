"""What was looked up, remembered by this process for a moment."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Briefly(Generic[K, V]):
    """At most `most` values, each for `seconds` from before it was looked up. For any thread."""

    def __init__(self, seconds: float, most: int = 10_000) -> None:
        self._seconds = seconds
        self._most = most
        self._kept: dict[K, tuple[float, V]] = {}

    def get_or_look_up(self, key: K, look_up: Callable[[K], V]) -> V:
        """The value of a key. What `look_up` raises is raised, and None is not kept."""
        now = time.monotonic()
        kept = self._kept.get(key)
        if kept is not None and now < kept[0]:
            return kept[1]
        value = look_up(key)
        if value is not None:
            if len(self._kept) >= self._most:
                self._kept.clear()  # rather than a search for the oldest: it is a moment's worth
            self._kept[key] = (now + self._seconds, value)
        return value

    def forget(self) -> None:
        """Look up everything anew."""
        self._kept.clear()
