"""Intervals of one owner never overlap, whatever the order of lines, files and segments."""

from datetime import timedelta
from itertools import permutations
from uuid import uuid4

import pytest

from headrace.entities import ENTITIES
from headrace.pipeline.dialects.base import Written
from headrace.schema import Entity
from tests import records, road
from tests.records import EPOCH, example, expected, spelled, stored

INTERVAL = pytest.mark.parametrize(
    "entity", [entity for entity in ENTITIES if entity.interval], ids=lambda entity: entity.name
)
ABSENT = object()
MOVES = pytest.mark.parametrize(
    ("before", "after"),
    [
        ([(1, 10), (10, 20)], [(10, 20), (20, 30)]),
        ([(10, 20), (20, 30)], [(1, 10), (10, 20)]),
        ([(1, 10), (10, 20)], [(5, 15), (15, 25)]),
        ([(1, 10), (10, 20)], [(10, 20), (1, 10)]),
        ([(1, 10), (10, 20), (20, 30)], [(10, 20), (20, 30), (1, 10)]),
        ([(1, 10), (10, None)], [(10, None), (1, 10)]),
        ([(1, 10), (10, 20), (20, None)], [(20, None), (1, 10), (10, 20)]),
        ([(1, 10), (10, None)], [(10, 20), (20, None)]),
        ([(1, 10), (10, None)], [(10, 20), (20, ABSENT)]),
        ([(10, 20), (20, None)], [(1, 10), (10, ABSENT)]),
    ],
    ids=(
        "later",
        "earlier",
        "halfway",
        "swapped",
        "cycle",
        "open to another",
        "open in a cycle",
        "later, open",
        "later, open unsaid",
        "earlier, open unsaid",
    ),
)


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


def moved(entity: Entity, spans, numbers) -> list[records.Record]:
    """The records of these numbers, and so of ids in any order, at these places."""
    return [span(entity, number, *ends) for number, ends in zip(numbers, spans, strict=True)]


@INTERVAL
@MOVES
@pytest.mark.parametrize("rows_a_segment", [1, 50_000])
def test_intervals_move_to_where_others_were_whatever_the_order_of_ids_and_lines(
    entity: Entity, before, after, rows_a_segment: int, database: road.Database, land, parents
):
    database.dialect.segment_rows = rows_a_segment
    for numbers in permutations(range(1, len(before) + 1)):
        database.tenant = uuid4()
        parents(entity, 1)
        held = moved(entity, before, numbers)
        rows = moved(entity, after, numbers)
        land(entity, *held)
        for lines in (rows, rows[::-1]):
            ledger = land(entity, *lines)
            assert outcomes(ledger) == "u" * len(rows)
            assert stored(database, entity) == expected(entity, *map(closed_or_open, rows))
            assert outcomes(land(entity, *lines)) == "n" * len(rows)
            assert outcomes(land(entity, *held)) == "u" * len(rows)  # and back


def closed_or_open(row: records.Record) -> records.Record:
    """What is stored of a row whose end is left out, and was open."""
    return {"effective_to": None} | row


@INTERVAL
@MOVES
def test_one_that_overlaps_is_refused_alone_while_others_move(
    entity: Entity, before, after, database: road.Database, land, parents
):
    for numbers in permutations(range(1, len(before) + 1)):
        for at in range(len(before) + 1):
            database.tenant = uuid4()
            parents(entity, 1, 2)
            held = [*moved(entity, before, numbers), span(entity, 8, 0, 50, owner=2)]
            land(entity, *held)
            rows = moved(entity, after, numbers)
            last = max(start for start, _ in after)
            intruder = span(entity, 9, last, last + 1)
            neighbour = span(entity, 7, 50, 60, owner=2)
            ledger = land(entity, *rows[:at], intruder, *rows[at:], neighbour)
            assert outcomes(ledger) == "u" * at + "r" + "u" * (len(rows) - at) + "i"
            (reject,) = ledger.rejects
            assert (reject.code, reject.stage) == ("interval_overlap", "promote")
            landed = map(closed_or_open, [*rows, held[-1], neighbour])
            assert stored(database, entity) == expected(entity, *landed)


