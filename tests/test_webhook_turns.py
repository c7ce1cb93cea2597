"""What a worker does between a claim and its end, in a process that no service disturbs."""

import time
from collections.abc import Iterator

import pytest

from tests import hooks, inside
from tests.hooks import Receiver
from tests.inside import Inside

LOCAL = {"HEADRACE_WEBHOOK_ALLOW": "127.0.0.0/8"}


@pytest.fixture
def process(tmp_path) -> Iterator[Inside]:
    with inside.database(tmp_path, None) as service:
        service.migrate()
        yield Inside(service, "hooks_inside")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with hooks.receiving() as opened:
        yield opened


def test_the_next_turn_goes_on_with_whom_the_last_did_not_serve(process, receiver):
    served, raised, left = process.do("take_turns", receiver.url, **LOCAL)
    assert served == 3
    assert (raised, left) == (1, 2), "what has had its turn comes after files again"


def test_a_record_that_fails_keeps_no_other_from_being_recorded(process, receiver):
    def answer(received: hooks.Received) -> tuple[int, dict[str, str], bytes]:
        if received.path.endswith("refused"):
            return 418, {}, b""
        time.sleep(0.8)
        return 200, {}, b""

    receiver.answer = answer
    assert process.do("fail_to_record", receiver.url, **LOCAL) == ["delivered", "pending"]


def test_a_slow_receiver_rests_and_makes_room_for_files(process, receiver):
    def answer(received: hooks.Received) -> tuple[int, dict[str, str], bytes]:
        time.sleep(2.1)
        return 200, {}, b""

    receiver.answer = answer
    rested, quick = process.do("rest", receiver.url, **LOCAL)
    assert 2.1 <= rested < 4
    assert quick == 0


def test_of_many_that_are_due_at_once_the_next_is_found_without_sorting(process):
    assert "TEMP B-TREE" not in process.do("order_of_ties")


def test_deliveries_that_ended_long_ago_go_with_all_that_is_theirs_tenant_by_tenant(process):
    assert process.do("forget") == [2, [2, 2, 2], [2, 2, 2]]


def test_what_came_to_no_attempt_for_longer_than_the_schedule_has_failed(process):
    assert process.do("expire") == ["failed", "pending"]
