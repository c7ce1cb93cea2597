"""PostgreSQL databases of our own: made, migrated, copied from a template, and dropped."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pymysql

from bench import measure
from tests import servers, templates

SHOWN = ("server_version", "shared_buffers", "fsync", "synchronous_commit", "autovacuum", "jit")


@contextmanager
def server() -> Iterator[str]:
    """The URL of a server: BENCH_DATABASE_URL, or the one that the tests would take."""
    if url := os.environ.get("BENCH_DATABASE_URL"):
        yield url
        return
    with servers.postgresql() as url:
        if url is None:
            raise SystemExit("no PostgreSQL 15+ found: set BENCH_DATABASE_URL")
        yield url


@contextmanager
def migrated(url: str) -> Iterator[str]:
    """The name of a database with the project's own tables, for `copied`."""
    with _made(url, f"headrace_bench_{uuid4().hex[:12]}") as name:
        migrate(url_of(url, name))
        yield name


@contextmanager
def copied(url: str, template: str) -> Iterator[str]:
    """The URL of a fresh copy of the database `template`."""
    with _made(url, f"headrace_bench_{uuid4().hex[:12]}", template) as name:
        yield url_of(url, name)


def migrate(database: str) -> None:
    """Bring a database up to date with `manage.py migrate`."""
    with tempfile.TemporaryDirectory() as home:
        measure.run(["manage.py", "migrate", "--verbosity", "0"], environment(database, home))


def environment(database: str, home: str) -> dict[str, str]:
    """What a program of the project must see to work on this database."""
    return {**os.environ, "DATABASE_URL": database, "HEADRACE_HOME": home}


def url_of(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


def checkpoint(url: str) -> None:
    """Let the next contestant not pay for the last one's dirty pages."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def require_rows(url: str, counts: dict[str, int], schema: str = "") -> None:
    """Raises RuntimeError unless the tables have exactly so many rows."""
    with connected(url) as connection:
        for table, rows in counts.items():
            cursor = connection.cursor()
            cursor.execute(f"SELECT count(*) FROM {schema}{'.' if schema else ''}{table}")
            [found] = cursor.fetchone()
            if found != rows:
                raise RuntimeError(f"{table} has {found} rows, not {rows}")


def connected(url: str) -> Any:
    """A connection of the URL's own driver, whose statements are committed at once."""
    if url.startswith("mysql:"):
        return pymysql.connect(**servers.mysql_parts(url), autocommit=True)
    return psycopg.connect(url, autocommit=True)


@contextmanager
def on_mariadb(server: str) -> Iterator[str]:
    """The URL of a fresh database of that server with the project's own tables."""
    with servers.new_database(server) as url, tempfile.TemporaryDirectory() as home:
        templates.fill(Path(home), {"DATABASE_URL": url}, lambda: migrate(url))
        yield url


def mariadb_version(server: str) -> str:
    return str(_mariadb_says(server, "SELECT version()"))


def mariadb_process(server: str) -> int | None:
    """The process id of a server of this machine; None if it is elsewhere or does not tell."""
    folder = Path(_mariadb_says(server, "SELECT @@datadir"))
    try:
        return int((folder / _mariadb_says(server, "SELECT @@pid_file")).read_text())
    except (OSError, ValueError):
        return None


def _mariadb_says(server: str, query: str) -> str:
    with connected(server) as connection:
        cursor = connection.cursor()
        cursor.execute(query)
        return str(cursor.fetchone()[0])


def wal_position(url: str) -> int:
    """Bytes of write-ahead log that the server has ever written."""
    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"
        return int(connection.execute(query).fetchone()[0])


def settings(url: str) -> dict[str, str]:
    """The server's settings that decide the figures."""
    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT name, current_setting(name) FROM unnest(%s::text[]) AS name"
        return dict(connection.execute(query, [list(SHOWN)]).fetchall())


@contextmanager
def _made(url: str, name: str, template: str = "template1") -> Iterator[str]:
    with psycopg.connect(url, autocommit=True) as administrator:
        templates.copy_postgresql(administrator, template, name)
    try:
        yield name
    finally:
        with psycopg.connect(url, autocommit=True) as administrator:
            administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
