"""Every database against the reference loader, and so against each other, on random files."""

import random
from collections import Counter
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.entities import BY_NAME, ENTITIES
from headrace.schema import SERVER_NOW, Entity, Levels
from tests import records, road
from tests.reference import ReferenceLoader

IDS = 5
EVENTS = 60


def random_row(entity: Entity, dice: random.Random) -> records.Record:
    """A row of few possible values, so that keys, parents and equal rows meet again and again.

    Times that the server would choose are always given; the start of an interval goes with its id.
    """
    number = dice.randrange(IDS)
    row = records.example(entity, number)
    for field in entity.kept:
        if field.name == entity.key:
            continue
        if not field.required and field.default is not SERVER_NOW and dice.random() < 0.25:
            del row[field.name]
        elif field.null and dice.random() < 0.15:
            row[field.name] = None
        elif dice.random() < 0.25:
            row[field.name] = records.example(entity, dice.randrange(IDS + 1))[field.name]
    return _within_rules(entity, row, number, dice)


def _within_rules(
    entity: Entity, row: records.Record, number: int, dice: random.Random
) -> records.Record:
    if entity.levels is not None:
        return row | _movement(entity, entity.levels, dice)
    if entity.interval is None:
        return row
    interval = entity.interval
    owner = number // 3 if dice.random() < 0.95 else IDS
    row[interval.owner] = records.example(entity, owner)[interval.owner]
    row[interval.start] = _day(2 * number)
    if row.get(interval.end) is not None:
        row[interval.end] = _day(2 * number + dice.randrange(1, 5))
    return row


def _movement(entity: Entity, levels: Levels, dice: random.Random) -> records.Record:
    """One of few events, most often told as always: small changes, or a level and what was."""
    number = dice.randrange(EVENTS)
    own = random.Random(number) if dice.random() < 0.9 else dice
    said: records.Record = {levels.change: None, entity.key: records.key(entity.name, number)}
    said[levels.owner] = records.example(entity, number % IDS)[levels.owner]
    if own.random() < 0.7:
        return said | {levels.change: own.choice((-3, -2, -1, 0, 1, 2, 4, 8, 2**31 - 5))}
    said[levels.target] = own.randrange(-1, 6)
    if own.random() < 0.4:
        said[levels.expected] = own.randrange(4)
    return said


def _day(number: int) -> str:
    return records.spelled(records.EPOCH + timedelta(days=number))


def random_files(dice: random.Random) -> list[tuple[Entity, int, list[records.Record]]]:
    """Files of every entity, parents sometimes late, numbers not always rising."""
    files = []
    numbers = dice.sample(range(1, 100), 14) if dice.random() < 0.5 else range(1, 15)
    for number in numbers:
        entity = dice.choice((*ENTITIES, *ENTITIES[:3]))
        rows = [random_row(entity, dice) for _ in range(dice.randrange(1, 9))]
        files.append((entity, number, rows))
    return files


def random_intervals(dice: random.Random) -> list[tuple[Entity, int, list[records.Record]]]:
    """Owners, and many files in which few intervals move about, most of them where there is room.

    Two lines of an id never name two owners: what such a file means depends on its segments.
    """
    files = []
    for entity in ENTITIES:
        if entity.interval is not None:
            (parent,) = (BY_NAME[reference.entity] for reference in entity.references)
            files.append((parent, 1, [records.example(parent, number) for number in range(2)]))
            for number in range(2, 12):
                rows = [_interval(entity, dice) for _ in range(dice.randrange(1, 7))]
                files.append((entity, number, _of_one_owner_each(entity, rows)))
    return files


def _interval(entity: Entity, dice: random.Random) -> records.Record:
    interval, number = entity.interval, dice.randrange(8)
    assert interval is not None
    owner = number % 2 if dice.random() < 0.9 else 1 - number % 2
    start = dice.randrange(12)
    row = records.example(entity, number)
    row[interval.owner] = records.example(entity, owner)[interval.owner]
    row[interval.start] = _day(start)
    row[interval.end] = None if dice.random() < 0.15 else _day(start + dice.randrange(1, 4))
    if dice.random() < 0.15:
        del row[interval.end]
    return row


def _of_one_owner_each(entity: Entity, rows: list[records.Record]) -> list[records.Record]:
    assert entity.interval is not None
    owner = entity.interval.owner
    first: dict[str, str] = {}
    return [row | {owner: first.setdefault(row[entity.key], row[owner])} for row in rows]


def random_movements(dice: random.Random) -> list[tuple[Entity, int, list[records.Record]]]:
    """Owners, most of them in time, and many files of their movements."""
    files = []
    for entity in ENTITIES:
        if entity.levels is not None:
            (parent,) = (BY_NAME[reference.entity] for reference in entity.references)
            owners = [records.example(parent, number) for number in range(IDS)]
            files += [(parent, 1, owners[1:])]
            for number in range(2, 9):
                rows = [random_row(entity, dice) for _ in range(dice.randrange(1, 16))]
                files.append((entity, number, rows))
            files.append((parent, 9, owners))
    return files


def agree(database: road.Database, files, dice: random.Random) -> Counter:
    """Lands the files as a new tenant; fails where the reference loader differs."""
    database.tenant = uuid4()
    flags = {"may_be_negative": dice.random() < 0.3, "whole_owners": dice.random() < 0.3}
    reference, seen = ReferenceLoader(ENTITIES, **flags), Counter()
    with TemporaryDirectory() as folder:
        for entity, number, rows in files:
            ledger = road.land(
                database,
                Path(folder),
                entity.name,
                records.file(*rows),
                number=number,
                tenant=database.tenant,
                **(flags if entity.levels else {}),
            )
            outcomes = [str(outcome) for outcome in ledger.outcome_by_line()]
            assert outcomes == reference.load(entity, number, rows), (entity.name, number, rows)
            assert sum(ledger.outcomes.counts().values()) == ledger.received == len(rows)
            seen.update(outcomes)
    for entity in ENTITIES:
        assert records.stored(database, entity, of=entity.columns) == reference.rows(entity)
        if entity.level_table is not None:
            rows = records.stored(database, entity.level_table)
            levels = {row[entity.level_table.key]: (row["level"], row["sequence"]) for row in rows}
            opened = dict.fromkeys(levels, (0, 0))  # those of events that were refused
            assert levels == opened | reference.counters[entity.name].levels
    return seen


def test_random_files_land_as_the_reference_says(database: road.Database):
    seen, dice = Counter(), random.Random(2024)
    for _ in range(25):
        seen += agree(database, random_files(dice), dice)
    wanted = {"inserted", "updated", "unchanged", "superseded", "rejected", "parked"}
    assert {outcome for outcome, times in seen.items() if times >= 20} == wanted


def test_random_intervals_move_as_the_reference_says(database: road.Database):
    seen, dice = Counter(), random.Random(2026)
    for _ in range(25):
        seen += agree(database, random_intervals(dice), dice)
    wanted = {"inserted", "updated", "superseded", "rejected"}
    assert {outcome for outcome, times in seen.items() if times >= 50} >= wanted


def test_random_movements_lead_where_the_reference_says(database: road.Database):
    seen, dice = Counter(), random.Random(2025)
    for _ in range(25):
        seen += agree(database, random_movements(dice), dice)
    wanted = {"inserted", "unchanged", "rejected", "parked"}
    assert {outcome for outcome, times in seen.items() if times >= 100} >= wanted


@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(dice=st.randoms(use_true_random=False))
def test_any_files_land_as_the_reference_says(database: road.Database, dice: random.Random):
    agree(database, random_files(dice), dice)
