"""Every database against the reference loader, and so against each other, on random files."""

import random
from collections import Counter
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.entities import ENTITIES
from headrace.schema import SERVER_NOW, Entity
from tests import records, road
from tests.reference import ReferenceLoader

IDS = 5


def random_row(entity: Entity, dice: random.Random) -> records.Record:
    """A row of few possible values, so that keys, parents and equal rows meet again and again.

    Times that the server would choose are always given; the start of an interval goes with its id.
    """
    number = dice.randrange(IDS)
    row = records.example(entity, number)
    for field in entity.fields:
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
    if entity.interval is None:
        return row
    interval = entity.interval
    owner = number // 3 if dice.random() < 0.95 else IDS
    row[interval.owner] = records.example(entity, owner)[interval.owner]
    row[interval.start] = _day(2 * number)
    if row.get(interval.end) is not None:
        row[interval.end] = _day(2 * number + dice.randrange(1, 5))
    return row


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


def agree(database: road.Database, files) -> Counter:
    """Lands the files as a new tenant; fails where the reference loader differs."""
    database.tenant = uuid4()
    reference, seen = ReferenceLoader(ENTITIES), Counter()
    with TemporaryDirectory() as folder:
        for entity, number, rows in files:
            ledger = road.land(
                database,
                Path(folder),
                entity.name,
                records.file(*rows),
                number=number,
                tenant=database.tenant,
            )
            outcomes = [str(outcome) for outcome in ledger.outcome_by_line()]
            assert outcomes == reference.load(entity, number, rows), (entity.name, number, rows)
            assert sum(ledger.outcomes.counts().values()) == ledger.received == len(rows)
            seen.update(outcomes)
    for entity in ENTITIES:
        table = reference.tables[entity.name].rows
        kept = sorted((row.values for row in table.values()), key=lambda row: row[entity.key])
        assert records.stored(database, entity, with_now=True) == kept
    return seen


def test_random_files_land_as_the_reference_says(database: road.Database):
    seen, dice = Counter(), random.Random(2024)
    for _ in range(25):
        seen += agree(database, random_files(dice))
    wanted = {"inserted", "updated", "unchanged", "superseded", "rejected", "parked"}
    assert {outcome for outcome, times in seen.items() if times >= 20} == wanted


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(dice=st.randoms(use_true_random=False))
def test_any_files_land_as_the_reference_says(database: road.Database, dice: random.Random):
    agree(database, random_files(dice))
