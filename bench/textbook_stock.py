"""The stock update of the textbooks: for each event one transaction, `select_for_update`, `save()`.

    python -m bench.textbook_stock EVENTS PRODUCTS

Plain Django on plain tables with the keys of ours, made where DATABASE_URL says. It prints the
seconds that its loop took. It knows no repetition, numbers nothing, and answers nobody.
"""

import os
import random
import sys
import time
from uuid import UUID, uuid4

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "main.settings")
django.setup()

from django.db import connection, models, transaction  # noqa: E402 - Django is set up first
from django.db.backends.signals import connection_created  # noqa: E402
from django.db.models.functions import Now  # noqa: E402

from apps.core import isolation  # noqa: E402

connection_created.disconnect(isolation.prepare_connection)  # stay the owner


class Level(models.Model):
    pk = models.CompositePrimaryKey("tenant_id", "product_id")
    tenant_id = models.UUIDField()
    product_id = models.UUIDField()
    level = models.IntegerField(default=0)

    class Meta:
        app_label = "textbook"

    def __str__(self) -> str:
        return str(self.product_id)


class Event(models.Model):
    pk = models.CompositePrimaryKey("tenant_id", "stock_event_id")
    tenant_id = models.UUIDField()
    stock_event_id = models.UUIDField(default=uuid4)
    product_id = models.UUIDField()
    delta = models.IntegerField()
    resulting_level = models.IntegerField()
    event_time = models.DateTimeField(db_default=Now())
    source = models.CharField(max_length=50, default="system")
    meta = models.JSONField(default=dict)

    class Meta:
        app_label = "textbook"

    def __str__(self) -> str:
        return str(self.stock_event_id)


def main() -> None:
    events, products = map(int, sys.argv[1:])
    tenant, goods = uuid4(), [uuid4() for _ in range(products)]
    _make_tables()
    Level.objects.bulk_create(Level(tenant_id=tenant, product_id=one) for one in goods)
    moves = [(random.choice(goods), random.randint(1, 9)) for _ in range(events)]
    began = time.perf_counter()
    for product, delta in moves:
        _apply(tenant, product, delta)
    print(time.perf_counter() - began)


def _make_tables() -> None:
    known = connection.introspection.table_names()
    with connection.schema_editor() as editor:
        for model in (Level, Event):
            if model._meta.db_table not in known:
                editor.create_model(model)


def _apply(tenant: UUID, product: UUID, delta: int) -> None:
    with transaction.atomic():
        found = Level.objects.select_for_update().get(tenant_id=tenant, product_id=product)
        found.level += delta
        found.save()
        Event.objects.create(
            tenant_id=tenant, product_id=product, delta=delta, resulting_level=found.level
        )


if __name__ == "__main__":
    main()
