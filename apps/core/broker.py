"""The Celery application. Its settings are the CELERY_* of the Django settings."""

import logging
from contextlib import suppress
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init, worker_ready
from django.conf import settings
from kombu.exceptions import OperationalError

from apps.core import logs

app = Celery("headrace", include=["apps.core.tasks", "apps.metrics.tasks"])
app.config_from_object("django.conf:settings", namespace="CELERY")


@setup_logging.connect
def log_to_the_terminal_too(loglevel: int | str | None, **_: Any) -> None:
    """Keep the log file of the Django settings, and let `-l` say what the terminal shows."""
    terminal = logging.StreamHandler()
    terminal.setLevel(loglevel or logging.WARNING)
    terminal.setFormatter(logs.Redacting("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger().addHandler(terminal)


@worker_init.connect
def refuse_to_start(**_: Any) -> None:
    """A worker of Celery starts under the same conditions as the server."""
    from apps.core import readiness  # noqa: PLC0415 - the apps are loaded by now

    readiness.refuse_to_start()


@worker_ready.connect
def sweep_without_beat(sender: Any, **_: Any) -> None:
    """Let a worker ring for its own sweeps: no job may wait for ever where nobody runs a beat."""
    sender.timer.call_repeatedly(settings.HEADRACE_SWEEP_SECONDS, _ring_for_a_sweep)


def _ring_for_a_sweep() -> None:
    with suppress(OperationalError):  # the worker is about to notice, and sweeps when it is back
        app.send_task("headrace.sweep", expires=settings.HEADRACE_SWEEP_SECONDS)
