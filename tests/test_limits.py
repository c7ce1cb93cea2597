"""Quotas: exactly so many calls pass, on every store, whatever comes at once."""

import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid4, uuid5

import httpx2
import pytest

from apps.core import redis_buckets
from tests import brokers, inside
from tests.conftest import DIALECTS, server_of
from tests.inside import Inside
from tests.servers import free_port
from tests.service import ROOT, Service

STORES = (*DIALECTS, "redis")
PROCESSES = 2


class Calls(NamedTuple):
    """The counting server on a database of its own, and its Redis where that is the store."""

    http: httpx2.Client
    service: Service
    redis: brokers.Broker | None

    def call(self, tenant: UUID, product: UUID | None = None, **parameters: str):
        path = f"/{tenant}/" if product is None else f"/{tenant}/{product}/"
        return self.http.post(path, params=parameters)

    def burst(self, number: int, tenant: UUID, product: UUID | None = None) -> Counter[int]:
        """How many calls had which status, of as many at once."""
        with ThreadPoolExecutor(16) as pool:
            found = pool.map(lambda _: self.call(tenant, product).status_code, range(number))
            return Counter(found)


@pytest.fixture(params=STORES, scope="module")
def calls(request, tmp_path_factory) -> Iterator[Calls]:
    home = tmp_path_factory.mktemp(request.param)
    with counting(request, request.param, home) as opened:
        yield opened


@contextmanager
def counting(request, store: str, home: Path, **settings: str) -> Iterator[Calls]:
    if store != "redis":
        with serving(home, server_of(request, store), **settings) as (http, service):
            yield Calls(http, service, None)
        return
    with (
        brokers.broker("redis", home / "redis") as broker,
        serving(home, None, HEADRACE_REDIS_URL=broker.url, **settings) as (http, service),
    ):
        yield Calls(http, service, broker)


@contextmanager
def serving(
    home: Path, server: str | None, **settings: str
) -> Iterator[tuple[httpx2.Client, Service]]:
    with inside.database(home, server) as service:
        service.environment.update(HEADRACE_LOGS=str(home / "logs"), **settings)
        service.migrate()
        port = free_port()
        with (
            gunicorn(service, port),
            httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http,
        ):
            wait_for(http)
            yield http, service


