"""References that loads look at once, on PostgreSQL: no parent goes while its children come."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import errors

from headrace.entities import BY_NAME, ENTITIES
from headrace.pipeline import promotion
from headrace.pipeline.dialects import postgresql_parents
from headrace.pipeline.report import Outcome, SegmentReport
from headrace.pipeline.segment import Segment
from headrace.pipeline.verify import verify
from headrace.schema import Entity, Reference
from tests import records, road
from tests.conftest import PARTITIONED, server_of
from tests.interleaving import Actor, Pause, orders, play
from tests.records import example

WRITTEN_BLINDLY = [one for one in ENTITIES if postgresql_parents.can_be_spared(one)]
REFERENCES = [(entity, one) for entity in WRITTEN_BLINDLY for one in entity.references]
BY_REFERENCE = pytest.mark.parametrize(
    ("entity", "reference"), REFERENCES, ids=[f"{of.name}-{one.field}" for of, one in REFERENCES]
)
DELETING, LOADING = "AB"
ITEMS, ORDERS = BY_NAME["order_items"], BY_NAME["orders"]
TO_ORDER = ITEMS.references[0]
Deletion = Callable[["Stage", Reference, int], None]


class Stage:
    """A database, and two more connections: who deletes is a superuser, as with psql."""

    def __init__(self, database: road.Database, other: road.Database, folder: Path) -> None:
        self.database = database
        self.other = other
        self.folder = folder
        [self.role] = database.connection.execute("SELECT current_user").fetchone()

    def ask(self, statement: str) -> Any:
        """The one value that its owner's superuser is told."""
        with psycopg.connect(self.other.connection.info.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None

    def new_tenant(self, entity: Entity, *numbers: int) -> None:
        """A tenant who has the parents of these examples."""
        self.database.tenant = self.other.tenant = uuid4()
        records.land_parents(self.database, self.folder, entity, numbers)

    def load(self, entity: Entity, dialect: Any, pause: Pause, *rows: dict) -> SegmentReport:
        """One segment in one transaction, past the retries of the road."""
        load = road.load_of(entity.name, records.file(*rows), tenant=self.database.tenant)
        own = self.folder / uuid4().hex
        own.mkdir()
        verified = verify(load, own, lambda _: None)
        with self.database.transaction() as connection:
            report = promotion.promote(connection, dialect, load, verified.rows.read())
            pause()
        return report

    def orphans(self, entity: Entity, reference: Reference) -> int:
        key = BY_NAME[reference.entity].key
        return self.ask(
            f"SELECT count(*) FROM {entity.name} c WHERE c.{reference.field} IS NOT NULL"
            f" AND NOT EXISTS (SELECT FROM {reference.entity} p WHERE p.tenant_id = c.tenant_id"
            f" AND p.{key} = c.{reference.field})"
        )


@pytest.fixture(params=["postgresql", PARTITIONED], scope="module")
def opened(request: pytest.FixtureRequest) -> Iterator[road.Database]:
    server = server_of(request, request.param)
    with road.new_database(request.param, server, Path()) as database:
        yield database


@pytest.fixture
def stage(opened: road.Database, tmp_path: Path) -> Iterator[Stage]:
    with road.beside(opened) as other:
        yield Stage(opened, other, tmp_path)


class Stepping:
    """The dialect, with a pause before some of its operations, each time that they are asked."""

    def __init__(self, dialect: Any, pause: Pause, *paused: str) -> None:
        self._dialect = dialect
        self._pause = pause
        self._paused = paused

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._dialect, name)

        def stepped(*arguments: Any) -> Any:
            if name in self._paused:
                self._paused = tuple(one for one in self._paused if one != name)
                self._pause()
            return operation(*arguments)

        return stepped


def as_the_service(stage: Stage, reference: Reference, number: int) -> None:
    """As an erasure does: bound to the tenant."""
    stage.other.connection.execute(f"SET LOCAL ROLE {stage.role}")
    stage.other.connection.execute(stage.other.dialect.bind_statement(stage.other.tenant))
    stage.other.connection.execute(f"DELETE FROM {_parent(reference, number)}")


def with_psql(stage: Stage, reference: Reference, number: int) -> None:
    """By a superuser, whom policies do not bind, and who has set no tenant."""
    where = f"tenant_id = '{stage.other.tenant}'"
    stage.other.connection.execute(f"DELETE FROM {_parent(reference, number)} AND {where}")


def by_another_key(stage: Stage, reference: Reference, number: int) -> None:
    key, where = BY_NAME[reference.entity].key, f"tenant_id = '{stage.other.tenant}'"
    table, _, chosen = _parent(reference, number).partition(" ")
    stage.other.connection.execute(
        f"UPDATE {table} SET {key} = gen_random_uuid() {chosen} AND {where}"
    )


