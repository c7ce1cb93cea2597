"""The loader's side of PostgreSQL: a pool, COPY, and the tenant's wall.

Operator's notes:
- In Headrace's own database sessions take the serving role, so that row-level security binds them
  whoever connects; COPY is refused there by such tables, so rows are copied into temporary ones.
- Elsewhere (a database of Supabase) both layers have schemas of their own, and no role is taken.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from uuid import UUID

import psycopg
import psycopg.conninfo
from psycopg import sql
from psycopg_pool import ConnectionPool, PoolTimeout

from headrace.databases import MAY_BECOME, Named
from headrace.recognitions import ddl
from headrace.recognitions.database import Rows, RowsRefused, Unavailable, renewed
from headrace.recognitions.ddl import TENANT
from headrace.recognitions.errors import USAGE, Stop
from headrace.recognitions.schema import BY_NAME, TABLES, Table

CONNECT_SECONDS = 15.0
_VALUE = re.compile(r"(?<!:):([a-z_]+)")
_TOUCHED = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS recognition_touched (recognition_id bigint PRIMARY KEY)"
    " ON COMMIT DELETE ROWS"
)
_LOCK = "(hashtext('headrace_recognitions'), hashtext(:tenant::text))"
_SILENCE = (psycopg.OperationalError, PoolTimeout)
Connection = psycopg.Connection[tuple[Any, ...]]


class PostgreSQL:
    """A database of PostgreSQL: Headrace's own, or one that `supabase/migrations` made."""

    name = "postgresql"
    aged = "created_at < CURRENT_TIMESTAMP - make_interval(secs => :grace)"
    among = "= ANY(:listed)"

    def __init__(self, named: Named, connections: int, role: str) -> None:
        """Raises Unavailable where nobody lets us in, Stop where a setting or the role is wrong."""
        self.place = f"{named.host or 'local socket'}:{named.port or 5432}/{named.name}"
        self._role = role
        try:
            own = address(named)
            with psycopg.connect(own, connect_timeout=int(CONNECT_SECONDS)) as connection:
                self._look(connection)
        except psycopg.OperationalError as error:
            text = "is it running, and are user, password and database right?"
            raise Unavailable(f"cannot connect to PostgreSQL at {self.place}: {text}") from error
        except psycopg.ProgrammingError as error:
            text = "DATABASE_URL: expected postgresql://user:password@host:port/name"
            raise Stop("bad_setting", text, USAGE) from error
        self._pool = ConnectionPool(
            own,
            min_size=1,
            max_size=connections,
            timeout=CONNECT_SECONDS,
            configure=self._prepare,
            check=ConnectionPool.check_connection,  # where one has dropped, others have too
            open=True,
        )

    def _look(self, connection: Connection) -> None:
        """Which of the two layouts there is, and whether tables bind their readers."""
        found = connection.execute(
            "SELECT to_regclass('public.raw_recognition_files') IS NOT NULL,"
            " to_regclass('public.tenants') IS NOT NULL"
        ).fetchone()
        is_flat, has_tenants = found or (False, False)
        self._name = ddl.flat if is_flat else ddl.in_schemas
        self.has_tenants = bool(is_flat and has_tenants)
        if self.has_tenants:
            self._check_role(connection)

    def _check_role(self, connection: Connection) -> None:
        found = connection.execute(
            f"SELECT FROM pg_roles WHERE rolname = %s AND pg_has_role(oid, {MAY_BECOME})",
            [self._role],
        )
        if found.fetchone() is None:
            text = (
                f"the database's user may not become the role {self._role}: let HEADRACE_DB_ROLE"
                " name the one that `manage.py migrate` made"
            )
            raise Stop("role_missing", text, USAGE)

    @cached_property
    def names(self) -> dict[str, str]:
        """By flat name what a table is called here."""
        return {flat: self._name(table) for flat, table in BY_NAME.items()}

    def _prepare(self, connection: Connection) -> None:
        if self.has_tenants:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(self._role)))
        connection.execute(_TOUCHED)
        connection.commit()

    @contextmanager
    def transaction(self, tenant: UUID) -> Iterator["_Session"]:
        try:
            with self._pool.connection() as connection:
                connection.execute(f"SET LOCAL app.tenant_id = '{UUID(str(tenant))}'")
                yield _Session(connection, self, tenant)
        except _SILENCE as error:
            raise self._unavailable() from error
        except psycopg.Error as error:
            raise RowsRefused(f"PostgreSQL says {error.sqlstate}") from error

    def listed(self, values: Iterable[int] | Iterable[str]) -> object:
        return list(values)

    def missing_tables(self) -> list[str]:
        if self._name is ddl.in_schemas:
            names = [ddl.in_schemas(table) for table in TABLES]
        else:
            names = list(BY_NAME)
        absent = "SELECT name FROM unnest(%s::text[]) name WHERE to_regclass(name) IS NULL"
        try:
            with self._pool.connection() as connection:
                rows = connection.execute(absent, [names]).fetchall()
        except _SILENCE as error:
            raise self._unavailable() from error
        return [name for (name,) in rows]

    def _unavailable(self) -> Unavailable:
        return Unavailable(f"PostgreSQL at {self.place} does not answer")

    def close(self) -> None:
        self._pool.close()


