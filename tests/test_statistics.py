"""What the planner believes must not make a load quadratic."""

import time
from uuid import UUID, uuid4

import pytest

from tests import road
from tests.road import land, ndjson


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
