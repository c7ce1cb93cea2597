"""What only MariaDB can do wrong: files that it does not take, warnings, DDL that stays, deaths."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

import pymysql
import pytest

from headrace.entities import BY_NAME, ENTITIES
from headrace.pipeline.dialects import mysql
from headrace.pipeline.errors import DataRefused, Retryable
from headrace.pipeline.ready import ReadyRows, Row, joined, ready_rows
from main import databases
from tests import documents, inside, records, road, servers, service, tables
from tests.records import example, expected, stored
from tests.servers import MariaDB
from tests.service import ROOT, Service

CUSTOMERS, ORDERS = BY_NAME["customers"], BY_NAME["orders"]


@pytest.fixture(scope="module")
def own_server() -> Iterator[MariaDB]:
    """A server that may be hurt."""
    with servers.mariadb_of_our_own() as server:
        if server is None:
            pytest.skip("NO MARIADB PROGRAMS: nothing can be killed")
        yield server


@pytest.fixture
def own_database(own_server: MariaDB) -> Iterator[road.Database]:
    with road.mariadb_database(own_server.url) as opened:
        opened.tenant = uuid4()
        yield opened


@pytest.fixture
def without_files(own_server: MariaDB) -> Iterator[None]:
    """A server that does not take files, as MySQL is by default."""
    with pymysql.connect(**servers.mysql_parts(own_server.url)) as administrator:
        administrator.cursor().execute("SET GLOBAL local_infile = 0")
        yield
        administrator.cursor().execute("SET GLOBAL local_infile = 1")


@pytest.fixture(params=["LOAD DATA", "INSERT"])
def loading(request: pytest.FixtureRequest) -> None:
    if request.param == "INSERT":
        request.getfixturevalue("without_files")


def travelling(rows: list[records.Record]) -> ReadyRows:
    """Customers as pass A hands them over."""
    full = (1 << len(CUSTOMERS.fields)) - 1
    texts = ["\t".join(_cell(row[name]) for name in CUSTOMERS.field_names) for row in rows]
    return ready_rows(
        list(range(1, len(rows) + 1)), [0] * len(rows), [Row(text, full, "") for text in texts]
    )


def _cell(value: object) -> str:
    return "{}" if isinstance(value, dict) else str(value)


@pytest.mark.usefixtures("loading")
@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.name)
def test_rows_land_whether_or_not_the_server_takes_files(entity, own_database, tmp_path):
    numbers = range(5)
    records.land_parents(own_database, tmp_path, entity, numbers)
    rows = [example(entity, number) for number in numbers]
    rows += [
        row | {entity.key: records.key("another", at), **unlike(entity, row)}
        for at, row in enumerate(rows)
    ]
    file, more = records.file(*rows), {"tenant": own_database.tenant}
    for number, outcome in enumerate(("inserted", "unchanged"), 1):
        ledger = road.land(own_database, tmp_path, entity.name, file, number=number, **more)
        assert set(ledger.outcome_by_line()) == {outcome}
    assert stored(own_database, entity) == expected(entity, *rows)


def unlike(entity, row: records.Record) -> records.Record:
    """Awkward texts, and values that let the row stand beside the other."""
    texts = ("customer_name_snapshot", "name", "source")
    changed = {name: "it's\t\\N\n\\ 🙂'" for name in texts if name in row}
    changed |= {name: f"{row[name]}'" for name in entity.natural_keys}
    if entity.interval is not None:
        return changed | {
            entity.interval.start: row[entity.interval.end],
            entity.interval.end: None,
        }
    return changed | {field.name: None for field in records.optional(entity) if field.null}


@pytest.mark.usefixtures("loading")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "x" * 256),
        ("customer_id", "no-uuid" * 8),
        ("created_at", "2025-02-30 00:00:00"),
        ("created_at", "yesterday"),
    ],
)
def test_a_value_that_the_server_would_bend_is_refused(field, value, own_database):
    rows = travelling([example(CUSTOMERS, number) for number in (1, 2)])
    bent = travelling([example(CUSTOMERS, 3, **{field: value})])
    with pytest.raises((DataRefused, pymysql.MySQLError)) as caught, own_database.transaction():
        own_database.dialect.stage(own_database.connection, CUSTOMERS, joined([rows, bent]))
    error = caught.value
    meaning = error if isinstance(error, DataRefused) else own_database.dialect.translated(error)
    assert isinstance(meaning, DataRefused)


class Deadly(ReadyRows):
    """Rows of which the third part comes when the server is dead."""

    kill: Callable[[], None]

    def blocks(self) -> Iterator[memoryview]:
        for number, block in enumerate(super().blocks()):
            if number == 2:
                self.kill()
            yield block


def test_a_server_that_dies_while_rows_are_sent_is_tried_again(tmp_path):
    """Nothing hangs, nothing is left behind, and the same rows land when it is back."""
    with servers.mariadb_of_our_own() as server:
        if server is None:
            pytest.skip("NO MARIADB PROGRAMS: nothing can be killed")
        rows = travelling([example(CUSTOMERS, number) for number in range(20_000)])
        open_files = set(os.listdir("/proc/self/fd"))
        with servers.mariadb_database(server.url) as url:
            with road.mariadb_connection(url) as connection:
                database = road.Database("mariadb", connection, url)
                database.create_tables()
                connection.begin()
                deadly = Deadly(rows.index, rows.text)
                object.__setattr__(deadly, "kill", server.kill)
                with pytest.raises((Retryable, pymysql.MySQLError)) as caught:
                    database.dialect.stage(connection, CUSTOMERS, deadly)
            error = caught.value
            meaning = error if isinstance(error, Retryable) else database.dialect.translated(error)
            assert isinstance(meaning, Retryable)
            assert [one for one in threading.enumerate() if one.name == "headrace-load"] == []
            server.start()
            with road.mariadb_connection(url) as connection:
                database = road.Database("mariadb", connection, url)
                file = records.file(*(example(CUSTOMERS, number) for number in range(100)))
                ledger = road.land(database, tmp_path, "customers", file)
                assert ledger.outcome_by_line() == ["inserted"] * 100
        assert set(os.listdir("/proc/self/fd")) == open_files


def test_a_count_that_is_not_what_was_found_runs_the_segment_again(own_database, tmp_path):
    """Another load inserts a row of ours after ours was found absent."""
    rows, dialect = [example(CUSTOMERS, number) for number in (1, 2)], own_database.dialect
    file, more = records.file(*rows), {"tenant": own_database.tenant}
    insert, tries = pymysql.cursors.Cursor.execute, []

    class Interrupted(pymysql.cursors.Cursor):
        def execute(self, query, args=None):
            if query.lstrip().startswith("INSERT INTO customers ("):
                tries.append(query)
                if len(tries) == 1:
                    late = records.file(example(CUSTOMERS, 1, name="older"))
                    road.land(other, tmp_path, "customers", late, number=1, **more)
            return insert(self, query, args)

    with road.beside(own_database) as other:
        own_database.connection.cursorclass = Interrupted
        ledger = road.land(own_database, tmp_path, "customers", file, number=2, **more)
    assert ledger.outcome_by_line() == ["updated", "inserted"]
    assert len(tries) == 2
    assert stored(own_database, CUSTOMERS) == expected(CUSTOMERS, *rows)
    assert dialect.name == "mariadb"


@pytest.mark.slow
def test_a_file_lands_once_though_its_server_dies_twice_and_comes_back(tmp_path):
    """Status, sums and rows are as if nothing had been; the service itself is not restarted."""
    with servers.mariadb_of_our_own() as server:
        if server is None:
            pytest.skip("NO MARIADB PROGRAMS: nothing can be killed")
        rows = [example(CUSTOMERS, number) for number in range(120_000)]
        with service.running(tmp_path, server.url, HEADRACE_LEASE_SECONDS="2") as running:
            merchant = running.add_tenant()
            token = merchant.send("customers.ndjson", records.file(*rows)).json()["upload_token"]
            for goal in (0, 1):
                while merchant.status(token)["outcomes"]["inserted"] < goal:
                    time.sleep(0.05)
                time.sleep(0.3)
                server.kill()
                assert (
                    merchant.request("GET", f"/ingest/sessions/{token}/status/").status_code == 503
                )
                server.start()
            status = merchant.wait(token, 120)
            assert status["status"] == "completed", status
            assert status["outcomes"]["inserted"] == len(rows)
            assert len(tables.rows(running, merchant.tenant, "customers")) == len(rows)


# Setting up.


@pytest.fixture
def bare(mariadb_server: str, tmp_path: Path) -> Iterator[Service]:
    """A database without tables."""
    with inside.database(tmp_path, mariadb_server) as empty:
        yield empty


def schema(of: Service) -> dict[str, str]:
    """How the server says that each table and trigger was made."""
    found = {}
    for (table,) in of.ask("SHOW TABLES"):
        found[table] = sorted(of.ask(f"SHOW CREATE TABLE `{table}`")[0][1].split("\n"))
    columns = "trigger_name, event_object_table, action_statement"
    triggers = of.ask(
        f"SELECT {columns} FROM information_schema.triggers WHERE trigger_schema = DATABASE()"
    )
    applied = of.ask("SELECT app, name FROM django_migrations")
    return {"tables": found, "triggers": sorted(triggers), "applied": sorted(applied)}


def made(of: Service) -> int:
    """How many columns, parts of indexes, triggers and foreign keys there are."""
    parts = ("columns", "statistics", "key_column_usage")
    counts = [
        f"(SELECT COUNT(*) FROM information_schema.{part} WHERE table_schema = DATABASE())"
        for part in parts
    ]
    triggers = "SELECT COUNT(*) FROM information_schema.triggers"
    counts.append(f"({triggers} WHERE trigger_schema = DATABASE())")
    return of.ask(f"SELECT {' + '.join(counts)}")[0][0]


@pytest.mark.slow
def test_a_migration_that_is_killed_again_and_again_ends_as_one_that_is_not(
    bare, mariadb_server, tmp_path
):
    kills = 0
    for goal in count(5, 110):  # until one ends by itself
        process = subprocess.Popen(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
            cwd=ROOT,
            env=bare.environment,
            start_new_session=True,
        )
        while made(bare) < goal and process.poll() is None:
            time.sleep(0.002)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    print(f"{kills} kills")
    assert (process.returncode, kills >= 5) == (0, True)
    (tmp_path / "calm").mkdir()
    with inside.database(tmp_path / "calm", mariadb_server) as calm:
        calm.manage("migrate", "--verbosity", "0")
        assert schema(bare) == schema(calm)


def test_a_table_of_somebody_else_is_not_taken_for_ours(bare):
    """Only where a migration did not end counts what is there already as made."""
    bare.ask("CREATE TABLE tenants (anything int)")
    done = bare.manage("migrate", "--verbosity", "0", check=False)
    assert done.returncode == 1
    assert "tenants" in done.stderr


def findings(of: Service) -> dict[str, tuple[bool, str]]:
    shown = json.loads(of.manage("doctor", "--json", check=False).stdout)
    return {one["name"]: (one["is_well"], one["found"]) for one in shown["findings"]}


def test_doctor_sees_a_collation_that_confuses_texts_and_a_guard_that_is_gone(bare):
    bare.manage("migrate", "--verbosity", "0")
    assert all(is_well for is_well, _ in findings(bare).values())
    bare.ask("ALTER TABLE idempotency_keys CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
    bare.ask("DROP TRIGGER parked_tenant_delete")
    found = {name: text for name, (is_well, text) in findings(bare).items() if not is_well}
    assert found == {
        "collation": "utf8mb4_nopad_bin, not that of idempotency_keys",
        "tenant triggers": "none on parked",
    }


@contextmanager
def documented_user(server: str, home: Path) -> Iterator[Service]:
    """The user and the database of docs/databases.md, under a name of their own."""
    name = f"headrace_docs_{uuid4().hex[:12]}"
    [sql] = [one.text for one in documents.blocks("docs/databases.md") if one.language == "sql"]
    parts = servers.mysql_parts(server)
    with pymysql.connect(**parts, autocommit=True) as administrator:
        cursor = administrator.cursor()
        for statement in filter(str.strip, re.sub(r"\bheadrace\b", name, sql).split(";")):
            cursor.execute(statement)
        try:
            url = f"mariadb://{name}:p@ss@{parts['host']}:{parts['port']}/{name}"
            with inside.database(home, None) as bound:
                bound.environment["DATABASE_URL"] = url
                yield bound
        finally:
            cursor.execute(f"DROP DATABASE {name}")
            cursor.execute(f"DROP USER {name}")


@pytest.fixture
def documented(mariadb_server: str, tmp_path: Path) -> Iterator[Service]:
    with documented_user(mariadb_server, tmp_path) as bound:
        yield bound


def test_two_migrations_at_once_end_as_one(bare):
    with ThreadPoolExecutor() as pool:
        ends = [pool.submit(bare.manage, "migrate", "--verbosity", "0") for _ in range(2)]
        assert [end.result().returncode for end in ends] == [0, 0]
    assert all(is_well for is_well, _ in findings(bare).values())


def test_a_server_with_a_binary_log_says_what_it_wants_and_then_gets_its_triggers(tmp_path):
    options = ("--log-bin", "--server-id=1", "--binlog-format=STATEMENT")
    with servers.mariadb_of_our_own(*options) as server:
        if server is None:
            pytest.skip("NO MARIADB PROGRAMS: none with a binary log can be started")
        parts = servers.mysql_parts(server.url)
        with (
            documented_user(server.url, tmp_path) as bound,
            pymysql.connect(**parts, autocommit=True) as administrator,
        ):
            for wanted in (
                "SET GLOBAL binlog_format = 'ROW'",
                "SET GLOBAL log_bin_trust_function_creators = 1",
            ):
                refused = bound.manage("migrate", "--verbosity", "0", check=False)
                assert (refused.returncode, wanted in refused.stderr) == (1, True), refused.stderr
                assert "Traceback" not in refused.stderr
                administrator.cursor().execute(wanted)
            bound.manage("migrate", "--verbosity", "0")
            assert all(is_well for is_well, _ in findings(bound).values())
            administrator.cursor().execute("SET GLOBAL binlog_format = 'STATEMENT'")
            unwell = [name for name, (is_well, _) in findings(bound).items() if not is_well]
            assert unwell == ["binary log"]


def test_the_documented_statements_are_enough(documented):
    documented.manage("migrate", "--verbosity", "0")
    assert all(is_well for is_well, _ in findings(documented).values())
    url = documented.environment.pop("DATABASE_URL")
    name, port = url.rpartition("/")[2], url.rpartition(":")[2].partition("/")[0]
    documented.environment |= {
        "DB_ENGINE": "django.db.backends.mysql",
        "DB_NAME": name,
        "DB_USER": name,
        "DB_PASSWORD": "p@ss",
        "DB_HOST": "127.0.0.1",
        "DB_PORT": port,
    }
    assert findings(documented)["migrations"] == (True, "all applied")


@pytest.mark.parametrize(
    "environment",
    [{"DB_ENGINE": "mssql", "DB_NAME": "x"}, {"DATABASE_URL": "mssql://sa:p@ss@host/x"}],
    ids=["DB_ENGINE", "DATABASE_URL"],
)
def test_sql_server_is_said_not_to_be_there_yet(environment, tmp_path):
    with inside.database(tmp_path, None) as misled:
        misled.environment |= environment
        done = misled.manage("check", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Headrace has no dialect for SQL Server yet: set DATABASE_URL to")
    assert "Traceback" not in done.stderr


SEVEN = {"connect_timeout": 7}
DRIVER = {"init_command": mysql.SESSION, "local_infile": True}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mysql://u:p@ss@h:3307/n", ("u", "p@ss", "h", "3307", "n", {})),
        ("mariadb://u:p%40s%2Fs@h/n", ("u", "p@s/s", "h", "", "n", {})),
        ("mysql://u:a:b@c@[::1]:1/n", ("u", "a:b@c", "::1", "1", "n", {})),
        (
            "mysql+pymysql://u@h/n?ssl_ca=/ca.pem&ssl_verify_cert=true&connect_timeout=7",
            ("u", "", "h", "", "n", {"ssl_ca": "/ca.pem", "ssl_verify_cert": True, **SEVEN}),
        ),
        ("mysql://u:p@/n?unix_socket=/s", ("u", "p", "127.0.0.1", "", "n", {"unix_socket": "/s"})),
    ],
)
def test_a_url_says_where_and_how(url: str, expected: tuple):
    found = databases.from_environment({"DATABASE_URL": url}, Path("unused"))
    *place, options = expected
    assert found["ENGINE"] == "apps.core.backends.mariadb"
    assert [found[name] for name in ("USER", "PASSWORD", "HOST", "PORT", "NAME")] == place
    assert found["OPTIONS"] == DRIVER | options
