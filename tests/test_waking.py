"""Parked lines that wake: the right one wins, and each ends with one outcome."""

from uuid import UUID

import numpy as np

from headrace.pipeline import run
from headrace.pipeline.report import Outcome, SegmentReport
from tests.road import land, load_of, ndjson

KNOWN, LATE, ORDER = (str(UUID(int=number + (1 << 120))) for number in (1, 2, 3))


def order(customer: str) -> dict:
    return {
        "order_id": ORDER,
        "external_order_id": "1",
        "customer_id": customer,
        "total_amount": 1,
        "order_date": "2024-01-01T00:00:00",
    }


def wake(
    database, folder, data: bytes, number: int, lines: list[int], entity: str = "orders", **more
) -> SegmentReport:
    found: list[SegmentReport] = []
    folder = folder / "wake"
    folder.mkdir()
    load = load_of(entity, data, number, **more)
    begin = database.transaction

    def settle(lines, report: SegmentReport) -> None:
        found.append(report)

    run.wake(load, database.dialect, begin, np.array(lines), folder, settle, lambda lines: False)
    return found[0]


def customers(*ids: str) -> bytes:
    return ndjson(*({"customer_id": one} for one in ids))


def test_a_line_that_wakes_does_not_win_over_an_equal_one_further_down(database, tmp_path):
    land(database, tmp_path, "customers", customers(KNOWN), number=1)
    land(database, tmp_path, "orders", ndjson(order(KNOWN)), number=2)
    data = ndjson(order(LATE), order(KNOWN))
    assert land(database, tmp_path, "orders", data, number=3).outcome_by_line() == [
        "parked",
        "unchanged",
    ]
    land(database, tmp_path, "customers", customers(LATE), number=4)
    report = wake(database, tmp_path, data, 3, [1])
    assert {name: lines.tolist() for name, lines in report.outcomes.items()} == {
        Outcome.SUPERSEDED: [1]
    }
    assert database.rows("orders")[0]["customer_id"] == UUID(KNOWN).hex


def test_a_line_that_is_not_sound_any_more_is_rejected_when_it_wakes(database, tmp_path):
    data = ndjson(order(LATE))
    assert land(database, tmp_path, "orders", data, number=1).outcome_by_line() == ["parked"]
    land(database, tmp_path, "customers", customers(LATE), number=2)
    report = wake(database, tmp_path, data.replace(b'"1"', b'"' + b"1" * 101 + b'"'), 1, [1])
    assert {name: lines.tolist() for name, lines in report.outcomes.items()} == {
        Outcome.REJECTED: [1]
    }
    assert [reject.code for reject in report.rejects] == ["too_long"]
