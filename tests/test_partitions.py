"""Target tables that are partitioned by tenant: the same tables, the same road, the same law."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import NAMESPACE_OID, UUID, uuid4, uuid5

import psycopg
import pytest
from psycopg import errors

from headrace.entities import BY_NAME, TABLES
from headrace.pipeline import dialects
from tests import documents, road, service, tables
from tests.conftest import PARTITIONED
from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import ask, customer, order, order_item, product

TARGETS = tuple(TABLES)
COUNT = 8
[_MOVE] = [one.text for one in documents.blocks("docs/partitions.md") if "pg_dump" in one.text]
MOVE = re.sub(r"^(OLD|NEW)=.*\n", "", _MOVE, flags=re.MULTILINE).replace(
    ".venv/bin/python", sys.executable
)
on_both = pytest.mark.parametrize("partitions", [0, COUNT], ids=["whole", "partitioned"])
on_partitions = pytest.mark.parametrize(
    "running_service", [PARTITIONED], indirect=True, scope="session"
)


@pytest.fixture
def bare(postgresql_server: str, partitions: int) -> Iterator[psycopg.Connection]:
    """A database of target tables only, by its owner who is no superuser."""
    with road.postgresql_database(postgresql_server, partitions) as database:
        yield database.connection


@on_both
def test_every_target_table_has_its_partitions(bare: psycopg.Connection, partitions: int):
    found = bare.execute(
        "SELECT inhparent::regclass::text, inhrelid::regclass::text,"
        " pg_get_expr(relpartbound, inhrelid) FROM pg_inherits JOIN pg_class ON oid = inhrelid"
        " WHERE relkind = 'r'"
    ).fetchall()
    assert sorted(found) == sorted(
        (name, f"{name}_p{at}", f"FOR VALUES WITH (modulus {partitions}, remainder {at})")
        for name in TARGETS
        for at in range(partitions)
    )


@on_both
def test_every_key_and_reference_begins_with_the_tenant(bare: psycopg.Connection, partitions: int):
    """Which is also what lets a table be partitioned, or distributed, by it."""
    found = bare.execute(
        "SELECT conrelid::regclass::text, contype, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE contype IN ('p', 'u', 'f') AND connamespace = 'public'::regnamespace"
    ).fetchall()
    whole = {(re.sub(r"_p\d$", "", table), kind) for table, kind, _ in found}
    assert whole >= {(name, "p") for name in TARGETS}
    # The owner of a movement is referred to by its level.
    refer = [entity for entity in TABLES.values() if entity.references and not entity.levels]
    assert {(entity.name, "f") for entity in refer} <= whole
    assert [text for *_, text in found if not re.match(r"[A-Z ]+\(tenant_id, ", text)] == []
    referred = [text.partition("REFERENCES ")[2] for _, kind, text in found if kind == "f"]
    assert [text for text in referred if not re.fullmatch(r"\w+\(tenant_id, \w+\)", text)] == []
    unique = bare.execute(
        "SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON oid = indrelid"
        " WHERE indisunique AND relnamespace = 'public'::regnamespace"
    ).fetchall()
    assert len(unique) >= len(TARGETS) * (1 + partitions)
    assert [text for (text,) in unique if not re.search(r" \(tenant_id[,)]", text)] == []


@on_both
def test_no_table_keeps_statistics_on_the_tenant(bare: psycopg.Connection, partitions: int):
    """Not on any partition either: their own are what a query of one tenant is planned by."""
    found = bare.execute(
        "SELECT attrelid::regclass::text, attstattarget FROM pg_attribute"
        " JOIN pg_class ON oid = attrelid WHERE attname = 'tenant_id' AND relkind IN ('r', 'p')"
        " AND relnamespace = 'public'::regnamespace AND relname <> 'dirty_days'"
    ).fetchall()
    assert len(found) == len(TARGETS) * (1 + partitions)
    assert {target for _, target in found} == {0}


def test_a_partition_by_its_own_name_shows_even_its_owner_one_tenant_only(
    postgresql_server: str, tmp_path
):
    with road.postgresql_database(postgresql_server, COUNT) as database:
        road.land(database, tmp_path, "customers", ndjson(customer(), customer()))
        union = " UNION ALL ".join(f"SELECT * FROM customers_p{at}" for at in range(COUNT))
        query = f"SELECT count(*) FROM ({union}) rows"
        assert database.connection.execute(query).fetchone() == (0,)
        with database.transaction() as connection:
            assert connection.execute(query).fetchone() == (2,)
        database.tenant = uuid4()
        with database.transaction() as connection:
            assert connection.execute(query).fetchone() == (0,)


def test_references_hold_in_every_partition(postgresql_server: str):
    """Those between partitions of one number: a tenant is in the same one of every table."""
    with road.postgresql_database(postgresql_server, COUNT) as database:
        connection, buyers = database.connection, []
        for _ in range(4 * COUNT):
            database.tenant, buyer = uuid4(), uuid4()
            buyers.append(buyer)
            with database.transaction():
                insert_customer(connection, database.tenant, buyer)
                insert_order(connection, database.tenant, buyer)
            for stranger in (uuid4(), *buyers[-2:-1]):
                with pytest.raises(errors.ForeignKeyViolation), database.transaction():
                    insert_order(connection, database.tenant, stranger)
            with pytest.raises(errors.ForeignKeyViolation), database.transaction():
                connection.execute("DELETE FROM customers")
        connection.execute("RESET ROLE")
        spread = "SELECT count(DISTINCT tableoid), count(*) FROM orders"
        used, rows = connection.execute(spread).fetchone()
        assert rows == 4 * COUNT
        assert used > 1


def insert_customer(connection: psycopg.Connection, tenant: UUID, buyer: UUID) -> None:
    connection.execute(
        "INSERT INTO customers (tenant_id, customer_id, source_sequence) VALUES (%s, %s, 1)",
        [tenant, buyer],
    )


def insert_order(connection: psycopg.Connection, tenant: UUID, buyer: UUID) -> None:
    connection.execute(
        "INSERT INTO orders (tenant_id, order_id, external_order_id, customer_id, total_amount,"
        " order_date, source_sequence) VALUES (%s, %s, %s, %s, 1, now(), 1)",
        [tenant, uuid4(), uuid4().hex, buyer],
    )


def test_partitions_change_the_ddl_and_nothing_else():
    whole, cut = dialects.dialect("postgresql"), dialects.dialect("postgresql", 2)
    statements = iter(cut.table_statements(BY_NAME["orders"]))
    [table, *others] = whole.table_statements(BY_NAME["orders"])
    own = "\n".join(line for line in table.splitlines() if "FOREIGN KEY" not in line)
    assert next(statements) == f"{own} PARTITION BY HASH (tenant_id)"
    rest = list(statements)
    of_partitions = [text for text in rest if re.search(r"\borders_p[01]\b", text)]
    assert [text for text in rest if text not in of_partitions] == others
    assert len(of_partitions) == 2 * 4


def test_what_cannot_be_partitioned_is_left_whole():
    entity = BY_NAME["orders"]
    assert [name for name in dialects.CAN_PARTITION if not dialects.dialect(name, 2)] == []
    statements = dialects.dialect("sqlite", 8).table_statements(entity)
    assert statements == dialects.dialect("sqlite").table_statements(entity)


def shop(times: int) -> list[tuple[str, list[dict]]]:
    """Files of a shop, with what is inserted, updated, unchanged, refused, parked and woken."""
    made = {"created_at": "2025-02-01T10:00:00Z"}
    buyers = [customer(**made) for _ in range(times)]
    goods = [product(**made) for _ in range(times)]
    bought = [order(customer_id=buyer["customer_id"], **made) for buyer in buyers]
    pairs = zip(bought, goods, strict=True)
    items = [order_item(one["order_id"], other["product_id"]) for one, other in pairs]
    moment = {"event_time": "2025-03-01T10:00:00Z", "delta": 3}
    events = [
        {"stock_event_id": str(uuid4()), "product_id": one["product_id"], **moment} for one in goods
    ]
    prices = [
        {"id": str(uuid4()), "product_id": one["product_id"], "price": 1}
        | {"effective_from": "2025-03-01T10:00:00Z"}
        for one in goods
    ]
    changed = [{**buyer, "name": "Grace"} for buyer in buyers[: times // 2]]
    return [
        ("order_items", [*items, order_item(str(uuid4()), goods[0]["product_id"])]),
        ("orders", [*bought, order(external_order_id=bought[0]["external_order_id"], **made)]),
        ("customers", [*buyers, {"name": "nobody"}]),
        ("customers_2", [*changed, *buyers[times // 2 :]]),
        ("products", [*goods, product(price="NaN")]),
        ("stock_events", [*events, {**events[0], "delta": 4}]),
        ("price_history", prices),
    ]


@contextmanager
def partitioned(folder, server: str, **environment: str) -> Iterator[Service]:
    with service.running(folder, server, HEADRACE_PARTITIONS=str(COUNT), **environment) as opened:
        yield opened


@pytest.mark.parametrize("running_service", ["postgresql"], indirect=True, scope="session")
def test_a_load_ends_in_equal_accounts_and_equal_tables(
    running_service: Service, tmp_path, postgresql_server: str
):
    files, tenants = shop(300), [uuid5(NAMESPACE_OID, f"partitions {at}") for at in range(2)]
    with partitioned(tmp_path, postgresql_server) as cut:
        found = {}
        for one in (running_service, cut):
            for tenant in tenants:
                outcomes = send(one.add_tenant(tenant), files)
                wait_for_wakes(one, tenant)
                found[one, tenant] = (outcomes, tables.contents(one, tenant))
        used = ask(cut, "SELECT DISTINCT tableoid::regclass::text FROM customers")
    for tenant in tenants:
        assert found[running_service, tenant] == found[cut, tenant]
        first = found[cut, tenant][0]["customers_2"]
        assert (first["updated"], first["unchanged"]) == (150, 150)
    assert len(used) == len(tenants), "the tenants share a partition: name them otherwise"


def wait_for_wakes(running: Service, tenant: UUID) -> None:
    """Until nothing is parked but the items of the order that never comes and of a refused one."""
    for _ in range(1_200):
        if ask(running, f"SELECT count(*) FROM parked WHERE tenant_id = '{tenant}'") == [(2,)]:
            return
        time.sleep(0.1)
    raise AssertionError(running.log()[-4000:])


def send(merchant: Merchant, files: list[tuple[str, list[dict]]]) -> dict[str, dict]:
    """The outcomes of each file; each is an upload of its own, and parents come last."""
    return {name: merchant.load(name, ndjson(*rows))["outcomes"] for name, rows in files}


@on_partitions
def test_a_load_lets_the_planner_know_the_partition_and_the_whole(running_service: Service):
    merchant = running_service.add_tenant()
    assert merchant.load("customers", ndjson(*(customer() for _ in range(3000))))["finished"]
    [(whole,)] = ask(running_service, "SELECT reltuples FROM pg_class WHERE relname = 'customers'")
    leaves = "SELECT sum(reltuples) FROM pg_class WHERE relname ~ '^customers_p[0-9]$'"
    [(known,)] = ask(running_service, leaves)
    assert whole >= 1500
    assert known >= 3000
    columns = ask(
        running_service,
        "SELECT DISTINCT attname FROM pg_stats WHERE tablename ~ '^customers(_p[0-9])?$'",
    )
    assert ("customer_id",) in columns
    assert ("tenant_id",) not in columns


@pytest.fixture
def made(postgresql_server: str, tmp_path) -> Iterator["Made"]:
    name = f"headrace_test_{uuid4().hex[:12]}"
    with psycopg.connect(postgresql_server, autocommit=True) as administrator:
        administrator.execute(f"CREATE DATABASE {name}")
        try:
            yield Made(f"{postgresql_server.rpartition('/')[0]}/{name}", tmp_path)
        finally:
            administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")


class Made:
    """A database without a service; its commands may be run under other settings."""

    def __init__(self, url: str, home) -> None:
        self.url = url
        self._environment = {**documents.service_environment(), "HEADRACE_HOME": str(home)}
        self._environment["DATABASE_URL"] = url

    def manage(self, *arguments: str, partitions: str | None = None, check: bool = True):
        chosen = {} if partitions is None else {"HEADRACE_PARTITIONS": partitions}
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=service.ROOT,
            env={**self._environment, **chosen},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def run(self, script: str, **variables: str) -> str:
        """What the documented commands print, with our program and these variables."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=service.ROOT,
            env={**self._environment, **variables},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, statement: str) -> list[tuple]:
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def shape(self) -> dict[str, int]:
        """The number of partitions of each target table."""
        return dict(
            self.ask(
                "SELECT relname, (SELECT count(*) FROM pg_inherits WHERE inhparent = t.oid)"
                " FROM pg_class t WHERE oid IN (SELECT to_regclass(name) FROM"
                f" unnest(ARRAY[{', '.join(map(repr, TARGETS))}]) name)"
            )
        )

    def doctor(self, partitions: str | None = None) -> dict:
        done = self.manage("doctor", "--json", partitions=partitions, check=False)
        findings = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
        return findings["partitions"]


