"""SQLite 3.37 and later, through the standard library: the embedded default.

Operator's notes:
- Its decimals are floats, so money is an integer of the scale's smallest unit; times and ids
  are the texts that Django's own columns use.
- One writer at a time holds the whole file. Segments are small so that a write transaction
  stays near 100 ms, and the caller pauses between them.
- Inside a write transaction nobody else writes, so looking first and writing then is exact.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np

from headrace.pipeline.dialects import level_statements, sqlite_values, statements, tables
from headrace.pipeline.dialects.base import (
    Connection,
    Moved,
    Replaced,
    Span,
    Taken,
    Unresolved,
    Written,
)
from headrace.pipeline.dialects.moving import Moving
from headrace.pipeline.dialects.statements import SEQUENCE, TENANT, Spelling
from headrace.pipeline.errors import DataRefused, HeadraceError, Race, Retryable
from headrace.pipeline.load import Load
from headrace.pipeline.ready import ReadyRows
from headrace.pipeline.report import Fall, Lines
from headrace.pipeline.values import dashed
from headrace.schema import (
    SERVER_NOW,
    Boolean,
    Entity,
    Field,
    FieldType,
    Index,
    Integer,
    Money,
    Promotion,
    Reference,
    Text,
)

SPELLING = Spelling(
    tenant=":tenant",
    sequence=":sequence",
    mask=":mask",
    distinct="({left}) IS NOT ({right})",
    staging_prefix="temp.",
    aside="'-' || {moment}",
)
#: For what is sorted by columns of an index: else it is read from there, and the staged rows for
#: each row of the tenant.
STAGED_FIRST = replace(SPELLING, join="CROSS JOIN")
_NOW = "(strftime('%Y-%m-%d %H:%M:%S', 'now'))"
_DAY = "substr({moment}, 1, 10)"


class SQLite(Moving):
    """The dialect. `parents` maps an entity's name to its key."""

    name = "sqlite"
    segment_rows = 2_500
    pause_seconds = 0.01
    hides_rows = False
    unbind_statement = ""
    unbind_early_statement = ""
    collation = ""

    _spelling = SPELLING

    def __init__(self, parents: dict[str, str]) -> None:
        self._parents = parents

    def bind_statement(self, tenant: UUID | None) -> str:
        """Nothing to do: the triggers ask a function of the connection."""
        return ""

    def table_statements(self, entity: Entity) -> list[str]:
        columns = [f"{TENANT} TEXT NOT NULL", *map(_column, entity.columns)]
        columns += [f"{SEQUENCE} INTEGER NOT NULL", *tables.constraints(entity, self._parents)]
        body = ",\n    ".join(columns)
        return [
            f"CREATE TABLE {entity.name} (\n    {body}\n) STRICT",
            *(_index(entity, index) for index in entity.indexes if index.method == "btree"),
            *tables.unique_indexes(entity),
            *self.guard_statements(entity.name),
        ]

    def setting_statements(self, entity: Entity) -> list[str]:
        return []

    def guard_statements(self, table: str) -> list[str]:
        """Writes outside a tenant's transaction, or for another tenant, are refused.

        `headrace_tenant()` is a function of the connection: the transaction's tenant, NULL
        outside of one, or `*` for the owner.
        """
        ours = f"headrace_tenant() IS {{}}.{TENANT}"
        guards = {
            "INSERT": ours.format("NEW"),
            "UPDATE": f"{ours.format('OLD')} AND {ours.format('NEW')}",
            "DELETE": ours.format("OLD"),
        }
        return [
            f"CREATE TRIGGER {table}_tenant_{event.lower()} BEFORE {event} ON {table}"
            f" WHEN NOT ({allowed} OR headrace_tenant() IS '*')"
            f" BEGIN SELECT RAISE(ABORT, 'another tenant'); END"
            for event, allowed in guards.items()
        ]

    def numbering_statements(self, entity: Entity) -> list[str]:
        return [
            *level_statements.numbering(entity, level_statements.numbered(entity)),
            *tables.unique_indexes(entity),
        ]

    def day_table_statements(self, table: str) -> list[str]:
        return [
            f"CREATE TABLE IF NOT EXISTS {table}"
            f" (id INTEGER PRIMARY KEY, {TENANT} TEXT NOT NULL, day TEXT NOT NULL) STRICT",
            f"CREATE INDEX {table}_idx ON {table} ({TENANT}, day)",
            *self.guard_statements(table),
        ]

    def index_statement(self, entity: Entity, name: str) -> str:
        return _index(entity, {index.name: index for index in entity.indexes}[name])

    def index_removal(self, table: str, name: str) -> str:
        return f"DROP INDEX {name}"

    def removal_statement(self, table: str) -> str:
        chosen = f"SELECT rowid FROM {table} WHERE {TENANT} = %(tenant)s LIMIT %(most)s"
        return f"DELETE FROM {table} WHERE rowid IN ({chosen})"

    def own_tables(self, entity: Entity) -> list[str]:
        return []

    def column_statement(self, entity: Entity, field: str) -> str:
        return f"ALTER TABLE {entity.name} ADD COLUMN {_column(entity.field(field))}"

    def golden_statements(self, entity: Entity) -> dict[str, str]:
        return {
            "table": ";\n".join(self.table_statements(entity)),
            "staging": _staging_table(entity),
            **statements.checks(SPELLING, entity, self._parents),
            **(self._moving(entity) if entity.levels else self._writing(entity)),
        }

    def stage(self, connection: Connection, entity: Entity, rows: ReadyRows) -> None:
        connection.execute(_staging_table(entity))
        connection.execute(f"DELETE FROM temp.{entity.name}_staging")
        marks = ", ".join("?" * (2 + len(entity.fields)))
        connection.executemany(
            f"INSERT INTO temp.{entity.name}_staging VALUES ({marks})",
            sqlite_values.bound_rows(entity, rows),
        )

    def hold_parents(self, connection: Connection, load: Load) -> AbstractContextManager[None]:
        return nullcontext()

    def unresolved(
        self, connection: Connection, load: Load, reference: Reference
    ) -> list[Unresolved]:
        rows = _all(connection, load, self._unresolved(load.entity, reference))
        return [Unresolved(line, dashed(key)) for line, key in rows]

    def taken(self, connection: Connection, load: Load, field: str) -> list[Taken]:
        rows = _all(connection, load, statements.taken(SPELLING, load.entity, field))
        return [Taken(line, value, dashed(holder)) for line, value, holder in rows]

    def rivals(self, connection: Connection, load: Load, field: str) -> list[Taken]:
        rows = _all(connection, load, statements.rivals(SPELLING, load.entity, field))
        return [Taken(line, value, dashed(holder)) for line, value, holder in rows]

    def replaced(self, connection: Connection, load: Load) -> Replaced:
        rows = _all(connection, load, statements.replaced(SPELLING, load.entity))
        stale = [(line,) for line, is_stale in rows if is_stale]
        return Replaced(_lines(stale), len(rows) - len(stale))

    def repeated(self, connection: Connection, load: Load) -> Lines:
        return _lines(_all(connection, load, statements.repeated(SPELLING, load.entity)))

    def spans(self, connection: Connection, load: Load) -> list[Span]:
        rows = _all(connection, load, statements.crowded(SPELLING, load.entity))
        return [Span(*row) for row in rows]

    def drop(self, connection: Connection, entity: Entity, lines: Lines) -> None:
        connection.executemany(
            f"DELETE FROM temp.{entity.name}_staging WHERE line = ?",
            [(line,) for line in lines.tolist()],
        )

    def set_aside(self, connection: Connection, load: Load) -> int:
        statement = statements.set_aside(STAGED_FIRST, load.entity)
        return int(connection.execute(statement, _parameters(load)).rowcount)

    def write(self, connection: Connection, load: Load, mask: int) -> Written:
        stored = _lines(_all(connection, load, statements.known(SPELLING, load.entity, mask), mask))
        if not len(stored) and load.entity.promotion is Promotion.UPSERT:
            return self._write_new(connection, load, mask)
        days = self._former_days(connection, load, mask) if len(stored) else set()
        cursor = connection.execute(_write(load.entity, mask), _parameters(load, mask))
        written = _lines(cursor.fetchall()) - load.sequence
        is_new = ~np.isin(written, stored)
        if len(written):
            days |= self._written_days(connection, load, mask)
        return Written(written[is_new], written[~is_new], frozenset(days))

    def _write_new(self, connection: Connection, load: Load, mask: int) -> Written:
        """All rows of a mask of which none is stored: nothing is asked of the table any more."""
        entity, given = load.entity, _parameters(load, mask)
        staged = f"SELECT line FROM temp.{entity.name}_staging WHERE mask = :mask"
        lines = _lines(_all(connection, load, staged, mask))
        inserted = connection.execute(_insert(entity, mask), given).rowcount
        if inserted != len(lines):  # somebody's trigger leaves rows out
            lines = _lines(_all(connection, load, statements.known(SPELLING, entity, mask), mask))
        days: set[str] = set()
        if entity.days is not None:
            statement = statements.staged_days(SPELLING, entity, self._parents, _DAY)
            days = {day for (day,) in _all(connection, load, statement, mask)}
        return Written(lines, days=frozenset(days))

    def _former_days(self, connection: Connection, load: Load, mask: int) -> set[str]:
        if load.entity.days is None:
            return set()
        statement = statements.former_days(SPELLING, load.entity, self._parents, mask, _DAY)
        return {day for (day,) in _all(connection, load, statement, mask)}

    def _written_days(self, connection: Connection, load: Load, mask: int) -> set[str]:
        if load.entity.days is None:
            return set()
        statement = statements.written_days(SPELLING, load.entity, self._parents, _DAY)
        return {day for (day,) in _all(connection, load, statement, mask)}

    def mark_days(self, connection: Connection, load: Load, days: Sequence[str]) -> None:
        table = statements.days_of(load.entity).table
        connection.executemany(
            f"INSERT INTO {table} ({TENANT}, day) VALUES (?, ?)",
            [(load.tenant.hex, day) for day in days],
        )

    def equal(self, connection: Connection, load: Load, mask: int) -> Lines:
        return _lines(_all(connection, load, statements.equal(SPELLING, load.entity, mask), mask))

    def renew(self, connection: Connection, load: Load) -> None:
        masks = connection.execute(f"SELECT DISTINCT mask FROM temp.{load.entity.name}_staging")
        for (mask,) in masks.fetchall():
            connection.execute(
                statements.renew(SPELLING, load.entity, mask), _parameters(load, mask)
            )

    def serialize(self, connection: Connection, load: Load) -> None:
        """Nothing to do: a write transaction has the file for itself."""

    def serialize_shared(self, connection: Connection, tenant: UUID, entity: Entity) -> None:
        """Nothing to do, as above."""

    def lock_levels(self, connection: Connection, load: Load) -> None:
        """A write transaction has the file for itself: levels need only be there."""
        statement = level_statements.opened(SPELLING, load.entity, "")
        connection.execute(statement, _parameters(load))

    def move(self, connection: Connection, load: Load) -> Moved:
        entity, parameters = load.entity, _parameters(load)
        rows = connection.execute(_move(entity), parameters).fetchall()
        raised = connection.execute(level_statements.raised(SPELLING, entity, _NOW), parameters)
        mismatched = [(line - load.sequence,) for line, differs, _ in rows if differs]
        still = [(line - load.sequence,) for line, _, is_still in rows if is_still]
        return Moved(len(rows), raised.rowcount, _lines(mismatched), _lines(still))

    def fallen(self, connection: Connection, load: Load) -> list[Fall]:
        rows = _all(connection, load, level_statements.fallen(SPELLING, load.entity))
        return [Fall(dashed(owner), level) for owner, level in rows]

    def _default_of(self, field: Field) -> str | None:
        return _default(field)

    def _asked(self, connection: Connection, load: Load, statement: str) -> list[tuple[Any, ...]]:
        return _all(connection, load, statement)

    def refresh_statistics(self, connection: Connection, entity: Entity) -> None:
        """Nothing to do: without statistics SQLite takes the index that fits best, which is what
        every statement here wants; those of a first small load made the next one quadratic."""

    def translated(self, error: Exception) -> HeadraceError | None:
        name = str(getattr(error, "sqlite_errorname", ""))
        for beginnings, ours in _TRANSLATIONS:
            if name.startswith(beginnings):
                return ours(name)
        return None

    def _moving(self, entity: Entity) -> dict[str, str]:
        return {
            "table of levels": ";\n".join(self.table_statements(level_statements.table_of(entity))),
            "open levels": level_statements.opened(SPELLING, entity, ""),
            **level_statements.checks(SPELLING, entity, _default),
            "move": _move(entity),
            "raise levels": level_statements.raised(SPELLING, entity, _NOW),
            "fallen": level_statements.fallen(SPELLING, entity),
        }

    def _writing(self, entity: Entity) -> dict[str, str]:
        mask = statements.full_mask(entity)
        dated = {}
        if entity.days:
            dated = {
                "staged days": statements.staged_days(SPELLING, entity, self._parents, _DAY),
                "former days": statements.former_days(SPELLING, entity, self._parents, mask, _DAY),
                "written days": statements.written_days(SPELLING, entity, self._parents, _DAY),
            }
        aside = {}
        if entity.interval:
            aside = {"set aside": statements.set_aside(STAGED_FIRST, entity)}
        return {
            **aside,
            "known": statements.known(SPELLING, entity, mask),
            **({"insert": _insert(entity, mask)} if entity.promotion is Promotion.UPSERT else {}),
            "write": _write(entity, mask),
            **dated,
            **statements.afterwards(SPELLING, entity, mask),
        }

    def _unresolved(self, entity: Entity, reference: Reference) -> str:
        parent_key = self._parents[reference.entity]
        return statements.unresolved(SPELLING, entity, reference, parent_key)


