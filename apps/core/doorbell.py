"""The doorbell: a message that tells Celery's workers that there is work.

The job table is the truth. A ring that is lost, late, doubled or forged changes nothing: whoever
hears one claims what the table has, and the sweep rings for what nobody heard. Without a broker
the embedded worker looks by itself, and nothing here is used.
"""

import logging
import time

from django.conf import settings
from kombu.exceptions import OperationalError

log = logging.getLogger(__name__)
QUIET_SECONDS = 15.0


class _Doorbell:
    """Rings; a broker that does not answer is left alone for a while, then one thread tries."""

    def __init__(self) -> None:
        self._has_failed = False
        self._quiet_until = 0.0

    def ring(self, job: int, *, drain: bool = False) -> None:
        """Tell a worker about a job, or about all that wait."""
        if not settings.CELERY_BROKER_URL or time.monotonic() < self._quiet_until:
            return
        if self._has_failed:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
        try:
            _send(job, {"drain": True} if drain else {})
        except OperationalError:
            self._has_failed, self._quiet_until = True, time.monotonic() + QUIET_SECONDS
            log.warning("the broker did not answer; the sweep will ring for job %s", job)
        else:
            self._has_failed, self._quiet_until = False, 0.0


def _send(job: int, options: dict[str, bool]) -> None:
    from apps.core import tasks  # noqa: PLC0415 - only where there is a broker

    tasks.work.apply_async((job,), options, expires=settings.HEADRACE_RING_SECONDS)


ring = _Doorbell().ring
