"""All figures of tenants from their rows, now and in this process."""

import time
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from apps.core import dialect
from apps.metrics import services
from apps.metrics.jobs import Pace
from apps.tenants.models import Tenant


class Command(BaseCommand):
    help = "Compute the sales metrics of tenants anew from their orders and order lines."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", type=UUID, action="append", help="all of them without it")

    def handle(self, *args: Any, **options: Any) -> None:
        tenants = set(Tenant.objects.values_list("tenant_id", flat=True))
        wanted = set(options["tenant"] or tenants)
        if unknown := wanted - tenants:
            raise CommandError(f"There is no tenant {', '.join(map(str, sorted(unknown)))}.")
        for tenant in sorted(wanted):
            began = time.monotonic()
            days = rebuild(tenant)
            self.stdout.write(f"{tenant}: {days} days in {time.monotonic() - began:.1f} s")


def rebuild(tenant: UUID) -> int:
    """Recompute everything: at once, or in short steps where a writer keeps others out."""
    services.list_all(tenant)
    pace, days = Pace(), 0
    is_embedded = dialect.current().pause_seconds > 0
    while True:
        batch = services.roll_up(tenant, pace.days if is_embedded else services.ALL)
        days += batch.days
        if batch.is_last:
            return days
        pace.learn(batch)
        time.sleep(dialect.current().pause_seconds)
