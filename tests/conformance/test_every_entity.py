"""What every database must do with every entity: one outcome a line, and the right rows.

Records come from the declarations (tests/records.py), so a new entity is covered by itself.
"""

from uuid import uuid4

import pytest

from headrace.entities import ENTITIES
from headrace.pipeline.older import anything
from headrace.pipeline.report import Outcome
from headrace.schema import SERVER_NOW, Entity, Field, Promotion
from tests import records, road
from tests.records import example, expected, file, stored

BY_ENTITY = pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.name)
REPLACING = pytest.mark.parametrize(
    "entity",
    [entity for entity in ENTITIES if entity.promotion is not Promotion.APPEND],
    ids=lambda entity: entity.name,
)
REFERENCES = [
    pytest.param(entity, reference, id=f"{entity.name}-{reference.field}")
    for entity in ENTITIES
    for reference in entity.references
]
STRANGER = "22222222-2222-4222-8222-222222222222"


@BY_ENTITY
def test_a_file_is_inserted_and_the_same_file_again_is_unchanged(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1, 2, 3)
    rows = [example(entity, number) for number in (1, 2, 3)]
    assert land(entity, *rows).outcome_by_line() == ["inserted"] * 3
    assert stored(database, entity, with_now=True) == expected(entity, *rows, with_now=True)
    assert land(entity, *rows).outcome_by_line() == ["unchanged"] * 3
    assert stored(database, entity, with_now=True) == expected(entity, *rows, with_now=True)


@BY_ENTITY
def test_a_change_of_any_one_field_is_an_update_or_a_conflict(
    entity: Entity, database: road.Database, land, parents
):
    """Of as many rows as there are fields, each is changed in one field."""
    fields = [field for field in entity.as_sent if field.name != entity.key]
    parents(entity, *range(2 * len(fields)))
    before = [example(entity, 2 * at) for at in range(len(fields))]
    after = [
        row | {field.name: example(entity, 2 * at + 1)[field.name]}
        for at, (row, field) in enumerate(zip(before, fields, strict=True))
    ]
    land(entity, *before)
    ledger = land(entity, *after)
    appends = entity.promotion is Promotion.APPEND
    assert dict(zip(map(_name, fields), ledger.outcome_by_line(), strict=True)) == {
        field.name: "rejected" if appends else "updated" for field in fields
    }
    assert {(reject.code, reject.field) for reject in ledger.rejects} == (
        {("event_conflict", entity.key)} if appends else set()
    )
    kept = before if appends else after
    assert stored(database, entity, with_now=True) == expected(entity, *kept, with_now=True)


@BY_ENTITY
def test_an_absent_field_keeps_its_value(entity: Entity, database: road.Database, land, parents):
    fields = records.optional(entity)
    parents(entity, *range(len(fields) + 1))
    whole = [example(entity, number) for number in range(len(fields) + 1)]
    land(entity, *whole)
    shorter = [
        records.without(row, field.name) for row, field in zip(whole[1:], fields, strict=True)
    ]
    least = records.minimal(entity, 0)
    ledger = land(entity, least, *shorter)
    assert ledger.outcome_by_line() == ["unchanged"] * len(whole)
    assert stored(database, entity, with_now=True) == expected(entity, *whole, with_now=True)


@BY_ENTITY
def test_null_clears_a_field_or_is_refused(entity: Entity, database: road.Database, land, parents):
    fixed = {entity.key, *records.told(entity)}
    fields = [field for field in entity.as_sent if field.name not in fixed]
    parents(entity, *range(len(fields)))
    rows = [example(entity, number) for number in range(len(fields))]
    land(entity, *rows)
    cleared = [row | {field.name: None} for row, field in zip(rows, fields, strict=True)]
    ledger = land(entity, *cleared)
    appends = entity.promotion is Promotion.APPEND
    codes = {reject.line: (reject.code, reject.field) for reject in ledger.rejects}
    for line, field in enumerate(fields, 1):
        if not field.null:
            assert codes[line] == ("required", field.name)
        elif appends:
            assert codes[line] == ("event_conflict", entity.key)
        else:
            assert ledger.outcome_by_line()[line - 1] == "updated"
            rows[line - 1] = cleared[line - 1]
    assert stored(database, entity, with_now=True) == expected(entity, *rows, with_now=True)


def _name(field: Field) -> str:
    return field.name


@BY_ENTITY
def test_absent_fields_take_their_defaults_on_insert_and_null_their_nulls(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1, 2)
    nulls = {field.name: None for field in records.optional(entity) if field.null}
    least, cleared = records.minimal(entity, 1), example(entity, 2) | nulls
    assert land(entity, least, cleared).outcome_by_line() == ["inserted"] * 2
    assert stored(database, entity) == expected(entity, least, cleared)
    assert land(entity, least, cleared).outcome_by_line() == ["unchanged"] * 2


