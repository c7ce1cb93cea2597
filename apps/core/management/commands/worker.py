"""The embedded worker as a process."""

import signal
from typing import Any

from django.core.management.base import BaseCommand

from apps.core import readiness
from apps.core.worker import STOPPING, Worker


class Command(BaseCommand):
    help = "Claim and run jobs until SIGTERM or SIGINT; the job at hand is finished first."

    def handle(self, *args: Any, **options: Any) -> None:
        readiness.refuse_to_start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: STOPPING.set())
        Worker(STOPPING).run()
