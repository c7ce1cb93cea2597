"""Which intervals of one owner are refused: by neighbours, as by looking at all of them."""

import random
from collections import Counter, defaultdict
from datetime import timedelta
from functools import partial, total_ordering
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.entities.price_history import PRICE_HISTORY
from headrace.pipeline.dialects.base import Span
from headrace.pipeline.overlaps import overlapping
from tests import records, road
from tests.records import EPOCH, example, spelled
from tests.reference_intervals import is_empty, overlap, refused_lines

MANY = 20_000


def told(spans: list[Span]) -> list[int]:
    return [span.line for span in overlapping(spans)]


def stored_spans(dice: random.Random, ids: int, owners: str) -> list[Span]:
    """Spans of which no two of an owner overlap; ids in no order."""
    numbers = dice.sample(range(ids), dice.randrange(ids + 1))
    found = []
    for owner in owners:
        own = [number for number in numbers if number % len(owners) == owners.index(owner)]
        edges = sorted(dice.sample(range(20), 2 * len(own)))
        spans = [Span(0, id_, owner, *edges[2 * at : 2 * at + 2]) for at, id_ in enumerate(own)]
        if spans and dice.random() < 0.5:
            spans[-1] = spans[-1]._replace(end=None)
        if spans and dice.random() < 0.5:  # back to back
            ends = [*(span.start for span in spans[1:]), spans[-1].end]
            spans = [span._replace(end=end) for span, end in zip(spans, ends, strict=True)]
        found += spans
    return found


def staged_spans(dice: random.Random, ids: int, owners: str) -> list[Span]:
    """Lines of any ids, some of them of several lines or of another owner, some empty."""
    found = []
    for line in range(1, dice.randrange(1, 10)):
        id_ = dice.randrange(ids + 2)
        owner = owners[id_ % len(owners)] if dice.random() < 0.9 else dice.choice(owners)
        start = dice.randrange(20)
        end = None if dice.random() < 0.15 else start + dice.randrange(-1, 8)
        found.append(Span(line, id_, owner, start, end))
    return found


def first_come(spans: list[Span]) -> list[int]:
    """The definition for lines whose ids are not stored: by first line, of an id the last that
    overlaps nothing that is there."""
    kept: dict[Any, Span] = {("stored", span.id): span for span in spans if not span.line}
    lines: dict[Any, list[Span]] = defaultdict(list)
    for span in spans:
        if span.line:
            lines[span.id].append(span)
    refused = []
    for versions in lines.values():
        for span in reversed(versions):
            if not is_empty(span) and not any(overlap(span, other) for other in kept.values()):
                kept[span.id] = span
                break
            refused.append(span.line)
    return sorted(refused)


@given(dice=st.randoms(use_true_random=False), owners=st.sampled_from(["A", "AB"]))
def test_the_reference_refuses_the_same(dice: random.Random, owners: str):
    spans = stored_spans(dice, 6, owners) + staged_spans(dice, 6, owners)
    assert told(spans) == refused_lines(spans)


def test_the_reference_refuses_the_same_of_very_many():
    dice, seen = random.Random(1), Counter()
    for _ in range(5_000):
        owners = dice.choice(["A", "AB"])
        spans = stored_spans(dice, 6, owners) + staged_spans(dice, 6, owners)
        refused = told(spans)
        assert refused == refused_lines(spans)
        seen[len(refused)] += 1
    assert all(seen[number] > 50 for number in range(5))


@given(dice=st.randoms(use_true_random=False))
def test_of_new_intervals_the_first_stays(dice: random.Random):
    spans = [span._replace(id=-1 - span.id) for span in stored_spans(dice, 6, "AB")]
    spans += staged_spans(dice, 6, "AB")
    assert told(spans) == first_come(spans)


@given(dice=st.randoms(use_true_random=False))
def test_what_is_left_overlaps_nothing(dice: random.Random):
    stored, staged = stored_spans(dice, 6, "AB"), staged_spans(dice, 6, "AB")
    refused = told(stored + staged)
    landed = {span.id: span for span in staged if span.line not in refused}
    final = list(({span.id: span for span in stored} | landed).values())
    assert not any(overlap(one, other) for one in final for other in final if one is not other)


@given(dice=st.randoms(use_true_random=False))
def test_lines_that_overlap_none_of_each_other_are_refused_alike_in_any_order(dice: random.Random):
    stored = stored_spans(dice, 8, "A")
    staged = [span._replace(line=1, id=dice.randrange(8)) for span in stored_spans(dice, 8, "A")]
    staged = list({span.id: span for span in staged}.values())
    wanted = None
    for _ in range(3):
        dice.shuffle(staged)
        spans = [span._replace(line=line) for line, span in enumerate(staged, 1)]
        refused = {staged[line - 1].id for line in told([*stored, *spans])}
        assert wanted in (None, refused)
        wanted = refused


@given(dice=st.randoms(use_true_random=False))
def test_intervals_that_fit_when_all_have_moved_are_taken(dice: random.Random):
    stored = stored_spans(dice, 8, "A")
    ids = [span.id for span in stored] + list(range(100, 104))
    places = stored_spans(dice, 8, "A")
    moved = [
        span._replace(id=id_, line=line)
        for line, (id_, span) in enumerate(zip(ids, places, strict=False), 1)
    ]
    left = stored[len(moved) :]
    collides = any(overlap(one, other) for one in left for other in moved)
    assert collides or not told(stored + moved)


