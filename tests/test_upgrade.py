"""A database of the first migrations, with rows and with work that waits, becomes today's."""

import json
from decimal import Decimal
from uuid import UUID

import pytest

from tests import inside, reading
from tests import test_metrics as metrics
from tests.conftest import HTTP_DIALECTS, server_of
from tests.inside import Inside
from tests.service import Merchant

pytestmark = pytest.mark.slow

#: The first migrations after which there can be files and rows; those of other apps came later.
FIRST = dict.fromkeys(("tenants", "ingestions", "core", "catalog"), "0001_initial")
GONE = {("chunks", "reject_codes")}  # they became reject_groups


@pytest.mark.parametrize("dialect", HTTP_DIALECTS)
def test_an_older_database_is_today_s_with_all_that_was_in_it(dialect, request, tmp_path):
    with inside.database(tmp_path, server_of(request, dialect)) as service:
        within = Inside(service, "upgrade_inside")
        for app, name in FIRST.items():
            service.manage("migrate", app, name, "--verbosity", "0")
        old = within.do("fill", json.dumps(FIRST))
        known = {
            table: [name for name in names if (table, name) not in GONE]
            for table, names in within.do("columns").items()
        }
        before = contents(service, known)
        assert all(before[name] for name in ("customers", "orders", "chunks", "jobs", "rejects"))
        service.manage("migrate", "--verbosity", "0")
        assert contents(service, known) == before
        assert set(within.do("columns")) > set(known)
        service.start(workers=1)
        try:
            assert_all_is_there(Merchant(service, UUID(old["tenant"]), key_of(old)), old)
        finally:
            service.stop()


def key_of(old: dict) -> str:
    return f"api_key_{old['tenant']}"


def contents(service, known: dict[str, list[str]]) -> dict[str, list[tuple]]:
    """The rows of these columns, which had these names before the migrations."""
    quote = "`{}`" if service.dialect == "mariadb" else '"{}"'
    return {
        table: sorted(
            service.ask(f"SELECT {', '.join(map(quote.format, names))} FROM {table}"), key=repr
        )
        for table, names in known.items()
    }


def assert_all_is_there(merchant: Merchant, old: dict) -> None:
    """What was told is told still, what waited lands, and what came since is made up for."""
    status = merchant.wait(old["token"])
    first, second = sorted(status["chunks"], key=lambda chunk: chunk["filename"])
    assert (first["status"], first["outcomes"]["inserted"]) == ("completed_with_rejects", 2)
    assert (second["status"], second["outcomes"]["inserted"]) == ("completed", 1)
    [group] = status["reject_groups"]
    assert (group["code"], group["lines"]) == ("required", 1)
    [reject] = merchant.rejects(old["token"])
    assert (reject["line"], reject["code"]) == (3, "required")
    rows = reading.page(merchant, "customers")["data"]
    assert {row["customer_id"] for row in rows} > set(old["buyers"])
    assert {row["name"] for row in rows} == {"Ada", "Came before, landed after"}
    [order] = reading.page(merchant, "orders")["data"]
    assert (order["order_id"], order["total_amount"]) == (old["order"], 12.5)
    metrics.wait_for_figures(merchant)
    [day] = metrics.ask_sales(merchant, **metrics.SPRING)["data"]
    assert (day["date"], day["total_revenue"]) == ("2025-03-01", Decimal("12.5"))
