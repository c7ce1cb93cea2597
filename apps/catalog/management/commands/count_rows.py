"""Rows of every target table by tenant, as JSON."""

import json
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand

from apps.catalog.models import MODELS
from apps.core.isolation import tenant_reading
from apps.tenants.models import Tenant


class Command(BaseCommand):
    help = "Print {tenant_id: {entity: rows}} of all tenants as JSON."

    def handle(self, *args: Any, **options: Any) -> None:
        tenants = Tenant.objects.order_by("name").values_list("tenant_id", flat=True)
        self.stdout.write(json.dumps({str(tenant): _counts(tenant) for tenant in tenants}))


def _counts(tenant: UUID) -> dict[str, int]:
    with tenant_reading(tenant):
        return {entity: model.objects.count() for entity, model in MODELS.items()}
