"""What keeps tenants apart when all else fails: policies, triggers, managers, keys."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pymysql
import pytest
from psycopg import errors

from headrace.entities import DAY_TABLES, TABLES
from headrace.recognitions.schema import TABLES as TABLES_OF_RECOGNITIONS
from tests import prices, recognition_rows, sales, servers
from tests.conftest import PARTITIONED, on_every_database
from tests.hooks import Hooks
from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import ask, customer, order, order_item, product
from tests.test_metrics import wait_for_figures

on_postgresql = pytest.mark.parametrize(
    "running_service", ["postgresql", PARTITIONED], indirect=True, scope="session"
)
either_way = pytest.mark.parametrize("triggers", ["origin", "replica"])
on_partitions = pytest.mark.parametrize(
    "running_service", [PARTITIONED], indirect=True, scope="session"
)
on_sqlite = pytest.mark.parametrize("running_service", ["sqlite"], indirect=True, scope="session")
on_mariadb = pytest.mark.parametrize("running_service", ["mariadb"], indirect=True, scope="session")

TARGETS = set(TABLES)
METRICS = {"sales_rollups", "customer_numbers", "tenant_hourly_metrics", "tenant_daily_metrics"}
HOOKS = {"webhook_endpoints", "webhook_events", "webhook_attempts"}
RECOGNITIONS = {table.flat_name for table in TABLES_OF_RECOGNITIONS}
OWN = {"rejects", "parked", "price_events", "price_feeds", "audit_log"}
GUARDED = {*TARGETS, *DAY_TABLES, *METRICS, *HOOKS, *RECOGNITIONS, *OWN}
APPENDED = {"audit_log"}  # guarded besides against every change, whoever makes it
# Read before a tenant is known, or by workers for all of them, and never by a caller's SQL.
CONTROL = {
    *("tenants", "api_keys", "uploads", "chunks", "jobs", "idempotency_keys", "rate_limits"),
    *("exports", "takeouts", "tenant_days", "webhook_lanes", "webhook_deliveries"),
    *("erasures", "audit_erasures"),  # the proofs, which outlive their tenants
}


@pytest.fixture(scope="module")
def merchants(running_service: Service) -> tuple[Merchant, Merchant]:
    return fill(running_service.add_tenant()), fill(running_service.add_tenant())


@pytest.fixture
def neighbours(merchants: tuple[Merchant, Merchant]) -> tuple[Merchant, Merchant]:
    """Two merchants, each with one row in every guarded table."""
    for merchant in merchants:  # a day that is listed as changed does not stay listed
        if not sales.listed_days(merchant.service, merchant.tenant):
            tenant = merchant.service.spelled(merchant.tenant)
            values = f"({tenant}, '2030-01-01')"
            ask(merchant.service, f"INSERT INTO dirty_days (tenant_id, day) VALUES {values}")
    return merchants


def fill(merchant: Merchant) -> Merchant:
    buyer, goods = customer(), product()
    bought = order(customer_id=buyer["customer_id"], order_status="delivered")
    event = {"stock_event_id": str(uuid4()), "product_id": goods["product_id"], "delta": 1}
    price = {"id": str(uuid4()), "product_id": goods["product_id"], "price": 1}
    files = {
        "customers": [buyer, customer(name=7)],
        "products": [goods],
        "orders": [bought, order(customer_id=str(uuid4()))],
        "order_items": [order_item(bought["order_id"], goods["product_id"])],
        "stock_events": [{**event, "event_time": "2025-03-01T10:00:00Z"}],
        "price_history": [{**price, "effective_from": "2025-03-01T10:00:00Z"}],
    }
    token = merchant.open_upload()
    for name, records in files.items():
        merchant.send(name, ndjson(*records), token=token)
    counts = merchant.wait(token)["outcomes"]
    assert (counts["inserted"], counts["rejected"], counts["parked"]) == (6, 1, 1)
    anomaly = prices.send(merchant, goods["product_id"], {"new_price": "2500"})
    assert anomaly.json()["anomaly_detected"], anomaly.text
    wait_for_figures(merchant)
    tell_nobody(merchant)
    recognition_rows.insert(merchant)
    # After one that failed the sweep rests: days that the tests list stay listed.
    own = f"kind = 'rollup' AND tenant_id = {merchant.service.spelled(merchant.tenant)}"
    failed = "state = 'failed', ended_at = CURRENT_TIMESTAMP"
    ask(merchant.service, f"UPDATE jobs SET {failed} WHERE {own} AND state = 'done'")
    return merchant


def tell_nobody(merchant: Merchant) -> None:
    """A webhook to where nobody listens."""
    hooks = Hooks(merchant)
    endpoint, _ = hooks.make(f"http://127.0.0.1:{servers.free_port()}/")
    hooks.call("POST", f"{endpoint}/test/", status=202)
    hooks.attempted(endpoint)


@contextmanager
def as_server(
    running: Service, tenant: object = None, triggers: str = "origin"
) -> Iterator[psycopg.Connection]:
    """A transaction of the serving role, bound to a tenant if one is given; rolled back.

    As its loads do, the role may switch triggers off: "replica".
    """
    with psycopg.connect(running.environment["DATABASE_URL"]) as connection:
        connection.execute("SET ROLE headrace_app")
        if triggers == "replica":
            connection.execute("SET LOCAL session_replication_role = replica")
        if tenant is not None:
            connection.execute(f"SET LOCAL app.tenant_id = '{tenant}'")
        yield connection
        connection.rollback()


NOBODY: dict[str, set] = {table: set() for table in GUARDED}


def visible(connection: psycopg.Connection) -> dict[str, set]:
    """The tenants whose rows a connection sees, by table."""
    return {
        table: {row[0] for row in connection.execute(f"SELECT tenant_id FROM {table}")}
        for table in GUARDED
    }


@on_postgresql
@either_way
def test_without_a_tenant_the_serving_role_sees_no_rows(running_service, neighbours, triggers):
    with as_server(running_service, triggers=triggers) as connection:
        assert visible(connection) == NOBODY


@on_postgresql
@either_way
def test_with_a_tenant_the_serving_role_sees_its_rows_only(running_service, neighbours, triggers):
    for merchant in neighbours:
        with as_server(running_service, merchant.tenant, triggers) as connection:
            assert visible(connection) == {table: {merchant.tenant} for table in GUARDED}


@on_postgresql
def test_after_a_tenants_transaction_the_connection_sees_no_rows(running_service, neighbours):
    with as_server(running_service, neighbours[0].tenant) as connection:
        connection.rollback()
        connection.execute("SET ROLE headrace_app")
        setting = connection.execute("SELECT current_setting('app.tenant_id', true)").fetchone()
        assert setting == ("",)
        assert visible(connection) == NOBODY


@on_postgresql
@either_way
@pytest.mark.parametrize("table", sorted(APPENDED))
def test_a_tenant_can_neither_write_rows_of_another_nor_change_its_own(
    running_service, neighbours, table, triggers
):
    mine, theirs = (merchant.tenant for merchant in neighbours)
    columns = ", ".join(columns_of(running_service, table))
    copied = columns.replace('"tenant_id"', f"'{theirs}'")
    for statement, refusal in {
        f"INSERT INTO {table} ({columns}) SELECT {copied} FROM {table}": "row-level security",
        f"UPDATE {table} SET tenant_id = tenant_id": "permission denied",
        f"DELETE FROM {table}": "permission denied",
        f"TRUNCATE {table}": "permission denied",
    }.items():
        with (
            as_server(running_service, mine, triggers) as connection,
            pytest.raises(errors.InsufficientPrivilege, match=refusal),
        ):
            connection.execute(statement)


@on_postgresql
@either_way
@pytest.mark.parametrize("table", sorted(GUARDED - APPENDED))
def test_a_tenant_cannot_write_anothers_rows(running_service, neighbours, table, triggers):
    mine, theirs = (merchant.tenant for merchant in neighbours)
    columns = ", ".join(columns_of(running_service, table))
    copied = columns.replace('"tenant_id"', f"'{theirs}'")
    for statement in (
        f"INSERT INTO {table} ({columns}) SELECT {copied} FROM {table}",
        f"UPDATE {table} SET tenant_id = '{theirs}'",
    ):
        with (
            as_server(running_service, mine, triggers) as connection,
            pytest.raises(errors.InsufficientPrivilege, match="row-level security"),
        ):
            connection.execute(statement)
    for statement in (f"UPDATE {table} SET tenant_id = '{mine}'", f"DELETE FROM {table}"):
        with as_server(running_service, mine, triggers) as connection:
            changed = connection.execute(f"{statement} WHERE tenant_id = '{theirs}'")
            assert changed.rowcount == 0


def columns_of(running: Service, table: str) -> list[str]:
    found = ask(
        running,
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public'"
        f" AND table_name = '{table}' AND is_generated = 'NEVER' ORDER BY ordinal_position",
    )
    own_ids = {"price_history", *APPENDED}
    return [f'"{name}"' for (name,) in found if name != "id" or table in own_ids]


@on_postgresql
def test_the_serving_role_owns_nothing_and_cannot_step_over_policies(running_service):
    role = "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolcanlogin FROM pg_roles"
    owned = "SELECT tablename FROM pg_tables WHERE tableowner = 'headrace_app'"
    assert ask(running_service, f"{role} WHERE rolname = 'headrace_app'") == [(False,) * 5]
    assert ask(running_service, f"{owned} AND schemaname NOT LIKE 'pg_temp%'") == []
    with as_server(running_service) as connection:
        for statement in (
            "CREATE TABLE public.mine (id int)",
            "ALTER TABLE customers DISABLE ROW LEVEL SECURITY",
            "DROP POLICY customers_tenant ON customers",
            "TRUNCATE customers",
            "SELECT headrace_analyze('tenants')",
        ):
            with pytest.raises((errors.InsufficientPrivilege, errors.RaiseException)):
                connection.execute(statement)
            connection.rollback()
            connection.execute("SET ROLE headrace_app")


@on_postgresql
def test_the_service_itself_works_as_that_role(running_service):
    users = "SELECT current_user, session_user <> current_user"
    snippet = (
        "from django.db import connection as c; k = c.cursor();"
        f" k.execute({users!r}); print(k.fetchone())"
    )
    told = running_service.manage("shell", "-v", "0", "-c", snippet).stdout.strip()
    assert told == "('headrace_app', True)"


@on_postgresql
def test_every_table_with_a_tenant_is_guarded_by_a_policy_or_a_control_table(running_service):
    assert misguarded_on_postgresql(running_service.ask) == {}


Ask = Callable[[str], list[tuple]]
RULE = "(tenant_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid)"


def misguarded_on_postgresql(ask_: Ask) -> dict[str, object]:
    """What guards each table with a tenant of which something else is expected."""
    found = ask_(
        "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity,"
        " array(SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = c.oid),"
        " EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid AND NOT (polcmd = '*'"
        "  AND polpermissive AND polroles = '{0}' AND polwithcheck IS NULL))"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'"
        " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = 'public'::regnamespace",
    )
    return differing(
        {name: (forced, tuple(rules), is_odd) for name, forced, rules, is_odd in found},
        {
            **dict.fromkeys({*GUARDED, *partitions_of(ask_)}, (True, (RULE,), False)),
            **dict.fromkeys(CONTROL, (False, (), False)),
        },
    )


def differing(found: dict[str, object], expected: dict[str, object]) -> dict[str, object]:
    """What was found where it is not what was expected; None where nothing was."""
    names = {*found, *expected}
    return {name: found.get(name) for name in names if found.get(name) != expected.get(name)}


def partitions_of(ask_: Ask) -> list[str]:
    """The partitions of all target tables; none where they are whole."""
    found = ask_("SELECT relname FROM pg_class WHERE relispartition AND relkind = 'r'")
    return [name for (name,) in found]


@on_postgresql
@pytest.mark.parametrize(
    "weakening",
    [
        "DROP POLICY {policy} ON {table}",
        "ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY",
        "ALTER POLICY {policy} ON {table} USING (true)",
        "ALTER POLICY {policy} ON {table} WITH CHECK (true)",
        "ALTER POLICY {policy} ON {table} TO CURRENT_USER",
        "CREATE POLICY another ON {table} FOR SELECT USING (true)",
    ],
)
def test_a_policy_that_is_missing_or_wider_is_told_by_its_table(running_service, weakening):
    with psycopg.connect(running_service.environment["DATABASE_URL"]) as connection:

        def ask_(statement: str) -> list[tuple]:
            return connection.execute(statement).fetchall()

        policies = ask_("SELECT polname, polrelid::regclass::text FROM pg_policy")
        told = {}
        for policy, table in policies:
            connection.execute(weakening.format(policy=policy, table=table))
            told[table] = set(misguarded_on_postgresql(ask_))
            connection.rollback()
    assert told == {table: {table} for table in {*GUARDED, *partitions_of(running_service.ask)}}


@on_partitions
def test_the_serving_role_cannot_touch_a_partition_directly(running_service, neighbours):
    found = partitions_of(running_service.ask)
    assert len(found) == 8 * len(TARGETS)
    for name in found:
        for statement in (
            f"SELECT FROM {name}",
            f"UPDATE {name} SET tenant_id = tenant_id",
            f"DELETE FROM {name}",
            f"INSERT INTO {name} SELECT * FROM {name}",
            f"TRUNCATE {name}",
            f"COPY {name} TO STDOUT",
        ):
            with (
                as_server(running_service, neighbours[0].tenant) as connection,
                pytest.raises(errors.InsufficientPrivilege, match="permission denied"),
            ):
                connection.execute(statement)


@on_postgresql
def test_every_key_of_a_target_table_begins_with_the_tenant_on_postgresql(running_service):
    keys = ask(
        running_service,
        "SELECT c.relname, i.relname, a.attname FROM pg_index x"
        " JOIN pg_class c ON c.oid = x.indrelid JOIN pg_class i ON i.oid = x.indexrelid"
        " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.indkey[0]"
        " WHERE c.relnamespace = 'public'::regnamespace",
    )
    targets = {*TARGETS, *partitions_of(running_service.ask)}
    assert {(name, column) for table, name, column in keys if table in targets} == {
        (name, "tenant_id") for table, name, _ in keys if table in targets
    }
    assert {table for table, _, _ in keys} >= TARGETS
    references = ask(
        running_service,
        "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
        f" WHERE contype = 'f' AND conrelid::regclass::text IN ({', '.join(map(repr, targets))})",
    )
    suffixes = sorted({table[-3:] for table in partitions_of(running_service.ask)}) or [""]
    for suffix in suffixes:  # a partition refers to the partition of its number
        assert sorted(
            text.replace(f"{suffix}(", "(") for table, text in references if table.endswith(suffix)
        ) == sorted(REFERENCES)
    assert len(references) == len(REFERENCES) * len(suffixes)


REFERENCES = [
    f"FOREIGN KEY (tenant_id, {field}) REFERENCES {parent}(tenant_id, {key})"
    for field, parent, key in (
        ("customer_id", "customers", "customer_id"),
        ("order_id", "orders", "order_id"),
        ("product_id", "products", "product_id"),
        ("product_id", "products", "product_id"),
        ("product_id", "products", "product_id"),
    )
]

# name → (columns on PostgreSQL, columns on SQLite, condition on both)
INDEXES = {
    "orders_search_idx": (
        "(tenant_id, order_date, order_id, order_status)"
        " INCLUDE (total_amount, currency, kind, external_order_id)",
        "(tenant_id, order_date, order_id, order_status, total_amount, currency, kind,"
        " external_order_id)",
        None,
    ),
    "orders_customer_search_idx": (
        "(tenant_id, customer_id, order_date, order_id)",
        "(tenant_id, customer_id, order_date, order_id)",
        ("(customer_id IS NOT NULL)", "customer_id IS NOT NULL"),
    ),
    "products_active_idx": ("(tenant_id, sku)", "(tenant_id, sku)", ("active", "active = 1")),
    "order_items_order_idx": ("(tenant_id, order_id)", "(tenant_id, order_id)", None),
    "order_items_product_idx": ("(tenant_id, product_id)", "(tenant_id, product_id)", None),
    "stock_levels_level_idx": (
        "(tenant_id, level, product_id)",
        "(tenant_id, level, product_id)",
        None,
    ),
}
UNIQUE = {
    "stock_events_sequence_key": ("(tenant_id, product_id, sequence)", None),
    "price_history_start_key": ("(tenant_id, product_id, effective_from)", None),
    "price_history_open_key": ("(tenant_id, product_id)", "effective_to IS NULL"),
}


def table_of(index: str) -> str:
    return next(name for name in sorted(TARGETS, key=len, reverse=True) if index.startswith(name))


@on_postgresql
def test_the_documented_indexes_are_what_they_are_called_on_postgresql(running_service):
    expected = {
        name: f"CREATE INDEX {name} ON public.{table_of(name)} USING btree {columns}"
        + (f" WHERE {condition[0]}" if condition else "")
        for name, (columns, _, condition) in INDEXES.items()
    }
    for name, (columns, condition) in UNIQUE.items():
        beginning = f"CREATE UNIQUE INDEX {name} ON public.{table_of(name)} USING btree {columns}"
        expected[name] = beginning + (f" WHERE ({condition})" if condition else "")
    names = ", ".join(map(repr, expected))
    found = ask(
        running_service, f"SELECT indexname, indexdef FROM pg_indexes WHERE indexname IN ({names})"
    )
    assert {name: text.replace("ON ONLY ", "ON ") for name, text in found} == expected


@on_sqlite
def test_the_documented_indexes_are_what_they_are_called_on_sqlite(running_service):
    expected = {
        name: f"CREATE INDEX {name} ON {table_of(name)} {columns}"
        + (f" WHERE {condition[1]}" if condition else "")
        for name, (_, columns, condition) in INDEXES.items()
    }
    for name, (columns, condition) in UNIQUE.items():
        beginning = f"CREATE UNIQUE INDEX {name} ON {table_of(name)} {columns}"
        expected[name] = beginning + (f" WHERE {condition}" if condition else "")
    found = ask(running_service, "SELECT name, sql, tbl_name FROM sqlite_master WHERE sql > ''")
    assert {name: sql for name, sql, _ in found if name in expected} == expected


@on_sqlite
def test_every_table_with_a_tenant_has_its_triggers_or_is_a_control_table(running_service):
    assert misguarded_on_sqlite(running_service.ask) == {}


EVENTS = ("insert", "update", "delete")
KEPT = {*APPENDED, "audit_erasures"}  # whose rows change for nobody


def misguarded_on_sqlite(ask_: Ask) -> dict[str, object]:
    """The triggers of each table of which others are expected."""
    columns = ask_(
        "SELECT t.name FROM sqlite_master t, pragma_table_info(t.name) c"
        " WHERE t.type = 'table' AND c.name = 'tenant_id'",
    )
    found: dict[str, set[str]] = {name: set() for (name,) in columns}
    for table, trigger in ask_("SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger'"):
        found.setdefault(table, set()).add(trigger)
    return differing(found, {table: triggers_of(table) for table in GUARDED | CONTROL})


def triggers_of(table: str) -> set[str]:
    guards = {"tenant": table in GUARDED, "append": table in KEPT}
    return {
        f"{table}_{guard}_{event}"
        for guard, is_there in guards.items()
        for event in EVENTS
        if is_there
    }


@on_sqlite
def test_a_trigger_that_is_missing_is_told_by_its_table(running_service):
    told, expected = {}, {}
    with running_service.owner() as connection:

        def ask_(statement: str) -> list[tuple]:
            return connection.execute(statement).fetchall()

        for table in GUARDED | KEPT:
            for trigger in triggers_of(table):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(f"DROP TRIGGER {trigger}")
                told[trigger] = misguarded_on_sqlite(ask_)
                expected[trigger] = {table: triggers_of(table) - {trigger}}
                connection.execute("ROLLBACK")
    assert told == expected


@on_sqlite
@pytest.mark.parametrize("table", sorted(TARGETS))
def test_every_key_of_a_target_table_begins_with_the_tenant_on_sqlite(running_service, table):
    ((strict,),) = ask(
        running_service, f"SELECT strict FROM pragma_table_list WHERE name = '{table}'"
    )
    keys = ask(
        running_service,
        f"SELECT c.name FROM pragma_index_list('{table}') i, pragma_index_info(i.name) c"
        f" WHERE c.seqno = 0 UNION SELECT name FROM pragma_table_info('{table}') WHERE pk = 1",
    )
    references = ask(
        running_service,
        f'SELECT "from", "to" FROM pragma_foreign_key_list(\'{table}\') WHERE seq = 0',
    )
    declared = TABLES[table]
    held = declared.levels.owner if declared.levels else ""  # the level refers to the owner
    own = [reference for reference in declared.references if reference.field != held]
    assert (strict, keys) == (1, [("tenant_id",)])
    assert references == [("tenant_id", "tenant_id")] * len(own)


REFUSAL = "another tenant|append-only"  # whichever trigger the database asks first


@contextmanager
def stray_connection(running: Service, tenant: str | None) -> Iterator[sqlite3.Connection]:
    """A connection past the service that claims to act for a tenant, or for none."""
    connection = sqlite3.connect(running.home / "headrace.sqlite3", timeout=60)
    connection.create_function("headrace_tenant", 0, lambda: tenant)
    try:
        yield connection
    finally:
        connection.rollback()
        connection.close()


@on_sqlite
@pytest.mark.parametrize("table", sorted(GUARDED))
def test_a_write_past_the_service_is_refused(running_service, neighbours, table):
    mine, theirs = (merchant.tenant.hex for merchant in neighbours)
    connection = sqlite3.connect(running_service.home / "headrace.sqlite3", timeout=60)
    with pytest.raises(sqlite3.OperationalError, match="no such function: headrace_tenant"):
        connection.execute(f"DELETE FROM {table}")
    connection.close()
    for tenant in (None, mine):
        with stray_connection(running_service, tenant) as connection:
            for statement in (
                f"DELETE FROM {table} WHERE tenant_id = '{theirs}'",
                f"UPDATE {table} SET tenant_id = tenant_id WHERE tenant_id = '{theirs}'",
                f"INSERT INTO {table} SELECT * FROM {table} WHERE tenant_id = '{theirs}'",
            ):
                with pytest.raises(sqlite3.IntegrityError, match=REFUSAL):
                    connection.execute(statement)


@on_sqlite
def test_a_row_of_another_cannot_be_taken_over_on_sqlite(running_service, neighbours):
    mine, theirs = (merchant.tenant.hex for merchant in neighbours)
    with (
        stray_connection(running_service, mine) as connection,
        pytest.raises(sqlite3.IntegrityError, match="another tenant"),
    ):
        connection.execute(
            f"UPDATE customers SET tenant_id = '{mine}' WHERE tenant_id = '{theirs}'"
        )


MY_INDEXES = {
    **{name: columns for name, (_, columns, _) in INDEXES.items()},
    **{name: columns for name, (columns, _) in UNIQUE.items()},
    # No partial indexes: the flag is in the key, and a column is null unless the interval is open.
    "products_active_idx": "(tenant_id, active, sku)",
    "price_history_open_key": "(tenant_id, product_id_while_open)",
}
TURNS = {"price_history_turns"}  # a row a tenant, for the lock on it


@on_mariadb
def test_the_documented_indexes_are_what_they_are_called_on_mariadb(running_service):
    found = ask(
        running_service,
        "SELECT index_name, GROUP_CONCAT(column_name, IF(collation = 'D', ' desc', '')"
        " ORDER BY seq_in_index SEPARATOR ', ') FROM information_schema.statistics"
        " WHERE table_schema = DATABASE() GROUP BY table_name, index_name",
    )
    columns = {name: f"({listed})" for name, listed in found if name in MY_INDEXES}
    assert columns == MY_INDEXES


@on_mariadb
def test_every_table_with_a_tenant_has_its_triggers_or_is_a_control_table_on_mariadb(
    running_service,
):
    assert misguarded_on_mariadb(running_service.ask) == {}


def misguarded_on_mariadb(ask_: Ask) -> dict[str, object]:
    """The triggers of each table of which others are expected."""
    columns = ask_(
        "SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = DATABASE() AND column_name = 'tenant_id'",
    )
    triggers = ask_(
        "SELECT event_object_table, trigger_name, action_timing, LOWER(event_manipulation)"
        " FROM information_schema.triggers WHERE trigger_schema = DATABASE()",
    )
    found: dict[str, set[tuple]] = {name: set() for (name,) in columns}
    for table, *trigger in triggers:
        found.setdefault(table, set()).add(tuple(trigger))
    tables = GUARDED | TURNS | CONTROL
    return differing(found, {table: mariadb_triggers_of(table) for table in tables})


def mariadb_triggers_of(table: str) -> set[tuple]:
    """Entries are appended there with no trigger to insert them, which the tenant's is."""
    guards = {"tenant": table in GUARDED | TURNS, "append": table in KEPT}
    return {
        (f"{table}_{guard}_{event}", "BEFORE", event)
        for guard, is_there in guards.items()
        for event in EVENTS[guard == "append" :]
        if is_there
    }


