"""A tenant's part of a table as one hash, the same on every database that holds equal rows."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from headrace.client import plan
from headrace.entities import ENTITIES
from headrace.schema import Entity, Field, JsonObject, Uuid
from tests import road
from tests.chaos import lines


class Digest(NamedTuple):
    rows: int
    hash: str


def of_tenants(database: road.Database, folder: Path) -> dict[tuple[str, str], Digest]:
    """By tenant and entity the digest of every table part that a dataset's files are of."""
    return {
        (tenant.tenant_id, entity.name): _digest(database, UUID(tenant.tenant_id), entity)
        for tenant in plan.read(folder).tenants
        for entity in ENTITIES
    }


def _digest(database: road.Database, tenant: UUID, entity: Entity) -> Digest:
    """What the tenant's rows say, in no order of rows."""
    database.tenant = tenant
    with database.transaction() as connection:
        cursor = connection.cursor()
        names = ", ".join(("tenant_id", *(field.name for field in entity.as_sent)))
        cursor.execute(f"SELECT {names} FROM {entity.name}")
        hashes = sorted(
            _hash(entity.as_sent, values) for owner, *values in cursor if UUID(str(owner)) == tenant
        )
    return Digest(len(hashes), hashlib.sha256(b"".join(hashes)).hexdigest())


def _hash(fields: Iterable[Field], values: Iterable[Any]) -> bytes:
    spelled = (_spelled(field, value) for field, value in zip(fields, values, strict=True))
    return hashlib.sha256("\t".join(spelled).encode()).digest()


def _spelled(field: Field, value: Any) -> str:
    """One text for equal values, whatever the driver makes of them."""
    match field.type:
        case Uuid() if value is not None:
            value = UUID(str(value)).hex
        case JsonObject() if isinstance(value, dict):
            value = json.dumps(value)
    return lines.spelled(lines.stored(field, value))
