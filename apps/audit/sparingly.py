"""Things that somebody may do as often as he likes, told now and then with how many they were."""

import threading
import time
from collections.abc import Hashable

SECONDS = 60.0
MOST = 10_000  #: kinds of things; while more of them happen within SECONDS the rest is not told


class Sparingly:
    """Which of the things that happen is told: the first, then one in SECONDS. For any thread."""

    def __init__(self, seconds: float = SECONDS, most: int = MOST) -> None:
        self._seconds = seconds
        self._most = most
        self._lock = threading.Lock()
        self._told: dict[Hashable, tuple[float, int]] = {}  # when, and how many since

    def count(self, key: Hashable) -> int:
        """How many there were since the last one that was told, with this one; 0 not to tell it."""
        now = time.monotonic()
        with self._lock:
            told_at, since = self._told.get(key, (float("-inf"), 0))
            if now - told_at < self._seconds:
                self._told[key] = (told_at, since + 1)
                return 0
            if len(self._told) >= self._most and key not in self._told:
                self._make_room(now)
                if len(self._told) >= self._most:
                    return 0
            self._told[key] = (now, 0)
            return since + 1

    def _make_room(self, now: float) -> None:
        self._told = {
            key: (told_at, since)
            for key, (told_at, since) in self._told.items()
            if now - told_at < self._seconds
        }