@contextmanager
def gunicorn(service: Service, port: int) -> Iterator[None]:
    options = ["--worker-class", "gthread", "--workers", str(PROCESSES), "--threads", "12"]
    command = [sys.executable, "-m", "gunicorn", "tests.limited_server:application", *options]
    with (service.home / "gunicorn.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, "--bind", f"127.0.0.1:{port}"],
            cwd=ROOT,
            env=service.environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(90)


def wait_for(http: httpx2.Client) -> None:
    end = time.monotonic() + 150
    while time.monotonic() < end:
        try:
            http.get("/")
        except httpx2.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server does not answer")


def levels(response) -> dict[str, tuple[int, ...]]:
    """By name: quota, window, remaining calls and seconds until there are more."""
    policy = dict(_members(response.headers["RateLimit-Policy"], "q", "w"))
    state = dict(_members(response.headers["RateLimit"], "r", "t"))
    assert list(policy) == list(state)
    return {name: (*policy[name], *state[name]) for name in policy}


def _members(header: str, first: str, second: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for member in header.split(", "):
        found = re.fullmatch(rf'"(\w+)";{first}=(\d+);{second}=(\d+)', member)
        assert found is not None, header
        yield found[1], (int(found[2]), int(found[3]))


def assert_exactly_so_many_pass(calls: Calls) -> None:
    """Of 60 calls at once to a product that may have 10, and one more every 6 s."""
    tenant, product = uuid4(), uuid4()
    started = time.monotonic()
    found = calls.burst(60, tenant, product)
    came_back = int((time.monotonic() - started) / 6)
    assert found[200] in range(10, 11 + came_back)
    assert found[200] + found[429] == 60
    other = calls.call(tenant, uuid4())
    # 11 of 100 were taken, and some came back.
    assert levels(other)["tenant"][2] in range(89 - came_back, 100)


def test_exactly_so_many_calls_pass_of_any_number_at_once(calls):
    assert_exactly_so_many_pass(calls)


def test_first_calls_at_once_are_not_too_many(calls):
    for _ in range(30):
        assert calls.burst(8, uuid4(), uuid4()) == {200: 8}


def test_a_tenant_has_its_whole_quota_at_once_and_then_gets_it_back_evenly(calls):
    tenant = uuid4()
    started = time.monotonic()
    found = calls.burst(150, tenant)
    came_back = int((time.monotonic() - started) / 0.6)
    assert 100 <= found[200] <= 100 + came_back
    assert found[200] + found[429] == 150
    assert calls.burst(1, uuid4()) == {200: 1}  # another tenant knows nothing of it
    time.sleep(1.3)
    assert calls.call(tenant).status_code == 200


def test_one_product_id_of_two_tenants_is_counted_apart(calls):
    first, second, product = uuid4(), uuid4(), uuid4()
    assert levels(calls.call(second, product))["product"][2] == 9
    started = time.monotonic()
    passed = calls.burst(20, first, product)[200]
    assert 10 <= passed <= 10 + (time.monotonic() - started) / 6
    left = levels(calls.call(second, product))
    assert left["product"][2] in (8, 9)
    assert left["tenant"][2] in (98, 99)


def test_a_refused_call_puts_off_nobodys_turn_and_is_counted_nowhere(calls):
    tenant, product = uuid4(), uuid4()
    started = time.monotonic()
    assert calls.burst(10, tenant, product) == {200: 10}
    ended = began = time.monotonic()
    refused = 0
    while (answer := calls.call(tenant, product)).status_code == 429:
        refused += 1
        assert began - ended < 6.2, "a refused call puts off the turn"
        began = time.monotonic()
    assert time.monotonic() - started > 5.8
    assert refused > 10
    name, (quota, window, left, _) = next(iter(levels(answer).items()))
    assert (name, quota, window) == ("tenant", 100, 60)
    assert left in range(98, 100)  # 11 were taken in 6 s, in which 10 came back


def test_every_answer_says_what_is_left(calls):
    tenant, product = uuid4(), uuid4()
    first = calls.call(tenant, product)
    assert first.headers["RateLimit-Policy"] == '"tenant";q=100;w=60, "product";q=10;w=60'
    assert first.headers["RateLimit"] == '"tenant";r=99;t=1, "product";r=9;t=6'
    problem = calls.call(tenant, product, refuse="")
    assert (problem.status_code, levels(problem)["product"]) == (404, (10, 60, 8, 6))
    assert "Retry-After" not in problem.headers
    assert "product" not in levels(calls.call(tenant))
    while (refused := calls.call(tenant, product)).status_code != 429:
        pass
    assert refused.json()["code"] == "quota-exceeded"
    assert refused.headers["Content-Type"] == "application/problem+json"
    _, _, left, seconds = levels(refused)["product"]
    assert (left, refused.headers["Retry-After"]) == (0, str(seconds))
    assert 1 <= seconds <= 6
    assert levels(refused)["tenant"][2] > 85


def test_a_keys_own_quota_is_counted_with_the_others_or_none_of_them(calls):
    tenant, products = uuid4(), [uuid4() for _ in range(20)]
    own = f"{uuid4()}:5"

    def status(product: UUID) -> int:
        return calls.call(tenant, product, own=own).status_code

    with ThreadPoolExecutor(16) as pool:  # the bucket lies before some products, behind others
        found = Counter(pool.map(status, products * 2))
    assert found == {200: 5, 429: 35}
    refused = calls.call(tenant, products[0], own=own)
    assert refused.status_code == 429
    assert "5 calls of this key a minute pass" in refused.json()["detail"]
    left = levels(refused)
    assert (left["key"][0], left["key"][2]) == (5, 0)
    assert left["tenant"][2] in range(95, 100)
    assert sorted(left) == ["key", "product", "tenant"]
    assert levels(calls.call(tenant, uuid4()))["tenant"][2] in range(94, 100)


def as_version_8(one: UUID) -> UUID:
    return UUID(hex=f"{one.hex[:12]}8{one.hex[13:]}")


def as_its_substitute(one: UUID) -> UUID:
    return uuid5(as_version_8(one), "product")


@pytest.mark.parametrize("shaped", [copy, as_version_8, as_its_substitute])
def test_a_product_with_the_id_of_a_keys_bucket_is_counted_apart(calls, shaped):
    """Who holds a key can compute where it is counted, and name that as a product."""
    bucket = uuid5(uuid4(), "key abc")
    tenant, product = uuid4(), shaped(bucket)
    for number in (1, 2):
        answer = calls.call(tenant, product, own=f"{bucket}:5")
        found = levels(answer)
        assert (found["product"][2], found["key"][2]) == (10 - number, 5 - number)
    # Without the key the product has its own count, and the other way round.
    assert levels(calls.call(tenant, product))["product"][2] == 7
    assert levels(calls.call(tenant, uuid4(), own=f"{bucket}:5"))["key"][2] == 2


def test_a_product_of_zeros_is_no_tenant(calls):
    answers = [calls.call(uuid4(), UUID(int=number)) for number in (0, 1)]
    states = {answer.headers["RateLimit"] for answer in answers}
    assert states == {'"tenant";r=99;t=1, "product";r=9;t=6'}


@pytest.fixture(params=DIALECTS, scope="module")
def database(request, tmp_path_factory) -> Iterator[Inside]:
    home = tmp_path_factory.mktemp(request.param)
    with inside.database(home, server_of(request, request.param)) as service:
        service.migrate()
        yield Inside(service, "limits_inside")


def test_buckets_that_have_long_been_full_are_removed(database):
    assert database.do("remove_what_is_idle") == {"before": 1_203, "after": 3}


def test_a_clock_that_is_set_back_by_more_than_minutes_locks_nobody_out(database):
    assert database.do("clock_set_back") == ['"tenant";r=99;t=1', '"tenant";r=0;t=1']


def test_a_tenants_row_overrides_the_settings_and_zero_is_no_limit(database):
    assert database.do("overrides") == {
        "unset": ['"tenant";q=100;w=60, "product";q=10;w=60', 2],
        "own": ['"tenant";q=3;w=60, "product";q=2;w=60', 2],
        "no limit of products": ['"tenant";q=3;w=60', 1],
        "none": [None, 0],
    }


def test_limits_that_are_off_ask_no_store(database):
    off = {"HEADRACE_TENANT_PER_MINUTE": "off", "HEADRACE_PRODUCT_PER_MINUTE": "0"}
    assert database.do("overrides", **off)["unset"] == [None, 0]


def test_no_store_counts_a_call_twice_in_one_bucket_or_looks_for_it_for_ever(database):
    assert (
        database.do("take_from_one_bucket_twice") == ["a call is counted twice in one bucket"] * 2
    )


def test_calls_are_never_counted_inside_of_a_transaction(database):
    assert "before the transaction" in database.do("count_in_a_transaction")


def test_while_redis_is_away_the_database_counts_and_the_log_says_so_once(request, tmp_path):
    with counting(request, "redis", tmp_path) as calls:
        tenant, product = uuid4(), uuid4()
        assert calls.burst(20, tenant, product) == {200: 10, 429: 10}
        assert calls.redis is not None
        calls.redis.kill()
        # From nothing, but with a limit: no call is refused by an error, none passes uncounted.
        assert calls.burst(20, tenant, product) == {200: 10, 429: 10}
        log = (tmp_path / "logs" / "django.log").read_text()
        assert 1 <= log.count("Redis does not count calls") <= PROCESSES
        told = calls.service.manage("doctor", check=False).stdout
        assert "!!  call limits" in told
        assert "Start it or mend HEADRACE_REDIS_URL" in told
        calls.redis.start()
        time.sleep(1.1)
        assert calls.burst(20, tenant, product) == {200: 10, 429: 10}


def test_a_redis_that_hangs_costs_a_moment_and_no_more(request, tmp_path):
    usual = str(redis_buckets.PATIENCE_SECONDS)
    with counting(request, "redis", tmp_path, TEST_REDIS_PATIENCE=usual) as calls:
        tenant = uuid4()
        assert calls.burst(4, tenant) == {200: 4}
        assert calls.redis is not None
        with calls.redis.frozen():
            started = time.monotonic()
            assert calls.burst(40, tenant) == {200: 40}
            assert time.monotonic() - started < 15
