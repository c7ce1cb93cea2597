"""Intervals of one owner never overlap, whatever the order of lines, files and segments."""

from datetime import timedelta
from uuid import uuid4

import pytest

from headrace.entities import ENTITIES
from headrace.schema import Entity
from tests import records, road
from tests.records import EPOCH, example, expected, spelled, stored

INTERVAL = pytest.mark.parametrize(
    "entity", [entity for entity in ENTITIES if entity.interval], ids=lambda entity: entity.name
)
ABSENT = object()


def span(entity: Entity, number: int, start: int, end=None, owner: int = 1) -> records.Record:
    """The record with this number over days [start, end) of an owner."""
    assert entity.interval is not None
    names = entity.interval
    given = {
        names.owner: example(entity, owner)[names.owner],
        names.start: day(start),
        names.end: day(end) if isinstance(end, int) else None,
    }
    record = example(entity, number, **given)
    return records.without(record, names.end) if end is ABSENT else record


def day(number: int) -> str:
    return spelled(EPOCH + timedelta(days=number))


def outcomes(ledger: road.LocalLedger) -> str:
    """The first letters: i u n s r p."""
    letters = {"unchanged": "n"}
    return "".join(letters.get(outcome, outcome[0]) for outcome in ledger.outcome_by_line())


@INTERVAL
@pytest.mark.parametrize(
    ("spans", "wanted"),
    [
        ([(0, 2), (2, 4), (4, None)], "iii"),
        ([(4, None), (2, 4), (0, 2)], "iii"),
        ([(0, 2), (1, 3)], "ir"),
        ([(0, 4), (1, 2)], "ir"),
        ([(1, 2), (0, 4)], "ir"),
        ([(0, 2), (0, 2)], "ir"),
        ([(0, None), (5, None)], "ir"),
        ([(5, None), (0, None)], "ir"),
        ([(0, None), (5, 6)], "ir"),
        ([(5, 6), (0, None)], "ir"),
        ([(0, 2), (1, 3), (2, 4)], "iri"),
        ([(0, 2), (4, 6), (1, 5)], "iir"),
    ],
)
def test_of_overlapping_lines_the_first_stays(
    entity: Entity, spans, wanted: str, database: road.Database, land, parents
):
    parents(entity, 1)
    rows = [span(entity, number, *ends) for number, ends in enumerate(spans, 1)]
    ledger = land(entity, *rows)
    assert outcomes(ledger) == wanted
    assert {code for _, code, _ in records.rejected(ledger)} <= {"interval_overlap"}
    kept = [row for row, letter in zip(rows, wanted, strict=True) if letter == "i"]
    assert stored(database, entity) == expected(entity, *kept)
    again = wanted.replace("i", "n")
    assert outcomes(land(entity, *rows)) == again


@INTERVAL
def test_a_stored_interval_stays_and_the_file_is_told(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1)
    held = span(entity, 1, 2, 4)
    land(entity, held)
    late = span(entity, 2, 3, 5)
    (reject,) = land(entity, late).rejects
    assert entity.interval is not None
    assert (reject.stage, reject.code, reject.field) == (
        "promote",
        "interval_overlap",
        entity.interval.start,
    )
    assert stored(database, entity) == expected(entity, held)


@INTERVAL
@pytest.mark.parametrize("closing_first", [True, False])
@pytest.mark.parametrize("end", [None, ABSENT], ids=["null", "absent"])
def test_a_file_may_close_an_interval_and_open_the_next_in_either_order(
    entity: Entity, closing_first: bool, end, database: road.Database, land, parents
):
    parents(entity, 1)
    land(entity, span(entity, 1, 0))
    closing, opening = span(entity, 1, 0, 5), span(entity, 2, 5, end)
    rows = (closing, opening) if closing_first else (opening, closing)
    assert sorted(outcomes(land(entity, *rows))) == ["i", "u"]
    assert stored(database, entity) == expected(entity, closing, opening)


@INTERVAL
def test_an_absent_end_keeps_the_stored_one(entity: Entity, database: road.Database, land, parents):
    parents(entity, 1)
    closed, following = span(entity, 1, 0, 5), span(entity, 2, 5)
    land(entity, closed, following)
    earlier = records.without(span(entity, 1, -3), entity.interval.end)
    assert outcomes(land(entity, earlier)) == "u"
    kept = earlier | {entity.interval.end: closed[entity.interval.end]}
    assert stored(database, entity) == expected(entity, kept, following)


@INTERVAL
def test_a_start_behind_the_end_that_is_kept_is_refused(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1)
    closed = span(entity, 1, 0, 5)
    land(entity, closed)
    ledger = land(entity, span(entity, 1, 6, ABSENT))
    assert [code for _, code, _ in records.rejected(ledger)] == ["interval_overlap"]
    assert stored(database, entity) == expected(entity, closed)


@INTERVAL
def test_of_one_ids_lines_the_last_that_overlaps_nothing_lands(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1)
    held = span(entity, 1, 0, 5)
    land(entity, held)
    rows = [span(entity, 2, 5, 6), span(entity, 2, 5, 7), span(entity, 2, 4, 7)]
    assert outcomes(land(entity, *rows)) == "sir"
    assert stored(database, entity) == expected(entity, held, rows[1])


@INTERVAL
def test_an_interval_that_cannot_move_to_another_owner_still_bars_its_own(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1, 2)
    held = [span(entity, 1, 0, 10), span(entity, 2, 0, 10, owner=2)]
    land(entity, *held)
    moving, intruding = span(entity, 1, 1, 10, owner=2), span(entity, 3, 2, 5)
    assert outcomes(land(entity, moving, intruding)) == "rr"
    assert stored(database, entity) == expected(entity, *held)


@INTERVAL
def test_an_older_file_neither_moves_an_interval_nor_bars_a_newer_one(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1)
    newer = span(entity, 1, 0, 5)
    land(entity, newer, number=9)
    older, free = span(entity, 1, 0, 9), span(entity, 2, 5, 7)
    assert outcomes(land(entity, older, free, number=8)) == "si"
    assert stored(database, entity) == expected(entity, newer, free)


@INTERVAL
def test_intervals_of_other_owners_and_tenants_do_not_count(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1, 2)
    rows = [span(entity, 1, 0, 5), span(entity, 2, 3, 6, owner=2)]
    assert outcomes(land(entity, *rows)) == "ii"
    database.tenant = uuid4()
    parents(entity, 1)
    assert outcomes(land(entity, span(entity, 3, 1))) == "i"


@INTERVAL
def test_an_end_that_is_left_out_is_not_another_tenants(
    entity: Entity, database: road.Database, land, parents
):
    own = database.tenant
    database.tenant = uuid4()
    parents(entity, 1)
    assert outcomes(land(entity, span(entity, 1, 0, 5))) == "i"
    database.tenant = own
    parents(entity, 1)
    assert outcomes(land(entity, span(entity, 2, 6, 9))) == "i"
    assert outcomes(land(entity, span(entity, 1, 0, ABSENT))) == "r"


@INTERVAL
def test_rows_of_one_owner_meet_in_one_segment(
    entity: Entity, database: road.Database, land, parents
):
    owners = range(1, 9)
    parents(entity, *owners)
    rows = []
    for number in range(24):
        owner, turn = number % 8 + 1, number // 8
        rows.append(span(entity, number, (0, 4, 2)[turn], (3, 6, 5)[turn], owner=owner))
    database.dialect.segment_rows = 5
    ledger = land(entity, *rows)
    assert ledger.plan is not None
    assert len(ledger.plan) > 2
    assert outcomes(ledger) == "i" * 16 + "r" * 8
