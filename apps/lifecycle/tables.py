"""Which tables have rows of tenants: found by looking at the models, never listed by hand.

A table belongs here that has a column `tenant_id`, or that refers to one that belongs here. What
only one database has beside the models, its dialect tells.
"""

from collections.abc import Callable
from graphlib import TopologicalSorter
from typing import NamedTuple
from uuid import UUID

from django.apps import apps
from django.db import connection
from django.db.models import Model

from apps.core import dialect
from apps.core.isolation import tenant_transaction
from apps.core.jobs import Lease
from apps.lifecycle.models import Erasure
from apps.tenants.models import Tenant
from headrace.entities import ENTITIES, TABLES
from headrace.pipeline.dialects.statements import TENANT

#: What stays of a tenant; apps add what they keep as a proof.
PROOFS = {Erasure._meta.db_table}
#: How rows are removed that the database lets nobody delete, by table: a batch of a tenant's, and
#: whether there were any. Apps that have such a table add theirs.
REMOVERS: dict[str, Callable[[UUID, Lease], bool]] = {}
BATCH = 1_000  # rows
ROOT = Tenant._meta.db_table  #: the tenant's own row, which goes last


class Table(NamedTuple):
    """A table with rows of tenants. `path` leads from its model to the tenant's id."""

    name: str
    model: type[Model] | None
    path: str = TENANT

    @property
    def is_bound(self) -> bool:
        """Whether the column is its own, not that of a row that it refers to."""
        return self.path == TENANT


def of_tenants() -> list[Table]:
    """All of them but the tenants' own, those that refer to others first."""
    found = _found()
    order: TopologicalSorter[str] = TopologicalSorter({name: set() for name in found})
    for name, table in found.items():
        for parent in _parents(name, table.model):
            if parent in found and parent != name:
                order.add(parent, name)
    return [found[name] for name in order.static_order()]


def count(table: Table, tenant: UUID) -> int:
    """The tenant's rows, in a transaction of the tenant."""
    if table.model is not None and not table.is_bound:
        return table.model._base_manager.filter(**{table.path: tenant}).count()
    with connection.cursor() as cursor:
        cursor.execute(_counted(table.name), [tenant.hex])
        (rows,) = cursor.fetchone()
    return int(rows)


def remove(table: Table, tenant: UUID, lease: Lease) -> bool:
    """Remove a batch of the tenant's rows, fenced; False if there was none."""
    if table.name in REMOVERS:
        return REMOVERS[table.name](tenant, lease)
    with tenant_transaction(tenant):
        removed = _remove(table, tenant, BATCH)
        lease.fence()
    return removed > 0


def _remove(table: Table, tenant: UUID, most: int) -> int:
    if table.model is not None and not table.is_bound:
        rows = table.model._base_manager.filter(**{table.path: tenant})
        keys = list(rows.order_by().values_list("pk", flat=True)[:most])
        chosen = table.model._base_manager.filter(pk__in=keys)
        return int(chosen._raw_delete(chosen.db) or 0)
    with connection.cursor() as cursor:
        statement = dialect.current().removal_statement(table.name)
        cursor.execute(statement, {"tenant": tenant.hex, "most": most})
        return int(cursor.rowcount)


def _found() -> dict[str, Table]:
    models = {model._meta.db_table: model for model in apps.get_models(include_auto_created=True)}
    found = {
        name: Table(name, model) for name, model in models.items() if TENANT in _columns(model)
    }
    for name in (*PROOFS, ROOT):
        del found[name]
    while more := dict(_referring(models, found)):
        found |= more
    return found | {
        name: Table(name, None)
        for entity in ENTITIES
        for name in dialect.current().own_tables(entity)
    }


def _referring(models: dict[str, type[Model]], found: dict[str, Table]) -> list[tuple[str, Table]]:
    """Tables without a tenant's column that refer to one of the found, and are not found yet."""
    return [
        (name, Table(name, model, f"{field.name}__{found[parent].path}"))
        for name, model in models.items()
        if name not in (*found, *PROOFS, ROOT)
        for field in model._meta.concrete_fields
        if field.remote_field and (parent := field.remote_field.model._meta.db_table) in found
    ]


def _columns(model: type[Model]) -> set[str]:
    return {field.attname for field in model._meta.concrete_fields}


def _parents(name: str, model: type[Model] | None) -> set[str]:
    """The tables that a table refers to, by its declaration or by its model."""
    if name in TABLES:
        return {reference.entity for reference in TABLES[name].references}
    fields = model._meta.concrete_fields if model is not None else ()
    return {field.remote_field.model._meta.db_table for field in fields if field.remote_field}


def _counted(table: str) -> str:
    return f"SELECT count(*) FROM {table} WHERE {TENANT} = %s"