_TRANSLATIONS: list[tuple[tuple[str, ...], Callable[[str], HeadraceError]]] = [
    (("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_FOREIGNKEY"), Race),
    (("SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG"), DataRefused),
    (("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR"), Retryable),
]


def _column(field: Field) -> str:
    return tables.column(field, _type(field.type), _default(field), _value_check(field))


def _type(kind: FieldType) -> str:
    return "INTEGER" if isinstance(kind, Money | Integer | Boolean) else "TEXT"


def _default(field: Field) -> str | None:
    if field.default is None:
        return None
    if field.default is SERVER_NOW:
        return _NOW
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
        case Text(max_length=length):
            return f"length({field.name}) <= {length}"
    return None


def _index(entity: Entity, index: Index) -> str:
    """SQLite covers columns by having them in the key."""
    columns = ", ".join((TENANT, *index.columns, *index.include))
    text = f"CREATE INDEX {index.name} ON {entity.name} ({columns})"
    if index.where_true:
        text += f" WHERE {index.where_true} = 1"
    if index.where_present:
        text += f" WHERE {index.where_present} IS NOT NULL"
    return text


def _staging_table(entity: Entity) -> str:
    columns = ", ".join(f"{field.staged} {_type(field.type)}" for field in entity.fields)
    return (
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {entity.name}_staging"
        f" (line INTEGER PRIMARY KEY, mask INTEGER, {columns})"
    )


def _insert(entity: Entity, mask: int) -> str:
    statement = statements.inserted(SPELLING, entity, mask)
    return f"{statement}\nORDER BY {statements.write_order(entity)}"


def _write(entity: Entity, mask: int) -> str:
    return f"{statements.insert(SPELLING, entity, mask)}\nRETURNING {SEQUENCE}"


def _move(entity: Entity) -> str:
    levels = level_statements.levels_of(entity)
    return f"""{level_statements.moved(SPELLING, entity, _default)}
RETURNING {SEQUENCE}, {levels.claimed} <> {levels.level}, {levels.change} = 0"""


def _parameters(load: Load, mask: int = 0) -> dict[str, Any]:
    return {"tenant": load.tenant.hex, "sequence": load.sequence, "mask": mask}


def _all(
    connection: Connection, load: Load, statement: str, mask: int = 0
) -> list[tuple[Any, ...]]:
    return list(connection.execute(statement, _parameters(load, mask)).fetchall())


def _lines(rows: list[tuple[Any, ...]]) -> Lines:
    return np.array([row[0] for row in rows], dtype=np.int64)
