"""Calls of few events: each by itself, whatever an earlier one of its connection left behind."""

from collections import Counter
from uuid import uuid4

import pytest

from headrace.entities import BY_NAME
from headrace.pipeline import calls
from headrace.pipeline.report import Fall, Outcome
from tests import records, road
from tests.conformance.test_levels import levels
from tests.records import key

STOCK = BY_NAME["stock_events"]
ONE, TWO = (key("products", number) for number in (1, 2))
UNKNOWN = key("products", 9)


def call(database: road.Database, *events: dict[str, object]) -> Counter[Outcome]:
    """The outcomes of a call that is committed."""
    with database.transaction():
        return landed(database, *events)


def landed(database: road.Database, *events: dict[str, object]) -> Counter[Outcome]:
    rows = [{"stock_event_id": str(uuid4()), "product_id": ONE} | event for event in events]
    load = road.load_of("stock_events", records.file(*rows), tenant=database.tenant, parks=False)
    report = calls.land(database.connection, database.dialect, load, calls.read(load))
    return Counter({outcome: lines for outcome, lines in report.counts.items() if lines})


class GivenUp(Exception):
    pass


def give_up_a_call(database: road.Database) -> None:
    with database.transaction():
        landed(database, {"delta": 5})
        raise GivenUp


def test_a_call_lands_after_one_that_was_rolled_back_before_any_other(database, parents):
    parents(STOCK, 1, 2)
    with pytest.raises(GivenUp):
        give_up_a_call(database)
    assert call(database, {"delta": 3}, {"delta": 4}) == {Outcome.INSERTED: 2}
    assert levels(database)[ONE.replace("-", "")] == (7, 2)


def test_calls_of_few_and_of_many_events_take_turns(database, parents):
    parents(STOCK, 1, 2)
    for number in (1, 250, 2, 100, 101):
        event = {"delta": 1, "product_id": TWO}
        assert call(database, *[event] * number) == {Outcome.INSERTED: number}
    assert levels(database)[TWO.replace("-", "")] == (454, 454)


def test_refused_events_of_a_call_leave_the_others_alone(database, parents):
    parents(STOCK, 1, 2)
    found = call(
        database,
        {"delta": 2},
        {"delta": -1, "product_id": TWO},
        {"delta": 1, "product_id": UNKNOWN},
    )
    assert found == {Outcome.INSERTED: 1, Outcome.REJECTED: 2}
    assert call(database, {"delta": -2}) == {Outcome.INSERTED: 1}
    assert levels(database)[ONE.replace("-", "")] == (0, 2)


def falls(database: road.Database, *events: dict[str, object], many: int = 0) -> list[Fall]:
    """The levels that a call took below 0, which it may; `many` other events come after."""
    others = [{"product_id": TWO, "delta": 1}] * many
    nameless = ({"product_id": ONE} | event for event in (*events, *others))
    rows = [{"stock_event_id": str(uuid4())} | event for event in nameless]
    allowed = {"parks": False, "may_be_negative": True, "watches_falls": True}
    load = road.load_of("stock_events", records.file(*rows), tenant=database.tenant, **allowed)
    with database.transaction():
        return calls.land(database.connection, database.dialect, load, calls.read(load)).falls


@pytest.mark.parametrize("many", [0, 150])
def test_a_fall_of_another_tenants_product_of_that_id_is_not_told(database, parents, many):
    own, other = database.tenant, uuid4()
    for owner, change in ((own, 9), (other, -9)):
        database.tenant = owner
        parents(STOCK, 1, 2)
        falls(database, {"delta": change}, many=many)
    assert falls(database, {"delta": 10}, {"delta": -1}, many=many) == []
    database.tenant = own
    assert falls(database, {"delta": -4}, {"delta": 1}, many=many) == []
    database.tenant = other
    assert falls(database, {"delta": -4}, {"delta": 1}, many=many) == [Fall(ONE, -3)]


@pytest.mark.parametrize("many", [0, 150])
def test_a_level_that_falls_below_0_is_told_once_with_what_it_led_to(database, parents, many):
    parents(STOCK, 1, 2)
    known = {"stock_event_id": str(uuid4()), "delta": -1}
    assert falls(database, {"delta": 2}, {"delta": -5}, {"delta": 1}, many=many) == [Fall(ONE, -2)]
    assert falls(database, {"delta": -1}, many=many) == [], "it was below 0"
    assert falls(database, {"delta": 3}, {"delta": -1}, {"delta": 2}, many=many) == [], "it is not"
    assert falls(database, {"set": 0}, known, many=many) == [Fall(ONE, -1)]
    assert falls(database, {"set": 0}, many=many) == []
    assert falls(database, known, {"delta": 1, "product_id": TWO}, many=many) == [], "it is known"
    assert falls(database, {"set": -4}, {"delta": 1}, many=many) == [Fall(ONE, -3)]
