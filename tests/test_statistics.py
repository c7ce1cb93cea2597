"""What the planner believes must not make a load quadratic."""

import time
from uuid import UUID, uuid4

import pytest

from headrace.entities import BY_NAME
from headrace.pipeline.verify import verify
from tests import records, road
from tests.road import land, ndjson
from tests.shop import order_item


def customers(lines: int) -> bytes:
    return ndjson(*({"customer_id": str(uuid4())} for _ in range(lines)))


@pytest.mark.parametrize("partitions", [0, 8])
@pytest.mark.parametrize("rows", [4_000, 20_000])
def test_the_first_large_file_of_a_tenant_who_came_after_the_last_analyze(
    postgresql_server, tmp_path, rows, partitions
):
    with road.postgresql_database(postgresql_server, partitions) as database:
        database.dialect.segment_rows = rows
        started = time.monotonic()
        land(database, tmp_path, "customers", customers(20_000))
        alone = time.monotonic() - started
        with database.transaction() as connection:
            connection.cursor().execute("ANALYZE customers")
        database.tenant = UUID(int=7 << 64)
        started = time.monotonic()
        land(database, tmp_path, "customers", customers(80_000), tenant=database.tenant)
        took = time.monotonic() - started
        print(f"20,000 lines in {alone:.1f} s, then 80,000 of another tenant in {took:.1f} s")
        assert took < 5 + 12 * alone


@pytest.mark.parametrize(
    ("name", "rows", "setting"),
    [("orders", 5_000, "off"), ("orders", 500, "on"), ("stock_events", 5_000, "on")],
)
def test_only_many_rows_that_may_be_new_are_never_joined_row_by_row(
    postgresql_server, tmp_path, name, rows, setting
):
    """Movements find the last ones of their products among all that a tenant ever had."""
    data = records.file(*(records.example(BY_NAME[name], number) for number in range(rows)))
    with road.postgresql_database(postgresql_server) as database:
        load = road.load_of(name, data)
        staged = verify(load, tmp_path, lambda _: None).rows.read()
        for _ in range(2):
            with database.transaction() as connection:
                database.dialect.stage(connection, load.entity, staged)
                found = connection.execute("SHOW enable_nestloop").fetchone()
    assert (len(staged), *found) == (rows, setting)


def test_mariadb_looks_each_row_up_by_its_key_however_few_the_table_seems_to_have(
    mariadb_server, tmp_path
):
    """Or a load that begins beside another one, in an empty table, reads all that is written
    meanwhile for each of its rows."""
    keys = {"absent": "PRIMARY", "equal": "PRIMARY", "lock": "PRIMARY"}
    keys |= {"unresolved order_id": "PRIMARY", "unresolved product_id": "PRIMARY"}
    rows = [order_item(str(uuid4()), str(uuid4())) for _ in range(10_000)]
    with road.new_database("mariadb", mariadb_server, tmp_path / "-") as database:
        load = road.load_of("order_items", ndjson(*rows))
        staged = verify(load, tmp_path, lambda _: None).rows.read()
        told = database.dialect.golden_statements(load.entity)
        with database.transaction() as connection:
            database.dialect.stage(connection, load.entity, staged)
            cursor = connection.cursor()
            found = {}
            for name in keys:
                given = {"tenant": load.tenant.hex, "sequence": load.sequence, "mask": 63}
                cursor.execute(f"EXPLAIN {told[name]}", given)
                found[name] = cursor.fetchall()[-1][5]
    assert found == keys