@on_mariadb
def test_a_trigger_that_is_missing_is_told_by_its_table_on_mariadb(running_service):
    """Of each table one, all at once: no transaction gives them back, and each look is slow."""
    made = running_service.ask(
        "SELECT event_object_table, trigger_name, event_manipulation, action_statement"
        " FROM information_schema.triggers WHERE trigger_schema = DATABASE()"
        " ORDER BY CRC32(trigger_name)"
    )
    gone = {table: trigger for table, *trigger in made}
    assert {event for _, event, _ in gone.values()} == {"INSERT", "UPDATE", "DELETE"}
    try:
        for name, *_ in gone.values():
            running_service.ask(f"DROP TRIGGER {name}")
        told = misguarded_on_mariadb(running_service.ask)
    finally:
        for table, (name, event, body) in gone.items():
            timed = f"BEFORE {event} ON {table} FOR EACH ROW"
            running_service.ask(f"CREATE OR REPLACE TRIGGER {name} {timed} {body}")
    assert told == {
        table: mariadb_triggers_of(table) - {(gone[table][0], "BEFORE", gone[table][1].lower())}
        for table in GUARDED | TURNS | KEPT
    }
    assert misguarded_on_mariadb(running_service.ask) == {}


@on_mariadb
def test_every_key_of_a_target_table_begins_with_the_tenant_on_mariadb(running_service):
    tables = ", ".join(map(repr, sorted(TARGETS)))
    keys = ask(
        running_service,
        "SELECT table_name, index_name, column_name FROM information_schema.statistics"
        f" WHERE table_schema = DATABASE() AND seq_in_index = 1 AND table_name IN ({tables})",
    )
    assert {column for _, _, column in keys} == {"tenant_id"}
    assert {table for table, _, _ in keys} == TARGETS
    references = ask(
        running_service,
        "SELECT table_name, ordinal_position, column_name, referenced_column_name"
        " FROM information_schema.key_column_usage WHERE table_schema = DATABASE()"
        f" AND referenced_table_name IS NOT NULL AND table_name IN ({tables})",
    )
    firsts = [(mine, theirs) for _, place, mine, theirs in references if place == 1]
    assert firsts == [("tenant_id", "tenant_id")] * len(REFERENCES)
    assert len(references) == 2 * len(REFERENCES)


