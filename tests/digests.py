"""A tenant's part of a table as one hash, the same on every database that holds equal rows."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from headrace.entities import BY_NAME, ENTITIES
from headrace.schema import Field, JsonObject, Uuid
from tests import road
from tests.chaos import lines


def of_tenant(database: road.Database, tenant: UUID) -> dict[str, str]:
    """Entity to digest of the tenant's rows: all declared fields, in no order of rows."""
    return {entity.name: _digest(entity.name, database, tenant) for entity in ENTITIES}


def _digest(entity: str, database: road.Database, tenant: UUID) -> str:
    declared = BY_NAME[entity]
    database.tenant = tenant
    with database.transaction() as connection:
        cursor = connection.cursor()
        names = ", ".join(("tenant_id", *declared.field_names))
        cursor.execute(f"SELECT {names} FROM {entity}")
        hashes = sorted(
            _hash(declared.fields, values)
            for tenant_id, *values in cursor
            if UUID(str(tenant_id)) == tenant
        )
    return f"{len(hashes)} rows {hashlib.sha256(b''.join(hashes)).hexdigest()[:16]}"


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
