"""PostgreSQL 15 and later, through psycopg 3.

Operator's notes:
- COPY is refused on tables under row-level security, so rows go into a temporary table of the
  connection (no write-ahead log, nothing shared, emptied before its next use).
- Outcomes come from RETURNING, or from the number of rows where all are new: an insert leaves
  `is_rewritten` false and an update sets it. (The usual `xmax = 0` is refused on partitioned
  tables.)
- Nothing here is prepared: a plan that was made for a large segment would serve small calls too.
  Those have `few_rows`.
- Rows are sorted in memory, and statements are not compiled: that takes longer than to run them.
- Many rows that may be new are joined by hash or merge, or looked up through an index, and never
  held against each row that a tenant has: he may have come after the last ANALYZE, in a partition
  that is thought to be empty. Movements always find some of many, and need the lookups.
- Text that COPY reads must be what the session's settings expect: the time zone is set to UTC
  with the other settings of a transaction.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from copy import copy
from functools import cached_property, partial
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
from psycopg import errors
from psycopg.rows import tuple_row

from headrace.pipeline.dialects import (
    level_statements,
    postgresql_lookups,
    postgresql_parents,
    postgresql_writing,
    statements,
)
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
from headrace.pipeline.dialects.postgresql_lookups import Parents
from headrace.pipeline.dialects.postgresql_parents import PARAMETER
from headrace.pipeline.dialects.postgresql_series import Series
from headrace.pipeline.dialects.postgresql_tables import (
    REWRITTEN,
    Tables,
    column_type,
    default_of,
)
from headrace.pipeline.dialects.statements import SEQUENCE, Spelling
from headrace.pipeline.dialects.trips import Row, Statement, trip
from headrace.pipeline.errors import DataRefused, HeadraceError, Race, Retryable, TookTooLong
from headrace.pipeline.load import Load
from headrace.pipeline.ready import ReadyRows
from headrace.pipeline.report import NO_LINES, Fall, Lines, without
from headrace.schema import Entity, Field, Promotion, Reference

MANY_BYTES = 1 << 18
MANY_ROWS = 5_000
SPELLING = Spelling(
    tenant="CAST(%(tenant)s AS uuid)",
    sequence="CAST(%(sequence)s AS bigint)",
    mask="%(mask)s",
    distinct="({left}) IS DISTINCT FROM ({right})",
    on_update=(f"{REWRITTEN} = true",),
    aside="{moment} - INTERVAL '146097 days'",  # 400 years
)
TRANSACTION = """
SET LOCAL TimeZone = 'UTC';
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = '10min';
SET LOCAL synchronous_commit = on;
"""
LARGE = """
SET LOCAL work_mem = '64MB';
SET LOCAL jit = off;
"""
LOOPS = "SET LOCAL enable_nestloop = {};"
_DAYS_OF_TENANT = "hashtextextended('days ' || %(tenant)s, 0)"
_KEEP_DAYS = f"SELECT pg_advisory_xact_lock_shared({_DAYS_OF_TENANT})"
_MOVE_DAYS = f"SELECT pg_advisory_xact_lock({_DAYS_OF_TENANT})"
SERIALIZE_SHARED = Statement("SELECT pg_advisory_xact_lock_shared(hashtextextended(%(name)s, 0))")


def lock_name(tenant: UUID, entity: Entity) -> str:
    """What the lock is of that `serialize` and `serialize_shared` take."""
    return f"{tenant} {entity.name}"


class PostgreSQL(Tables, Moving):
    """The dialect. `parents` is as in Tables.

    New target tables are cut into `partitions` by the hash of their tenant; 0 leaves them whole.
    """

    name = "postgresql"
    segment_rows = 50_000
    #: From here on a lookup a staged row takes less than to read a table of one tenant.
    large_bytes = 64 << 20
    pause_seconds = 0.0
    hides_rows = True
    unbind_statement = ""
    unbind_early_statement = "SET LOCAL app.tenant_id = ''"
    collation = ""

    new_so_far = Series()

    _spelling = SPELLING
    _is_wary = False

    def bind_statement(self, tenant: UUID | None) -> str:
        """The statement form: on a Citus cluster set_config() would not reach the workers."""
        return f"SET LOCAL app.tenant_id = '{tenant}'" if tenant else ""

    def golden_statements(self, entity: Entity) -> dict[str, str]:
        return {
            "table": ";\n".join(self.table_statements(entity)),
            "staging": f"{self._staging_table(entity)};{_emptied(entity)}",
            "copy": self._copy(entity),
            **_holding(entity),
            **self._checks(entity),
            **(self._moving(entity) if entity.levels else self._writing(entity)),
        }

    @property
    def wary(self) -> "PostgreSQL":
        found = copy(self)
        found._is_wary = True
        return found

    def fitting(self, rows: int) -> "PostgreSQL":
        return self._few if rows <= self._few.MOST else self

    @cached_property
    def _few(self) -> Any:
        from headrace.pipeline.dialects.few_rows import FewRows  # noqa: PLC0415 - one of us

        return FewRows(self._parents)

    def stage(self, connection: Connection, entity: Entity, rows: ReadyRows) -> None:
        are_many = len(rows) >= MANY_ROWS and entity.promotion is Promotion.UPSERT
        with cursor_of(connection) as cursor:
            begun = f"{TRANSACTION}{LARGE}{LOOPS.format('off' if are_many else 'on')}"
            cursor.execute(f"{begun}{self._staging_table(entity)};{_emptied(entity)}")
            self._fill(cursor, entity, rows)
            # A few, thought to be hundreds, would be joined by reading all that the tenant has.
            if not are_many:
                self._analyze(cursor, entity)

    def hold_parents(self, connection: Connection, load: Load) -> AbstractContextManager[None]:
        """Asked with the lock, in one trip a segment: a right that was taken away is noticed."""
        if not postgresql_parents.can_be_spared(load.entity):
            return nullcontext()
        with cursor_of(connection) as cursor:
            cursor.execute(postgresql_parents.holding(load.entity), parameters(load))
            held = cursor.fetchone()
        return _without_triggers(connection) if held else nullcontext()

    def unresolved(
        self, connection: Connection, load: Load, reference: Reference
    ) -> list[Unresolved]:
        by_index = self._is_large(connection, reference.entity)
        statement = self._unresolved(load.entity, reference, by_index=by_index)
        rows = self._asked(connection, load, statement)
        return [Unresolved(line, str(key)) for line, key in rows]

    def taken(self, connection: Connection, load: Load, field: str) -> list[Taken]:
        by_index = self._is_large(connection, load.entity.name)
        taken = postgresql_lookups.taken if by_index else statements.taken
        rows = _all(connection, load, taken(SPELLING, load.entity, field))
        return [Taken(line, value, str(holder)) for line, value, holder in rows]

    def rivals(self, connection: Connection, load: Load, field: str) -> list[Taken]:
        rows = _all(connection, load, statements.rivals(SPELLING, load.entity, field))
        return [Taken(line, value, str(holder)) for line, value, holder in rows]

    def replaced(self, connection: Connection, load: Load) -> Replaced:
        stale, moving = _look(connection, _replaced(load.entity), parameters(load))
        return Replaced(_lines(stale), moving)

    def repeated(self, connection: Connection, load: Load) -> Lines:
        return _packed(connection, load, statements.repeated(SPELLING, load.entity))

    def spans(self, connection: Connection, load: Load) -> list[Span]:
        rows = _all(connection, load, statements.crowded(SPELLING, load.entity))
        return [Span(*row) for row in rows]

    def drop(self, connection: Connection, entity: Entity, lines: Lines) -> None:
        with cursor_of(connection) as cursor:
            # Joined: an array would be searched from its beginning at each row.
            cursor.execute(
                f"DELETE FROM {self._staging(entity)} s USING unnest(CAST(%s AS bigint[])) gone"
                " WHERE s.line = gone",
                [lines.tolist()],
            )

    def set_aside(self, connection: Connection, load: Load) -> int:
        with cursor_of(connection) as cursor:
            cursor.execute(statements.set_aside(SPELLING, load.entity), parameters(load))
            return cursor.rowcount

    def write(self, connection: Connection, load: Load, mask: int) -> Written:
        """Rows whose parent says their day keep parents where they are; who moves some waits.

        Else a parent could move between the look at its day and the commit, and its new day be
        thought to know of rows that it could not see.
        """
        entity = load.entity
        if entity.days is not None and entity.days.parent:
            _look(connection, _KEEP_DAYS, parameters(load))
        if entity.promotion is not Promotion.UPSERT:
            return self._merge(connection, postgresql_writing.merged_all, load, mask)
        return self._upsert(connection, load, mask)

    def _upsert(self, connection: Connection, load: Load, mask: int) -> Written:
        """Where the last segment had no stored row, this one is hoped to have none either: to look
        costs a tenth of the time, in a large table a fifth."""
        series = load.tenant, load.entity.name, mask
        if series in self.new_so_far and not self._is_wary:
            with suppress(errors.UniqueViolation), connection.transaction():
                return self._insert(connection, load, mask, self._staged(connection, load, mask))
        equal, differing, staged = self._matched(connection, load, mask)
        stored = np.concatenate((equal, differing))
        self.new_so_far.note(series, is_new=not len(stored))
        found = Written(equal=equal)
        merge = partial(self._merge, connection, postgresql_writing.merged, load, mask)
        if self._is_wary:
            return found.plus(merge(chosen=without(staged, equal)))
        if len(new := without(staged, stored)):
            found = found.plus(self._insert(connection, load, mask, new, stored))
        return found.plus(merge(chosen=differing)) if len(differing) else found

    def _matched(self, connection: Connection, load: Load, mask: int) -> tuple[Lines, Lines, Lines]:
        """Lines of rows that equal stored ones, of those that differ from them, and all."""
        by_index = self._is_large(connection, load.entity.name)
        matched = postgresql_lookups.matched(SPELLING, load.entity, mask, by_index=by_index)
        equal, differing, staged = _look(connection, matched, parameters(load, mask))
        return _lines(equal), _lines(differing), _lines(staged)

    def _staged(self, connection: Connection, load: Load, mask: int) -> Lines:
        statement = f"SELECT line FROM {self._staging(load.entity)} WHERE mask = %(mask)s"
        return _packed(connection, load, statement, mask)

    def _insert(
        self, connection: Connection, load: Load, mask: int, new: Lines, stored: Lines = NO_LINES
    ) -> Written:
        """Raises Race if not all of them were written: somebody's trigger may leave rows out."""
        entity, given = load.entity, parameters(load, mask) | {"stored": stored.tolist()}
        with cursor_of(connection) as cursor:
            cursor.execute(postgresql_writing.inserted(SPELLING, entity, mask), given)
            if cursor.rowcount != len(new):
                raise Race(f"{cursor.rowcount} rows were inserted of {len(new)}")
        if entity.days is None:
            return Written(new)
        parents = self._parents_of(connection, entity)
        statement = postgresql_writing.inserted_days(SPELLING, entity, parents)
        return Written(new, NO_LINES, frozenset(*_look(connection, statement, given)))

    def _merge(
        self,
        connection: Connection,
        merged: Callable[..., str],
        load: Load,
        mask: int,
        chosen: Lines = NO_LINES,
    ) -> Written:
        parents = self._parents_of(connection, load.entity)
        statement = merged(SPELLING, load.entity, mask, parents)
        given = parameters(load, mask) | {"chosen": chosen.tolist()}
        inserted, updated, *dated = _look(connection, statement, given)
        if not dated:
            return Written(_lines(inserted), _lines(updated))
        days, has_moved = dated
        if has_moved and not statements.days_of(load.entity).parent:
            _look(connection, _MOVE_DAYS, parameters(load))
        return Written(_lines(inserted), _lines(updated), frozenset(days))

    def mark_days(self, connection: Connection, load: Load, days: Sequence[str]) -> None:
        with cursor_of(connection) as cursor:
            given = {**parameters(load), "days": list(days)}
            cursor.execute(postgresql_writing.marked(SPELLING, load.entity), given)

    def equal(self, connection: Connection, load: Load, mask: int) -> Lines:
        return _packed(connection, load, statements.equal(SPELLING, load.entity, mask), mask)

    def renew(self, connection: Connection, load: Load) -> None:
        """Raises Race if an older file changed a row after ours was found equal to it."""
        with cursor_of(connection) as cursor:
            cursor.execute(LOOPS.format("on"))  # few may be left
            cursor.execute(f"SELECT DISTINCT mask FROM {load.entity.name}_staging")
            for (mask,) in cursor.fetchall():
                statement = statements.renew(SPELLING, load.entity, mask)
                cursor.execute(statement, parameters(load, mask))
        if len(_packed(connection, load, statements.outrun(SPELLING, load.entity))):
            raise Race("an older file changed rows that were found equal")

    def serialize(self, connection: Connection, load: Load) -> None:
        with cursor_of(connection) as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
                [lock_name(load.tenant, load.entity)],
            )

    def serialize_shared(self, connection: Connection, tenant: UUID, entity: Entity) -> None:
        trip(connection, (SERIALIZE_SHARED, {"name": lock_name(tenant, entity)}))

    def lock_levels(self, connection: Connection, load: Load) -> None:
        self._run(connection, load, *self._locks(load.entity))

    def move(self, connection: Connection, load: Load) -> Moved:
        [[moved], [[raised]]] = self._run(
            connection, load, self._move(load.entity), self._raise(load.entity)
        )
        written, mismatched, still = moved
        return Moved(written, raised, _lines(mismatched), _lines(still))

    def fallen(self, connection: Connection, load: Load) -> list[Fall]:
        rows = self._asked(connection, load, level_statements.fallen(self._spelling, load.entity))
        return [Fall(str(owner), level) for owner, level in rows]

    def _default_of(self, field: Field) -> str | None:
        return default_of(field)

    def _asked(self, connection: Connection, load: Load, statement: str) -> list[Row]:
        return self._run(connection, load, statement)[0]

    def _run(self, connection: Connection, load: Load, *asked: str) -> list[list[Row]]:
        """The rows of statements that take the load's parameters."""
        return [_all(connection, load, statement) for statement in asked]

    def _staging(self, entity: Entity) -> str:
        return statements.staging(self._spelling, entity)

    def _staging_table(self, entity: Entity) -> str:
        columns = ", ".join(f"{field.staged} {column_type(field.type)}" for field in entity.fields)
        return (
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {self._staging(entity)}"
            f" (line bigint, mask integer, {columns})"
        )

    def _copy(self, entity: Entity) -> str:
        columns = ", ".join(field.staged for field in entity.fields)
        return f"COPY {self._staging(entity)} (line, mask, {columns}) FROM STDIN"

    def _fill(self, cursor: psycopg.Cursor[Any], entity: Entity, rows: ReadyRows) -> None:
        with cursor.copy(self._copy(entity)) as copy:
            for block in rows.blocks():
                copy.write(block)

    def _analyze(self, cursor: psycopg.Cursor[Any], entity: Entity) -> None:
        cursor.execute(f"ANALYZE {self._staging(entity)} (mask, {entity.key})")

    def refresh_statistics(self, connection: Connection, entity: Entity) -> None:
        """Only an owner may ANALYZE; `headrace_analyze` does it for others, if it is due."""
        with cursor_of(connection) as cursor:
            cursor.execute("SELECT headrace_analyze(%s)", [entity.name])

    def translated(self, error: Exception) -> HeadraceError | None:
        for kinds, ours in _TRANSLATIONS:
            if isinstance(error, kinds):
                return ours(type(error).__name__)
        return None

    def _unresolved(self, entity: Entity, reference: Reference, *, by_index: bool) -> str:
        parent_key = self._parents[reference.entity]
        unresolved = postgresql_lookups.unresolved if by_index else statements.unresolved
        return unresolved(self._spelling, entity, reference, parent_key)

    def _is_large(self, connection: Connection, table: str) -> bool:
        return bool(_look(connection, postgresql_lookups.size(table), {})[0] > self.large_bytes)

    def _parents_of(self, connection: Connection, entity: Entity) -> Parents:
        """How the parents that say the days of rows are found."""
        parents = [
            reference.entity
            for reference in entity.references
            if entity.days and reference.field == entity.days.parent
        ]
        return Parents(self._parents, any(self._is_large(connection, one) for one in parents))

    def _writing(self, entity: Entity) -> dict[str, str]:
        mask = statements.full_mask(entity)
        large = Parents(self._parents, by_index=True)
        found = {"merge all": postgresql_writing.merged_all(SPELLING, entity, mask, large)}
        if entity.interval:
            found = {"set aside": statements.set_aside(SPELLING, entity), **found}
        if entity.promotion is Promotion.UPSERT:
            found = {
                "matched": postgresql_lookups.matched(SPELLING, entity, mask, by_index=False),
                "matched by index": postgresql_lookups.matched(
                    SPELLING, entity, mask, by_index=True
                ),
                "insert": postgresql_writing.inserted(SPELLING, entity, mask),
                "merge": postgresql_writing.merged(SPELLING, entity, mask, large),
            }
        if entity.days:
            inserted_days = postgresql_writing.inserted_days(SPELLING, entity, large)
            found |= {
                "days of inserted": inserted_days,
                "mark days": postgresql_writing.marked(SPELLING, entity),
            }
        return found | _afterwards(entity, mask)

    def _checks(self, entity: Entity) -> dict[str, str]:
        """The statements before a segment is written, by operation."""
        found = statements.checks(SPELLING, entity, self._parents)
        for reference in entity.references:
            by_index = self._unresolved(entity, reference, by_index=True)
            found[f"unresolved {reference.field} by index"] = by_index
        for field in entity.natural_keys:
            found[f"taken {field} by index"] = postgresql_lookups.taken(SPELLING, entity, field)
        return found | ({"replaced": _replaced(entity)} if entity.interval else {})

    def _moving(self, entity: Entity) -> dict[str, str]:
        return {
            "table of levels": ";\n".join(self.table_statements(level_statements.table_of(entity))),
            **dict(zip(("open levels", "lock levels"), self._locks(entity), strict=True)),
            **level_statements.checks(SPELLING, entity, default_of),
            "move": self._move(entity),
            "raise levels": self._raise(entity),
            "fallen": level_statements.fallen(self._spelling, entity),
        }

    def _locks(self, entity: Entity) -> list[str]:
        return [
            level_statements.opened(self._spelling, entity, "ON CONFLICT DO NOTHING"),
            level_statements.locked(self._spelling, entity),
        ]

    def _move(self, entity: Entity) -> str:
        levels = level_statements.levels_of(entity)
        return f"""
WITH written AS ({level_statements.moved(self._spelling, entity, default_of)}
RETURNING {entity.name}.{SEQUENCE} - {SPELLING.sequence} AS line,
          {levels.claimed} <> {levels.level} AS differs, {levels.change} = 0 AS is_still)
SELECT count(*), string_agg(int8send(line), '') FILTER (WHERE differs),
       string_agg(int8send(line), '') FILTER (WHERE is_still)
FROM written"""

    def _raise(self, entity: Entity) -> str:
        raised = level_statements.raised(self._spelling, entity, "CURRENT_TIMESTAMP")
        return f"WITH raised AS ({raised}\nRETURNING 1)\nSELECT count(*) FROM raised"