@contextmanager
def stray_session(running: Service, tenant: str | None) -> Iterator[pymysql.cursors.Cursor]:
    """A session past the service that claims to act for a tenant, or for none; rolled back."""
    parts = servers.mysql_parts(running.environment["DATABASE_URL"])
    with pymysql.connect(**parts) as connection, connection.cursor() as cursor:
        cursor.execute("SET @headrace_tenant = %s", [tenant])
        yield cursor


@on_mariadb
@pytest.mark.parametrize("table", sorted(GUARDED))
def test_a_write_past_the_service_is_refused_on_mariadb(running_service, neighbours, table):
    mine, theirs = (merchant.tenant.hex for merchant in neighbours)
    columns = ", ".join(
        f"`{name}`"
        for (name,) in ask(
            running_service,
            "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE()"
            f" AND table_name = '{table}' AND generation_expression IS NULL",
        )
    )
    copied = f"({columns}) SELECT {columns} FROM {table} WHERE tenant_id = '{theirs}'"
    for tenant in (None, "", "nobody", mine, mine.upper()):
        with stray_session(running_service, tenant) as cursor:
            for statement in (
                f"DELETE FROM {table} WHERE tenant_id = '{theirs}'",
                f"UPDATE {table} SET tenant_id = tenant_id WHERE tenant_id = '{theirs}'",
                f"UPDATE {table} SET tenant_id = '{mine}' WHERE tenant_id = '{theirs}'",
                f"UPDATE {table} SET tenant_id = '{theirs}' WHERE tenant_id = '{mine}'",
                f"INSERT INTO {table} {copied}",
                f"REPLACE INTO {table} {copied}",
            ):
                with pytest.raises(pymysql.OperationalError, match=REFUSAL):
                    cursor.execute(statement)