def address(named: Named) -> str:
    """As the driver spells it. Raises Stop where the port is none, psycopg.ProgrammingError where
    the driver does not know an option.
    """
    if not re.fullmatch("[0-9,]*", named.port):
        text = f"the port of the database is {named.port!r}; expected a number"
        raise Stop("bad_setting", text, USAGE)
    own = {
        "dbname": named.name,
        "user": named.user,
        "password": named.password,
        "host": named.host,
        "port": named.port,
    }
    given = {name: text for name, text in own.items() if text}
    return psycopg.conninfo.make_conninfo(**{**given, **named.options})


class _Session:
    def __init__(self, connection: Connection, database: PostgreSQL, tenant: UUID) -> None:
        self._connection = connection
        self._database = database
        self._tenant = tenant

    def run(self, statement: str, **values: object) -> int:
        return self._execute(statement, values).rowcount

    def rows(self, statement: str, **values: object) -> Rows:
        return self._execute(statement, values).fetchall()

    def fill(self, table: Table, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        name, staging = self._database.names[table.flat_name], f"staged_{table.flat_name}"
        all_columns = ", ".join((TENANT, *columns))
        self._connection.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {staging} ON COMMIT DELETE ROWS"
            f" AS SELECT {all_columns} FROM {name} WHERE false"
        )
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY {staging} ({all_columns}) FROM STDIN") as copy,
        ):
            for row in rows:
                copy.write_row((self._tenant, *row))
        keys = ", ".join((TENANT, *table.key))
        taken = renewed(table, columns, ddl.POSTGRESQL.now)
        self._connection.execute(
            f"INSERT INTO {name} ({all_columns}) SELECT {all_columns} FROM {staging}"
            f" ORDER BY {keys} ON CONFLICT ({keys}) DO UPDATE SET {taken}"
        )

    def touch(self, recognition_ids: Sequence[int]) -> None:
        self._connection.execute("TRUNCATE recognition_touched")
        self._connection.execute(
            "INSERT INTO recognition_touched SELECT unnest(%s::bigint[])", [list(recognition_ids)]
        )

    def lock(self, *, exclusive: bool) -> None:
        kind = "pg_advisory_xact_lock" if exclusive else "pg_advisory_xact_lock_shared"
        self._execute(f"SELECT {kind}{_LOCK}", {})

    def _execute(self, statement: str, values: dict[str, object]) -> psycopg.Cursor[Any]:
        spelled = _VALUE.sub(r"%(\1)s", statement.format(**self._database.names))
        return self._connection.execute(spelled, {"tenant": self._tenant, **values})
