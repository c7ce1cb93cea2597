"""MariaDB 10.7 and later, and MySQL 8.0.17 and later, through PyMySQL.

Operator's notes:
- Rows go into a temporary table of the connection by LOAD DATA LOCAL, from a pipe and not from
  a file; where the server or the client has `local_infile` off, by INSERTs of many rows.
- No INSERT … ON DUPLICATE KEY UPDATE: it would change whatever row has any of the unique keys.
  What is stored is locked in key order, updated where it differs, what is absent is inserted,
  and the database's counts must be those of the rows that were found: else the segment runs
  again.
- Ids are texts of 32 digits: MariaDB's type `uuid` refuses some that are valid here (a version
  above 5 with a variant below 8), and MySQL has none.
- Its collations ignore case, and most also blanks at the end: ours is one that does neither.
- Reads of other tenants' rows are not refused by the database, writes are, by triggers that
  compare a variable of the session.
- Tried on MariaDB only. What MySQL spells differently is in `Server`; statements name a
  temporary table once, as MySQL wants it.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from uuid import UUID

import numpy as np
import pymysql

from headrace.pipeline.dialects import level_statements, mysql_loading, statements
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
from headrace.pipeline.dialects.mysql_tables import Tables, default_of, turns
from headrace.pipeline.dialects.statements import SEQUENCE, TENANT, Spelling
from headrace.pipeline.errors import DataRefused, HeadraceError, Race, Retryable, TookTooLong
from headrace.pipeline.load import Load
from headrace.pipeline.ready import ReadyRows
from headrace.pipeline.report import Fall, Lines
from headrace.pipeline.values import dashed
from headrace.schema import (
    Entity,
    Field,
    Promotion,
    Reference,
)

_DAY = "DATE({moment})"
SPELLING = Spelling(
    tenant="%(tenant)s",
    sequence="%(sequence)s",
    mask="%(mask)s",
    distinct="NOT (({left}) <=> ({right}))",
    # The staged rows come first, in key order, and each looks its row up.
    join="STRAIGHT_JOIN",
    names_staging_once=True,
    # Of a table that grows the statistics are old, and any index that begins with the tenant is
    # thought to find a row or none: each staged row would read all that the tenant has.
    hint=" FORCE INDEX ({index})",
    aside="{moment} - INTERVAL 146097 DAY",  # 400 years
)
#: What every session of ours must have set, whatever the server's own defaults are.
SESSION = (
    "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION', group_concat_max_len = 67108864"
)
_WAITS = "innodb_lock_wait_timeout = 5, lock_wait_timeout = 5"


class MySQL(Tables, Moving):
    """The dialect. `parents` maps an entity's name to its key."""

    segment_rows = 50_000
    pause_seconds = 0.0
    hides_rows = False
    unbind_statement = "SET @headrace_tenant = NULL"
    unbind_early_statement = ""

    _spelling = SPELLING

    def bind_statement(self, tenant: UUID | None) -> str:
        return f"SET @headrace_tenant = '{tenant.hex if tenant else '*'}'"

    def golden_statements(self, entity: Entity) -> dict[str, str]:
        return {
            "table": ";\n".join(self.table_statements(entity)),
            "staging": self._staging_table(entity),
            "load": mysql_loading.statement(entity, "/dev/fd/3"),
            **statements.checks(SPELLING, entity, self._parents),
            **({"replaced": _replaced(entity)} if entity.interval else {}),
            **(self._moving(entity) if entity.levels else self._writing(entity)),
        }

    def stage(self, connection: Connection, entity: Entity, rows: ReadyRows) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"{SESSION}, {_WAITS}, {self._server.patience}")
            # Made anew: emptying it would keep the old rows until the transaction's end.
            cursor.execute(f"DROP TEMPORARY TABLE IF EXISTS {entity.name}_staging")
            cursor.execute(self._staging_table(entity))
            if rows:
                mysql_loading.load(cursor, entity, rows)

    def hold_parents(self, connection: Connection, load: Load) -> AbstractContextManager[None]:
        return nullcontext()

    def unresolved(
        self, connection: Connection, load: Load, reference: Reference
    ) -> list[Unresolved]:
        parent_key = self._parents[reference.entity]
        statement = statements.unresolved(SPELLING, load.entity, reference, parent_key)
        rows = _all(connection, load, statement)
        return [Unresolved(line, dashed(key)) for line, key in rows]

    def taken(self, connection: Connection, load: Load, field: str) -> list[Taken]:
        rows = _all(connection, load, statements.taken(SPELLING, load.entity, field))
        return [Taken(line, value, dashed(holder)) for line, value, holder in rows]

    def rivals(self, connection: Connection, load: Load, field: str) -> list[Taken]:
        rows = _all(connection, load, statements.rivals(SPELLING, load.entity, field))
        return [Taken(line, value, dashed(holder)) for line, value, holder in rows]

    def replaced(self, connection: Connection, load: Load) -> Replaced:
        with connection.cursor() as cursor:
            cursor.execute(_replaced(load.entity), _parameters(load))
            [(stale, listed, moving)] = cursor.fetchall()
        return Replaced(_numbers(stale, listed), moving)

    def repeated(self, connection: Connection, load: Load) -> Lines:
        return _packed(connection, load, statements.repeated(SPELLING, load.entity))

    def spans(self, connection: Connection, load: Load) -> list[Span]:
        rows = _all(connection, load, statements.crowded(SPELLING, load.entity))
        return [Span(*row) for row in rows]

    def drop(self, connection: Connection, entity: Entity, lines: Lines) -> None:
        with connection.cursor() as cursor:
            for start in range(0, len(lines), 50_000):
                listed = ",".join(map(str, lines[start : start + 50_000].tolist()))
                cursor.execute(f"DELETE FROM {entity.name}_staging WHERE line IN ({listed})")

    def set_aside(self, connection: Connection, load: Load) -> int:
        with connection.cursor() as cursor:
            return int(cursor.execute(_set_aside(load.entity), _parameters(load)))

    def write(self, connection: Connection, load: Load, mask: int) -> Written:
        """Raises Retryable if another load inserted rows of ours between two statements.

        What is absent is listed first: a row that comes in between is missing from the count.
        """
        entity, parameters = load.entity, _parameters(load, mask)
        with connection.cursor() as cursor:
            absent = _listed(cursor, _absent_lines(entity), parameters)
            updated, days = _no_lines(), set()
            if entity.promotion is not Promotion.APPEND:
                updated = _listed(cursor, _lock(entity, mask), parameters)
            if len(updated):
                days = self._days(cursor, load, mask, is_former=True)
                _update(cursor, entity, mask, parameters, len(updated))
            if len(absent):
                inserted = cursor.execute(_insert(entity, mask), parameters)
                _check_count("inserted", inserted, len(absent))
            if len(absent) or len(updated):
                days |= self._days(cursor, load, mask)
        return Written(absent, updated, frozenset(days))

    def _days(self, cursor: Any, load: Load, mask: int, *, is_former: bool = False) -> set[str]:
        """The days of rows that were or, before they are, will be written."""
        if load.entity.days is None:
            return set()
        statement = self._written_days(load.entity)
        if is_former:
            statement = self._former_days(load.entity, mask)
        cursor.execute(statement, _parameters(load, mask))
        return {str(day) for (day,) in cursor.fetchall()}

    def _written_days(self, entity: Entity) -> str:
        """Parents that say the day are locked: none moves to another day before our commit."""
        found = statements.written_days(SPELLING, entity, self._parents, _DAY)
        return f"{found}\nLOCK IN SHARE MODE"

    def _former_days(self, entity: Entity, mask: int) -> str:
        found = statements.former_days(SPELLING, entity, self._parents, mask, _DAY)
        return f"{found}\nLOCK IN SHARE MODE"

    def mark_days(self, connection: Connection, load: Load, days: Sequence[str]) -> None:
        """Plain values: an INSERT … SELECT would let other loads wait for their numbers."""
        table = statements.days_of(load.entity).table
        with connection.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {table} ({TENANT}, day) VALUES (%s, %s)",
                [(load.tenant.hex, day) for day in days],
            )

    def equal(self, connection: Connection, load: Load, mask: int) -> Lines:
        return _packed(connection, load, statements.equal(SPELLING, load.entity, mask), mask)

    def renew(self, connection: Connection, load: Load) -> None:
        """Raises Race if an older file changed a row after ours was found equal to it."""
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT DISTINCT mask FROM {load.entity.name}_staging")
            for (mask,) in cursor.fetchall():
                cursor.execute(_renew(load.entity, mask), _parameters(load, mask))
        if len(_packed(connection, load, statements.outrun(SPELLING, load.entity))):
            raise Race("an older file changed rows that were found equal")

    def serialize(self, connection: Connection, load: Load) -> None:
        """By the lock on a row of the tenant's, which ends with the transaction."""
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {turns(load.entity)} ({TENANT}) VALUES ({SPELLING.tenant})"
                f" ON DUPLICATE KEY UPDATE {TENANT} = {TENANT}",
                _parameters(load),
            )

    def serialize_shared(self, connection: Connection, tenant: UUID, entity: Entity) -> None:
        """By the same row. Whoever makes it has it alone until the transaction ends."""
        turn = f"FROM {turns(entity)} WHERE {TENANT} = %s LOCK IN SHARE MODE"
        with connection.cursor() as cursor:
            if not cursor.execute(f"SELECT 1 {turn}", [tenant.hex]):
                cursor.execute(
                    f"INSERT INTO {turns(entity)} ({TENANT}) VALUES (%s)"
                    f" ON DUPLICATE KEY UPDATE {TENANT} = {TENANT}",
                    [tenant.hex],
                )

    def lock_levels(self, connection: Connection, load: Load) -> None:
        with connection.cursor() as cursor:
            for statement in _level_locks(load.entity):
                cursor.execute(statement, _parameters(load))

    def move(self, connection: Connection, load: Load) -> Moved:
        entity, parameters = load.entity, _parameters(load)
        with connection.cursor() as cursor:
            written = cursor.execute(
                level_statements.moved(SPELLING, entity, default_of), parameters
            )
            raised = cursor.execute(_raise(entity), parameters)
        rows = _all(connection, load, level_statements.noteworthy(SPELLING, entity))
        mismatched = [line for line, differs, _ in rows if differs]
        still = [line for line, _, is_still in rows if is_still]
        return Moved(written, raised, np.array(mismatched, np.int64), np.array(still, np.int64))

    def fallen(self, connection: Connection, load: Load) -> list[Fall]:
        rows = _all(connection, load, level_statements.fallen_by_join(SPELLING, load.entity))
        return [Fall(dashed(owner), level) for owner, level in rows]

    def _default_of(self, field: Field) -> str | None:
        return default_of(field)

    def _asked(self, connection: Connection, load: Load, statement: str) -> list[tuple[Any, ...]]:
        return _all(connection, load, statement)

    def refresh_statistics(self, connection: Connection, entity: Entity) -> None:
        """Nothing to do: InnoDB does it when a tenth has changed, and what joins with staging
        is told in which order (ANALYZE TABLE would commit the transaction)."""

    def translated(self, error: Exception) -> HeadraceError | None:
        if not isinstance(error, pymysql.MySQLError):
            return None
        code = error.args[0] if error.args else 0
        for codes, ours in _TRANSLATIONS:
            if code in codes:
                return ours(f"error {code}")
        if code == _DUPLICATE:
            # Within a segment keys are single, so that only another load can have taken one.
            is_key = str(error.args[1]).rstrip("'").endswith("PRIMARY")
            return Retryable("a row's key was taken") if is_key else Race("a natural key")
        if isinstance(error, pymysql.DataError | pymysql.IntegrityError):
            return DataRefused(f"error {code}")
        return Retryable("the connection broke") if isinstance(error, _BROKEN) else None

    def _moving(self, entity: Entity) -> dict[str, str]:
        return {
            "table of levels": ";\n".join(self.table_statements(level_statements.table_of(entity))),
            **dict(zip(("open levels", "lock levels"), _level_locks(entity), strict=True)),
            **level_statements.checks(SPELLING, entity, default_of),
            "move": level_statements.moved(SPELLING, entity, default_of),
            "raise levels": _raise(entity),
            "noteworthy": level_statements.noteworthy(SPELLING, entity),
            "fallen": level_statements.fallen_by_join(SPELLING, entity),
        }

    def _writing(self, entity: Entity) -> dict[str, str]:
        mask = statements.full_mask(entity)
        former, written = {}, {}
        if entity.days:
            former = {"former days": self._former_days(entity, mask)}
            written = {"written days": self._written_days(entity)}
        changing = {"lock": _lock(entity, mask), **former, **dict(_updates(entity, mask))}
        return {
            **({"set aside": _set_aside(entity)} if entity.interval else {}),
            "absent": _absent_lines(entity),
            **({} if entity.promotion is Promotion.APPEND else changing),
            "insert": _insert(entity, mask),
            **written,
            "equal": statements.equal(SPELLING, entity, mask),
            "renew": _renew(entity, mask),
            "outrun": statements.outrun(SPELLING, entity),
        }

    def _staging_table(self, entity: Entity) -> str:
        """Its key is that of the target first, so that to read it is to go in key order."""
        columns = ", ".join(
            f"{field.staged} {self._type(field.type)}{' NOT NULL' * (field.name == entity.key)}"
            for field in entity.fields
        )
        return (
            f"CREATE TEMPORARY TABLE {entity.name}_staging (line bigint NOT NULL,"
            f" mask integer NOT NULL, {columns}, PRIMARY KEY ({entity.key}, line))"
            f" {self._table_options}"
        )


