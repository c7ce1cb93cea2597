"""What the target tables of a service hold, read past the service."""

from decimal import Decimal
from uuid import UUID

from headrace.entities import BY_NAME, ENTITIES
from headrace.schema import Money
from tests.service import Service

Rows = list[tuple]


def contents(service: Service, tenant: UUID) -> dict[str, Rows]:
    """All rows of a tenant by entity, sorted, without the rows' sequence."""
    return {entity.name: rows(service, tenant, entity.name) for entity in ENTITIES}


def rows(service: Service, tenant: UUID, entity: str) -> Rows:
    """The tenant's rows of one table: what was said, in the declared order, sorted."""
    fields = ", ".join(field.name for field in BY_NAME[entity].as_sent)
    with service.owner() as connection:
        cursor = connection.cursor()
        mine = f"tenant_id = {service.spelled(tenant)}"
        cursor.execute(f"SELECT {fields} FROM {entity} WHERE {mine}")
        found = cursor.fetchall()
    return sorted(found, key=str)


def total(service: Service, tenant: UUID, entity: str, field: str) -> Decimal:
    """The exact sum of a money field over the tenant's rows."""
    declared = BY_NAME[entity]
    at = [column.name for column in declared.as_sent].index(field)
    summed = sum((Decimal(row[at]) for row in rows(service, tenant, entity)), Decimal(0))
    kind = declared.field(field).type
    assert isinstance(kind, Money)
    return summed.scaleb(-kind.scale) if service.dialect == "sqlite" else summed