def _parent(reference: Reference, number: int) -> str:
    key = BY_NAME[reference.entity].key
    return f"{reference.entity} WHERE {key} = '{records.key(reference.entity, number)}'"


LOOK_AND_WRITE = ("unresolved", "write")
CHANGED = {"orders": {"total_amount": 7}}  # from what records.land_parents lands


def in_order(
    stage: Stage,
    order: str,
    entity: Entity,
    reference: Reference,
    delete: Deletion,
    paused: tuple[str, ...] = LOOK_AND_WRITE,
    parents_of: Entity | None = None,
) -> tuple[SegmentReport, bool, set[str]]:
    """Delete the parent of a row while that is loaded, step by step in this order: what became of
    the row, whether the deletion was refused, and who has waited for the other."""
    stage.new_tenant(parents_of or entity, 1)

    def deleting(pause: Pause) -> bool:
        execute = stage.other.connection.execute
        execute("BEGIN")
        pause()
        try:
            delete(stage, reference, 1)
        except errors.ForeignKeyViolation:
            execute("ROLLBACK")
            return True
        pause()
        execute("COMMIT")
        return False

    def loading(pause: Pause) -> SegmentReport:
        dialect = Stepping(stage.database.dialect, pause, *paused)
        return stage.load(entity, dialect, pause, example(entity, 1) | CHANGED.get(entity.name, {}))

    with psycopg.connect(stage.other.connection.info.dsn, autocommit=True) as observer:
        actors = {
            DELETING: Actor(stage.other.connection, deleting),
            LOADING: Actor(stage.database.connection, loading),
        }
        play(order, actors, observer)
    report, was_refused = actors[LOADING].result(), actors[DELETING].result()
    return report, was_refused, {name for name, actor in actors.items() if actor.has_waited}


ORDERS_OF_STEPS = list(orders(3, 4))


def expected(order: str) -> tuple[Outcome, bool, set[str]]:
    """Who takes the lock first is heard: the other waits for its commit, and then sees it."""
    deletes = [at for at, step in enumerate(order) if step == DELETING]
    loads = [at for at, step in enumerate(order) if step == LOADING]
    if loads[0] < deletes[1]:
        return Outcome.INSERTED, True, {DELETING} if deletes[1] < loads[3] else set()
    return Outcome.PARKED, False, {LOADING} if loads[0] < deletes[2] else set()


def assert_that_every_order_is_right(
    stage: Stage, entity: Entity, reference: Reference, delete: Deletion
) -> None:
    found = {}
    for order in ORDERS_OF_STEPS:
        report, *rest = in_order(stage, order, entity, reference, delete)
        [outcome] = report.outcomes
        found[order] = (outcome, *rest)
    assert found == {order: expected(order) for order in ORDERS_OF_STEPS}
    assert stage.orphans(entity, reference) == 0


def test_of_the_orders_some_let_the_row_land_and_some_the_deletion_pass():
    assert len(set(ORDERS_OF_STEPS)) == 35
    ends = [expected(order)[:2] for order in ORDERS_OF_STEPS]
    assert {end: ends.count(end) for end in ends} == {
        (Outcome.INSERTED, True): 30,
        (Outcome.PARKED, False): 5,
    }


@BY_REFERENCE
def test_in_no_order_is_a_row_left_without_its_parent(stage, entity, reference):
    assert_that_every_order_is_right(stage, entity, reference, as_the_service)


@pytest.mark.parametrize("delete", [with_psql, by_another_key])
def test_nor_where_policies_do_not_bind_who_deletes(stage, delete):
    assert_that_every_order_is_right(stage, ITEMS, TO_ORDER, delete)


def test_who_deletes_by_what_was_there_before_meets_the_rows_that_came_since(stage):
    """In one snapshot from before the load to the deletion."""
    stage.new_tenant(ITEMS, 1)
    stage.other.connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    stage.other.connection.execute("SELECT count(*) FROM order_items")
    assert watched(stage, ITEMS, example(ITEMS, 1))["write"] == {"replica"}
    with pytest.raises((errors.ForeignKeyViolation, errors.SerializationFailure)):
        with_psql(stage, TO_ORDER, 1)
    stage.other.connection.execute("ROLLBACK")


def changing_what_is_deleted(stage: Stage, order: str) -> tuple[list[Outcome], bool]:
    report, was_refused, _ = in_order(
        stage, order, ORDERS, TO_ORDER, as_the_service, parents_of=ITEMS
    )
    return list(report.outcomes), was_refused


