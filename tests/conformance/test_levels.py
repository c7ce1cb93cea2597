"""Movements of stock: one level a product, the sum of its movements, numbered without gaps."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from headrace.entities import BY_NAME
from headrace.pipeline.owners import event_names
from tests import records, road
from tests.records import key

STOCK = BY_NAME["stock_events"]
ONE, TWO = (key("products", number) for number in (1, 2))
Send = Callable[..., road.LocalLedger]


@pytest.fixture
def send(land, parents) -> Send:
    """Lands events of the products 1 and 2; an event is what it says of a fresh one, and
    without what is `...`."""
    parents(STOCK, 1, 2)

    def sent(*events: dict[str, Any], raw: bytes | None = None, **more) -> road.LocalLedger:
        moment = {"stock_event_id": None, "product_id": ONE, "event_time": "2025-01-01T00:00:00Z"}
        whole = [moment | {"stock_event_id": str(uuid4())} | event for event in events]
        rows = [{name: value for name, value in row.items() if value is not ...} for row in whole]
        return land(STOCK, *rows, *([raw] if raw else []), **more)

    return sent


def levels(database: road.Database) -> dict[str, tuple[int, int]]:
    """Level and number of movements by product."""
    return {
        row["product_id"]: (row["level"], row["sequence"])
        for row in database.rows("stock_levels")
        if UUID(row["tenant_id"]) == database.tenant
    }


def moves(database: road.Database, product: str = ONE) -> list[tuple[int, int, int]]:
    """Number, change and level of the movements of a product."""
    rows = [
        (row["sequence"], row["delta"], row["resulting_level"])
        for row in database.rows("stock_events")
        if (row["tenant_id"], row["product_id"]) == (database.tenant.hex, UUID(product).hex)
    ]
    return sorted(rows)


def test_movements_are_numbered_by_product_and_add_up(database, send):
    ledger = send({"delta": 5}, {"delta": 3, "product_id": TWO}, {"delta": -2}, {"delta": 4})
    assert ledger.outcome_by_line() == ["inserted"] * 4
    assert moves(database) == [(1, 5, 5), (2, -2, 3), (3, 4, 7)]
    assert send({"delta": -7}).outcome_by_line() == ["inserted"]
    assert moves(database)[-1] == (4, -7, 0)
    assert levels(database) == {UUID(ONE).hex: (0, 4), UUID(TWO).hex: (3, 1)}


def test_a_change_of_nothing_is_unchanged_and_not_kept(database, send):
    assert send({"delta": 5}, {"delta": 0}).outcome_by_line() == ["inserted", "unchanged"]
    assert moves(database) == [(1, 5, 5)]


def test_a_level_can_be_set_between_changes(database, send):
    ledger = send({"delta": 5}, {"set": 12}, {"delta": 1}, {"set": 2, "expected": 13}, {"delta": 1})
    assert ledger.outcome_by_line() == ["inserted"] * 5
    assert moves(database) == [(1, 5, 5), (2, 7, 12), (3, 1, 13), (4, -11, 2), (5, 1, 3)]


def test_a_set_that_changes_nothing_is_kept_so_that_a_late_repetition_does_no_harm(database, send):
    counted = {"stock_event_id": str(uuid4()), "set": 5}
    assert send({"delta": 5}, counted).outcome_by_line() == ["inserted", "unchanged"]
    assert moves(database) == [(1, 5, 5), (2, 0, 5)]
    send({"delta": 4})
    assert send(counted).outcome_by_line() == ["unchanged"]
    assert levels(database)[UUID(ONE).hex] == (9, 3)


@pytest.mark.parametrize(
    ("event", "code", "field", "value"),
    [
        ({"delta": -6}, "negative_level", "delta", "-6"),
        ({"set": -1}, "negative_level", "set", "-1"),
        ({"set": 1, "expected": 6}, "level_changed", "expected", "6"),
        ({"delta": 2**31 - 1}, "bad_number", "delta", "+2147483647"),
    ],
)
def test_what_is_impossible_is_refused_with_all_of_its_product(
    database, send, event, code, field, value
):
    send({"delta": 5})
    ledger = send({"delta": 1}, {"delta": 1, "product_id": TWO}, {"delta": -1}, event, {"delta": 9})
    assert ledger.outcome_by_line() == ["rejected", "inserted", *["rejected"] * 3]
    assert sorted(records.rejected(ledger)) == [
        (1, "refused_together", "product_id"),
        (3, "refused_together", "product_id"),
        (4, code, field),
        (5, "refused_together", "product_id"),
    ]
    assert [reject.value for reject in ledger.rejects if reject.code == code] == [value]
    assert levels(database) == {UUID(ONE).hex: (5, 1), UUID(TWO).hex: (1, 1)}


def test_a_level_is_not_set_by_a_larger_step_than_a_change_can_have(database, send):
    send({"delta": -1}, may_be_negative=True)
    ledger = send({"set": 2**31 - 1}, {"delta": 1}, may_be_negative=True)
    assert [(reject.line, reject.code, reject.value) for reject in ledger.rejects] == [
        (1, "bad_number", str(2**31 - 1)),
        (2, "refused_together", ""),
    ]
    assert levels(database)[UUID(ONE).hex] == (-1, 1)


def test_a_bad_record_is_its_own_products_whatever_it_holds_besides(database, send):
    nested = {"delta": "x", "meta": {"product_id": TWO}}
    bad = nested | {"stock_event_id": str(uuid4()), "product_id": ONE}
    order = ("stock_event_id", "meta", "product_id", "delta")  # the other's id stands first
    line = json.dumps({name: bad[name] for name in order}).encode()
    good = ({"delta": 7}, {"delta": 9, "product_id": TWO})
    assert send(*good, raw=line, whole_owners=True).outcome_by_line() == [
        *("rejected", "inserted", "rejected")
    ]
    escaped = line.replace(
        b'"product_id": "' + ONE.encode(), b'"product\\u005fid": "' + ONE.encode()
    )
    assert send(*good, raw=escaped, whole_owners=True).outcome_by_line() == [
        *("rejected", "inserted", "rejected")
    ]


def test_levels_go_below_zero_where_the_tenant_allows_it(database, send):
    assert send({"delta": -6}, may_be_negative=True).outcome_by_line() == ["inserted"]
    assert send({"delta": 4}).outcome_by_line() == ["inserted"]  # nearer to 0 than before
    assert send({"delta": -1}).outcome_by_line() == ["rejected"]
    assert levels(database)[UUID(ONE).hex] == (-2, 2)


def test_one_product_id_of_two_tenants_has_two_levels(database, send, parents):
    own, other = database.tenant, uuid4()
    assert send({"delta": 5}, {"delta": 1}).outcome_by_line() == ["inserted"] * 2
    database.tenant = other
    parents(STOCK, 1, 2)
    assert send({"delta": 100}, {"delta": 10}).outcome_by_line() == ["inserted"] * 2
    assert send({"delta": -1}).outcome_by_line() == ["inserted"]
    assert (moves(database)[-1], levels(database)) == ((3, -1, 109), {UUID(ONE).hex: (109, 3)})
    database.tenant = own
    assert send({"delta": 2}).outcome_by_line() == ["inserted"]
    assert (moves(database)[-1], levels(database)) == ((3, 2, 8), {UUID(ONE).hex: (8, 3)})


def test_known_events_count_once_whatever_else_is_in_the_file(database, send):
    events = [{"stock_event_id": str(uuid4()), "delta": delta} for delta in (5, -2, 1)]
    send(*events)
    again = send({"delta": 1}, *events, {"delta": -1})
    assert again.outcome_by_line() == ["inserted", *["unchanged"] * 3, "inserted"]
    assert moves(database) == [(1, 5, 5), (2, -2, 3), (3, 1, 4), (4, 1, 5), (5, -1, 4)]


def test_an_event_that_is_repeated_in_its_file_shares_its_fate(database, send):
    refused = {"stock_event_id": str(uuid4()), "delta": -6}
    taken = {"stock_event_id": str(uuid4()), "delta": 2, "product_id": TWO}
    ledger = send(refused, refused, taken, taken | {"delta": 3}, taken)
    assert ledger.outcome_by_line() == [*["rejected"] * 2, "inserted", "rejected", "unchanged"]
    assert sorted(records.rejected(ledger)) == [
        (1, "negative_level", "delta"),
        (2, "refused_together", "product_id"),
        (4, "event_conflict", "stock_event_id"),
    ]


def test_a_known_id_with_other_content_is_refused_and_the_others_land(database, send):
    known = {"stock_event_id": str(uuid4()), "delta": 5}
    send(known)
    ledger = send({"delta": 1}, known | {"delta": 6}, known | {"source": "audit"})
    assert ledger.outcome_by_line() == ["inserted", "rejected", "rejected"]
    assert {code for _, code, _ in records.rejected(ledger)} == {"event_conflict"}


def test_where_owners_are_whole_a_conflict_refuses_the_product(database, send):
    known = {"stock_event_id": str(uuid4()), "delta": 5}
    send(known)
    ledger = send(
        {"delta": 1}, known | {"delta": 6}, {"delta": 1, "product_id": TWO}, whole_owners=True
    )
    assert ledger.outcome_by_line() == ["rejected", "rejected", "inserted"]
    assert levels(database)[UUID(ONE).hex] == (5, 1)


def test_a_claim_is_compared_and_kept_but_never_believed(database, send):
    ledger = send({"delta": 5, "resulting_level": 5}, {"delta": 1, "resulting_level": 40})
    assert ledger.outcome_by_line() == ["inserted"] * 2
    assert moves(database) == [(1, 5, 5), (2, 1, 6)]
    assert sum(report.mismatches for report in ledger.landed.values()) == 1
    rows = database.rows("stock_events")
    mine = (row for row in rows if UUID(row["tenant_id"]) == database.tenant)
    claims = {row["resulting_level"]: row["claimed_level"] for row in mine}
    assert (claims[5], claims[6]) == (5, 40)


def test_a_late_event_keeps_its_time_and_takes_the_next_number(database, send):
    send({"delta": 5, "event_time": "2025-02-01T00:00:00Z"})
    send({"delta": 1, "event_time": "2024-02-01T00:00:00Z"})
    assert moves(database) == [(1, 5, 5), (2, 1, 6)]


@pytest.mark.parametrize(
    ("event", "faults"),
    [
        ({}, [("one_of", "delta")]),
        ({"delta": 1, "set": 1}, [("one_of", "delta")]),
        ({"delta": 1, "expected": 1}, [("one_of", "expected")]),
        ({"delta": None, "set": None}, [("one_of", "delta")]),
        ({"delta": "x"}, [("bad_number", "delta")]),
    ],
)
def test_an_event_says_a_change_or_a_level(send, event, faults):
    ledger = send(event)
    assert [(reject.code, reject.field) for reject in ledger.rejects] == faults


def test_where_owners_are_whole_a_bad_line_refuses_its_product_and_no_other(database, send):
    bad = {"delta": "many"}
    ledger = send(
        {"delta": 5}, {"delta": 3, "product_id": TWO}, bad, {"delta": 1}, whole_owners=True
    )
    assert ledger.outcome_by_line() == ["rejected", "inserted", "rejected", "rejected"]
    assert [(reject.line, reject.code) for reject in ledger.rejects] == [
        (1, "refused_together"),
        (3, "bad_number"),
        (4, "refused_together"),
    ]
    assert levels(database) == {UUID(TWO).hex: (3, 1)}


def test_events_without_an_id_are_named_by_key_and_line(database, send):
    names = event_names(database.tenant, "till 7")
    events = ({"delta": 5, "stock_event_id": ...}, {"delta": -1, "stock_event_id": ...})
    assert send(*events, name_event=names).outcome_by_line() == ["inserted"] * 2
    assert send(*events, name_event=names).outcome_by_line() == ["unchanged"] * 2
    other = event_names(database.tenant, "till 8")
    assert send(*events, name_event=other).outcome_by_line() == ["inserted"] * 2
    assert send(*events).outcome_by_line() == ["rejected"] * 2
    assert moves(database) == [(1, 5, 5), (2, -1, 4), (3, 5, 9), (4, -1, 8)]