_DUPLICATE = 1062
_BROKEN = (pymysql.InterfaceError,)
_TRANSLATIONS: list[tuple[frozenset[int], Callable[[str], HeadraceError]]] = [
    # A parent that is not there any more, or a row that others refer to.
    (frozenset((1216, 1217, 1451, 1452)), Race),
    # Out of range, too long, no such value, null, a check, a packet or row that is too large.
    (
        frozenset(
            (1048, 1118, 1153, 1264, 1265, 1292, 1364, 1366, 1406, 1411, 1690, 3140, 3819, 4025)
        ),
        DataRefused,
    ),
    (frozenset((1969, 3024)), TookTooLong),
    # Deadlock, lock wait, changed since it was read.
    (frozenset((1020, 1205, 1213)), Retryable),
    # No connection to be had, none any longer, a server that goes down or is read-only.
    (frozenset((1040, 1053, 1080, 1152, 1203, 1226, 1290, 1317, 1836, 1927, 4031)), Retryable),
    (frozenset((1158, 1159, 1160, 1161, 1184, 2002, 2003, 2006, 2013, 2014, 2055)), Retryable),
    # Disk full, memory exhausted, a file of the server that cannot be written.
    (frozenset((3, 28, 1021, 1030, 1037, 1038, 1041, 1114, 1180)), Retryable),
]