@BY_ENTITY
def test_a_time_that_the_server_chose_makes_no_difference(
    entity: Entity, database: road.Database, land, parents
):
    names = [field.name for field in entity.fields if field.default is SERVER_NOW]
    parents(entity, 1)
    row = records.without(example(entity, 1), *names)
    land(entity, row)
    chosen = stored(database, entity, with_now=True)
    assert all(chosen[0][name] is not None for name in names)
    assert land(entity, row).outcome_by_line() == ["unchanged"]
    assert stored(database, entity, with_now=True) == chosen


@REPLACING
def test_of_two_rows_of_one_key_the_last_valid_one_wins(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1, 2)
    first = example(entity, 1)
    last = example(entity, 2) | {entity.key: first[entity.key]}
    broken = last | {entity.segment_field: "broken"}
    ledger = land(entity, first, first, last, broken)
    assert ledger.outcome_by_line() == ["superseded", "superseded", "inserted", "rejected"]
    assert stored(database, entity) == expected(entity, last)


@REPLACING
def test_an_older_file_that_comes_late_changes_nothing(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1, 2)
    newer = example(entity, 1)
    older = example(entity, 2) | {entity.key: newer[entity.key]}
    land(entity, newer, number=9)
    assert land(entity, older, number=8).outcome_by_line() == ["superseded"]
    assert stored(database, entity) == expected(entity, newer)
    assert land(entity, older, number=10).outcome_by_line() == ["updated"]
    assert stored(database, entity) == expected(entity, older)


@REPLACING
def test_an_equal_row_of_a_newer_file_wins_against_a_late_one_where_it_renews(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1, 2)
    row = example(entity, 1)
    late = example(entity, 2) | {entity.key: row[entity.key]}
    land(entity, row, number=1)
    assert land(entity, row, number=3, older=anything).outcome_by_line() == ["unchanged"]
    assert land(entity, late, number=2).outcome_by_line() == ["superseded"]
    assert stored(database, entity) == expected(entity, row)


@REPLACING
def test_an_equal_row_renews_none_of_another_tenant(
    entity: Entity, database: road.Database, land, parents
):
    own, other, row = database.tenant, uuid4(), example(entity, 1)
    for database.tenant in (own, other):
        parents(entity, 1, 2)
        land(entity, row, number=1)
    assert land(entity, row, number=3, older=anything).outcome_by_line() == ["unchanged"]
    database.tenant = own
    late = example(entity, 2) | {entity.key: row[entity.key]}
    assert land(entity, late, number=2).outcome_by_line() == ["updated"]


@REPLACING
def test_an_equal_row_that_does_not_renew_is_not_written(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1, 2)
    row = example(entity, 1)
    late = example(entity, 2) | {entity.key: row[entity.key]}
    land(entity, row, number=1)
    assert land(entity, row, number=3).outcome_by_line() == ["unchanged"]
    assert land(entity, late, number=2).outcome_by_line() == ["updated"]


@REPLACING
def test_a_file_whose_lowest_key_fills_the_first_segments_lands(
    entity: Entity, database: road.Database, land, parents
):
    """The first segment of such a plan is empty."""
    parents(entity, 1, 2, 3)
    lowest = example(entity, 1)
    database.dialect.segment_rows = 10
    ledger = land(entity, *[lowest] * 25, example(entity, 2), example(entity, 3))
    assert ledger.outcome_by_line() == ["superseded"] * 24 + ["inserted"] * 3


@BY_ENTITY
def test_records_with_different_fields_mix_in_one_file(
    entity: Entity, database: road.Database, land, parents
):
    """Every combination of optional fields: those of row n are the bits of n."""
    optional = records.optional(entity)[:3]
    numbers = range(1, 1 + 2 ** len(optional))
    parents(entity, *numbers)
    rows = []
    for number in numbers:
        absent = [field.name for bit, field in enumerate(optional) if number >> bit & 1]
        rows.append(records.without(example(entity, number), *absent))
    assert set(land(entity, *rows).outcome_by_line()) == {"inserted"}
    assert stored(database, entity) == expected(entity, *rows)
    assert set(land(entity, *rows).outcome_by_line()) == {"unchanged"}


@pytest.mark.parametrize(("entity", "reference"), REFERENCES)
def test_a_row_without_its_parent_is_parked_and_names_it(
    entity: Entity, reference, database: road.Database, land, parents
):
    parents(entity, 1)
    missing = example(entity, 1) | {reference.field: STRANGER}
    ledger = land(entity, missing)
    assert ledger.outcome_by_line() == ["parked"]
    (parked,) = ledger.parked
    assert (parked.line, parked.offset) == (1, 0)
    assert (parked.field, parked.entity, parked.key) == (
        reference.field,
        reference.entity,
        STRANGER,
    )
    assert stored(database, entity) == []