def test_the_setting_is_read_when_the_tables_are_made_and_never_again(made: Made):
    told = made.manage("migrate", partitions="on").stdout
    assert "Target tables are in 8 partitions." in told
    assert made.shape() == dict.fromkeys(TARGETS, 8)
    told = made.manage("migrate", partitions="4").stdout
    assert "Target tables are in 8 partitions." in told
    assert "HEADRACE_PARTITIONS=4 changed nothing" in told
    assert "changed nothing" not in made.manage("migrate").stdout
    assert made.shape() == dict.fromkeys(TARGETS, 8)
    assert [made.doctor(number)["is_well"] for number in ("8", "off", "4")] == [True, True, False]
    found = made.doctor("4")
    assert "in 8 partitions" in found["found"]
    assert "HEADRACE_PARTITIONS=4" in found["advice"]


def test_whole_tables_stay_whole(made: Made):
    assert "Target tables are whole." in made.manage("migrate").stdout
    made.manage("migrate", "catalog", "zero", "--verbosity", "0", "--fake")
    told = made.manage("migrate", partitions="8").stdout
    assert "HEADRACE_PARTITIONS=8 changed nothing" in told
    assert made.shape() == dict.fromkeys(TARGETS, 0)
    assert [made.doctor(number)["is_well"] for number in (None, "8")] == [True, False]


