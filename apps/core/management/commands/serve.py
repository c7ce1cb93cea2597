"""Server and worker processes side by side: the embedded default."""

import multiprocessing
import os
import signal
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import setproctitle
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connections
from gunicorn.app import wsgiapp

from apps.core import readiness

#: For all children together: a request to a receiver of webhooks may take 15, and is recorded then.
GRACE_SECONDS = 30
_ENDING = (signal.SIGTERM, signal.SIGINT)


class Command(BaseCommand):
    help = "Start the HTTP server and the workers; a process that dies is started again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default=os.environ.get("HEADRACE_HOST", "127.0.0.1"))
        parser.add_argument("--port", type=int, default=int(os.environ.get("PORT", 8000)))
        parser.add_argument(
            "--workers",
            type=int,
            default=settings.HEADRACE_WORKERS,
            help="embedded workers; none by default where Celery has a broker",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        readiness.refuse_to_start()
        connections.close_all()  # none is shared with a child
        members: list[Callable[[], None]] = [partial(_serve, options["host"], options["port"])]
        members += [_work] * options["workers"]
        self.stdout.write(f"Headrace is at http://{options['host']}:{options['port']}/")
        self.stdout.flush()
        Family(members).run()


def _serve(host: str, port: int) -> None:
    sys.argv = ["gunicorn", "main.wsgi:application", *_options(host, port)]
    wsgiapp.run()


def _options(host: str, port: int) -> list[str]:
    cores = max(os.cpu_count() or 1, 1)
    return [
        *("--bind", f"{host}:{port}", "--name", f"{host}:{port}"),
        *("--worker-class", "apps.core.serving.Worker"),
        *("--logger-class", "apps.core.serving.Log"),
        *("--workers", str(cores), "--threads", str(settings.HEADRACE_THREADS)),
        # Imported once, before the processes part: it starts sooner, and they share that memory.
        *("--preload", "--keep-alive", "75", "--log-level", "warning"),
        *("--limit-request-line", "8190", "--limit-request-fields", "64"),
        # Those who may say that a request came by TLS.
        *("--forwarded-allow-ips", ",".join(["127.0.0.1", "::1", *_proxies()])),
    ]


def _proxies() -> list[str]:
    return [str(network) for network in settings.HEADRACE_TRUSTED_PROXIES]


def _work() -> None:
    sys.argv[1:] = ["worker"]
    setproctitle.setproctitle("headrace: worker")
    call_command("worker")


class Family:
    """Child processes that live and die together.

    They are forked: what this process has imported they need not import, and all share its memory.
    """

    def __init__(self, members: list[Callable[[], None]]) -> None:
        self._members = members
        self._children: list[BaseProcess] = []
        self._is_stopping = False

    def run(self) -> None:
        """Keep the children alive until SIGTERM or SIGINT, then end them."""
        for number in _ENDING:
            signal.signal(number, self._stop)
        self._children = [_start(member) for member in self._members]
        while not self._is_stopping:
            time.sleep(0.2)
            self._revive()
        self._end()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._is_stopping = True

    def _revive(self) -> None:
        for place, child in enumerate(self._children):
            if not child.is_alive() and not self._is_stopping:
                time.sleep(0.5)
                self._children[place] = _start(self._members[place])

    def _end(self) -> None:
        for child in self._children:
            child.terminate()
        end = time.monotonic() + GRACE_SECONDS
        for child in self._children:
            child.join(max(0.0, end - time.monotonic()))
            assert child.pid  # it was started
            with suppress(ProcessLookupError):  # its own children too, if it left any
                os.killpg(child.pid, signal.SIGKILL)


def _start(member: Callable[[], None]) -> BaseProcess:
    child = multiprocessing.get_context("fork").Process(target=_begin, args=[member])
    # The child has the signals back once it no longer takes them for its parent's.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        child.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    return child


def _begin(member: Callable[[], None]) -> None:
    # A session of its own: Ctrl-C reaches the parent only, which ends the children in order.
    os.setsid()
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    member()
