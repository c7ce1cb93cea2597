"""Addresses that send bad keys: after some they are refused before a key is hashed or looked up.

Each address, or /64 of IPv6, has a bucket that bad keys take from and good ones do not (GCRA, as in
`buckets`, in the memory of this process and by its clock). Who has emptied his is told when to come
back, whatever key he sends. A key that was good a moment ago passes even so: one misconfigured
neighbour behind the same address must not stop a shop.

Each process counts for itself, so an address has as many buckets as there are server processes;
docs/limits.md says what that means. A store for all of them would be asked before each call with a
bad key, which is what this is to make cheap. A call with a good key pays a third of a microsecond.
"""

import threading
import time
from collections.abc import Mapping

from django.conf import settings
from django.http import HttpRequest

from apps.core import addresses
from apps.core.problems import Problem

MOST_ADDRESSES = 10_000
MOST_KEYS = 10_000
MINUTE = 60.0


class TooManyBadKeys(Problem):
    """The answer to an address that sent too many; when the next one is looked at."""

    headers: Mapping[str, str]

    def __init__(self, seconds: int) -> None:
        told = f"Too many bad keys came from your address: send a good one in {seconds} s."
        super().__init__("too_many_bad_keys", told)
        self.headers = {"Retry-After": str(seconds)}


class Strangers:
    """The buckets of a process, `per_minute` deep; for any thread. 0 is no limit."""

    def __init__(self, per_minute: int) -> None:
        self._step = MINUTE / per_minute if per_minute else 0.0
        self._full_at: dict[str, float] = {}
        self._good: set[int] = set()
        self._lock = threading.Lock()

    def check(self, request: HttpRequest, key: str) -> None:
        """Raises TooManyBadKeys. Threads that ask at once may all pass, one by one."""
        # Its hash of this process, which nobody outside can foresee, and not the key is kept; what
        # only looks alike is still looked up.
        if not self._full_at or hash(key) in self._good:
            return
        seconds = self.seconds_until_next(_place(request))
        if seconds > 0:
            raise TooManyBadKeys(int(seconds) + 1)

    def trust(self, key: str) -> None:
        """The key is good: let it pass from any address, until there are too many to remember."""
        if len(self._good) >= MOST_KEYS:
            self._good.clear()
        self._good.add(hash(key))

    def count(self, request: HttpRequest, key: str = "") -> None:
        """A bad key came, or a wrong password; a key that was good is not so any longer."""
        if not self._step:
            return
        self._good.discard(hash(key))
        place, now = _place(request), time.monotonic()
        with self._lock:
            if len(self._full_at) >= MOST_ADDRESSES and place not in self._full_at:
                self._make_room(now)
            self._full_at[place] = max(self._full_at.get(place, now), now) + self._step

    def seconds_until_next(self, place: str) -> float:
        """When a bad key from there is looked at again; 0 or less is now."""
        full_at = self._full_at.get(place)
        return 0.0 if full_at is None else full_at + self._step - MINUTE - time.monotonic()

    def _make_room(self, now: float) -> None:
        """Forget those whose bucket is full, or else those that began longest ago."""
        self._full_at = {place: at for place, at in self._full_at.items() if at > now}
        while len(self._full_at) >= MOST_ADDRESSES:
            self._full_at.pop(next(iter(self._full_at)))


def _place(request: HttpRequest) -> str:
    return addresses.prefix(addresses.of(request))


_strangers = Strangers(settings.HEADRACE_BAD_KEYS_PER_MINUTE)
check, count, trust = _strangers.check, _strangers.count, _strangers.trust