def _replaced(entity: Entity) -> str:
    return f"""SELECT COUNT(CASE WHEN is_stale = 1 THEN 1 END),
       GROUP_CONCAT(CASE WHEN is_stale = 1 THEN line END), COUNT(CASE WHEN is_stale = 0 THEN 1 END)
FROM ({statements.replaced(SPELLING, entity)}) found"""


def _set_aside(entity: Entity) -> str:
    """As in statements.py, by a join."""
    return f"""
UPDATE ({statements.wanted(SPELLING, entity)}) w
STRAIGHT_JOIN {entity.name} t{SPELLING.through(statements.KEY)}
  ON t.{TENANT} = {SPELLING.tenant} AND t.{entity.key} = w.{entity.key}
SET t.{statements.aside(SPELLING, entity)}"""


def _changes(entity: Entity, mask: int) -> str:
    """The condition that a staged row of the mask is newer than its row, and different."""
    names = statements.values(entity, statements.present(entity, mask))
    return (
        f"s.mask = {SPELLING.mask} AND t.{SEQUENCE} < {SPELLING.sequence} + s.line\n"
        f"  AND {SPELLING.differ(names, 't', 's')}"
    )


def _lock(entity: Entity, mask: int) -> str:
    """Lock the stored rows in key order, and list the lines of those that are to be updated.

    The server keeps the lock on most rows that it looks at: who would change one, waits.
    """
    return f"""
SELECT COUNT(*), GROUP_CONCAT(s.line)
FROM {statements.matched(SPELLING, entity)}
WHERE {_changes(entity, mask)}
FOR UPDATE"""


