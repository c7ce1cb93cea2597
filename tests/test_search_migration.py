"""An older database gets the indexes that searches of orders use, and loses what they replace."""

from pathlib import Path

import pytest

from headrace.pipeline import dialects
from tests import service
from tests.conftest import DIALECTS, server_of
from tests.road import ndjson
from tests.shop import order

NEW = {"orders_search_idx", "orders_customer_search_idx"}
OLD = {
    "orders_tenant_date_status_idx": "order_date DESC, order_status",
    "orders_summary_covering_idx": "order_date, order_status, total_amount, currency",
    "orders_customer_idx": "customer_id",
}
INDEXES = {
    "sqlite": "SELECT name FROM pragma_index_list('orders')",
    "postgresql": "SELECT indexname FROM pg_indexes WHERE tablename = 'orders'",
    "mariadb": "SELECT DISTINCT index_name FROM information_schema.statistics"
    " WHERE table_schema = DATABASE() AND table_name = 'orders'",
}


@pytest.fixture(params=DIALECTS)
def old(request: pytest.FixtureRequest, tmp_path: Path):
    with service.running(tmp_path, server_of(request, request.param), workers=1) as opened:
        for name, columns in OLD.items():
            opened.ask(f"CREATE INDEX {name} ON orders (tenant_id, {columns})")
        for name in NEW:
            opened.ask(dialects.dialect(opened.dialect).index_removal("orders", name))
        opened.ask("DELETE FROM django_migrations WHERE app = 'catalog' AND name >= '0005_search'")
        yield opened


def test_searches_get_their_indexes_and_the_older_ones_go(old):
    shop = old.add_tenant()
    shop.load("orders.ndjson", ndjson(order()))
    before = {name for (name,) in old.ask(INDEXES[old.dialect])}
    assert before >= set(OLD)
    old.manage("migrate", "--verbosity", "0")
    after = {name for (name,) in old.ask(INDEXES[old.dialect])}
    assert after == before - set(OLD) | NEW
    assert shop.load("orders.ndjson", ndjson(order()))["outcomes"]["inserted"] == 1