@pytest.mark.parametrize(
    ("staged", "wanted"),
    [
        # An unchanged line, and one that grows, keep what they have against lines before them.
        ([(1, "b", 5, 15), (2, "a", 0, 10)], [1]),
        ([(1, "c", 12, 15), (2, "b", 10, 25)], [1]),
        # Who would have had the place of one that stays where it is, stays where he is, too.
        ([(1, "a", 10, 20), (2, "b", 30, 35)], [1, 2]),
        ([(1, "b", 30, 35), (2, "a", 10, 20)], [1, 2]),
        # His earlier line is taken if that fits.
        ([(1, "a", 1, 9), (2, "a", 10, 20), (3, "b", 30, 35)], [2, 3]),
        # A new interval has only what is left then.
        ([(1, "new", 0, 5), (2, "a", 10, 20), (3, "b", 30, 35)], [1, 2, 3]),
    ],
)
def test_places_that_are_not_left_after_all(staged, wanted: list[int]):
    stored = [Span(0, "a", 1, 0, 10), Span(0, "b", 1, 10, 20), Span(0, "c", 1, 30, 40)]
    spans = [Span(line, id_, 1, start, end) for line, id_, start, end in staged]
    assert told(stored + spans) == wanted


@total_ordering
class Counted:
    """A moment that counts how often it is compared."""

    comparisons = 0

    def __init__(self, moment: int) -> None:
        self.moment = moment

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return isinstance(other, Counted) and self.moment == other.moment

    def __lt__(self, other: "Counted") -> bool:
        Counted.comparisons += 1
        return self.moment < other.moment

    __hash__ = None  # type: ignore[assignment]


def counted(line: int, id_: int, start: int, end: int) -> Span:
    return Span(line, id_, "A", Counted(start), Counted(end))


def comparisons(spans: list[Span]) -> tuple[int, int]:
    """How many spans are refused, and how many comparisons of moments each span takes."""
    Counted.comparisons = 0
    refused = overlapping(spans)
    return len(refused), Counted.comparisons // len(spans)


def test_many_new_intervals_of_one_owner_take_few_comparisons_each():
    spans = [counted(id_, id_, 2 * id_, 2 * id_ + 2) for id_ in range(1, MANY + 1)]
    spans += [counted(MANY + id_, -id_, 40 * id_, 40 * id_ + 1) for id_ in range(1, 501)]
    random.Random(3).shuffle(spans)
    spans = [span._replace(line=line) for line, span in enumerate(spans, 1)]
    refused, each = comparisons(spans)
    assert refused == 500
    assert each < 40


def test_a_chain_of_intervals_that_all_stay_takes_few_comparisons_each():
    """Each moves to where the next is, and the last finds its place taken."""
    edges = pairwise(range(MANY + 2))
    stored = [counted(0, id_, *ends) for id_, ends in enumerate(edges)]
    staged = [counted(line, line - 1, line, line + 1) for line in range(1, MANY + 1)]
    refused, each = comparisons(stored + staged)
    assert refused == MANY
    assert each < 60


def test_a_long_interval_over_very_many_others_is_seen_at_the_first_of_them():
    stored = [counted(0, id_, id_, id_ + 1) for id_ in range(MANY)]
    staged = [counted(line, MANY + line, 0, MANY) for line in range(1, 101)]
    refused, each = comparisons(stored + staged)
    assert refused == 100
    assert each < 40


def test_sqlite_takes_as_many_steps_for_each_of_many_intervals_of_one_owner(tmp_path: Path):
    """Most moves are to where another interval was, one overlaps, and others stay as they are."""
    with road.sqlite_database(tmp_path / "test.sqlite3") as database:
        few, many = (steps_of_moves(database, tmp_path, number) for number in (500, 2_000))
    assert many < 6 * few


def steps_of_moves(database: road.Database, folder: Path, number: int) -> int:
    """How many thousand instructions SQLite takes to move the half of so many intervals on."""
    database.tenant, steps = uuid4(), Counter[str]()
    records.land_parents(database, folder, PRICE_HISTORY, [1])
    stored = [interval(number, 2 * place) for place in range(number)]
    moved = [interval(number, 2 * place + 2) for place in range(number // 2, number)]
    moved = [row | {"id": old["id"]} for row, old in zip(moved, stored[number // 2 :], strict=True)]
    overlapping_one = interval(number, 1)
    land = partial(road.land, database, folder, "price_history", tenant=database.tenant)
    land(records.file(*stored), number=1)
    database.connection.set_progress_handler(lambda: steps.update(["thousand"]), 1_000)
    ledger = land(records.file(*moved, overlapping_one), number=2)
    database.connection.set_progress_handler(None, 0)
    assert ledger.outcome_by_line() == ["updated"] * len(moved) + ["rejected"]
    return steps["thousand"]


def interval(number: int, hour: int) -> records.Record:
    """Two hours of the price of a product, under an id that says which."""
    start, end = (spelled(EPOCH + timedelta(hours=at)) for at in (hour, hour + 2))
    given = {"effective_from": start, "effective_to": end}
    product = example(PRICE_HISTORY, 1)["product_id"]
    return example(PRICE_HISTORY, number * 10_000 + hour, **given, product_id=product)
