"""Databases for recognitions, and the loader's command.

A database is Headrace's own ("sqlite", "postgresql") or that of a Supabase project ("supabase"),
which is PostgreSQL with `supabase/migrations` applied.
"""

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from typer.testing import CliRunner

from headrace.recognitions import assembly, ddl, settings
from headrace.recognitions.command import app
from headrace.recognitions.schema import BY_NAME, TABLES
from headrace.recognitions.settings import DEFAULT_TENANT
from tests import servers, templates
from tests.recognition_sets import Dataset
from tests.service import ROOT

(MIGRATION,) = (ROOT / "supabase" / "migrations").glob("*.sql")
SHAPES = ("sqlite", "postgresql", "supabase")
SPELLINGS = ("sqlite", "supabase")  #: one of each kind of SQL
VARYING = {"batch_id", "loaded_at", "created_at"}  # from load to load
BOOKKEEPING = {"recognition_stores"}


class World:
    """A database, a store (in a local folder unless `environment` says where), and the command."""

    def __init__(self, home: Path, shape: str, url: str, environment: dict[str, str]) -> None:
        self.home = home
        self.shape = shape
        self.url = url
        self.tenant = DEFAULT_TENANT
        self.environment = {"HEADRACE_HOME": str(home), "DATABASE_URL": url, **environment}

    def invoke(self, *arguments: object, **environment: str) -> Any:
        """The command in this process; its `stdout`, `stderr` and `exit_code`."""
        kept = {name: None for name in os.environ if name.startswith(("HEADRACE_", "AWS_"))}
        given = {**kept, **self.environment, **environment}
        return CliRunner().invoke(app, [str(one) for one in arguments], env=given)

    def tell(self, *arguments: object, **environment: str) -> dict[str, Any]:
        """What the command tells as JSON, and its exit code."""
        done = self.invoke(*arguments, "--json", **environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.stdout, done.stderr
        return {**json.loads(done.stdout), "exit_code": done.exit_code}

    def load(self, dataset: Dataset, *arguments: object, **environment: str) -> dict[str, Any]:
        return self.tell("load", "--source", dataset.path, *arguments, **environment)

    def start(self, *arguments: object) -> subprocess.Popen:
        """The command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, ROOT / "scripts" / "ingest" / "cli.py", *map(str, arguments)],
            env={**os.environ, **self.environment},
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_heed_interrupts,
        )

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection of the owner, who sees every tenant's rows; each statement commits."""
        if self.shape == "sqlite":
            path = self.url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
                connection.create_function("headrace_tenant", 0, lambda: "*")
                connection.execute("PRAGMA foreign_keys = ON")
                yield connection
        else:
            with psycopg.connect(self.url, autocommit=True) as connection:
                yield connection

    def ask(self, statement: str) -> list[tuple]:
        """What the database says; names of tables in braces are flat."""
        named = statement.format(**{flat: self.name(flat) for flat in BY_NAME})
        with self.connection() as connection:
            cursor = connection.execute(named)
            return cursor.fetchall() if cursor.description else []

    def name(self, flat: str) -> str:
        return ddl.in_schemas(BY_NAME[flat]) if self.shape == "supabase" else flat

    def rows(self) -> dict[str, list[tuple]]:
        """All rows by table, but for what varies from load to load."""
        found = {}
        for table in TABLES:
            if table.flat_name not in BOOKKEEPING:
                columns = [name for name in table.column_names if name not in VARYING]
                asked = f"SELECT tenant_id, {', '.join(columns)} FROM {{{table.flat_name}}}"
                rows = [tuple(map(str, row)) for row in self.ask(asked)]
                found[table.flat_name] = sorted(rows)
        return found

    def counts(self) -> dict[str, int]:
        """How many rows there are by table, where there are any."""
        return {table: len(rows) for table, rows in self.rows().items() if rows}

    @property
    def store(self) -> Any:
        """The store, as the command sees it."""
        found = settings.read(self.environment, self.home, production=False)
        return assembly.store_of(found.place)

    def objects(self, tenant: UUID = DEFAULT_TENANT) -> dict[str, str]:
        """The digests of a tenant's stored photos by key."""
        store = self.store
        keys = [key for key, _ in store.sizes(f"recognitions/{tenant}")]
        return {
            key: hashlib.sha256(store.open(key).read()).hexdigest()
            for key in keys
            if not key.endswith("/owner")
        }

    def state(self) -> tuple[dict[str, list[tuple]], dict[str, str]]:
        """All that a load leaves."""
        return self.rows(), self.objects()

    def add_tenant(self, tenant: UUID) -> None:
        spelled = tenant.hex if self.shape == "sqlite" else str(tenant)
        if self.shape != "supabase":
            columns = "tenant_id, name, time_zone, state, on_missing_parent, negative_levels"
            values = f"'{spelled}', 'A team', 'UTC', 'active', 'park', 'reject'"
            now = "CURRENT_TIMESTAMP"
            self.ask(
                f"INSERT INTO tenants ({columns}, last_number, created_at, updated_at)"
                f" VALUES ({values}, 0, {now}, {now})"
            )


@contextmanager
def world(home: Path, shape: str, server: str | None, **environment: str) -> Iterator[World]:
    """A fresh database of this shape, with the default tenant."""
    if shape == "sqlite":
        made = World(home, shape, f"sqlite:///{home / templates.SQLITE}", environment)
        _migrate(home, {"HEADRACE_HOME": str(home)})
        made.add_tenant(made.tenant)
        yield made
        return
    assert server is not None
    with servers.new_database(server) as url:
        made = World(home, shape, url, environment)
        if shape == "supabase":
            with psycopg.connect(url) as connection:
                connection.execute(MIGRATION.read_text())
        else:
            _migrate(home, {"HEADRACE_HOME": str(home), "DATABASE_URL": url})
        made.add_tenant(made.tenant)
        yield made


def _migrate(home: Path, environment: dict[str, str]) -> None:
    def migrate() -> None:
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "-v", "0"],
            cwd=ROOT,
            env={**os.environ, **environment},
            check=True,
        )

    templates.fill(home, environment, migrate)


def outcomes(told: dict) -> dict:
    """Those that are not 0; they must sum up to what was found."""
    assert sum(told["outcomes"].values()) == told["found"]
    return {name: number for name, number in told["outcomes"].items() if number}


def _heed_interrupts() -> None:
    """What runs in the background of a shell ignores them, and so do its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
