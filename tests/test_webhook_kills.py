"""Workers that are killed, and clocks that move on."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from tests import hooks, service
from tests.conftest import DIALECTS, server_of
from tests.hooks import Hooks, Receiver
from tests.road import ndjson
from tests.service import Service
from tests.shop import ask, customer

pytestmark = pytest.mark.slow

SETTINGS = {
    "HEADRACE_LEASE_SECONDS": "4",
    "HEADRACE_SWEEP_SECONDS": "1",
    "HEADRACE_CLEANUP_SECONDS": "1",
    "HEADRACE_WEBHOOK_ALLOW": "127.0.0.0/8",
    "HEADRACE_WORKERS": "2",
}


@pytest.fixture(params=DIALECTS, scope="module")
def running(request, tmp_path_factory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("hooks")
    with service.running(home, server_of(request, request.param), **SETTINGS) as opened:
        yield opened


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with hooks.receiving() as opened:
        yield opened


def test_an_event_whose_sender_is_killed_before_it_is_recorded_comes_again(running, receiver):
    own = Hooks(running.add_tenant())
    endpoint, secret = own.make(receiver.url)

    def kill_the_sender(received: hooks.Received) -> tuple[int, dict[str, str], bytes]:
        receiver.answer = lambda received: (200, {}, b"")
        for pid in running.worker_pids():
            os.kill(pid, signal.SIGKILL)
        return 200, {}, b""

    receiver.answer = kill_the_sender
    own.merchant.load("customers.ndjson", ndjson(customer()))
    once, again = receiver.wait(2)
    assert (once.id, once.body) == (again.id, again.body)
    assert once.verified(secret) == again.verified(secret)
    [delivery] = own.ended(endpoint)
    assert (delivery["webhook_id"], delivery["state"]) == (once.id, "delivered")
    assert len(delivery["attempts"]) == 1  # the other was never recorded
    assert len(receiver.received) == 2


def test_two_workers_send_nothing_twice_and_one_at_a_time_to_an_endpoint(running, receiver):
    own = Hooks(running.add_tenant())
    at_work, together, guard = Counter(), Counter(), threading.Lock()

    def work(received: hooks.Received) -> tuple[int, dict[str, str], bytes]:
        with guard:
            at_work[received.path] += 1
            together[received.path] = max(together[received.path], at_work[received.path])
        time.sleep(0.03)
        with guard:
            at_work[received.path] -= 1
        return 200, {}, b""

    receiver.answer = work
    endpoints = [own.make(f"{receiver.url}/{number}")[0] for number in range(3)]
    for _ in range(8):
        for endpoint in endpoints:
            own.call("POST", f"{endpoint}/test/", status=202)
    for endpoint in endpoints:
        assert {one["state"] for one in own.ended(endpoint)} == {"delivered"}
    assert len({one.id for one in receiver.received}) == len(receiver.received) == 24
    assert set(together.values()) == {1}


def test_what_ended_long_ago_is_removed_and_what_waits_stays(running, receiver):
    own, other = Hooks(running.add_tenant()), Hooks(running.add_tenant())
    endpoint, _ = own.make(receiver.url)
    kept, _ = other.make(receiver.url)
    for which, key in ((own, endpoint), (other, kept)):
        which.call("POST", f"{key}/test/", status=202)
        which.ended(key)
    assert rows(running, own) == rows(running, other) == [1, 1, 1]
    mine = f"tenant_id = {running.spelled(own.merchant.tenant)}"
    ask(running, f"UPDATE webhook_deliveries SET ended_at = '2020-01-01 00:00:00' WHERE {mine}")
    until(lambda: rows(running, own) == [0, 0, 0])
    assert rows(running, other) == [1, 1, 1]


def test_what_came_to_no_attempt_for_longer_than_the_schedule_has_failed(running):
    own = Hooks(running.add_tenant())
    endpoint, _ = own.make("http://127.0.0.1:9/")
    mine = f"tenant_id = {running.spelled(own.merchant.tenant)}"
    own.call("POST", f"{endpoint}/test/", status=202)
    own.attempted(endpoint)
    ask(running, f"UPDATE webhook_lanes SET held_until = '2100-01-01 00:00:00' WHERE {mine}")
    ask(running, f"UPDATE webhook_deliveries SET due_at = '2020-01-01 00:00:00' WHERE {mine}")
    assert [one["state"] for one in own.ended(endpoint)] == ["failed"]


def rows(running: Service, own: Hooks) -> list[int]:
    """How many events, deliveries and attempts its tenant has."""
    mine = f"WHERE tenant_id = {running.spelled(own.merchant.tenant)}"
    names = ("events", "deliveries", "attempts")
    return [ask(running, f"SELECT COUNT(*) FROM webhook_{name} {mine}")[0][0] for name in names]


def until(holds, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
