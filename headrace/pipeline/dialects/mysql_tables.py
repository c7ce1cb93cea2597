"""The tables of MariaDB and MySQL: how they are made, altered and guarded by tenant."""

from collections.abc import Iterator
from dataclasses import dataclass

from headrace.pipeline.dialects import level_statements, tables
from headrace.pipeline.dialects.statements import SEQUENCE, TENANT
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


@dataclass(frozen=True, slots=True)
class Server:
    """What the two servers spell differently.

    `collation` compares texts byte for byte, blanks at the end included; `patience` gives a
    statement up after ten minutes.
    """

    name: str
    collation: str
    patience: str


MARIADB = Server("mariadb", "utf8mb4_nopad_bin", "max_statement_time = 600")
MYSQL = Server("mysql", "utf8mb4_0900_bin", "max_execution_time = 600000")
ID = "varchar(32)"


class Tables:
    """The part of the dialect that makes tables. `parents` maps an entity's name to its key."""

    def __init__(self, server: Server, parents: dict[str, str]) -> None:
        self.name = server.name
        self.collation = server.collation
        self._server = server
        self._parents = parents

    def table_statements(self, entity: Entity) -> list[str]:
        """The table whole, in one statement: its making may be cut short between two."""
        columns = [f"{TENANT} {ID} NOT NULL", *map(self._column, entity.columns)]
        columns += [f"{SEQUENCE} bigint NOT NULL", *tables.constraints(entity, self._parents)]
        columns += self._interval_keys(entity)
        columns += _number_keys(entity)
        columns += [
            f"INDEX {index.name} ({_index_columns(index)})"
            for index in entity.indexes
            if index.method == "btree"
        ]
        body = ",\n    ".join(columns)
        return [
            *self._turns_table(entity),
            f"CREATE TABLE {entity.name} (\n    {body}\n) {self._table_options}",
            *self.setting_statements(entity),
        ]

    def setting_statements(self, entity: Entity) -> list[str]:
        """The guards, which a migration that was cut short may have left out."""
        guarded = [entity.name, *self.own_tables(entity)]
        return [guard for table in guarded for guard in self.guard_statements(table)]

    def guard_statements(self, table: str) -> list[str]:
        """Writes outside a tenant's transaction, or for another tenant, are refused.

        `@headrace_tenant` is the transaction's tenant, NULL outside of one, or `*` for the owner.
        """
        ours = f"{{}}.{TENANT} <=> @headrace_tenant"
        guards = {
            "INSERT": ours.format("NEW"),
            "UPDATE": f"{ours.format('OLD')} AND {ours.format('NEW')}",
            "DELETE": ours.format("OLD"),
        }
        return [
            statement
            for event, allowed in guards.items()
            for statement in _trigger(f"{table}_tenant_{event.lower()}", event, table, allowed)
        ]

    def numbering_statements(self, entity: Entity) -> list[str]:
        keys = (f"ALTER TABLE {entity.name} ADD {key}" for key in _number_keys(entity))
        numbered = level_statements.numbered_by_join(entity)
        return [*level_statements.numbering(entity, numbered), *keys]

    def day_table_statements(self, table: str) -> list[str]:
        columns = f"id bigint AUTO_INCREMENT PRIMARY KEY, {TENANT} {ID} NOT NULL, day date NOT NULL"
        key = f"INDEX {table}_idx ({TENANT}, day)"
        return [
            f"CREATE TABLE IF NOT EXISTS {table} ({columns}, {key}) {self._table_options}",
            *self.guard_statements(table),
        ]

    def index_statement(self, entity: Entity, name: str) -> str:
        index = {index.name: index for index in entity.indexes}[name]
        return f"CREATE INDEX {name} ON {entity.name} ({_index_columns(index)})"

    def index_removal(self, table: str, name: str) -> str:
        return f"DROP INDEX {name} ON {table}"

    def removal_statement(self, table: str) -> str:
        return f"DELETE FROM {table} WHERE {TENANT} = %(tenant)s LIMIT %(most)s"

    def own_tables(self, entity: Entity) -> list[str]:
        return [turns(entity)] if entity.interval else []

    def column_statement(self, entity: Entity, field: str) -> str:
        return f"ALTER TABLE {entity.name} ADD COLUMN {self._column(entity.field(field))}"

    @property
    def _table_options(self) -> str:
        return f"ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {self.collation}"

    def _column(self, field: Field) -> str:
        kind = self._type(field.type)
        return tables.column(field, kind, default_of(field), _value_check(field))

    def _type(self, kind: FieldType) -> str:
        match kind:
            case Uuid():
                return ID
            case Text(max_length=length):
                return f"varchar({length})"
            case Money(digits=digits, scale=scale):
                return f"numeric({digits},{scale})"
            case Integer():
                return "integer"
            case Boolean():
                return "boolean"
            case Timestamp():
                return "datetime(6)"
            case JsonObject():
                # Not `json`, which MariaDB checks by a function that knows 32 levels only.
                return "longtext"

    def _interval_keys(self, entity: Entity) -> Iterator[str]:
        """One span an instant begins, and one stays open, for each owner."""
        if entity.interval:
            owner, start, end = entity.interval.owner, entity.interval.start, entity.interval.end
            kind, open_owner = self._type(entity.field(owner).type), f"{owner}_while_open"
            yield (
                f"{open_owner} {kind} GENERATED ALWAYS AS"
                f" (CASE WHEN {end} IS NULL THEN {owner} END) STORED"
            )
            yield f"CONSTRAINT {entity.name}_start_key UNIQUE ({TENANT}, {owner}, {start})"
            yield f"CONSTRAINT {entity.name}_open_key UNIQUE ({TENANT}, {open_owner})"

    def _turns_table(self, entity: Entity) -> Iterator[str]:
        """A row a tenant, locked by whoever promotes intervals."""
        if entity.interval:
            yield (
                f"CREATE TABLE IF NOT EXISTS {turns(entity)}"
                f" ({TENANT} {ID} PRIMARY KEY) {self._table_options}"
            )


def default_of(field: Field) -> str | None:
    if field.default is None:
        return None
    if field.default is SERVER_NOW:
        return "(UTC_TIMESTAMP(6))"
    if isinstance(field.type, JsonObject):
        return f"('{field.default}')"
    return str(int(field.default)) if isinstance(field.default, bool) else f"'{field.default}'"


def _value_check(field: Field) -> str | None:
    match field.type:
        case Money(minimum=minimum) if minimum is not None:
            return f"{field.name} >= {minimum}"
        case Integer(nonzero=True):
            return f"{field.name} <> 0"
        case Boolean():
            return f"{field.name} IN (0, 1)"
        case Text(choices=choices) if choices:
            return tables.choices(field, choices)
    return None


def _index_columns(index: Index) -> str:
    """There are no covered columns and no partial indexes: both are in the key."""
    flag = [index.where_true] if index.where_true else []
    return ", ".join((TENANT, *flag, *index.columns, *index.include))


def turns(entity: Entity) -> str:
    return f"{entity.name}_turns"


def _trigger(name: str, event: str, table: str, allowed: str) -> list[str]:
    return [
        f"DROP TRIGGER IF EXISTS {name}",
        f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW"
        f" IF NOT (@headrace_tenant <=> '*' OR {allowed}) THEN"
        " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF",
    ]


def _number_keys(entity: Entity) -> Iterator[str]:
    if entity.levels:
        owner, number = entity.levels.owner, entity.levels.number
        name = tables.number_key(entity)
        yield f"CONSTRAINT {name} UNIQUE ({TENANT}, {owner}, {number})"
