"""Buckets in Redis or Valkey: keys that end when they are full, and one script for a whole call."""

import logging
import threading
import time
from collections.abc import Sequence
from uuid import UUID

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from apps.core.buckets import Bucket, Taken, check_distinct

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 0.25
REST_SECONDS = 1.0
COMPLAINT_SECONDS = 60.0

# Lua would write 14 digits of a number by itself, and a time has 16.
_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local answer = {1}
for i, key in ipairs(KEYS) do
    local step, depth = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local ahead = tonumber(redis.call('GET', key) or 0) - now
    if ahead > 2 * depth then ahead = 0 end
    answer[i + 1] = math.min(math.max(ahead, 0), depth)
    if answer[i + 1] + step > depth then answer[1] = 0 end
end
if answer[1] == 1 then
    for i, key in ipairs(KEYS) do
        local ahead = answer[i + 1] + tonumber(ARGV[2 * i - 1])
        redis.call('SET', key, string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000))
        answer[i + 1] = ahead
    end
end
return answer
"""


class RedisBuckets:
    """One for a process: its threads share the pool of connections."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(
            url,
            socket_timeout=PATIENCE_SECONDS,
            socket_connect_timeout=PATIENCE_SECONDS,
            # Once more at once: a pooled connection may have ended with an earlier Redis.
            retry=Retry(NoBackoff(), 1),
        )
        self._script = self._client.register_script(_SCRIPT)
        self._rests_until = self._complains_from = float("-inf")
        self._lock = threading.Lock()

    @property
    def is_resting(self) -> bool:
        """Whether it failed so recently that no call should wait for it."""
        return time.monotonic() < self._rests_until

    def take(self, tenant: UUID, buckets: Sequence[Bucket]) -> Taken:
        """Take a call from each of the buckets, or from none. Raises RedisError without an answer.

        The keys are of one slot of a cluster. Raises ValueError where two are the same one.
        """
        check_distinct(buckets)
        keys = [f"{_prefix(tenant)}{bucket.product.hex}" for bucket in buckets]
        numbers = [number for bucket in buckets for number in (bucket.step, bucket.depth)]
        passed, *ahead = self._script(keys, numbers)
        return Taken(bool(passed), tuple(ahead))

    def held(self, tenant: UUID) -> list[bytes]:
        """The keys of the tenant's buckets. Raises RedisError."""
        return list(self._client.scan_iter(match=f"{_prefix(tenant)}*", count=1_000))

    def forget(self, tenant: UUID) -> None:
        """Remove the tenant's buckets. Raises RedisError."""
        for key in self.held(tenant):
            self._client.delete(key)

    def ping(self) -> None:
        """Raises RedisError if it does not answer."""
        self._client.ping()

    def rest(self, error: Exception) -> None:
        """Let calls pass by for a moment, and say so once a minute."""
        now = time.monotonic()
        with self._lock:
            self._rests_until = now + REST_SECONDS
            is_due = now >= self._complains_from
            if is_due:
                self._complains_from = now + COMPLAINT_SECONDS
        if is_due:
            log.error("Redis does not count calls, the database does", exc_info=error)


def _prefix(tenant: UUID) -> str:
    return f"headrace:quota:{{{tenant.hex}}}:"
