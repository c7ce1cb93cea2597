"""PostgreSQL 15 and later, through psycopg 3.

Operator's notes:
- COPY is refused on tables under row-level security, so rows go into a temporary table of the
  connection (no write-ahead log, nothing shared, emptied by itself at commit).
- Outcomes come from RETURNING: an insert leaves `is_rewritten` false and an update sets it. (The
  usual `xmax = 0` is refused on partitioned tables.)
- Text that COPY reads must be what the session's settings expect: the time zone is set to UTC
  with the other settings of a transaction.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from psycopg import errors
from psycopg.rows import tuple_row

from headrace.pipeline.dialects import statements, tables
from headrace.pipeline.dialects.base import Connection, Span, Taken, Unresolved, Written
from headrace.pipeline.dialects.statements import SEQUENCE, TENANT, Spelling
from headrace.pipeline.errors import DataRefused, HeadraceError, Race, Retryable, TookTooLong
from headrace.pipeline.load import Load
from headrace.pipeline.report import Lines
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
    Reference,
    Text,
    Timestamp,
    Uuid,
)

REWRITTEN = "is_rewritten"
SPELLING = Spelling(
    tenant="CAST(%(tenant)s AS uuid)",
    sequence="CAST(%(sequence)s AS bigint)",
    mask="%(mask)s",
    distinct="({left}) IS DISTINCT FROM ({right})",
    on_update=(f"{REWRITTEN} = true",),
)
_TRANSACTION = """
SET LOCAL TimeZone = 'UTC';
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '10min';
SET LOCAL synchronous_commit = on;
"""


class PostgreSQL:
    """The dialect. `parents` maps an entity's name to its key.

    New target tables are cut into `partitions` by the hash of their tenant; 0 leaves them whole.
    """

    name = "postgresql"
    segment_rows = 50_000
    pause_seconds = 0.0
    hides_rows = True
    unbind_statement = ""
    collation = ""

    def __init__(self, parents: dict[str, str], partitions: int = 0) -> None:
        self._parents = parents
        self._count = partitions

    def bind_statement(self, tenant: UUID | None) -> str:
        """The statement form: on a Citus cluster set_config() would not reach the workers."""
        return f"SET LOCAL app.tenant_id = '{tenant}'" if tenant else ""

    def table_statements(self, entity: Entity) -> list[str]:
        columns = [f"{TENANT} uuid NOT NULL", *map(_column, entity.fields)]
        columns += [f"{SEQUENCE} bigint NOT NULL"]
        columns += tables.constraints(entity, self._parents, refers=not self._count)
        body = ",\n    ".join(columns)
        return [
            self._table(entity.name, body),
            *self._partitions(entity),
            *(_index(entity, index) for index in entity.indexes if not index.optional),
            *tables.interval_indexes(entity),
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
        """What tells an insert from an update, and no statistics on the tenant.

        With statistics a tenant that came after the last ANALYZE is thought to have one row, and
        its first large file is joined row by row with itself: 240,000 lines took minutes instead
        of 4 s. Without, every tenant is thought to have a 200th.
        """
        altered = f"ALTER TABLE {entity.name}"
        return [
            f"{altered} ADD COLUMN IF NOT EXISTS {REWRITTEN} boolean NOT NULL DEFAULT false",
            f"{altered} ALTER COLUMN {TENANT} SET STATISTICS 0",
        ]

    def guard_statements(self, table: str) -> list[str]:
        """Rows of the transaction's tenant, and none where no tenant is set ('' after one was)."""
        return [
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
            f"CREATE POLICY {table}_tenant ON {table} USING"
            f" ({TENANT} = CAST(NULLIF(current_setting('app.tenant_id', true), '') AS uuid))",
        ]

    def index_statement(self, entity: Entity, name: str) -> str:
        return _index(entity, {index.name: index for index in entity.indexes}[name])

    def column_statement(self, entity: Entity, field: str) -> str:
        return f"ALTER TABLE {entity.name} ADD COLUMN {_column(entity.field(field))}"

    def golden_statements(self, entity: Entity) -> dict[str, str]:
        mask = statements.full_mask(entity)
        return {
            "table": ";\n".join(self.table_statements(entity)),
            "staging": _staging_table(entity),
            "copy": _copy(entity),
            **statements.checks(SPELLING, entity, self._parents),
            "write": _write(entity, mask),
            **statements.afterwards(SPELLING, entity, mask),
            "outrun": statements.outrun(SPELLING, entity),
        }

    def stage(self, connection: Connection, entity: Entity, rows: Sequence[bytes]) -> None:
        with _cursor(connection) as cursor:
            cursor.execute(_TRANSACTION + _staging_table(entity))
            cursor.execute(f"DELETE FROM {entity.name}_staging")
            with cursor.copy(_copy(entity)) as copy:
                for start in range(0, len(rows), 5_000):
                    copy.write(b"\n".join(rows[start : start + 5_000]) + b"\n")
            cursor.execute(f"ANALYZE {entity.name}_staging ({entity.key})")

    def unresolved(
        self, connection: Connection, load: Load, reference: Reference
    ) -> list[Unresolved]:
        rows = _all(connection, load, self._unresolved(load.entity, reference))
        return [Unresolved(line, str(key)) for line, key in rows]

    def taken(self, connection: Connection, load: Load, field: str) -> list[Taken]:
        rows = _all(connection, load, statements.taken(SPELLING, load.entity, field))
        return [Taken(line, value, str(holder)) for line, value, holder in rows]

    def rivals(self, connection: Connection, load: Load, field: str) -> list[Taken]:
        rows = _all(connection, load, statements.rivals(SPELLING, load.entity, field))
        return [Taken(line, value, str(holder)) for line, value, holder in rows]

    def stale(self, connection: Connection, load: Load) -> Lines:
        return _packed(connection, load, statements.stale(SPELLING, load.entity))

    def repeated(self, connection: Connection, load: Load) -> Lines:
        return _packed(connection, load, statements.repeated(SPELLING, load.entity))

    def spans(self, connection: Connection, load: Load) -> list[Span]:
        rows = _all(connection, load, statements.crowded(SPELLING, load.entity))
        return [Span(*row) for row in rows]

    def drop(self, connection: Connection, entity: Entity, lines: Lines) -> None:
        with _cursor(connection) as cursor:
            cursor.execute(
                f"DELETE FROM {entity.name}_staging WHERE line = ANY(%s)", [lines.tolist()]
            )

    def write(self, connection: Connection, load: Load, mask: int) -> Written:
        with _cursor(connection, binary=True) as cursor:
            cursor.execute(_write(load.entity, mask), _parameters(load, mask))
            inserted, updated = _row(cursor)
        return Written(_lines(inserted), _lines(updated))

    def equal(self, connection: Connection, load: Load, mask: int) -> Lines:
        return _packed(connection, load, statements.equal(SPELLING, load.entity, mask), mask)

    def renew(self, connection: Connection, load: Load) -> None:
        """Raises Race if an older file changed a row after ours was found equal to it."""
        with _cursor(connection) as cursor:
            cursor.execute(f"SELECT DISTINCT mask FROM {load.entity.name}_staging")
            for (mask,) in cursor.fetchall():
                statement = statements.renew(SPELLING, load.entity, mask)
                cursor.execute(statement, _parameters(load, mask))
        if len(_packed(connection, load, statements.outrun(SPELLING, load.entity))):
            raise Race("an older file changed rows that were found equal")

    def serialize(self, connection: Connection, load: Load) -> None:
        with _cursor(connection) as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
                [f"{load.tenant} {load.entity.name}"],
            )

    def refresh_statistics(self, connection: Connection, entity: Entity) -> None:
        """Only an owner may ANALYZE; `headrace_analyze` does it for others, if it is due."""
        with _cursor(connection) as cursor:
            cursor.execute("SELECT headrace_analyze(%s)", [entity.name])

    def translated(self, error: Exception) -> HeadraceError | None:
        for kinds, ours in _TRANSLATIONS:
            if isinstance(error, kinds):
                return ours(type(error).__name__)
        return None

    def _unresolved(self, entity: Entity, reference: Reference) -> str:
        parent_key = self._parents[reference.entity]
        return statements.unresolved(SPELLING, entity, reference, parent_key)