def test_a_deletion_that_waits_holds_no_row_that_the_load_changes(stage):
    """Or each would wait for the other, as they do where the row's trigger has to take the lock."""
    for order in ORDERS_OF_STEPS:
        is_there = expected(order)[0] == Outcome.INSERTED  # which a row of the order's would be
        outcome = Outcome.UPDATED if is_there else Outcome.INSERTED
        assert changing_what_is_deleted(stage, order) == ([outcome], False)
    late = GUARDS.replace("IF bound <> ''", "IF false")
    with changed(stage, late, GUARDS), pytest.raises(errors.DeadlockDetected):
        changing_what_is_deleted(stage, "BAABBBA")


@contextmanager
def changed(stage: Stage, change: str, back: str) -> Iterator[None]:
    with psycopg.connect(stage.other.connection.info.dsn, autocommit=True) as administrator:
        road.of_parameters(administrator, change.format(role=stage.role))
        try:
            yield
        finally:
            road.of_parameters(administrator, back.format(role=stage.role))


def orphans_of_all_orders(stage: Stage, *paused: str) -> int:
    """How many rows have no parent in the end; they are removed again."""
    for order in ORDERS_OF_STEPS:
        with suppress(errors.ForeignKeyViolation):  # the road would look again
            in_order(stage, order, ITEMS, TO_ORDER, as_the_service, paused or LOOK_AND_WRITE)
    found = stage.orphans(ITEMS, TO_ORDER)
    stage.ask("TRUNCATE order_items")
    return found


def test_a_guard_that_takes_no_lock_would_leave_orphans(stage):
    """What is tested above can fail: the mistake that it is there for makes it."""
    guard = postgresql_parents.guards("orders", "order_id")[0]
    assert "PERFORM pg_advisory_xact_lock" in guard
    idle = guard.replace("pg_advisory_xact_lock(", "hashint8(")
    with changed(stage, idle, guard):
        assert orphans_of_all_orders(stage) > 0
    assert orphans_of_all_orders(stage) == 0


def test_a_lock_that_is_taken_after_looking_would_leave_orphans(stage, monkeypatch):
    def look_first(segment: Segment) -> SegmentReport:
        segment._dialect.stage(segment._connection, segment._entity, segment._rows)
        segment._hold_back_orphans()
        segment._writing = segment._dialect.hold_parents(segment._connection, segment._load)
        segment.land()
        return segment._report

    monkeypatch.setattr(Segment, "promote", look_first)
    assert orphans_of_all_orders(stage, "hold_parents", "write") > 0


class Watching:
    """The dialect, with what `session_replication_role` was at each of its operations."""

    def __init__(self, dialect: Any) -> None:
        self.seen: list[tuple[str, str]] = []
        self._dialect = dialect

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._dialect, name)

        def watched(connection: psycopg.Connection, *arguments: Any) -> Any:
            done = operation(connection, *arguments)
            self.seen.append((name, role_in(connection)))
            return done

        return watched


def role_in(connection: psycopg.Connection) -> str:
    return connection.execute("SHOW session_replication_role").fetchone()[0]


def nothing() -> None:
    pass


def watched(stage: Stage, entity: Entity, *rows: dict) -> dict[str, set[str]]:
    """What the setting was, by operation, while these were loaded."""
    dialect = Watching(stage.database.dialect)
    stage.load(entity, dialect, nothing, *rows)
    assert role_in(stage.database.connection) == "origin"
    return {name: {role for of, role in dialect.seen if of == name} for name, _ in dialect.seen}


def test_triggers_are_off_while_rows_are_written_and_for_nothing_else(stage):
    stage.new_tenant(ITEMS, *range(4))
    for entity in WRITTEN_BLINDLY:
        first, second, third, orphan = (example(entity, number) for number in (0, 1, 2, 9))
        stage.load(entity, stage.database.dialect, nothing, first, second)
        optional = records.optional(entity)[0].name if records.optional(entity) else None
        changed_one = records.without(second, optional) if optional else second
        seen = watched(stage, entity, first, changed_one, third, orphan)
        assert seen.pop("write") == {"replica"}
        assert set().union(*seen.values()) == {"origin"}
        assert {"stage", "hold_parents", "unresolved", "drop"} <= seen.keys()


def test_movements_and_what_refers_to_nothing_are_written_with_triggers(stage):
    stage.new_tenant(ITEMS, 0)
    stock = BY_NAME["stock_events"]
    assert watched(stage, stock, example(stock, 0))["move"] == {"origin"}
    for name in ("customers", "products"):
        entity = BY_NAME[name]
        assert watched(stage, entity, example(entity, 7))["write"] == {"origin"}