@pytest.mark.parametrize(("entity", "reference"), REFERENCES)
def test_a_row_without_its_parent_is_refused_where_nothing_parks(
    entity: Entity, reference, database: road.Database, land, parents
):
    parents(entity, 1)
    missing = example(entity, 1) | {reference.field: STRANGER}
    ledger = land(entity, missing, parks=False)
    (reject,) = ledger.rejects
    assert (reject.line, reject.stage, reject.code) == (1, "promote", "reference_missing")
    assert (reject.field, reject.value) == (reference.field, STRANGER)
    assert reject.message == (
        f"line 1, {reference.field}: expected the id of one of your {reference.entity}"
    )
    assert stored(database, entity) == []


@pytest.mark.parametrize(("entity", "reference"), REFERENCES)
@pytest.mark.parametrize("parks", [True, False])
def test_a_row_that_cannot_land_supersedes_none_that_can(
    entity: Entity, reference, parks: bool, database: road.Database, land, parents
):
    parents(entity, 1)
    good = example(entity, 1)
    ledger = land(entity, good, good | {reference.field: STRANGER}, parks=parks)
    assert ledger.outcome_by_line() == ["inserted", "parked" if parks else "rejected"]
    assert stored(database, entity) == expected(entity, good)


def test_a_row_that_misses_two_parents_is_parked_once(database: road.Database, land, parents):
    for entity in ENTITIES:
        missing = {reference.field: STRANGER for reference in entity.references}
        if len(missing) > 1:
            ledger = land(entity, example(entity, 1) | missing)
            assert ledger.outcome_by_line() == ["parked"]
            assert [parked.field for parked in ledger.parked] == [entity.references[0].field]


@BY_ENTITY
def test_many_segments_give_the_outcomes_and_rows_of_one(
    entity: Entity, database: road.Database, land, parents
):
    numbers = range(1, 24)
    parents(entity, *numbers)
    before = [example(entity, number) for number in numbers[:15]]
    after = [example(entity, number) for number in numbers[10:]] + before[:3] + before[:2]
    after += [before[4] | {"tenant_id": STRANGER}, b"", b"{}"]
    database.dialect.segment_rows = 4
    first = land(entity, *before)
    assert first.plan is not None
    assert len(first.plan) > 3
    second = land(entity, *after)
    assert set(first.outcome_by_line()) == {"inserted"}
    earlier = "unchanged" if entity.promotion is Promotion.APPEND else "superseded"
    assert second.outcome_by_line() == [
        *["unchanged"] * 5,
        *["inserted"] * 8,
        *[earlier] * 2,
        *["unchanged"] * 3,
        "rejected",
        None,
        "rejected",
    ]
    assert stored(database, entity) == expected(entity, *[example(entity, n) for n in numbers])


@BY_ENTITY
def test_a_compressed_file_lands_as_the_plain_one(
    entity: Entity, database: road.Database, land, parents
):
    parents(entity, 1, 2)
    rows = [example(entity, 1), b"", b"nonsense", example(entity, 2)]
    zipped = land(entity, data=file(*rows, compress=True))
    assert zipped.outcome_by_line() == ["inserted", None, "rejected", "inserted"]
    plain = land(entity, *rows)
    assert plain.outcome_by_line() == ["unchanged", None, "rejected", "unchanged"]
    assert [reject.offset for reject in plain.rejects] == [
        reject.offset for reject in zipped.rejects
    ]
    assert stored(database, entity) == expected(entity, rows[0], rows[3])


@BY_ENTITY
def test_two_tenants_with_the_same_ids_do_not_touch_each_other(
    entity: Entity, database: road.Database, land, parents
):
    own, other = database.tenant, uuid4()
    parents(entity, 1, 2)
    ours = example(entity, 1)
    theirs = example(entity, 2) | {entity.key: ours[entity.key]}
    assert land(entity, ours).outcome_by_line() == ["inserted"]

    database.tenant = other
    if entity.references:
        assert set(land(entity, theirs).outcome_by_line()) == {"parked"}
    parents(entity, 2)
    assert land(entity, theirs).outcome_by_line() == ["inserted"]
    assert stored(database, entity) == expected(entity, theirs)

    database.tenant = own
    assert stored(database, entity) == expected(entity, ours)
    assert land(entity, ours).outcome_by_line() == ["unchanged"]


@BY_ENTITY
def test_the_counts_of_the_segments_sum_to_the_lines(
    entity: Entity, database: road.Database, land, parents
):
    database.dialect.segment_rows = 2
    numbers = range(1, 8)
    parents(entity, *numbers)
    ledger = land(entity, *[example(entity, number) for number in numbers], b"broken")
    counts = [sum(report.counts.values()) for report in ledger.landed.values()]
    assert sum(counts) == 7
    assert ledger.outcomes.counts()[Outcome.INSERTED] == 7
    assert ledger.received == 8
