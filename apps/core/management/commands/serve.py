"""Server and worker processes side by side: the embedded default."""

import os
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser
from contextlib import suppress
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from apps.core import readiness

#: For all children together: a request to a receiver of webhooks may take 15, and is recorded then.
GRACE_SECONDS = 30


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
        commands = [_server(options["host"], options["port"])]
        commands += [_worker()] * options["workers"]
        self.stdout.write(f"Headrace is at http://{options['host']}:{options['port']}/")
        self.stdout.flush()
        Family(commands).run()


def _server(host: str, port: int) -> list[str]:
    cores = max(os.cpu_count() or 1, 1)
    return [
        *(sys.executable, "-m", "gunicorn", "main.wsgi:application", "--bind", f"{host}:{port}"),
        *(
            "--worker-class",
            "apps.core.serving.Worker",
            "--workers",
            str(cores),
            "--threads",
            str(settings.HEADRACE_THREADS),
        ),
        # Imported once, before the processes part: it starts sooner, and they share that memory.
        *("--preload", "--keep-alive", "75", "--log-level", "warning"),
        *("--limit-request-line", "8190", "--limit-request-fields", "64"),
        # Those who may say that a request came by TLS.
        *("--forwarded-allow-ips", ",".join(["127.0.0.1", "::1", *_proxies()])),
    ]


def _proxies() -> list[str]:
    return [str(network) for network in settings.HEADRACE_TRUSTED_PROXIES]


def _worker() -> list[str]:
    return [sys.executable, "manage.py", "worker"]


class Family:
    """Child processes that live and die together."""

    def __init__(self, commands: list[list[str]]) -> None:
        self._commands = commands
        self._children: list[subprocess.Popen[bytes]] = []
        self._is_stopping = False

    def run(self) -> None:
        """Keep the children alive until SIGTERM or SIGINT, then end them."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._children = [_start(command) for command in self._commands]
        while not self._is_stopping:
            time.sleep(0.2)
            self._revive()
        self._end()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._is_stopping = True

    def _revive(self) -> None:
        for place, child in enumerate(self._children):
            if child.poll() is not None and not self._is_stopping:
                time.sleep(0.5)
                self._children[place] = _start(self._commands[place])

    def _end(self) -> None:
        for child in self._children:
            child.terminate()
        end = time.monotonic() + GRACE_SECONDS
        for child in self._children:
            with suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, end - time.monotonic()))
            with suppress(ProcessLookupError):  # its own children too, if it left any
                os.killpg(child.pid, signal.SIGKILL)


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C reaches the parent only, which ends the children in order.
    return subprocess.Popen(command, start_new_session=True)
