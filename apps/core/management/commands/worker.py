"""The embedded worker as a process."""

import signal
import threading
from typing import Any

from django.core.management.base import BaseCommand

from apps.core.worker import Worker


class Command(BaseCommand):
    help = "Claim and run jobs until SIGTERM or SIGINT; the job at hand is finished first."

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        Worker(stop).run()