def test_a_table_that_is_added_later_is_cut_like_its_siblings(made: Made):
    made.manage("migrate", partitions="4")
    made.ask("DROP TABLE stock_events")
    made.manage("migrate", "catalog", "zero", "--verbosity", "0", "--fake")
    made.manage("migrate")
    assert made.shape() == dict.fromkeys(TARGETS, 4)
    granted = "SELECT count(*) FROM pg_class WHERE relispartition AND relkind = 'r' AND"
    assert made.ask(f"{granted} has_table_privilege('headrace_app', oid, 'SELECT')") == [(0,)]


def test_what_an_older_table_misses_is_added_to_its_partitions(made: Made):
    made.manage("migrate", partitions="8")
    made.ask(
        "DROP INDEX orders_customer_search_idx; ALTER TABLE orders DROP COLUMN raw_payload;"
        " ALTER TABLE orders DROP COLUMN is_rewritten;"
        " ALTER TABLE orders ALTER COLUMN tenant_id SET STATISTICS -1"
    )
    made.manage("migrate", "catalog", "zero", "--verbosity", "0", "--fake")
    made.manage("migrate")
    columns = "SELECT table_name FROM information_schema.columns WHERE column_name ="
    partitions = {("orders",), *((f"orders_p{at}",) for at in range(8))}
    assert partitions <= set(made.ask(f"{columns} 'raw_payload'"))
    assert partitions <= set(made.ask(f"{columns} 'is_rewritten'"))
    indexes = (
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'orders_customer_search_idx'::regclass"
    )
    assert made.ask(indexes) == [(8,)]
    targets = "SELECT DISTINCT attstattarget FROM pg_attribute WHERE attname = 'tenant_id'"
    assert made.ask(f"{targets} AND attrelid::regclass::text ~ '^orders(_p.)?$'") == [(0,)]
    made.manage("optional_index", "orders_raw_payload_gin_idx")
    gin = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'orders_raw_payload_gin_idx'"
    assert made.ask(f"{gin}::regclass") == [(8,)]


