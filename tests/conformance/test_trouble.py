"""Neighbours that interfere, databases that refuse, lost acknowledgements, late parents."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from headrace.entities import BY_NAME, ENTITIES
from headrace.pipeline import run
from headrace.pipeline.errors import FailureCode, Permanent, Retryable
from headrace.pipeline.older import anything
from headrace.pipeline.report import SegmentReport
from headrace.schema import Entity
from tests import records, road
from tests.records import example, expected, stored

CUSTOMERS, PRODUCTS = BY_NAME["customers"], BY_NAME["products"]
STOCK = BY_NAME["stock_events"]


@pytest.fixture
def neighbour(database: road.Database) -> Iterator[road.Database]:
    """Another connection to the same database; SQLite has one writer at a time."""
    if database.dialect.name == "sqlite":
        pytest.skip("one writer at a time: no neighbour can interfere")
    with road.beside(database) as other:
        yield other


def once_before(database: road.Database, operation: str, action) -> None:
    """Let the dialect do something else first, the next time that it is asked for `operation`."""
    original = getattr(database.dialect, operation)

    def interrupted(*arguments):
        setattr(database.dialect, operation, original)
        action()
        return original(*arguments)

    setattr(database.dialect, operation, interrupted)


@pytest.mark.parametrize("moment", ["write", "equal", "renew"])
def test_an_older_file_that_comes_in_the_middle_does_not_win(
    moment: str, database: road.Database, neighbour: road.Database, tmp_path: Path, land
):
    """Ours found its row equal and would renew it; meanwhile the older file changes it.

    MariaDB has locked the row by then: the older file waits until ours has landed.
    """
    if moment == "equal" and database.dialect.name == "postgresql":
        pytest.skip("equal rows are found as a part of the write")
    row, late = example(CUSTOMERS, 1), example(CUSTOMERS, 1, name="late")
    land(CUSTOMERS, row, number=1)
    waits = moment != "write" and database.dialect.name == "mariadb"
    with ThreadPoolExecutor() as pool:
        older: list[Future] = []

        def begin() -> None:
            more = {"number": 2, "tenant": neighbour.tenant}
            file = records.file(late)
            older.append(pool.submit(road.land, neighbour, tmp_path, "customers", file, **more))
            assert bool(wait(older, timeout=0.5 if waits else 60).done) is not waits

        once_before(database, moment, begin)
        ledger = land(CUSTOMERS, row, number=3, older=anything)
    assert stored(database, CUSTOMERS) == expected(CUSTOMERS, row)
    assert ledger.outcome_by_line() == ["unchanged" if waits else "updated"]
    assert older[0].result().outcome_by_line() == ["superseded" if waits else "updated"]


def test_a_row_that_a_neighbour_inserts_while_ours_waits_is_updated(
    database: road.Database, neighbour: road.Database, land
):
    """Whoever asks before the write whether the row is there would say that it was inserted."""
    theirs, ours = example(CUSTOMERS, 1, name="theirs"), example(CUSTOMERS, 1)
    execute = neighbour.connection.cursor().execute
    execute("BEGIN")
    execute(neighbour.dialect.bind_statement(neighbour.tenant))
    execute(
        "INSERT INTO customers (tenant_id, customer_id, source_sequence) VALUES (%s, %s, 1)",
        [neighbour.tenant.hex, UUID(theirs["customer_id"]).hex],
    )
    waited: list[bool] = []
    awaited = threading.Thread(
        target=lambda: waited.append(commit_once_awaited(neighbour, database))
    )
    awaited.start()
    ledger = land(CUSTOMERS, ours, number=3)
    awaited.join()
    assert waited == [True]
    assert ledger.outcome_by_line() == ["updated"]
    assert stored(database, CUSTOMERS) == expected(CUSTOMERS, ours)


WAITS = {
    "postgresql": "SELECT cardinality(pg_blocking_pids(%s)) > 0",
    "mariadb": "SELECT COUNT(*) FROM information_schema.innodb_trx"
    " WHERE trx_mysql_thread_id = %s AND trx_state = 'LOCK WAIT'",
}


def commit_once_awaited(holder: road.Database, waiter: road.Database) -> bool:
    """Commit as soon as the other connection waits for us; whether it ever did."""
    cursor, end = holder.connection.cursor(), time.monotonic() + 60
    while not (waits := _waits(cursor, waiter)) and time.monotonic() < end:
        time.sleep(0.15)  # MariaDB's view is renewed when nobody looked for 0.1 s
    cursor.execute("COMMIT")
    return waits


def _waits(cursor, waiter: road.Database) -> bool:
    name, connection = waiter.dialect.name, waiter.connection
    session = connection.thread_id() if name == "mariadb" else connection.info.backend_pid
    cursor.execute(WAITS[name], [session])
    return bool(cursor.fetchone()[0])


def test_a_natural_key_that_a_neighbour_takes_in_the_middle_is_refused_by_name(
    database: road.Database, neighbour: road.Database, tmp_path: Path, land
):
    holder = example(PRODUCTS, 1)
    ours = [example(PRODUCTS, 2, sku=holder["sku"]), example(PRODUCTS, 3)]
    once_before(
        database,
        "write",
        lambda: road.land(
            neighbour, tmp_path, "products", records.file(holder), tenant=neighbour.tenant
        ),
    )
    ledger = land(PRODUCTS, *ours)
    assert ledger.outcome_by_line() == ["rejected", "inserted"]
    assert records.rejected(ledger) == [(1, "natural_key_taken", "sku")]
    assert holder["product_id"] in ledger.rejects[0].message


@contextmanager
def poisoned(database: road.Database, table: str, column: str) -> Iterator[None]:
    """A rule of the table that the checker does not know."""
    execute = database.connection.cursor().execute
    if database.dialect.name == "sqlite":
        execute(
            f"CREATE TRIGGER poison BEFORE INSERT ON {table} WHEN NEW.{column} LIKE 'poison%'"
            " BEGIN SELECT RAISE(ABORT, 'poison'); END"
        )
        yield
        execute("DROP TRIGGER poison")
    else:
        execute(f"ALTER TABLE {table} ADD CONSTRAINT poison CHECK ({column} NOT LIKE 'poison%')")
        yield
        execute(f"ALTER TABLE {table} DROP CONSTRAINT poison")


@pytest.fixture
def poison(database: road.Database) -> Iterator[None]:
    with poisoned(database, "customers", "name"):
        yield


@pytest.mark.usefixtures("poison")
def test_rows_that_only_the_database_refuses_are_found_and_the_others_land(
    database: road.Database, land
):
    rows = [example(CUSTOMERS, number) for number in range(40)]
    for at in (0, 17, 39):
        rows[at]["name"] = f"poison {at}"
    ledger = land(CUSTOMERS, *rows)
    assert records.rejected(ledger) == [(at, "database_refused", "") for at in (1, 18, 40)]
    kept = [row for row in rows if not row["name"].startswith("poison")]
    assert stored(database, CUSTOMERS) == expected(CUSTOMERS, *kept)


def test_movements_of_an_owner_are_refused_together_by_the_database_too(
    database: road.Database, land, parents
):
    parents(STOCK, *range(5))
    products = [records.key("products", at % 5) for at in range(20)]
    rows = [example(STOCK, at, product_id=product) for at, product in enumerate(products)]
    rows[7]["source"] = "poison"
    with poisoned(database, "stock_events", "source"):
        ledger = land(STOCK, *rows)
    refused = [at + 1 for at in range(20) if at % 5 == 7 % 5]
    assert records.rejected(ledger) == [(line, "database_refused", "") for line in refused]
    landed = [row for at, row in enumerate(rows) if at % 5 != 7 % 5]
    assert stored(database, STOCK) == expected(STOCK, *landed)


@pytest.mark.usefixtures("poison")
def test_a_segment_that_is_refused_too_often_fails_and_leaves_nothing(
    database: road.Database, land
):
    rows = [example(CUSTOMERS, number, name="poison") for number in range(run.MAX_REFUSED + 1)]
    with pytest.raises(Permanent) as caught:
        land(CUSTOMERS, example(CUSTOMERS, 1000), *rows)
    assert caught.value.code == FailureCode.REFUSED_TOO_OFTEN
    assert stored(database, CUSTOMERS) == []


class Unacknowledged(road.LocalLedger):
    """Its first commit succeeds, and nobody hears of it."""

    lost = False

    @contextmanager
    def transaction(self):
        with super().transaction() as connection:
            yield connection
        if not self.lost:
            self.lost = True
            raise Retryable("the connection was lost after the commit")


def test_a_commit_whose_acknowledgement_is_lost_counts_once(
    database: road.Database, tmp_path: Path
):
    ledger = Unacknowledged(database)
    rows = [example(CUSTOMERS, number) for number in range(3)]
    load = road.load_of("customers", records.file(*rows), tenant=database.tenant)
    run.run(load, database.dialect, ledger, tmp_path)
    assert ledger.lost
    assert ledger.outcome_by_line() == ["inserted"] * 3


@pytest.mark.parametrize(
    "entity",
    [entity for entity in ENTITIES if entity.references],
    ids=lambda entity: entity.name,
)
def test_parked_lines_land_when_their_parents_have_come(
    entity: Entity, database: road.Database, tmp_path: Path, land, parents
):
    rows = [example(entity, number) for number in (1, 2, 3)]
    data = records.file(rows[0], b"", b"{}", rows[1], rows[2])
    ledger = land(entity, data=data, number=5)
    assert ledger.outcome_by_line() == ["parked", None, "rejected", "parked", "parked"]
    parents(entity, 1, 3)
    found: list[SegmentReport] = []
    load = road.load_of(entity.name, data, number=5, tenant=database.tenant)
    folder = tmp_path / "wake"
    folder.mkdir()
    run.wake(
        load,
        database.dialect,
        ledger.transaction,
        np.array([5, 1, 4]),
        folder,
        lambda lines, report: found.append(report),
        lambda lines: False,
    )
    (report,) = found
    assert {str(name): sorted(lines.tolist()) for name, lines in report.outcomes.items()} == {
        "inserted": [1, 5],
        "parked": [4],
    }
    assert stored(database, entity) == expected(entity, rows[0], rows[2])