def _update(
    cursor: Any, entity: Entity, mask: int, parameters: dict[str, Any], locked: int
) -> None:
    matched = sum(cursor.execute(text, parameters) for _, text in _updates(entity, mask))
    _check_count("updated", matched, locked)


def _updates(entity: Entity, mask: int) -> list[tuple[str, str]]:
    """The statements that update, in order: intervals end before the next one may begin."""
    names = statements.values(entity, statements.present(entity, mask))
    changes = [f"t.{name} = s.{name}" for name in names]
    text = f"""
UPDATE {statements.matched(SPELLING, entity)}
SET {", ".join([*changes, f"t.{SEQUENCE} = {SPELLING.sequence} + s.line"])}
WHERE {_changes(entity, mask)}"""
    if entity.interval is None:
        return [("update", text)]
    end = f"s.{entity.interval.end}"
    return [
        ("update ended", f"{text}\n  AND {end} IS NOT NULL"),
        ("update open", f"{text}\n  AND {end} IS NULL"),
    ]


def _absent(entity: Entity) -> str:
    """Staged rows of a mask that are not stored; of events with one id only the first."""
    rows, first = f"{entity.name}_staging", ""
    if entity.promotion is Promotion.APPEND:
        place = f"ROW_NUMBER() OVER (PARTITION BY {entity.key} ORDER BY line)"
        rows, first = f"(SELECT *, {place} AS place FROM {rows})", "s.place = 1 AND "
    return f"""FROM {rows} s
LEFT JOIN {entity.name} o{SPELLING.through(statements.KEY)}
  ON o.{TENANT} = {SPELLING.tenant} AND o.{entity.key} = s.{entity.key}
WHERE {first}s.mask = {SPELLING.mask} AND o.{entity.key} IS NULL"""


