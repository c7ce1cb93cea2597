"""The engine on a bare connection: databases made for a test, and a ledger that remembers."""

import gzip
import hashlib
import io
import json
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pymysql

from headrace.entities import BY_NAME, DAY_TABLES, TABLES
from headrace.pipeline import dialects, run
from headrace.pipeline.dialects import mysql
from headrace.pipeline.load import Load
from headrace.pipeline.report import (
    LineOutcomes,
    Lines,
    Outcome,
    Parked,
    Reject,
    SegmentReport,
    rejects_of,
    unpack_segment,
)
from headrace.pipeline.scratch import Bounds
from headrace.pipeline.verify import Verified
from headrace.schema import Uuid
from tests import servers

TENANT = UUID("11111111-1111-4111-8111-111111111111")


class Database:
    """A database with the target tables, on a bare driver connection."""

    def __init__(self, name: str, connection, url: str = "", partitions: int = 0) -> None:
        self.url = url
        self.dialect = dialects.dialect(name, partitions)
        self.connection = connection
        self.tenant = TENANT

    def create_tables(self) -> None:
        with self.transaction() as connection:
            for entity in TABLES.values():
                for statement in self.dialect.table_statements(entity):
                    connection.cursor().execute(statement)
            for table in DAY_TABLES:
                for statement in self.dialect.day_table_statements(table):
                    connection.cursor().execute(statement)

    @contextmanager
    def transaction(self) -> Iterator:
        cursor = self.connection.cursor()
        cursor.execute("BEGIN")
        try:
            if statement := self.dialect.bind_statement(self.tenant):
                cursor.execute(statement)
            yield self.connection
        except BaseException:
            self.connection.cursor().execute("ROLLBACK")
            raise
        self.connection.cursor().execute("COMMIT")

    def rows(self, entity: str) -> list[dict]:
        """All rows of a table by key, values in a form that is the same on every database."""
        declared = TABLES[entity]
        with self.transaction() as connection:
            cursor = connection.cursor()
            names = ", ".join(("tenant_id", *(field.name for field in declared.columns)))
            cursor.execute(f"SELECT {names} FROM {entity}")
            found = [dict(zip(names.split(", "), row, strict=True)) for row in cursor.fetchall()]
        ids = {"tenant_id"} | {
            field.name for field in declared.columns if isinstance(field.type, Uuid)
        }
        plain = [
            {name: UUID(str(value)).hex if name in ids and value else value for name, value in row}
            for row in (row.items() for row in found)
        ]
        return sorted(plain, key=lambda row: (row["tenant_id"], row[declared.key]))


