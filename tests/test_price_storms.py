"""Many price calls at once: one effect a key, intervals in order, a feed without gaps, kills."""

import itertools
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx2
import psutil
import pytest

from tests import prices, service, sizes
from tests.conftest import DIALECTS, on_every_database, server_of
from tests.prices import UNLIMITED, add_products, add_shop, follow, intervals, price_of, send
from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import ask
from tests.test_idempotency import at_once

MIB = 1 << 20


@pytest.fixture
def shop(running_service: Service) -> Merchant:
    return add_shop(running_service)


def assert_one_effect_of_calls_at_once(merchant: Merchant, number: int) -> None:
    [item] = add_products(merchant)
    key = uuid4().hex
    answers = at_once(number, lambda: send(merchant, item, {"new_price": 1000}, key=key))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    assert prices.events(merchant) == 1
    assert len(intervals(merchant, item)) == 1
    assert follow(merchant)["next_cursor"] == "1"


@on_every_database
def test_identical_calls_at_once_have_one_effect_and_one_answer(shop):
    assert_one_effect_of_calls_at_once(shop, 16)


@on_every_database
def test_one_key_for_two_products_at_once_belongs_to_one_of_them(shop):
    for _ in range(5):
        items, key = add_products(shop, 2), uuid4().hex
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(send, shop, item, {"new_price": 110}, key=key) for item in items]
            calls += [pool.submit(send, shop, item, {"new_price": 110}, key=key) for item in items]
            answers = [call.result() for call in calls]
        assert sorted(answer.status_code for answer in answers) == [201, 201, 422, 422]
        assert sorted(price_of(shop, item) for item in items) == [100, 110]


@on_every_database
def test_callers_who_collide_leave_intervals_that_follow_each_other(shop):
    items = add_products(shop, 3)
    wanted = [(item, price) for item in items for price in range(101, 121)]
    random.Random(1).shuffle(wanted)
    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(send, shop, item, {"new_price": price}) for item, price in wanted]
        answers = [call.result() for call in calls]
    assert [answer.status_code for answer in answers] == [201] * len(wanted)
    for item in items:
        prices.assert_sound(shop, item)
        found = [answer.json() for answer in answers if answer.json()["product_id"] == item]
        told = {one["processed_at"]: one["new_price"] for one in found}
        assert [float(price) for price, _, _ in intervals(shop, item)] == [
            told[moment] for moment in sorted(told)
        ]
        chain = sorted(found, key=lambda one: one["processed_at"])
        assert [one["old_price"] for one in chain] == [
            100,
            *(one["new_price"] for one in chain[:-1]),
        ]


@on_every_database
def test_calls_and_files_of_the_same_products_at_once_keep_intervals_apart(shop):
    items = add_products(shop, 40)
    token = shop.open_upload()

    def files(number: int) -> None:
        when = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=number)
        span = {"effective_from": when.isoformat(), "price": "99"}
        rows = [
            {**span, "id": str(uuid4()), "product_id": item, "effective_to": None} for item in items
        ]
        goods = [
            {"product_id": item, "sku": item[:13], "name": "Tea", "price": "98"} for item in items
        ]
        shop.send(f"price_history_{number}.ndjson", ndjson(*rows), token=token)
        shop.send(f"products_{number}.ndjson", ndjson(*goods), token=token)

    def call(item: str) -> int:
        return send(shop, item, {"new_price": random.randint(90, 110)}).status_code

    with ThreadPoolExecutor(10) as pool:
        sent = [pool.submit(files, number) for number in range(5)]
        codes = list(pool.map(call, items * 6))
        for one in sent:
            one.result()
    status = shop.wait(token)
    assert set(codes) == {201}
    assert status["outcomes"]["unprocessed"] == 0
    for item in items:
        found = intervals(shop, item)
        for (_, start, end), (_, next_start, _) in itertools.pairwise(found):
            assert end is not None
            assert start < end <= next_start
        assert [end for _, _, end in found].count(None) == 1
        send(shop, item, {"new_price": 77})
        prices.assert_sound(shop, item)


@on_every_database
def test_who_follows_sees_every_anomaly_once_and_in_order(shop):
    items = add_products(shop, 8)
    posted: list[str] = []
    is_over = threading.Event()

    def post(item: str) -> None:
        for number in range(12):
            answer = send(shop, item, {"new_price": 1000 if number % 2 == 0 else 100})
            assert answer.json()["anomaly_detected"], answer.text
            posted.append(answer.json()["event_id"])

    def watch() -> list[dict]:
        seen, cursor = [], None
        while True:
            was_over = is_over.is_set()
            page = follow(shop, cursor, wait=1, limit=7)
            seen += page["data"]
            cursor = page["next_cursor"]
            if was_over and not page["data"]:
                return seen

    with ThreadPoolExecutor(10) as pool:
        watching = pool.submit(watch)
        for one in [pool.submit(post, item) for item in items]:
            one.result()
        is_over.set()
        seen = watching.result()
    assert sorted(line["event_id"] for line in seen) == sorted(posted)
    assert [line["cursor"] for line in seen] == [str(n) for n in range(1, len(posted) + 1)]


@on_every_database
def test_who_waits_hears_at_once_and_who_waits_in_vain_gets_an_empty_page(shop):
    [item] = add_products(shop)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(follow, shop, "latest", wait=20)
        time.sleep(1)
        began = time.monotonic()
        send(shop, item, {"new_price": 1000})
        page = waiting.result()
    assert [line["product_id"] for line in page["data"]] == [item]
    assert time.monotonic() - began < 15
    began = time.monotonic()
    assert follow(shop, "1", wait=1) == {"data": [], "next_cursor": "1"}
    assert 0.9 < time.monotonic() - began < 15


