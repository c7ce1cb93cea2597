"""Figures are those of the rows after any history of loads, repetitions, lost leases and kills."""

import os
import random
import signal
import time

import pytest

from tests import inside, sales, service, sizes
from tests.conftest import DIALECTS, server_of
from tests.inside import Inside
from tests.road import ndjson
from tests.service import Merchant
from tests.shop import customer, order, order_item, product
from tests.test_metrics import ask_sales, wait_for_figures

HISTORIES = sizes.of(60, 15)
SHORT_LEASE = {"HEADRACE_LEASE_SECONDS": "1", "HEADRACE_SWEEP_SECONDS": "1"}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_figures_are_those_of_the_rows_after_any_history(dialect, request, tmp_path):
    with inside.database(tmp_path, server_of(request, dialect)) as opened:
        opened.migrate()
        histories = Inside(opened, "metrics_inside")
        assert histories.do("random_histories", HISTORIES) >= HISTORIES


@pytest.mark.parametrize("dialect", DIALECTS)
def test_figures_of_two_tenants_with_the_same_ids_are_each_ones_own(dialect, request, tmp_path):
    with inside.database(tmp_path, server_of(request, dialect)) as opened:
        opened.migrate()
        assert Inside(opened, "metrics_inside").do("twins") == [True] * 4


def test_figures_wait_for_files_at_work_and_for_who_is_at_them_until_they_are_late(tmp_path):
    with inside.database(tmp_path, None) as opened:
        opened.migrate()
        told = Inside(opened, "metrics_inside").do("turns_of_a_rollup")
    waits = "queued, 1 listed"
    assert told == [waits, waits, "done, 0 listed", "done, 0 listed"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_figures_are_those_of_the_rows_after_kills_of_the_worker(dialect, request, tmp_path):
    """kill -9 at random instants of loads and recomputations that follow each other."""
    server = server_of(request, dialect)
    with service.running(tmp_path, server, **SHORT_LEASE) as running:
        merchant = running.add_tenant()
        files = _files()
        chance, kills = random.Random(7), 0
        for turn in range(4):
            token = merchant.open_upload()
            for name, records in files.items():
                _change(records, turn, chance)
                merchant.send(f"{name}.ndjson", ndjson(*records), token=token)
            kills += _kill_while_working(merchant, token, chance)
        wait_for_figures(merchant, 150)
        print(f"{dialect}: {kills} kills")
        assert kills >= 4
        assert ask_sales(merchant, start_date="2025-01-01", end_date="2025-12-31")["data"]
        sales.assert_kept_figures_are_those_of_the_rows(merchant)


def _files() -> dict[str, list[dict]]:
    buyers, goods = [customer() for _ in range(20)], [product() for _ in range(20)]
    orders = [order(customer_id=buyers[at % 20]["customer_id"]) for at in range(2_000)]
    items = [
        order_item(orders[at % 2_000]["order_id"], goods[at % 20]["product_id"])
        for at in range(4_000)
    ]
    return {"customers": buyers, "products": goods, "orders": orders, "order_items": items}


def _change(records: list[dict], turn: int, chance: random.Random) -> None:
    """Other dates, totals and orders for some, none for most after the first turn."""
    for record in records:
        if turn and chance.random() > 0.1:
            continue
        if "order_date" in record:
            month, day = chance.randint(1, 12), chance.randint(1, 28)
            record["order_date"] = f"2025-{month:02}-{day:02}T10:00:00Z"
            record["order_status"] = chance.choice(["delivered", "shipped", "pending"])
        if "line_total" in record:
            record["line_total"] = f"{chance.randint(1, 99)}.25"


def _kill_while_working(merchant: Merchant, token: str, chance: random.Random) -> int:
    kills, end = 0, time.monotonic() + 150
    running = merchant.service
    while not merchant.status(token)["finished"] or kills < 2:
        assert time.monotonic() < end, running.log()[-4000:]
        pids = running.worker_pids()
        time.sleep(chance.uniform(0.4, 1.5))
        if pids and kills < 2:
            os.kill(pids[0], signal.SIGKILL)
            kills += 1
    return kills
