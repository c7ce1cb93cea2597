"""What the administration's history says of a tenant's rows: their names, and who changed them.

It refers to them by text, so it must go before they do: nobody could tell afterwards whose it was.
"""

from collections.abc import Iterator
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Model

from apps.core.jobs import Lease
from apps.lifecycle import tables
from apps.tenants.models import Tenant

TABLE = LogEntry._meta.db_table
BATCH = 500


def count(tenant: UUID) -> int:
    """The entries about rows of the tenant that are still there."""
    return sum(map(len, _entries(tenant)))


def remove(tenant: UUID, lease: Lease) -> Iterator[None]:
    """Remove them, a batch at a time."""
    for batch in _entries(tenant):
        with transaction.atomic(durable=True):
            rows = LogEntry.objects.filter(pk__in=batch)
            rows._raw_delete(rows.db)
            lease.fence()
        yield


def _entries(tenant: UUID) -> Iterator[list[int]]:
    for model in _shown():
        kind = ContentType.objects.get_for_model(model)
        told = LogEntry.objects.filter(content_type=kind).order_by("pk")
        found = list(told.values_list("pk", "object_id"))
        for start in range(0, len(found), BATCH):
            if batch := _of_tenant(model, tenant, found[start : start + BATCH]):
                yield batch


def _shown() -> list[type[Model]]:
    """The models with tenants that the administration has pages of."""
    models: list[type[Model]] = [Tenant]
    models += [table.model for table in tables.of_tenants() if table.is_bound and table.model]
    return [model for model in models if admin.site.is_registered(model)]


def _of_tenant(
    model: type[Model], tenant: UUID, entries: list[tuple[int, str | None]]
) -> list[int]:
    ids = {object_id for _, object_id in entries}
    rows = model._base_manager.filter(tenant_id=tenant, pk__in=ids)
    own = {str(pk) for pk in rows.values_list("pk", flat=True)}
    return [entry for entry, object_id in entries if object_id in own]