GUARDS = ";".join(postgresql_parents.guards("orders", ORDERS.key))
REASONS = {
    "the right is not granted": (road.REVOKE, road.GRANT),
    "a guard is gone": ("DROP TRIGGER orders_parent_row ON orders", GUARDS),
    "a guard is off": (
        "ALTER TABLE orders DISABLE TRIGGER orders_parent_statement",
        "ALTER TABLE orders ENABLE TRIGGER orders_parent_statement",
    ),
    "somebody's trigger": (
        "CREATE TRIGGER own BEFORE UPDATE ON order_items FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "DROP TRIGGER own ON order_items",
    ),
    "somebody's reference": (
        "CREATE TABLE sizes (quantity integer PRIMARY KEY);"
        " INSERT INTO sizes SELECT generate_series(-5, 5);"
        " ALTER TABLE order_items ADD CONSTRAINT own FOREIGN KEY (quantity) REFERENCES sizes",
        "DROP TABLE sizes CASCADE",
    ),
    "a key that is looked at later": (
        "ALTER TABLE order_items ADD CONSTRAINT own UNIQUE (tenant_id, unit_price) DEFERRABLE",
        "ALTER TABLE order_items DROP CONSTRAINT own",
    ),
}


def how_items_are_written(stage: Stage) -> set[str]:
    stage.new_tenant(ITEMS, 1)
    return watched(stage, ITEMS, example(ITEMS, 1))["write"]


def locked_orders(stage: Stage) -> int:
    """Those that a trigger has looked at: it locks the row, and leaves that in the row."""
    where = f"WHERE tenant_id = '{stage.database.tenant}' AND"
    return stage.ask(f"SELECT count(*) FROM orders {where} xmax::text <> '0'")


@pytest.mark.parametrize("reason", REASONS)
def test_triggers_stay_on_where_they_do_more_than_was_looked_at(stage, reason):
    assert how_items_are_written(stage) == {"replica"}
    assert not locked_orders(stage)
    with changed(stage, *REASONS[reason]):
        assert how_items_are_written(stage) == {"origin"}
        assert locked_orders(stage)
    assert how_items_are_written(stage) == {"replica"}


def test_triggers_stay_on_where_a_statement_sees_what_was_there_before_the_lock(stage):
    execute = stage.database.connection.execute
    execute("SET default_transaction_isolation = 'repeatable read'")
    try:
        assert how_items_are_written(stage) == {"origin"}
    finally:
        execute("RESET default_transaction_isolation")


def test_in_no_order_is_a_row_left_without_its_parent_where_its_guard_is_gone(stage):
    with changed(stage, *REASONS["a guard is gone"]):
        assert orphans_of_all_orders(stage) == 0


def test_somebodys_reference_is_heard(stage):
    stage.new_tenant(ITEMS, 1, 2)
    rows = example(ITEMS, 1, quantity=5), example(ITEMS, 2, quantity=6)
    with changed(stage, *REASONS["somebody's reference"]):
        ledger = land(stage, ITEMS, *rows)
    assert ledger.outcome_by_line() == ["inserted", "rejected"]
    assert records.rejected(ledger) == [(2, "database_refused", "")]


def land(stage: Stage, entity: Entity, *rows: dict, number: int = 1) -> road.LocalLedger:
    data, tenant = records.file(*rows), stage.database.tenant
    return road.land(stage.database, stage.folder, entity.name, data, number=number, tenant=tenant)


@pytest.mark.parametrize("moment", ["unresolved", "write"])
def test_a_right_that_is_taken_away_in_the_middle_costs_one_more_try(stage, moment, monkeypatch):
    stage.new_tenant(ITEMS, 1)
    dialect, asked = stage.database.dialect, []
    operation = getattr(dialect, moment)
    with psycopg.connect(stage.other.connection.info.dsn, autocommit=True) as administrator:

        def interrupted(*arguments):
            if not asked:
                road.of_parameters(administrator, road.REVOKE.format(role=stage.role))
            asked.append(role_in(stage.database.connection))
            return operation(*arguments)

        monkeypatch.setattr(dialect, moment, interrupted)
        ledger = land(stage, ITEMS, example(ITEMS, 1))
        road.of_parameters(administrator, road.GRANT.format(role=stage.role))
    assert ledger.outcome_by_line() == ["inserted"]
    per_try = 2 if moment == "unresolved" else 1  # once a reference
    assert asked[::per_try] == ["replica" if moment == "write" else "origin", "origin"]


