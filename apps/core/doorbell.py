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
QUIET_SECONDS = 5.0
_quiet_until = 0.0


def ring(job: int) -> None:
    """Tell a worker about a job. A broker that does not answer is left alone for a moment."""
    global _quiet_until
    if not settings.CELERY_BROKER_URL or time.monotonic() < _quiet_until:
        return
    from apps.core import tasks  # noqa: PLC0415 - only where there is a broker

    try:
        tasks.work.apply_async((job,), expires=settings.HEADRACE_RING_SECONDS)
    except OperationalError:
        _quiet_until = time.monotonic() + QUIET_SECONDS
        log.warning("the broker did not answer; the sweep will ring for job %s", job)