def test_doctor_says_that_the_setting_is_for_another_database(tmp_path):
    made = Made(f"sqlite:///{tmp_path / 'own.sqlite3'}", tmp_path)
    made.manage("migrate", "--verbosity", "0", partitions="8")
    assert [made.doctor(number)["is_well"] for number in ("off", "8")] == [True, False]
    assert "SQLite has no partitions" in made.doctor("8")["found"]


@pytest.mark.parametrize("text", ["some", "-1", "1000"])
def test_a_setting_that_means_nothing_is_refused(made: Made, text: str):
    done = made.manage("migrate", partitions=text, check=False)
    assert done.returncode == 1
    assert "HEADRACE_PARTITIONS must be off, on or a number" in done.stderr


@pytest.mark.parametrize(
    "running_service", ["postgresql", PARTITIONED], indirect=True, scope="session"
)
def test_a_database_moves_as_documented_in_both_directions(running_service: Service, made: Made):
    if shutil.which("pg_dump") is None or shutil.which("psql") is None:
        pytest.skip("NO PG_DUMP, NO PSQL: moving to partitions is not tested")
    send(running_service.add_tenant(), shop(20))
    old = running_service.environment["DATABASE_URL"]
    was_whole = ask(running_service, "SELECT 1 FROM pg_class WHERE relispartition") == []
    script = (
        MOVE if was_whole else MOVE.replace("HEADRACE_PARTITIONS=on", "HEADRACE_PARTITIONS=off")
    )
    told = made.run(script, OLD=old, NEW=made.url)
    assert "No migrations to apply" in told
    assert made.shape() == dict.fromkeys(TARGETS, 8 if was_whole else 0)
    for table in (*TARGETS, "tenants", "chunks", "jobs", "rejects", "django_migrations"):
        everything = f"SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {table} t"
        assert made.ask(everything) == ask_raw(old, everything), table


def ask_raw(url: str, statement: str) -> list[tuple]:
    with psycopg.connect(url) as connection:
        return connection.execute(statement).fetchall()
