"""The loader's side of SQLite: the embedded database of the service.

Its triggers ask a function of the connection which tenant is at work.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import UUID

from headrace.recognitions.database import Rows, RowsRefused, Unavailable, renewed
from headrace.recognitions.ddl import SQLITE, TENANT
from headrace.recognitions.errors import USAGE, Stop
from headrace.recognitions.schema import BY_NAME, Table

WAIT_SECONDS = 60.0  # for another writer
_NAMES = {flat: flat for flat in BY_NAME}


class SQLite:
    """A database in a file. Each transaction has a connection of its own, and they take turns."""

    name = "sqlite"
    aged = "created_at < strftime('%Y-%m-%d %H:%M:%f', 'now', '-' || :grace || ' seconds')"
    among = "IN (SELECT value FROM json_each(:listed))"
    has_tenants = True

    def __init__(self, path: str) -> None:
        """Raises Unavailable where there is no such file, Stop where it is no database."""
        self.place = str(path)
        if not Path(path).is_file():
            raise Unavailable(f"there is no database {path}: run `manage.py migrate` first")
        try:
            self._tables()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorname == "SQLITE_NOTADB":
                text = f"DATABASE_URL: {path} is no database; expected a file of SQLite"
                raise Stop("bad_setting", text, USAGE) from error
            raise self._unavailable() from error

    @contextmanager
    def transaction(self, tenant: UUID) -> Iterator["_Session"]:
        try:
            with closing(self._connected(tenant)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                yield _Session(connection, tenant)
                connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise self._unavailable() from error
        except sqlite3.Error as error:
            raise RowsRefused(f"SQLite says {error.sqlite_errorname}") from error

    def _connected(self, tenant: UUID) -> sqlite3.Connection:
        connection = sqlite3.connect(self.place, timeout=WAIT_SECONDS, isolation_level=None)
        connection.create_function("headrace_tenant", 0, lambda: tenant.hex)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def listed(self, values: Iterable[int] | Iterable[str]) -> object:
        return json.dumps(list(values))

    def missing_tables(self) -> list[str]:
        try:
            there = self._tables()
        except sqlite3.Error as error:
            raise self._unavailable() from error
        return [name for name in BY_NAME if name not in there]

    def _tables(self) -> set[str]:
        with closing(sqlite3.connect(self.place, timeout=WAIT_SECONDS)) as connection:
            found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            return {name for (name,) in found}

    def _unavailable(self) -> Unavailable:
        return Unavailable(f"SQLite at {self.place} does not answer")

    def close(self) -> None:
        """Nothing stays open."""


class _Session:
    def __init__(self, connection: sqlite3.Connection, tenant: UUID) -> None:
        self._connection = connection
        self._tenant = tenant

    def run(self, statement: str, **values: object) -> int:
        return self._execute(statement, values).rowcount

    def rows(self, statement: str, **values: object) -> Rows:
        return self._execute(statement, values).fetchall()

    def fill(self, table: Table, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        names = (TENANT, *columns)
        keys = ", ".join((TENANT, *table.key))
        marks = ", ".join("?" * len(names))
        self._connection.executemany(
            f"INSERT INTO {table.flat_name} ({', '.join(names)}) VALUES ({marks})"
            f" ON CONFLICT ({keys}) DO UPDATE SET {renewed(table, columns, SQLITE.now)}",
            ([_spelled(self._tenant), *map(_spelled, row)] for row in rows),
        )

    def touch(self, recognition_ids: Sequence[int]) -> None:
        self._connection.execute(
            "CREATE TEMPORARY TABLE IF NOT EXISTS recognition_touched (recognition_id INTEGER"
            " PRIMARY KEY)"
        )
        self._connection.execute("DELETE FROM recognition_touched")
        ids = ((one,) for one in recognition_ids)
        self._connection.executemany("INSERT INTO recognition_touched VALUES (?)", ids)

    def lock(self, *, exclusive: bool) -> None:
        """There is one writer at a time."""

    def _execute(self, statement: str, values: dict[str, object]) -> sqlite3.Cursor:
        spelled = {name: _spelled(value) for name, value in values.items()}
        named = {"tenant": _spelled(self._tenant), **spelled}
        return self._connection.execute(statement.format(**_NAMES), named)


def _spelled(value: object) -> object:
    if isinstance(value, UUID):
        return value.hex
    return value if isinstance(value, int | float | None) else str(value)
