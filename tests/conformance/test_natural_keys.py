"""A natural key belongs to one id of a tenant; whoever comes second is told who has it."""

from uuid import uuid4

import pytest

from headrace.entities import ENTITIES
from headrace.schema import Entity
from tests import road
from tests.records import example, expected, stored

NATURAL = pytest.mark.parametrize(
    ("entity", "field"),
    [
        pytest.param(entity, field, id=f"{entity.name}-{field}")
        for entity in ENTITIES
        for field in entity.natural_keys
    ],
)


@NATURAL
def test_a_key_that_the_table_has_names_its_holder(
    entity: Entity, field: str, database: road.Database, land, parents
):
    parents(entity, 1, 2)
    holder = example(entity, 1)
    land(entity, holder)
    ledger = land(entity, example(entity, 2, **{field: holder[field]}))
    (reject,) = ledger.rejects
    assert (reject.stage, reject.code, reject.field) == ("promote", "natural_key_taken", field)
    assert reject.value == holder[field]
    assert reject.message == (
        f"line 1, {field}: expected a value that is free; {holder[entity.key]} has it"
    )
    assert stored(database, entity) == expected(entity, holder)


@NATURAL
def test_of_two_ids_with_one_key_in_a_file_the_first_line_has_it(
    entity: Entity, field: str, database: road.Database, land, parents
):
    """Also where the later line's id comes first in the order of ids."""
    parents(entity, *range(1, 7))
    for first, second, third in ((1, 2, 3), (6, 5, 4)):
        holder = example(entity, first)
        rivals = [example(entity, number, **{field: holder[field]}) for number in (second, third)]
        ledger = land(entity, holder, *rivals)
        assert ledger.outcome_by_line() == ["inserted", "rejected", "rejected"]
        assert [reject.message for reject in ledger.rejects] == [
            f"line {line}, {field}: expected a value that is free; {holder[entity.key]} has it"
            for line in (2, 3)
        ]


@NATURAL
def test_keys_differ_by_case_and_by_blanks(
    entity: Entity, field: str, database: road.Database, land, parents
):
    spellings = ["a", "A", "a ", " a", "ä", "a\u0308"]
    numbers = range(1, 1 + len(spellings))
    parents(entity, *numbers)
    rows = [
        example(entity, number, **{field: spelling})
        for number, spelling in zip(numbers, spellings, strict=True)
    ]
    assert set(land(entity, *rows).outcome_by_line()) == {"inserted"}
    assert stored(database, entity) == expected(entity, *rows)


@NATURAL
def test_a_row_whose_key_is_taken_supersedes_none_that_can_land(
    entity: Entity, field: str, database: road.Database, land, parents
):
    parents(entity, 1, 2)
    holder, good = example(entity, 1), example(entity, 2)
    land(entity, holder)
    ledger = land(entity, good, good | {field: holder[field]})
    assert ledger.outcome_by_line() == ["inserted", "rejected"]
    assert stored(database, entity) == expected(entity, holder, good)


@NATURAL
def test_an_id_may_change_its_key_and_the_old_one_is_free_for_the_next_file(
    entity: Entity, field: str, database: road.Database, land, parents
):
    parents(entity, 1, 2)
    first = example(entity, 1)
    moved = first | {field: "moved"}
    heir = example(entity, 2, **{field: first[field]})
    land(entity, first)
    assert land(entity, moved).outcome_by_line() == ["updated"]
    assert land(entity, heir).outcome_by_line() == ["inserted"]
    assert stored(database, entity) == expected(entity, moved, heir)


@NATURAL
def test_another_tenant_may_use_the_same_key(
    entity: Entity, field: str, database: road.Database, land, parents
):
    parents(entity, 1)
    land(entity, example(entity, 1))
    database.tenant = uuid4()
    parents(entity, 2)
    row = example(entity, 2, **{field: example(entity, 1)[field]})
    assert land(entity, row).outcome_by_line() == ["inserted"]