def _absent_lines(entity: Entity) -> str:
    return f"\nSELECT COUNT(*), GROUP_CONCAT(s.line)\n{_absent(entity)}"


def _insert(entity: Entity, mask: int) -> str:
    names = statements.present(entity, mask)
    return f"""
INSERT INTO {entity.name} ({TENANT}, {", ".join(names)}, {SEQUENCE})
SELECT {SPELLING.tenant}, {", ".join(f"s.{name}" for name in names)}, {SPELLING.sequence} + s.line
{_absent(entity)}
ORDER BY {statements.write_order(entity)}"""


def _renew(entity: Entity, mask: int) -> str:
    """Raise the sequence of stored rows that staged ones of one mask found equal and left alone."""
    names = statements.values(entity, statements.present(entity, mask))
    return f"""
UPDATE {statements.matched(SPELLING, entity)}
SET t.{SEQUENCE} = {SPELLING.sequence} + s.line
WHERE s.mask = {SPELLING.mask} AND t.{SEQUENCE} < {SPELLING.sequence} + s.line
  AND NOT ({SPELLING.differ(names, "t", "s")})"""


def _level_locks(entity: Entity) -> list[str]:
    """Levels are looked up one after the other, in the order that only a LIMIT makes certain."""
    levels = level_statements.levels_of(entity)
    owner = levels.owner
    keeps = f"ON DUPLICATE KEY UPDATE {levels.table}.level = {levels.table}.level"
    return [
        level_statements.opened(SPELLING, entity, keeps),
        f"""
SELECT l.{owner}
FROM (SELECT DISTINCT {owner} FROM {entity.name}_staging ORDER BY {owner} LIMIT {2**62}) s
STRAIGHT_JOIN {levels.table} l{SPELLING.through(statements.KEY)}
  ON l.{TENANT} = {SPELLING.tenant} AND l.{owner} = s.{owner}
FOR UPDATE""",
    ]


def _raise(entity: Entity) -> str:
    return level_statements.raised_by_join(SPELLING, entity, "UTC_TIMESTAMP(6)")


def _check_count(done: str, counted: int, found: int) -> None:
    if counted != found:
        raise Retryable(f"{counted} rows were {done} where {found} had been found")


def _parameters(load: Load, mask: int = 0) -> dict[str, Any]:
    return {"tenant": load.tenant.hex, "sequence": load.sequence, "mask": mask}


def _all(connection: Connection, load: Load, statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, _parameters(load))
        return list(cursor.fetchall())


def _packed(connection: Connection, load: Load, statement: str, mask: int = 0) -> Lines:
    """The lines that a statement selects, in one text instead of a row each."""
    with connection.cursor() as cursor:
        text = f"SELECT COUNT(*), GROUP_CONCAT(line) FROM ({statement}) found"
        return _listed(cursor, text, _parameters(load, mask))


def _listed(cursor: Any, statement: str, parameters: dict[str, Any]) -> Lines:
    """The lines of a statement that gives their number and their list."""
    cursor.execute(statement, parameters)
    [(number, listed)] = cursor.fetchall()
    return _numbers(number, listed)


def _numbers(number: int, listed: str | None) -> Lines:
    """So many lines of a list. Raises Retryable if it has fewer."""
    lines = np.fromstring(listed, np.int64, sep=",") if listed else _no_lines()
    if len(lines) != number:  # the server cuts what is longer than its packets
        raise Retryable(f"{len(lines)} of {number} lines were listed: raise max_allowed_packet")
    return np.sort(lines)


def _no_lines() -> Lines:
    return np.empty(0, np.int64)