def test_a_session_without_triggers_is_bound_by_policies_and_keys_all_the_same(stage):
    stage.new_tenant(ITEMS, 1)
    theirs = stage.database.tenant
    stage.new_tenant(ITEMS, 1)
    own = f"SELECT tenant_id FROM customers WHERE tenant_id <> '{stage.database.tenant}'"
    row = "INSERT INTO customers (tenant_id, customer_id, source_sequence) VALUES ('{}', '{}', 1)"
    refused = {
        row.format(theirs, uuid4()): errors.InsufficientPrivilege,
        f"UPDATE customers SET tenant_id = '{theirs}'": errors.InsufficientPrivilege,
        row.format(stage.database.tenant, records.key("customers", 1)): errors.UniqueViolation,
        "UPDATE products SET price = -1": errors.CheckViolation,
        "UPDATE products SET sku = NULL": errors.NotNullViolation,
    }
    for statement, refusal in refused.items():
        with pytest.raises(refusal), without_triggers(stage) as connection:
            connection.execute(statement)
    with without_triggers(stage) as connection:
        assert connection.execute(own).fetchall() == []
        for change in ("DELETE FROM customers", "UPDATE customers SET name = 'mine'"):
            assert connection.execute(f"{change} WHERE tenant_id = '{theirs}'").rowcount == 0
    stage.database.connection.execute("SET session_replication_role = replica")
    assert stage.database.connection.execute("SELECT * FROM customers").fetchall() == []
    stage.database.connection.execute("RESET session_replication_role")


@contextmanager
def without_triggers(stage: Stage) -> Iterator[psycopg.Connection]:
    with stage.database.transaction() as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        yield connection


ROWS, FILES = 300, 30


def test_no_row_loses_its_parent_while_others_delete_and_load_as_they_can(stage):
    """Two who load and one who deletes, each at its own pace; none is the victim of another."""
    stage.new_tenant(ITEMS, *range(ROWS))
    start = threading.Barrier(3)

    def delete() -> list[bool]:
        start.wait()
        return [is_deleted(stage, number) for number in shuffled(1)]

    def load(database: road.Database, seed: int) -> list[str]:
        start.wait()
        numbers, outcomes = shuffled(seed), []
        for at in range(FILES):
            part = [example(ITEMS, number) for number in numbers[at::FILES]]
            more = {"number": seed * 100 + at, "tenant": stage.database.tenant}
            ledger = road.land(database, stage.folder, ITEMS.name, records.file(*part), **more)
            outcomes += ledger.outcome_by_line()
        return outcomes

    with road.beside(stage.database) as neighbour, ThreadPoolExecutor() as pool:
        neighbour.connection.execute(f"SET ROLE {stage.role}")
        loads = [pool.submit(load, stage.database, 2), pool.submit(load, neighbour, 3)]
        deleted = pool.submit(delete).result()
        outcomes = [end.result() for end in loads]
    assert stage.orphans(ITEMS, TO_ORDER) == 0
    assert set(deleted) == {True, False}
    landed = [set(found) for found in outcomes]
    assert set().union(*landed) <= {"inserted", "unchanged", "updated", "parked", "superseded"}
    assert all("parked" in found for found in landed)
    with stage.database.transaction() as connection:
        [left] = connection.execute("SELECT count(*) FROM orders").fetchone()
    assert left == deleted.count(False)


def shuffled(seed: int) -> list[int]:
    return random.Random(seed).sample(range(ROWS), ROWS)


def is_deleted(stage: Stage, number: int) -> bool:
    execute = stage.other.connection.execute
    execute("BEGIN")
    try:
        as_the_service(stage, TO_ORDER, number)
    except errors.ForeignKeyViolation:
        execute("ROLLBACK")
        return False
    execute("COMMIT")
    return True


def test_a_reference_to_what_a_load_changes_is_heard(stage):
    stage.new_tenant(ORDERS, 1)
    land(stage, ORDERS, example(ORDERS, 1, external_order_id="A"))
    made = (
        "CREATE TABLE shipments (tenant_id uuid, external_order_id varchar(100),"
        " CONSTRAINT own FOREIGN KEY (tenant_id, external_order_id)"
        " REFERENCES orders (tenant_id, external_order_id));"
        f" INSERT INTO shipments VALUES ('{stage.database.tenant}', 'A')"
    )
    with changed(stage, made, "DROP TABLE shipments"):
        renamed = land(stage, ORDERS, example(ORDERS, 1, external_order_id="B"), number=2)
        assert records.rejected(renamed) == [(1, "database_refused", "")]
        assert (
            stage.ask("SELECT count(*) FROM orders JOIN shipments USING (external_order_id)") == 1
        )