_TRANSLATIONS: list[tuple[tuple[type[Exception], ...], Callable[[str], HeadraceError]]] = [
    ((errors.UniqueViolation, errors.ForeignKeyViolation), Race),
    ((psycopg.DataError, psycopg.IntegrityError), DataRefused),
    ((errors.QueryCanceled,), TookTooLong),
    ((errors.InFailedSqlTransaction,), Retryable),  # a statement before it met trouble
    ((psycopg.OperationalError, psycopg.InterfaceError), Retryable),
]


def _holding(entity: Entity) -> dict[str, str]:
    if not postgresql_parents.can_be_spared(entity):
        return {}
    return {"hold parents": postgresql_parents.holding(entity)}


@contextmanager
def _without_triggers(connection: Connection) -> Iterator[None]:
    """After an error the transaction or its savepoint is undone, and the setting with it."""
    _set_role(connection, "replica")
    yield
    _set_role(connection, "origin")


def _set_role(connection: Connection, role: str) -> None:
    try:
        with cursor_of(connection) as cursor:
            cursor.execute(f"SET LOCAL {PARAMETER} = {role}")
    except errors.InsufficientPrivilege as error:
        raise Retryable(f"the right to set {PARAMETER} was taken away meanwhile") from error


def _emptied(entity: Entity) -> str:
    """Empty the staging table by what is cheaper: rows are deleted where there are few.

    To truncate it, be it by ON COMMIT DELETE ROWS, costs more than all else that a call of ten
    events does. But what was large once would be thought to be large for ever.
    """
    name = f"{entity.name}_staging"
    return f"""
DO $$ BEGIN
    IF pg_relation_size('{name}') > {MANY_BYTES} THEN
        TRUNCATE {name};
    ELSE
        DELETE FROM {name};
    END IF;
END $$"""


