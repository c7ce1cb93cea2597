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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
import pymysql

from headrace.pipeline.dialects import mysql_loading, statements, tables
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
    Promotion,
    Reference,
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
SPELLING = Spelling(
    tenant="%(tenant)s",
    sequence="%(sequence)s",
    mask="%(mask)s",
    distinct="NOT (({left}) <=> ({right}))",
    # The staged rows come first, in key order, and each looks its row up.
    join="STRAIGHT_JOIN",
    names_staging_once=True,
)
#: What every session of ours must have set, whatever the server's own defaults are.
SESSION = (
    "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,"
    "NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION', group_concat_max_len = 67108864"
)
_WAITS = "innodb_lock_wait_timeout = 5, lock_wait_timeout = 5"


class MySQL:
    """The dialect. `parents` maps an entity's name to its key."""

    segment_rows = 50_000
    pause_seconds = 0.0
    hides_rows = False
    unbind_statement = "SET @headrace_tenant = NULL"

    def __init__(self, server: Server, parents: dict[str, str]) -> None:
        self.name = server.name
        self.collation = server.collation
        self._server = server
        self._parents = parents

    def bind_statement(self, tenant: UUID | None) -> str:
        return f"SET @headrace_tenant = '{tenant.hex if tenant else '*'}'"

    def table_statements(self, entity: Entity) -> list[str]:
        """The table whole, in one statement: its making may be cut short between two."""
        columns = [f"{TENANT} {ID} NOT NULL", *map(self._column, entity.fields)]
        columns += [f"{SEQUENCE} bigint NOT NULL", *tables.constraints(entity, self._parents)]
        columns += self._interval_keys(entity)
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
        turns = [_turns(entity)] if entity.interval else []
        return [guard for table in (entity.name, *turns) for guard in self.guard_statements(table)]

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

    def index_statement(self, entity: Entity, name: str) -> str:
        index = {index.name: index for index in entity.indexes}[name]
        return f"CREATE INDEX {name} ON {entity.name} ({_index_columns(index)})"

    def column_statement(self, entity: Entity, field: str) -> str:
        return f"ALTER TABLE {entity.name} ADD COLUMN {self._column(entity.field(field))}"

    def golden_statements(self, entity: Entity) -> dict[str, str]:
        mask = statements.full_mask(entity)
        changing = {"lock": _lock(entity, mask), **dict(_updates(entity, mask))}
        return {
            "table": ";\n".join(self.table_statements(entity)),
            "staging": self._staging_table(entity),
            "load": mysql_loading.statement(entity, "/dev/fd/3"),
            **statements.checks(SPELLING, entity, self._parents),
            "absent": _absent_lines(entity),
            **({} if entity.promotion is Promotion.APPEND else changing),
            "insert": _insert(entity, mask),
            "equal": statements.equal(SPELLING, entity, mask),
            "renew": _renew(entity, mask),
            "outrun": statements.outrun(SPELLING, entity),
        }

    def stage(self, connection: Connection, entity: Entity, rows: Sequence[bytes]) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"{SESSION}, {_WAITS}, {self._server.patience}")
            # Made anew: emptying it would keep the old rows until the transaction's end.
            cursor.execute(f"DROP TEMPORARY TABLE IF EXISTS {entity.name}_staging")
            cursor.execute(self._staging_table(entity))
            if rows:
                mysql_loading.load(cursor, entity, rows)

    def unresolved(
        self, connection: Connection, load: Load, reference: Reference
    ) -> list[Unresolved]:
        parent_key = self._parents[reference.entity]
        statement = statements.unresolved(SPELLING, load.entity, reference, parent_key)
        rows = _all(connection, load, statement)
        return [Unresolved(line, _dashed(key)) for line, key in rows]

    def taken(self, connection: Connection, load: Load, field: str) -> list[Taken]:
        rows = _all(connection, load, statements.taken(SPELLING, load.entity, field))
        return [Taken(line, value, _dashed(holder)) for line, value, holder in rows]

    def rivals(self, connection: Connection, load: Load, field: str) -> list[Taken]:
        rows = _all(connection, load, statements.rivals(SPELLING, load.entity, field))
        return [Taken(line, value, _dashed(holder)) for line, value, holder in rows]

    def stale(self, connection: Connection, load: Load) -> Lines:
        return _packed(connection, load, statements.stale(SPELLING, load.entity))

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

    def write(self, connection: Connection, load: Load, mask: int) -> Written:
        """Raises Retryable if another load inserted rows of ours between two statements.

        What is absent is listed first: a row that comes in between is missing from the count.
        """
        entity, parameters = load.entity, _parameters(load, mask)
        with connection.cursor() as cursor:
            absent = _listed(cursor, _absent_lines(entity), parameters)
            updated = _no_lines()
            if entity.promotion is not Promotion.APPEND:
                updated = _update(cursor, entity, mask, parameters)
            if len(absent):
                inserted = cursor.execute(_insert(entity, mask), parameters)
                _check_count("inserted", inserted, len(absent))
        return Written(absent, updated)

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
                f"INSERT INTO {_turns(load.entity)} ({TENANT}) VALUES ({SPELLING.tenant})"
                f" ON DUPLICATE KEY UPDATE {TENANT} = {TENANT}",
                _parameters(load),
            )

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

    @property
    def _table_options(self) -> str:
        return f"ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {self.collation}"

    def _column(self, field: Field) -> str:
        kind = self._type(field.type)
        return tables.column(field, kind, _default(field), _value_check(field))

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
                f"CREATE TABLE IF NOT EXISTS {_turns(entity)}"
                f" ({TENANT} {ID} PRIMARY KEY) {self._table_options}"
            )

    def _staging_table(self, entity: Entity) -> str:
        """Its key is that of the target first, so that to read it is to go in key order."""
        columns = ", ".join(
            f"{field.name} {self._type(field.type)}{' NOT NULL' * (field.name == entity.key)}"
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


def _default(field: Field) -> str | None:
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


def _turns(entity: Entity) -> str:
    return f"{entity.name}_turns"


def _trigger(name: str, event: str, table: str, allowed: str) -> list[str]:
    return [
        f"DROP TRIGGER IF EXISTS {name}",
        f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW"
        f" IF NOT (@headrace_tenant <=> '*' OR {allowed}) THEN"
        " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'another tenant'; END IF",
    ]


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


def _update(cursor: Any, entity: Entity, mask: int, parameters: dict[str, Any]) -> Lines:
    changing = _listed(cursor, _lock(entity, mask), parameters)
    if len(changing):
        matched = sum(cursor.execute(text, parameters) for _, text in _updates(entity, mask))
        _check_count("updated", matched, len(changing))
    return changing


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
LEFT JOIN {entity.name} o ON o.{TENANT} = {SPELLING.tenant} AND o.{entity.key} = s.{entity.key}
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
    lines = np.fromstring(listed, np.int64, sep=",") if listed else _no_lines()
    if len(lines) != number:  # the server cuts what is longer than its packets
        raise Retryable(f"{len(lines)} of {number} lines were listed: raise max_allowed_packet")
    return np.sort(lines)


def _no_lines() -> Lines:
    return np.empty(0, np.int64)


def _dashed(key: str) -> str:
    return str(UUID(key))
