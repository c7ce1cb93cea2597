"""Tills that call at once, again and again, and a server that dies among them.

HEADRACE_STORM=200 makes each of the 32 clients send as many calls instead of a few.
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests import service, stock_storm
from tests.conftest import DIALECTS, server_of
from tests.service import Service
from tests.stock import Till
from tests.stock_storm import Call

CLIENTS, PRODUCTS = 32, 50
CALLS = int(os.environ.get("HEADRACE_STORM", 8))
SEED = int(os.environ.get("HEADRACE_STORM_SEED", 5))
Plan = list[list[Call]]


@pytest.fixture(params=DIALECTS, scope="module")
def shop(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A service of its own, which may be killed, without limits of calls."""
    home = tmp_path_factory.mktemp(request.param)
    settings = {"HEADRACE_TENANT_PER_MINUTE": "off", "HEADRACE_THREADS": "32"}
    with service.running(home, server_of(request, request.param), workers=1, **settings) as opened:
        yield opened


def prepared(shop: Service) -> tuple[Till, Plan]:
    till = Till(shop.add_tenant())
    goods, rng = till.products(PRODUCTS), random.Random(SEED)
    return till, [stock_storm.calls(rng, goods, CALLS) for _ in range(CLIENTS)]


def told(plan: Plan, answers: dict) -> list[tuple[Call, Any]]:
    """Each call that was answered, with its answer."""
    return [(plan[number // 10_000][number % 10_000], answers[number]) for number in answers]


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_calls_at_once_all_succeed_add_up_and_change_nothing_when_repeated(shop):
    till, plan = prepared(shop)
    merchant = till.merchant
    journal = stock_storm.storm(merchant, plan)
    assert (journal.broken, len(journal.answers)) == (0, CLIENTS * CALLS)
    assert {answer.status_code for answer in journal.answers.values()} == {200}
    found = stock_storm.ledger(merchant)
    stock_storm.assert_adds_up(found)
    expected = stock_storm.effects(merchant.tenant, told(plan, journal.answers))
    assert sorted(row[0] for row in found.movements) == expected
    first = {call.key: answer.content for call, answer in told(plan, journal.answers)}
    random.Random(SEED).shuffle(plan)  # another client sends them, at another time
    repeated = stock_storm.storm(merchant, plan)
    assert {answer.status_code for answer in repeated.answers.values()} == {200}
    assert stock_storm.ledger(merchant) == found
    for call, answer in told(plan, repeated.answers):
        if call.key:
            assert (answer.content, answer.headers["Idempotency-Replayed"]) == (
                first[call.key],
                "true",
            )
        else:
            assert answer.json()["outcomes"]["unchanged"] == len(call.events)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_a_server_that_is_killed_among_calls_loses_and_doubles_nothing(shop):
    till, plan = prepared(shop)
    merchant = till.merchant
    broken = stock_storm.storm(merchant, plan, beside=lambda: kill_and_start(shop))
    retried = stock_storm.storm(merchant, plan)
    assert {answer.status_code for answer in retried.answers.values()} == {200}
    print(f"{broken.broken} calls without an answer")
    found = stock_storm.ledger(merchant)
    stock_storm.assert_adds_up(found)
    expected = stock_storm.effects(merchant.tenant, told(plan, retried.answers))
    assert sorted(row[0] for row in found.movements) == expected
    promised = [pair for pair in told(plan, broken.answers) if pair[1].status_code == 200]
    assert set(stock_storm.effects(merchant.tenant, promised)) <= set(expected)


def kill_and_start(shop: Service) -> None:
    time.sleep(0.5)
    family = [psutil.Process(shop.pid), *psutil.Process(shop.pid).children(recursive=True)]
    for process in family:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, 10)
    shop.start(1)
