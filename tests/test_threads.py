"""Work that threads share: all of it once, in order, and nothing begins after a failure."""

import threading
import time

import pytest

from headrace.recognitions.patience import Patience
from headrace.recognitions.threads import Threads


@pytest.mark.parametrize("items", [0, 1, 3, 500])
def test_each_item_is_done_once_and_results_are_in_its_order(items: int):
    done: list[int] = []

    def double(item: int) -> int:
        done.append(item)
        return 2 * item

    with Threads(4, "test") as threads:
        assert threads.each(double, range(items)) == [2 * item for item in range(items)]
    assert sorted(done) == list(range(items))


def test_after_a_failure_nothing_begins_and_what_has_begun_is_waited_for():
    begun, ended = [], []

    def work(item: int) -> None:
        begun.append(item)
        if item == 1:
            raise ValueError(item)
        time.sleep(0.2)
        ended.append(item)

    with Threads(2, "test") as threads:
        with pytest.raises(ValueError, match="1"):
            threads.each(work, range(50))
        assert sorted(begun) == [0, 1]
        assert ended == [0]
        assert threads.each(str, [1, 2]) == ["1", "2"]


def test_two_who_ask_at_once_are_both_served():
    with Threads(3, "test") as threads:
        found: dict[int, list[int]] = {}

        def ask(start: int) -> None:
            found[start] = threads.each(lambda item: item + 1, range(start, start + 200))

        asking = [threading.Thread(target=ask, args=(start,)) for start in (0, 1_000)]
        for one in asking:
            one.start()
        for one in asking:
            one.join()
    assert found == {start: list(range(start + 1, start + 201)) for start in (0, 1_000)}


@pytest.mark.parametrize(("failures", "calls"), [(0, 1), (1, 2), (2, 3), (9, 3)])
def test_what_may_pass_is_tried_as_often_as_is_said(monkeypatch, failures: int, calls: int):
    monkeypatch.setattr("headrace.recognitions.patience.FIRST_WAIT", 0.001)
    monkeypatch.setattr("headrace.recognitions.patience.JITTER", 0.001)
    made: list[int] = []

    def work() -> str:
        made.append(1)
        if len(made) <= failures:
            raise OSError("away")
        return "done"

    patience = Patience(attempts=3, factor=2.0)
    if failures < 3:
        assert patience.through(OSError, work) == "done"
    else:
        with pytest.raises(OSError, match="away"):
            patience.through(OSError, work)
    assert len(made) == calls


def test_what_does_not_pass_is_not_tried_again():
    made: list[int] = []

    def work() -> None:
        made.append(1)
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        Patience(attempts=3, factor=2.0).through(OSError, work)
    assert len(made) == 1
