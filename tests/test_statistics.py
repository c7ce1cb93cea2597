"""What the planner believes must not make a load quadratic."""

import time
from uuid import UUID, uuid4

import pytest

from headrace.pipeline.verify import verify
from tests import road
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
