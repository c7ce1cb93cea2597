"""A database whose stock events are older than levels gets numbers and levels by `migrate`."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests import service
from tests.conftest import DIALECTS, server_of
from tests.road import ndjson


@pytest.fixture(params=DIALECTS)
def old(request: pytest.FixtureRequest, tmp_path: Path):
    with service.running(tmp_path, server_of(request, request.param), workers=1) as opened:
        yield opened


def make_old(opened: service.Service) -> None:
    """Take away what the migration adds, as if it had not run."""
    drop_key = "DROP INDEX stock_events_sequence_key"
    drop_key += " ON stock_events" if opened.dialect == "mariadb" else ""
    for statement in (
        "DROP TABLE stock_levels",
        drop_key,
        "ALTER TABLE stock_events DROP COLUMN sequence",
        "ALTER TABLE stock_events DROP COLUMN claimed_level",
        "DELETE FROM django_migrations WHERE app = 'catalog' AND name >= '0004_levels'",
    ):
        opened.ask(statement)


def rows(opened: service.Service, columns: str, table: str) -> list[tuple]:
    return sorted(opened.ask(f"SELECT {columns} FROM {table}"))


def test_older_events_are_numbered_and_their_levels_become_claims(old):
    shop, other = old.add_tenant(), old.add_tenant()
    products = [str(uuid4()) for _ in range(2)]
    for tenant in (shop, other):  # with equal ids
        goods = [{"product_id": p, "sku": p, "name": "Cup", "price": 3} for p in products]
        tenant.load("products.ndjson", ndjson(*goods))
        events = [
            {"stock_event_id": str(UUID(int=at)), "product_id": products[at % 2], "delta": at}
            for at in range(1, 7)
        ]
        tenant.load("stock_events.ndjson", ndjson(*events))
    wanted = "tenant_id, product_id, stock_event_id, delta, resulting_level, sequence"
    numbered = rows(old, wanted, "stock_events")
    levels = rows(old, "tenant_id, product_id, level, sequence", "stock_levels")
    make_old(old)
    old.ask("UPDATE stock_events SET resulting_level = 77")
    old.manage("migrate", "--verbosity", "0")
    assert len(numbered) == 12
    assert rows(old, wanted, "stock_events") == numbered
    assert rows(old, "tenant_id, product_id, level, sequence", "stock_levels") == levels
    assert set(old.ask("SELECT claimed_level FROM stock_events")) == {(77,)}
    old.ask("DELETE FROM django_migrations WHERE app = 'catalog' AND name >= '0004_levels'")
    old.manage("migrate", "--verbosity", "0")  # finds nothing to do
    assert rows(old, wanted, "stock_events") == numbered
    more = {"stock_event_id": str(uuid4()), "product_id": products[0], "delta": -1}
    assert shop.load("stock_events.ndjson", ndjson(more))["outcomes"]["inserted"] == 1
