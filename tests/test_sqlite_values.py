"""Columns that SQLite takes whole hold what each cell says by itself."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.entities import ENTITIES
from headrace.pipeline.dialects.sqlite_values import NULL, bound_rows, stored_value
from headrace.pipeline.ready import NO_ROWS, Row, ready_rows
from headrace.schema import Boolean, Integer, JsonObject, Money, Text, Timestamp, Uuid

MOST = 10**9


def spelled(kind):
    """Cells of a kind as they travel: some columns are all alike, in others anything comes."""
    match kind:
        case Uuid():
            return st.uuids().map(str)
        case Timestamp():
            return st.datetimes(timezones=st.none()).map(lambda moment: moment.isoformat())
        case Money(scale=scale):
            whole = st.integers(-MOST, MOST)
            return st.one_of(
                whole.map(str),
                whole.map(lambda cents: f"{Decimal(cents).scaleb(-2):.2f}"),
                whole.map(lambda units: f"{Decimal(units).scaleb(-scale):.{scale}f}"),
            )
        case Integer():
            return st.integers(-MOST, MOST).map(str)
        case Boolean():
            return st.sampled_from("tf")
        case Text() | JsonObject():
            return st.sampled_from(["", "plain", "ü 🙂", r"a\tb", r"\\N", r"a\\nb", r"a\nb"])
    raise AssertionError(kind)


@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.name)
@given(data=st.data())
def test_a_column_is_bound_as_its_cells_are(entity, data):
    size = data.draw(st.integers(1, 4))
    columns = []
    for field in entity.fields:
        cell = spelled(field.type)
        if data.draw(st.booleans()):
            cell = st.just(NULL) | cell
        columns.append(data.draw(st.lists(cell, min_size=size, max_size=size)))
    lines = list(range(7, 7 + size))
    rows = [Row("\t".join(cells), 3, "") for cells in zip(*columns, strict=True)]
    expected = [
        (
            line,
            3,
            *(
                None if cell == NULL else stored_value(field.type)(cell)
                for field, cell in zip(entity.fields, cells, strict=True)
            ),
        )
        for line, cells in zip(lines, zip(*columns, strict=True), strict=True)
    ]
    assert list(bound_rows(entity, ready_rows(lines, lines, rows))) == expected


def test_no_rows_bind_nothing():
    assert not list(bound_rows(ENTITIES[0], NO_ROWS))