_TRANSLATIONS: list[tuple[tuple[type[Exception], ...], Callable[[str], HeadraceError]]] = [
    ((errors.UniqueViolation, errors.ForeignKeyViolation), Race),
    ((psycopg.DataError, psycopg.IntegrityError), DataRefused),
    ((errors.QueryCanceled,), TookTooLong),
    ((psycopg.OperationalError, psycopg.InterfaceError), Retryable),
]


def _column(field: Field) -> str:
    return tables.column(field, _type(field.type), _default(field), _value_check(field))


def _type(kind: FieldType) -> str:
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


def _default(field: Field) -> str | None:
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


def _staging_table(entity: Entity) -> str:
    columns = ", ".join(f"{field.name} {_type(field.type)}" for field in entity.fields)
    return (
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {entity.name}_staging"
        f" (line bigint, mask integer, {columns}) ON COMMIT DELETE ROWS"
    )


def _copy(entity: Entity) -> str:
    return f"COPY {entity.name}_staging (line, mask, {', '.join(entity.field_names)}) FROM STDIN"


def _write(entity: Entity, mask: int) -> str:
    return f"""
WITH written AS ({statements.insert(SPELLING, entity, mask)}
RETURNING t.{SEQUENCE} - {SPELLING.sequence} AS line, NOT t.{REWRITTEN} AS is_new)
SELECT string_agg(int8send(line), '') FILTER (WHERE is_new),
       string_agg(int8send(line), '') FILTER (WHERE NOT is_new)
FROM written"""


def _parameters(load: Load, mask: int = 0) -> dict[str, Any]:
    return {"tenant": str(load.tenant), "sequence": load.sequence, "mask": mask}


def _cursor(connection: Connection, *, binary: bool = False) -> psycopg.Cursor[Any]:
    """A server-side-binding cursor, whatever kind the lender's connection makes by itself."""
    cursor: psycopg.Cursor[Any] = psycopg.Cursor(connection, row_factory=tuple_row)
    cursor.format = psycopg.pq.Format(binary)
    return cursor


def _all(connection: Connection, load: Load, statement: str) -> list[tuple[Any, ...]]:
    with _cursor(connection) as cursor:
        cursor.execute(statement, _parameters(load))
        return list(cursor.fetchall())


def _packed(connection: Connection, load: Load, statement: str, mask: int = 0) -> Lines:
    """The lines that a statement selects, in eight bytes each instead of a tuple each."""
    with _cursor(connection, binary=True) as cursor:
        cursor.execute(
            f"SELECT string_agg(int8send(line), '') FROM ({statement}) found",
            _parameters(load, mask),
        )
        return _lines(_row(cursor)[0])


def _row(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    """The one row of an aggregate."""
    row = cursor.fetchone()
    assert row is not None
    return tuple(row)


def _lines(packed: bytes | None) -> Lines:
    return np.frombuffer(packed or b"", dtype=">i8").astype(np.int64)