@on_mariadb
def test_the_services_sessions_are_bound_for_a_transaction_only(running_service, neighbours):
    told = json.loads(
        running_service.manage(
            "shell", "-v", "0", "-c", BOUND.replace("TENANT", str(neighbours[0].tenant))
        ).stdout
    )
    tenant = neighbours[0].tenant.hex
    assert told == [[None], [tenant], [None], [tenant], [None], ["*"], [None]]


BOUND = """
import json
from uuid import UUID
from django.db import connection
from apps.core.isolation import as_owner, tenant_transaction

def bound():
    with connection.cursor() as cursor:
        cursor.execute("SELECT @headrace_tenant")
        return cursor.fetchone()

told = [bound()]
with tenant_transaction(UUID("TENANT")):
    told.append(bound())
told.append(bound())
try:
    with tenant_transaction(UUID("TENANT")):
        told.append(bound())
        raise LookupError
except LookupError:
    told.append(bound())
with as_owner():
    told.append(bound())
told.append(bound())
print(json.dumps(told))
"""


READS = """
import json
from uuid import UUID
from django.apps import apps
from apps.core.entity_models import TenantManager
from apps.core.isolation import NoTenant, as_owner, tenant_reading, tenant_transaction

models = [
    model for model in apps.get_models() if isinstance(model._default_manager, TenantManager)
]

def refused(model):
    try:
        model.objects.count()
    except NoTenant:
        return True
    return False

def owners():
    return {
        model._meta.db_table: sorted({str(row.tenant_id) for row in model.objects.all()})
        for model in models
    }

tenant = UUID("TENANT")
outside = {model._meta.db_table: refused(model) for model in models}
with tenant_reading(tenant):
    reading = owners()
with tenant_transaction(tenant):
    writing = owners()
with as_owner():
    owner = {model._meta.db_table: refused(model) for model in models}
print(json.dumps([outside, reading, writing, owner]))
"""


@on_every_database
def test_the_orm_reads_rows_of_the_transactions_tenant_and_none_without(
    running_service, neighbours
):
    tenant = neighbours[0].tenant
    text = READS.replace("TENANT", str(tenant))
    told = json.loads(running_service.manage("shell", "-v", "0", "-c", text).stdout)
    refused, own = dict.fromkeys(GUARDED, True), {name: [str(tenant)] for name in GUARDED}
    assert told == [refused, own, own, refused]
