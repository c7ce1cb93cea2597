"""The tables of PostgreSQL: how they are made, altered, guarded by tenant and partitioned."""

from collections.abc import Iterator

from headrace.pipeline.dialects import level_statements, postgresql_parents, tables
from headrace.pipeline.dialects.statements import SEQUENCE, TENANT, days_of
from headrace.schema import (
    SERVER_NOW,
    Boolean,
    Entity,
    Field,
    FieldType,
    Index,
    Integer,
    JsonObject,
    Money,
    Text,
    Timestamp,
    Uuid,
)

REWRITTEN = "is_rewritten"  #: tells an insert from an update


class Tables:
    """The part of the dialect that makes tables. `parents` maps the name of each entity that others
    refer to, to its key.

    New target tables are cut into `partitions` by the hash of their tenant; 0 leaves them whole.
    """

    def __init__(self, parents: dict[str, str], partitions: int = 0) -> None:
        self._parents = parents
        self._count = partitions

    def table_statements(self, entity: Entity) -> list[str]:
        columns = [f"{TENANT} uuid NOT NULL", *map(_column, entity.columns)]
        columns += [f"{SEQUENCE} bigint NOT NULL"]
        columns += tables.constraints(entity, self._parents, refers=not self._count)
        body = ",\n    ".join(columns)
        return [
            self._table(entity.name, body),
            *self._partitions(entity),
            *(_index(entity, index) for index in entity.indexes if not index.optional),
            *tables.unique_indexes(entity),
            *self.guard_statements(entity.name),
            *self.setting_statements(entity),
        ]

    def _table(self, name: str, body: str) -> str:
        cut = f" PARTITION BY HASH ({TENANT})" if self._count else ""
        return f"CREATE TABLE {name} (\n    {body}\n){cut}"

    def _partitions(self, entity: Entity) -> Iterator[str]:
        """A tenant is in the partition of the same number in every table, so partitions refer to
        partitions. That says no less, and a reference to the whole would look for the partition
        at each row.

        Who queries a partition by its own name is not bound by the policy of the whole.
        """
        for number in range(self._count):
            partition = f"{entity.name}_p{number}"
            refers = ",\n    ".join(tables.references(entity, self._parents, f"_p{number}"))
            body = f" (\n    {refers}\n)" if refers else ""
            place = f"WITH (MODULUS {self._count}, REMAINDER {number})"
            yield f"CREATE TABLE {partition} PARTITION OF {entity.name}{body} FOR VALUES {place}"
            yield from self.guard_statements(partition)

    def setting_statements(self, entity: Entity) -> list[str]:
        """What tells an insert from an update, guards of parents, and no statistics on the tenant.

        With statistics a tenant that came after the last ANALYZE is thought to have one row, and
        its first large file is joined row by row with itself: 240,000 lines took minutes instead
        of 4 s. Without, every tenant is thought to have a 200th.
        """
        altered = f"ALTER TABLE {entity.name}"
        return [
            f"{altered} ADD COLUMN IF NOT EXISTS {REWRITTEN} boolean NOT NULL DEFAULT false",
            *(f"{altered} ADD COLUMN IF NOT EXISTS {column}" for column in _former_columns(entity)),
            f"{altered} ALTER COLUMN {TENANT} SET STATISTICS 0",
            *self._guards_of_a_parent(entity.name),
        ]

    def _guards_of_a_parent(self, table: str) -> list[str]:
        key = self._parents.get(table)
        return postgresql_parents.guards(table, key) if key else []

    def guard_statements(self, table: str) -> list[str]:
        """Rows of the transaction's tenant, and none where no tenant is set ('' after one was)."""
        return [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY {table}_tenant ON {table} USING"
            f" ({TENANT} = CAST(NULLIF(current_setting('app.tenant_id', true), '') AS uuid))",
        ]

    def numbering_statements(self, entity: Entity) -> list[str]:
        """The owner sees all rows while the policies do not bind it."""
        names = (entity.name, level_statements.levels_of(entity).table)
        free = [f"ALTER TABLE {name} NO FORCE ROW LEVEL SECURITY" for name in names]
        bound = [f"ALTER TABLE {name} FORCE ROW LEVEL SECURITY" for name in names]
        return [
            *free,
            *level_statements.numbering(entity, level_statements.numbered(entity)),
            *tables.unique_indexes(entity),
            *bound,
        ]

    def day_table_statements(self, table: str) -> list[str]:
        number = "id bigint GENERATED ALWAYS AS IDENTITY"
        return [
            f"CREATE TABLE IF NOT EXISTS {table} ({TENANT} uuid NOT NULL, {number},"
            f" day date NOT NULL, PRIMARY KEY ({TENANT}, id))",
            *self.guard_statements(table),
        ]

    def index_statement(self, entity: Entity, name: str) -> str:
        return _index(entity, {index.name: index for index in entity.indexes}[name])

    def index_removal(self, table: str, name: str) -> str:
        return f"DROP INDEX {name}"

    def removal_statement(self, table: str) -> str:
        """By place, which is unique in one partition: the tenant's rows are in no other."""
        mine = f"{TENANT} = %(tenant)s"
        chosen = f"SELECT ctid FROM {table} WHERE {mine} LIMIT %(most)s"
        return f"DELETE FROM {table} WHERE {mine} AND ctid = ANY(ARRAY({chosen}))"

    def own_tables(self, entity: Entity) -> list[str]:
        return []

    def column_statement(self, entity: Entity, field: str) -> str:
        return f"ALTER TABLE {entity.name} ADD COLUMN {_column(entity.field(field))}"


def _column(field: Field) -> str:
    return tables.column(field, column_type(field.type), default_of(field), _value_check(field))


def column_type(kind: FieldType) -> str:
    match kind:
        case Uuid():
            return "uuid"
        case Text(max_length=length):
            return f"varchar({length})"
        case Money(digits=digits, scale=scale):
            return f"numeric({digits},{scale})"
        case Integer():
            return "integer"
        case Boolean():
            return "boolean"
        case Timestamp():
            return "timestamptz"
        case JsonObject():
            return "jsonb"


def default_of(field: Field) -> str | None:
    if field.default is None:
        return None
    if field.default is SERVER_NOW:
        return "CURRENT_TIMESTAMP"
    return str(field.default).upper() if isinstance(field.default, bool) else f"'{field.default}'"


def _value_check(field: Field) -> str | None:
    match field.type:
        case Money(minimum=minimum) if minimum is not None:
            return f"{field.name} >= {minimum} AND {field.name} <> 'NaN'"
        case Money():
            return f"{field.name} <> 'NaN'"
        case Integer(nonzero=True):
            return f"{field.name} <> 0"
        case Text(choices=choices) if choices:
            return tables.choices(field, choices)
    return None


def _index(entity: Entity, index: Index) -> str:
    columns = index.columns if index.method == "gin" else (TENANT, *index.columns)
    text = f"CREATE INDEX {index.name} ON {entity.name} USING {index.method} ({', '.join(columns)})"
    if index.include:
        text += f" INCLUDE ({', '.join(index.include)})"
    if index.where_true:
        text += f" WHERE {index.where_true}"
    if index.where_present:
        text += f" WHERE {index.where_present} IS NOT NULL"
    return text


def former(entity: Entity) -> str:
    """The column that holds what said a row's day before its last update."""
    return f"former_{days_of(entity).decided_by}"


def _former_columns(entity: Entity) -> Iterator[str]:
    if entity.days:
        yield f"{former(entity)} {column_type(entity.field(entity.days.decided_by).type)}"
