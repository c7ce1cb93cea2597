"""What test_upgrade.py has done inside a process that Django is set up in: an older database."""

import hashlib
import json
import zlib
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Now

from apps.catalog.models import MODELS
from apps.core import objects
from apps.core.isolation import tenant_transaction
from apps.ingestions import sources
from apps.tenants import keys
from headrace.entities.customers import CUSTOMERS
from headrace.entities.orders import ORDERS
from tests.road import ndjson
from tests.shop import customer, order

NOW = datetime(2025, 3, 1, 10, tzinfo=UTC)
SOLD = {"order_status": "delivered", "total_amount": "12.5"}
LINE_BITS = 32


def columns() -> dict[str, list[str]]:
    """Of every table that is there, but for Django's own."""
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        return {
            table: sorted(
                column.name
                for column in connection.introspection.get_table_description(cursor, table)
            )
            for table in tables
            if not table.startswith(("django_", "auth_"))
        }


def fill(migrations: str) -> dict[str, Any]:
    """A tenant with a file that has landed, with a reject, and one that waits: as the service
    wrote them when these migrations were all.
    """
    old = (
        MigrationExecutor(connection)
        .loader.project_state([(app, name) for app, name in json.loads(migrations).items()])
        .apps
    )
    tenant = old.get_model("tenants", "Tenant").objects.create(name="An old shop", last_number=2)
    key = f"api_key_{tenant.tenant_id}"
    old.get_model("tenants", "ApiKey").objects.create(
        key_id=str(tenant.tenant_id), tenant=tenant, secret_hash=keys._hash(key), is_demo=True
    )
    upload = old.get_model("ingestions", "Upload").objects.create(tenant_id=tenant.tenant_id)
    buyers, sold = [customer() for _ in range(2)], order(**SOLD)
    landed = _chunk(old, upload, 1, ndjson(*buyers, {"name": "no id"}))
    landed.state, landed.is_planned, landed.ended_at = "completed_with_rejects", True, Now()
    landed.lines_received, landed.inserted, landed.rejected = 3, 2, 1
    landed.outcomes, landed.reject_codes = zlib.compress(b"iir"), {"required": 1}
    landed.save()
    _rows(old, landed, buyers, sold)
    _chunk(old, upload, 2, ndjson(customer(name="Came before, landed after")))
    return {
        "tenant": str(tenant.tenant_id),
        "token": upload.token,
        "buyers": sorted(buyer["customer_id"] for buyer in buyers),
        "order": sold["order_id"],
    }


def _chunk(old: Any, upload: Any, number: int, data: bytes) -> Any:
    """A file of customers with its job, which has ended for the first one."""
    key, tenant = uuid4(), upload.tenant_id
    source = f"{sources.FOLDER}/{tenant}/{key}"
    objects.store().put(source, [data])
    chunk = old.get_model("ingestions", "Chunk").objects.create(
        id=key,
        upload=upload,
        tenant_id=tenant,
        number=number,
        entity=CUSTOMERS.name,
        filename=f"customers_{number}.ndjson",
        compression="",
        source=source,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    done = {"state": "done", "ended_at": Now(), "epoch": 1} if number == 1 else {}
    old.get_model("core", "Job").objects.create(
        kind="ingest", subject=key, tenant_id=tenant, group=upload.pk, **done
    )
    old.get_model("core", "IdempotencyKey").objects.create(
        tenant_id=tenant,
        scope="file",
        key=f"key {number}",
        fingerprint=chunk.sha256,
        status=201,
        location="",
        body=json.dumps({"chunk_id": str(key)}),
    )
    return chunk


def _rows(old: Any, chunk: Any, buyers: list[dict], sold: dict) -> None:
    """What the first file has left in the tables that are guarded."""
    reject = {"line": 3, "offset": 0, "stage": "check", "code": "required", "field": "customer_id"}
    reject |= {"value": "", "message": "missing", "raw": '{"name": "no id"}'}
    with tenant_transaction(chunk.tenant_id):
        old.get_model("ingestions", "RejectRows").objects.create(
            tenant_id=chunk.tenant_id,
            chunk=chunk,
            first_line=3,
            rows=1,
            codes={"required": 1},
            blob=zlib.compress(json.dumps(reject).encode() + b"\n"),
        )
        for line, buyer in enumerate(buyers, 1):
            _insert(CUSTOMERS, chunk, line, {**buyer, "metadata": {}, "created_at": NOW})
        more = {"kind": "sale", "currency": "EUR", "raw_payload": {}, "created_at": NOW}
        _insert(ORDERS, chunk, 1, {**sold, **more, "order_date": NOW})


def _insert(entity: Any, chunk: Any, line: int, values: dict[str, Any]) -> None:
    given = {**values, entity.key: UUID(values[entity.key])}
    MODELS[entity.name].objects.create(
        tenant_id=chunk.tenant_id, source_sequence=(chunk.number << LINE_BITS) + line, **given
    )