def servers_of(running: Service) -> list[psutil.Process]:
    """The processes that answer requests."""
    family = psutil.Process(running.pid).children(recursive=True)
    return [process for process in family if "gunicorn" in service.command_line(process.pid)]


@contextmanager
def own_service(request: pytest.FixtureRequest, home: Path, dialect: str) -> Iterator[Service]:
    with service.running(home, server_of(request, dialect), HEADRACE_THREADS="16") as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("dialect", DIALECTS)
def test_after_a_kill_in_a_storm_every_key_has_one_effect(request, tmp_path, dialect):
    with own_service(request, tmp_path, dialect) as running:
        shop = running.add_tenant(**UNLIMITED)
        items = add_products(shop, 4)
        calls = [(item, price, uuid4().hex) for item in items for price in range(200, 220)]
        random.Random(2).shuffle(calls)
        answers: dict[str, bytes] = {}
        killed = threading.Event()

        def call(item: str, price: int, key: str) -> None:
            if killed.is_set():
                return
            try:
                answer = send(shop, item, {"new_price": price}, key=key)
            except httpx2.TransportError:
                return
            if answer.status_code == 201:
                answers[key] = answer.content

        with ThreadPoolExecutor(8) as pool:
            sent = [pool.submit(call, *one) for one in calls]
            while len(answers) < 20:
                time.sleep(0.005)
            for process in servers_of(running):
                os.kill(process.pid, signal.SIGKILL)
            killed.set()
            for one in sent:
                one.result()
        before = dict(answers)
        wait_until_it_answers(running)
        killed.clear()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda one: call(*one), calls))
        assert len(answers) == len(calls)
        assert {key: answers[key] for key in before} == before
        assert prices.events(shop) == len(calls)
        for item in items:
            prices.assert_sound(shop, item)
        found = sorted(json.loads(body)["event_id"] for body in answers.values())
        rows = ask(running, "SELECT event_id FROM price_events")
        assert found == sorted(str(UUID(key)) for (key,) in rows)


def wait_until_it_answers(running: Service) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if httpx2.get(f"{running.url}/health/ready", timeout=5).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError("no server again")


ANOMALIES = sizes.of(50_000, 20_000)
# By how much a server may grow: SQLite has a page cache of 64 MiB in it.
MOST_GROWTH = {"sqlite": (64 + 24) * MIB, "postgresql": 24 * MIB, "mariadb": 24 * MIB}


@pytest.mark.slow
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_of_many_anomalies_takes_no_memory(request, tmp_path, dialect):
    with own_service(request, tmp_path, dialect) as running:
        shop = running.add_tenant(**UNLIMITED)
        [item] = add_products(shop)
        insert_anomalies(shop, item, ANOMALIES)
        path = f"/tenants/{shop.tenant}/products/{item}/price-anomalies/"
        assert shop.request("GET", f"{path}?limit=10").status_code == 200
        before = {process.pid: process.memory_info().rss for process in servers_of(running)}
        highest, lines, last = 0, 0, b""
        headers = {"X-API-Key": shop.key}
        with httpx2.stream("GET", f"{running.url}/api/v1{path}", headers=headers, timeout=60) as it:
            rest = b""
            for block in it.iter_bytes():
                *whole, rest = (rest + block).split(b"\n")
                lines += len(whole)
                last = whole[-1] if whole else last
                if lines % 16 == 0:
                    highest = max(highest, growth(running, before))
        about = json.loads(last)["_meta"]
        assert (about["count"], lines) == (ANOMALIES, ANOMALIES + 1)
        assert highest < MOST_GROWTH[dialect]
        # A reader who goes away leaves a server that works on.
        for _ in range(3):
            url = f"{running.url}/api/v1{path}"
            with httpx2.stream("GET", url, headers=headers, timeout=60) as it:
                next(it.iter_bytes())
        assert send(shop, item, {"new_price": 101}).status_code == 201
        assert shop.request("GET", f"{path}?limit=1").status_code == 200


def growth(running: Service, before: dict[int, int]) -> int:
    """By how many bytes a server process has grown at most."""
    return max(
        process.memory_info().rss - before.get(process.pid, 0) for process in servers_of(running)
    )


def insert_anomalies(shop: Merchant, item: str, number: int) -> None:
    """Past the service, which would take a while."""
    own = shop.service
    mark = "?" if own.dialect == "sqlite" else "%s"
    money = 10_000 if own.dialect == "sqlite" else 1
    spell = str if own.dialect == "postgresql" else (lambda key: UUID(str(key)).hex)
    reasons = json.dumps([{"code": "percent_change", "message": "x" * 300, "numbers": {}}])
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(" ")
    fixed = [spell(shop.tenant), spell(item), 100 * money, 1000 * money, "900", "extreme", reasons]
    rows = [[spell(uuid4()), *fixed, "api", "processed", now, at] for at in range(1, number + 1)]
    columns = (
        "event_id, tenant_id, product_id, old_price, new_price, pct_change, severity, reasons,"
        " source, status, processed_at, feed_number"
    )
    statement = f"INSERT INTO price_events ({columns}) VALUES ({', '.join([mark] * 12)})"
    with own.owner() as connection:
        connection.cursor().execute("BEGIN")
        connection.cursor().executemany(statement, rows)
        connection.cursor().execute("COMMIT")
