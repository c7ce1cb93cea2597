"""The service's own rows that move as they are: tenants, keys, and what price calls left."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core import serializers
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import QuerySet

from apps.analytics.models import PriceEvent, PriceFeed
from apps.core.isolation import tenant_reading, tenant_transaction
from apps.moving import folder
from apps.tenants.models import ApiKey, NegativeLevels, Tenant, TenantDay

BATCH = 1_000
_CONTROL: tuple[type[models.Model], ...] = (Tenant, ApiKey)
_OWN: tuple[type[models.Model], ...] = (PriceEvent, PriceFeed)


class _Exact(DjangoJSONEncoder):
    """Django's own would cut times to milliseconds."""

    def default(self, o: Any) -> Any:
        return o.isoformat() if isinstance(o, datetime) else super().default(o)


def write_control(path: Path) -> None:
    """Tenants and keys into a file."""
    folder.write(path, _lines(model._default_manager.order_by("pk") for model in _CONTROL))


def read_control(path: Path, *, is_over: bool) -> None:
    """Tenants and keys from a file; those that are there become what it says.

    Until the move is over levels may fall below 0: they may have, when that was allowed; and no
    quota of rows holds. How many files a tenant has sent is the target's own matter.
    """
    for row in _rows(path):
        facts = {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}
        if isinstance(row, Tenant):
            if is_over:  # its rows were new on the days on which they came to the source
                TenantDay.objects.filter(tenant_id=row.pk).delete()
            else:
                facts |= {"negative_levels": NegativeLevels.ALLOW, "max_rows_per_day": 0}
            number, key = facts.pop("last_number"), facts.pop("tenant_id")
            first = {**facts, "last_number": number}
            Tenant.objects.update_or_create(tenant_id=key, defaults=facts, create_defaults=first)
        else:  # the target numbers keys itself
            facts.pop("id")
            key = facts.pop("key_id")
            ApiKey.objects.update_or_create(key_id=key, defaults=facts)


def write_own(path: Path, tenant: UUID) -> int:
    """A tenant's own rows into a file; how many events there are."""
    with tenant_reading(tenant):
        folder.write(path, _lines(model._default_manager.order_by("pk") for model in _OWN))
        return PriceEvent.objects.count()


def read_own(path: Path, tenant: UUID) -> int:
    """A tenant's own rows from a file, where they are missing; how many events there are then."""
    rows = _rows(path)
    while batch := list(islice(rows, BATCH)):
        with tenant_transaction(tenant):
            _insert(batch)
    with tenant_reading(tenant):
        return PriceEvent.objects.count()


def _lines(tables: Iterable[QuerySet[models.Model]]) -> Iterator[bytes]:
    for rows in tables:
        for row in rows.iterator(chunk_size=BATCH):
            yield serializers.serialize("jsonl", [row], cls=_Exact).encode()


def _rows(path: Path) -> Iterator[models.Model]:
    with path.open() as file:
        for found in serializers.deserialize("jsonl", file):
            yield found.object


def _insert(batch: list[models.Model]) -> None:
    for model in _OWN:
        if rows := [row for row in batch if isinstance(row, model)]:
            model._default_manager.bulk_create(rows, ignore_conflicts=True)
    for feed in batch:
        if isinstance(feed, PriceFeed):  # further than it was when an earlier move took it
            older = PriceFeed.objects.filter(last_number__lt=feed.last_number)
            older.update(last_number=feed.last_number)