class LocalLedger:
    """A ledger in memory; effects are real transactions of the database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.plan: list[Bounds] | None = None
        self.landed: dict[int, SegmentReport] = {}
        self.rejects: list[Reject] = []
        self.outcomes = LineOutcomes()
        self.received = 0
        self.unknown_keys: dict[str, int] = {}
        self.finished = False

    def bounds(self):
        return self.plan

    def record_plan(
        self, verified: Verified, bounds: list[Bounds], digests: Iterator[bytes | None]
    ) -> None:
        self.plan = bounds
        self.digests = list(digests)
        self.outcomes = verified.outcomes
        self.received = verified.received
        self.unknown_keys = verified.unknown_keys
        for page in verified.reject_pages():
            self.rejects += rejects_of(page.blob)

    def check_open(self, lines: Lines) -> None:
        landed = [lines for report in self.landed.values() for lines in report.outcomes.values()]
        sound = self.outcomes.lines_of(Outcome.UNPROCESSED).tolist()
        assert sorted(lines.tolist()) == sorted({*sound} - {*chain.from_iterable(landed)})

    def pending(self) -> list[int]:
        return [number for number in range(len(self.plan or [])) if number not in self.landed]

    def transaction(self):
        return self.database.transaction()

    def record_segment(self, number: int, report: SegmentReport) -> None:
        self.landed[number] = report

    def tick(self, records: int) -> None:
        pass

    def rest(self) -> None:
        pass

    def sums(self) -> tuple[int, int]:
        rejected = sum(len(report.rejects) for report in self.landed.values())
        return len(self.rejects) + rejected, self.received

    def finish(self) -> None:
        for report in self.landed.values():
            for outcome, lines in unpack_segment(report.pack()):
                self.outcomes.mark(lines, outcome)
            self.rejects += report.rejects
        self.rejects.sort(key=lambda reject: reject.line)
        assert sum(self.outcomes.counts().values()) == self.received
        assert self.outcomes.counts()[Outcome.UNPROCESSED] == 0
        self.finished = True

    @property
    def parked(self) -> list[Parked]:
        return [parked for report in self.landed.values() for parked in report.parked]

    def outcome_by_line(self) -> list[str | None]:
        return [self.outcomes.outcome_of(at + 1) for at in range(self.outcomes.physical_lines)]


def load_of(entity: str, data: bytes, number: int = 1, **more) -> Load:
    compression = "gzip" if data[:2] == b"\x1f\x8b" else ""
    facts = {
        "tenant": TENANT,
        "open_source": lambda: io.BytesIO(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "compression": compression,
    }
    return Load(BY_NAME[entity], number=number, **(facts | more))


def ndjson(*records, compress: bool = False) -> bytes:
    data = b"".join(
        record + b"\n" if isinstance(record, bytes) else json.dumps(record).encode() + b"\n"
        for record in records
    )
    return gzip.compress(data, mtime=0) if compress else data


def land(database: Database, folder: Path, entity: str, data: bytes, **more) -> LocalLedger:
    """Take a file down the whole road and return what the ledger remembers."""
    ledger = LocalLedger(database)
    scratch = folder / uuid4().hex
    scratch.mkdir()
    run.run(load_of(entity, data, **more), database.dialect, ledger, scratch)
    return ledger


@contextmanager
def sqlite_database(path: Path) -> Iterator[Database]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    database = Database("sqlite", connection)
    connection.create_function("headrace_tenant", 0, lambda: database.tenant.hex)
    database.create_tables()
    yield database
    connection.close()


@contextmanager
def postgresql_database(
    server: str, partitions: int = 0, *, may_spare: bool = True
) -> Iterator[Database]:
    """A database of its own on the server at this URL; its owner is bound by the policies.

    It looks at references once where it `may_spare` the triggers that look again.
    """
    name, role = f"headrace_test_{uuid4().hex[:12]}", f"headrace_test_role_{uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as administrator:
        administrator.execute(f"CREATE DATABASE {name}")
        administrator.execute(
            f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
        administrator.execute(f"GRANT ALL ON DATABASE {name} TO {role}")
        if may_spare:
            of_parameters(administrator, GRANT.format(role=role))
    try:
        with psycopg.connect(server, dbname=name, **AS_SERVED) as connection:
            connection.execute(f"GRANT ALL ON SCHEMA public TO {role}; SET ROLE {role}")
            database = Database("postgresql", connection, partitions=partitions)
            database.create_tables()
            yield database
    finally:
        with psycopg.connect(server, autocommit=True) as administrator:
            administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
            of_parameters(administrator, f"DROP OWNED BY {role}; DROP ROLE {role}")


AS_SERVED = {"autocommit": True, "prepare_threshold": None}  #: Django's connections prepare nothing
GRANT = "GRANT SET ON PARAMETER session_replication_role TO {role}"
REVOKE = "REVOKE SET ON PARAMETER session_replication_role FROM {role}"


def of_parameters(administrator: psycopg.Connection, statements: str) -> None:
    """Run statements that change rights to set a parameter: one row for all roles of a server."""
    with administrator.transaction():
        administrator.execute(
            f"LOCK TABLE pg_parameter_acl IN SHARE ROW EXCLUSIVE MODE; {statements}"
        )


@contextmanager
def mariadb_database(server: str) -> Iterator[Database]:
    """A database of its own on the server at this URL."""
    with servers.mariadb_database(server) as url, mariadb_connection(url) as connection:
        database = Database("mariadb", connection, url)
        database.create_tables()
        yield database


@contextmanager
def mariadb_connection(url: str) -> Iterator[pymysql.Connection]:
    """A connection as the service has them."""
    connection = pymysql.connect(**servers.mysql_parts(url), local_infile=True, autocommit=True)
    with connection:
        connection.cursor().execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        connection.cursor().execute(mysql.SESSION)
        yield connection


@contextmanager
def beside(database: Database) -> Iterator[Database]:
    """Another connection to the same database, on a server."""
    if database.dialect.name == "postgresql":
        connected = psycopg.connect(database.connection.info.dsn, **AS_SERVED)
    else:
        connected = mariadb_connection(database.url)
    with connected as connection:
        other = Database(database.dialect.name, connection, database.url)
        other.tenant = database.tenant
        yield other


def new_database(dialect: str, server: str | None, path: Path) -> AbstractContextManager[Database]:
    """A database of this dialect on its server, or SQLite's in a file."""
    if server is None:
        return sqlite_database(path)
    return _SERVED[dialect](server)


_SERVED = {
    "postgresql": postgresql_database,
    "postgresql-partitioned": partial(postgresql_database, partitions=8),
    "postgresql-row-by-row": partial(postgresql_database, may_spare=False),
    "mariadb": mariadb_database,
}
