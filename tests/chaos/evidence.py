"""What a Headrace has left behind, read past it: tables by plain SQL, stored objects, logs.

Nothing here writes. All tables are read in one transaction, so they are of one instant.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pymysql
from psycopg.rows import dict_row
from pymysql.cursors import DictCursor

from headrace import entities
from tests import servers

Row = dict[str, Any]
CONTROL = (
    *("tenants", "uploads", "chunks", "segments", "rejects", "parked"),
    *("jobs", "idempotency_keys", "price_events", "exports"),
    *("dirty_days", "sales_rollups", "tenant_daily_metrics", "tenant_hourly_metrics"),
)
ACTIVE = ("queued", "running")
HOUSEKEEPING = ("cleanup",)  # kinds of jobs that come again and again, also when all is quiet
TABLES = (*CONTROL, *entities.TABLES)


def broken(number: int, where: str, expected: object, found: object) -> str:
    """The sentence that says which invariant does not hold, and where."""
    return f"Invariant {number}: {where}: expected {expected}, found {found}."


class Evidence:
    """A service's home and database. `files` has what was sent, `journal` what was answered.

    The journal is JSON lines of `key`, `status` and `body`, one an answer, in their order. Ids
    in rows are texts of 32 digits, binary columns are bytes.
    """

    def __init__(
        self,
        home: Path,
        database_url: str | None = None,
        files: Path | None = None,
        journal: Path | None = None,
    ) -> None:
        self.home = home
        self.files = files
        self.answers = _answers(journal)
        self._tables = _tables(home, database_url)

    def table(self, name: str) -> list[Row]:
        return self._tables[name]

    @cached_property
    def chunks(self) -> dict[str, Row]:
        """The chunks by id, oldest file first."""
        in_order = sorted(self.table("chunks"), key=lambda row: (row["tenant_id"], row["number"]))
        return {row["id"]: row for row in in_order}

    @cached_property
    def objects(self) -> dict[str, Path]:
        """The object store's files by key."""
        root = self.home / "objects"
        found = (path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path for path in found}

    @cached_property
    def sent(self) -> dict[str, Path]:
        """The files that a client sent, by digest; none if they were not given."""
        found = (path for path in self.files.rglob("*.*") if path.is_file()) if self.files else ()
        return {digest(path): path for path in found if path.name != "tenants.csv"}

    def source(self, chunk: Row) -> bytes | None:
        """The bytes of a chunk: as stored, or as sent if the store has them no more."""
        path = self.objects.get(chunk["source"]) or self.sent.get(chunk["sha256"])
        return path.read_bytes() if path else None

    def logs(self) -> Iterator[Path]:
        return (path for path in sorted(self.home.rglob("*.log*")) if path.is_file())


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def label(chunk: Row) -> str:
    """A chunk as the sentences name it."""
    return f"chunk {chunk['id']} ({chunk['filename']}, file {chunk['number']})"


def moment(value: Any) -> datetime:
    """A time of a control table, whichever database it is of."""
    found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _answers(journal: Path | None) -> list[Row]:
    if journal is None:
        return []
    return [json.loads(line) for line in journal.read_text().splitlines() if line.strip()]


def active_jobs(home: Path, database_url: str | None) -> int:
    """How many jobs are queued or running, housekeeping left out."""
    with _reading(home, database_url) as execute:
        jobs = execute("SELECT kind, state FROM jobs").fetchall()
    return sum(job["state"] in ACTIVE and job["kind"] not in HOUSEKEEPING for job in jobs)


def _tables(home: Path, database_url: str | None) -> dict[str, list[Row]]:
    with _reading(home, database_url) as execute:
        return {
            table: [_plain(dict(row)) for row in execute(f"SELECT * FROM {table}")]
            for table in TABLES
        }


def _reading(home: Path, database_url: str | None) -> AbstractContextManager[Any]:
    if not database_url:
        return _sqlite(home / "headrace.sqlite3")
    is_mariadb = database_url.startswith("mysql:")
    return _mariadb(database_url) if is_mariadb else _postgresql(database_url)


@contextmanager
def _sqlite(path: Path) -> Iterator[Any]:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        yield connection.execute


@contextmanager
def _postgresql(url: str) -> Iterator[Any]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.read_only = True
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        psycopg.types.json.set_json_loads(bytes.decode, connection)
        # An error for a role that row-level security binds, where rows would silently be missing.
        connection.execute("SET row_security = off")
        yield connection.execute


@contextmanager
def _mariadb(url: str) -> Iterator[Any]:
    parts = servers.mysql_parts(url)
    with (
        pymysql.connect(**parts, cursorclass=DictCursor) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

        def execute(statement: str) -> Any:
            cursor.execute(statement)
            return cursor

        yield execute


def _plain(row: Row) -> Row:
    return {name: _plain_value(value) for name, value in row.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, UUID):
        return value.hex
    return bytes(value) if isinstance(value, memoryview) else value