@INTERVAL
def test_an_interval_that_must_stay_keeps_its_place_from_the_one_that_wants_it(
    entity: Entity, database: road.Database, land, parents
):
    held = [span(entity, 1, 1, 10), span(entity, 2, 10, 20), span(entity, 3, 20, 30)]
    rows = [span(entity, 1, 10, 20), span(entity, 2, 25, 27), span(entity, 4, 40)]
    for lines in permutations(rows):
        database.tenant = uuid4()
        parents(entity, 1)
        land(entity, *held)
        ledger = land(entity, *lines)
        refused = [line for line, row in enumerate(lines, 1) if row is not rows[2]]
        assert [(line, code) for line, code, _ in records.rejected(ledger)] == [
            (line, "interval_overlap") for line in refused
        ]
        assert stored(database, entity) == expected(entity, *held, rows[2])


@INTERVAL
def test_moves_that_come_a_row_a_file_land_in_an_order_that_leaves_room(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1)
    land(entity, span(entity, 1, 1, 10), span(entity, 2, 10, 20), span(entity, 3, 20))
    moves = [span(entity, 3, 30), span(entity, 2, 20, 30), span(entity, 1, 10, 20)]
    assert [outcomes(land(entity, row)) for row in moves] == ["u", "u", "u"]
    assert stored(database, entity) == expected(entity, *moves)
    back = [span(entity, 3, 20), span(entity, 2, 10, 20), span(entity, 1, 1, 10)]
    assert [outcomes(land(entity, row)) for row in back] == ["r", "r", "u"]
    assert [outcomes(land(entity, row)) for row in back] == ["r", "u", "n"]


@INTERVAL
def test_an_interval_that_moves_and_new_ones_where_it_was(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1)
    for first, second, third in permutations((1, 2, 3)):
        land(entity, span(entity, first, 0))
        rows = [span(entity, second, 0, 5), span(entity, third, 5, 7), span(entity, first, 7)]
        assert outcomes(land(entity, *rows)) == "iiu"
        assert stored(database, entity) == expected(entity, *rows)
        database.tenant = uuid4()
        parents(entity, 1)


@INTERVAL
def test_a_place_that_is_left_for_another_owner_is_free_from_the_next_file_on(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1, 2)
    land(entity, span(entity, 1, 0))
    leaving, following = span(entity, 1, 0, owner=2), span(entity, 2, 0)
    assert sorted(outcomes(land(entity, leaving, following))) == ["r", "u"]
    assert outcomes(land(entity, following)) == "i"
    assert stored(database, entity) == expected(entity, leaving, following)


@INTERVAL
def test_what_is_set_aside_meanwhile_is_never_committed(
    entity: Entity, database: road.Database, land, parents, monkeypatch: pytest.MonkeyPatch
):
    """A row that was moved out of the way, and is then not written by whatever accident."""
    parents(entity, 1)
    held = [span(entity, 1, 1, 10), span(entity, 2, 10, 20)]
    land(entity, *held)
    kind = type(database.dialect)
    monkeypatch.setattr(kind, "write", lambda *_: Written())
    ledger = land(entity, span(entity, 1, 10, 20), span(entity, 2, 20, 30))
    assert not set("iu") & set(outcomes(ledger))
    assert stored(database, entity) == expected(entity, *held)


@INTERVAL
def test_new_and_closing_intervals_set_nothing_aside(
    entity: Entity, database: road.Database, land, parents, monkeypatch: pytest.MonkeyPatch
):
    def unwanted(*_):
        raise AssertionError("nothing begins elsewhere")

    parents(entity, 1)
    monkeypatch.setattr(type(database.dialect), "set_aside", unwanted)
    assert outcomes(land(entity, span(entity, 1, 0))) == "i"
    assert outcomes(land(entity, span(entity, 1, 0, 5), span(entity, 2, 5))) == "ui"
