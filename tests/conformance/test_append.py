"""Events land once: the same again is unchanged, a different one is refused, none is changed."""

import pytest

from headrace.entities import ENTITIES
from headrace.schema import Entity, Promotion
from tests import records, road
from tests.records import example, expected, stored

APPENDING = pytest.mark.parametrize(
    "entity",
    [entity for entity in ENTITIES if entity.promotion is Promotion.APPEND],
    ids=lambda entity: entity.name,
)


@APPENDING
def test_in_a_file_the_first_event_of_an_id_lands_and_others_meet_it(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1)
    event = example(entity, 1)
    other = event | {entity.fields[-1].name: {"other": True}}
    ledger = land(entity, event, event, other, event)
    assert ledger.outcome_by_line() == ["inserted", "unchanged", "rejected", "unchanged"]
    assert records.rejected(ledger) == [(3, "event_conflict", entity.key)]
    assert stored(database, entity) == expected(entity, event)


@APPENDING
@pytest.mark.parametrize("whole_first", [True, False])
def test_the_first_event_lands_whatever_fields_the_second_has(
    entity: Entity, whole_first: bool, database: road.Database, land, parents
):
    parents(entity, 1)
    whole, least = example(entity, 1), records.minimal(entity, 1)
    rows = (whole, least) if whole_first else (least, whole)
    ledger = land(entity, *rows)
    # A shorter record says nothing against the longer one; the longer contradicts defaults.
    assert ledger.outcome_by_line() == ["inserted", "unchanged" if whole_first else "rejected"]
    assert stored(database, entity) == expected(entity, rows[0])


@APPENDING
def test_an_older_file_neither_changes_an_event_nor_is_superseded(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1, 2)
    event = example(entity, 1)
    different = example(entity, 2) | {entity.key: event[entity.key]}
    land(entity, event, number=9)
    assert land(entity, event, number=8).outcome_by_line() == ["unchanged"]
    assert records.rejected(land(entity, different, number=7)) == [
        (1, "event_conflict", entity.key)
    ]
    assert stored(database, entity) == expected(entity, event)


@APPENDING
def test_an_event_that_was_parked_may_be_sent_again_with_its_parent(
    entity: Entity, database: road.Database, land, parents
):
    event = example(entity, 1)
    assert land(entity, event, event).outcome_by_line() == ["parked", "parked"]
    parents(entity, 1)
    assert land(entity, event).outcome_by_line() == ["inserted"]