def _replaced(entity: Entity) -> str:
    return f"""SELECT string_agg(int8send(line), '') FILTER (WHERE is_stale = 1),
       count(*) FILTER (WHERE is_stale = 0)
FROM ({statements.replaced(SPELLING, entity)}) found"""


def _afterwards(entity: Entity, mask: int) -> dict[str, str]:
    return {
        **statements.afterwards(SPELLING, entity, mask),
        "outrun": statements.outrun(SPELLING, entity),
    }


def parameters(load: Load, mask: int = 0) -> dict[str, Any]:
    return {"tenant": str(load.tenant), "sequence": load.sequence, "mask": mask}


def cursor_of(connection: Connection, *, binary: bool = False) -> psycopg.Cursor[Any]:
    """A server-side-binding cursor, whatever kind the lender's connection makes by itself."""
    cursor: psycopg.Cursor[Any] = psycopg.Cursor(connection, row_factory=tuple_row)
    cursor.format = psycopg.pq.Format(binary)
    return cursor


def _all(connection: Connection, load: Load, statement: str) -> list[tuple[Any, ...]]:
    with cursor_of(connection) as cursor:
        cursor.execute(statement, parameters(load))
        return list(cursor.fetchall()) if cursor.description else []


def _packed(connection: Connection, load: Load, statement: str, mask: int = 0) -> Lines:
    """The lines that a statement selects, in eight bytes each instead of a tuple each."""
    with cursor_of(connection, binary=True) as cursor:
        cursor.execute(
            f"SELECT string_agg(int8send(line), '') FROM ({statement}) found",
            parameters(load, mask),
        )
        return _lines(_row(cursor)[0])


def _look(connection: Connection, statement: str, given: dict[str, Any]) -> tuple[Any, ...]:
    """The one row that a statement gives."""
    with cursor_of(connection, binary=True) as cursor:
        cursor.execute(statement, given)
        return _row(cursor)


def _row(cursor: psycopg.Cursor[Any]) -> tuple[Any, ...]:
    """The one row of an aggregate."""
    row = cursor.fetchone()
    assert row is not None
    return tuple(row)


def _lines(packed: bytes | None) -> Lines:
    return np.frombuffer(packed or b"", dtype=">i8").astype(np.int64)
