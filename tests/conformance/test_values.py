"""Values come back from every database as they were sent: money to the last digit, any text."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from headrace.entities import BY_NAME, ENTITIES
from headrace.schema import Entity, Field, JsonObject, Money, Text
from tests import records, road
from tests.records import example, expected, stored


def fields_of(kind: type) -> list:
    return [
        pytest.param(entity, field, id=f"{entity.name}-{field.name}")
        for entity in ENTITIES
        for field in entity.fields
        if isinstance(field.type, kind)
    ]


LARGEST = Decimal("922337203685477.5807")


@pytest.mark.parametrize(("entity", "field"), fields_of(Money))
@pytest.mark.parametrize("as_text", [False, True], ids=["number", "text"])
def test_money_is_exact_at_its_extremes(
    entity: Entity, field: Field, as_text: bool, database: road.Database, land, parents
):
    amounts = [LARGEST, LARGEST - Decimal("0.0001"), Decimal("0.0001"), Decimal("0.1"), Decimal(0)]
    amounts += [Decimal("99999999999999.9999"), Decimal("100000000000000"), Decimal("1E+14")]
    if field.type.minimum is None:
        amounts += [-amount for amount in amounts]
    numbers = range(1, 1 + len(amounts))
    parents(entity, *numbers)
    rows = [
        example(entity, number, **_signed(entity, field, amount))
        for number, amount in zip(numbers, amounts, strict=True)
    ]
    sent = [
        row | {field.name: str(row[field.name]) if as_text else row[field.name]} for row in rows
    ]
    assert set(land(entity, *sent).outcome_by_line()) == {"inserted"}
    assert stored(database, entity) == expected(entity, *rows)
    assert set(land(entity, *sent).outcome_by_line()) == {"unchanged"}


def _signed(entity: Entity, field: Field, amount: Decimal) -> records.Record:
    """The amount, and what else its sign asks for."""
    others = {check.when: "return" for check in entity.checks if field.name in str(check)}
    return {field.name: amount} | {name: value for name, value in others.items() if name}


@pytest.mark.parametrize(("entity", "field"), fields_of(Money))
def test_money_beyond_its_column_is_refused_and_never_rounded(
    entity: Entity, field: Field, database: road.Database, land, parents
):
    amounts = [LARGEST + Decimal("0.0001"), Decimal("999999999999999.9999"), Decimal("1E+15")]
    amounts += [Decimal("0.00001"), Decimal("1.00005"), Decimal("922337203685477.58070001")]
    parents(entity, 1)
    rows = [example(entity, 1, **_signed(entity, field, amount)) for amount in amounts]
    ledger = land(entity, *rows)
    assert records.rejected(ledger) == [
        (line, "bad_number", field.name) for line in range(1, 1 + len(rows))
    ]
    assert stored(database, entity) == []


@pytest.mark.parametrize(("entity", "field"), fields_of(Text))
def test_text_comes_back_as_it_was_sent(
    entity: Entity, field: Field, database: road.Database, land, parents
):
    if field.type.choices:
        texts = list(field.type.choices)
    else:
        long = ["🙂" * field.type.max_length, "x" * field.type.max_length]
        texts = [*long, "\\N", r"\.", "\t", '"', "a\nb", "\r", "\\", "'", "\x7f", "\u2028", ""]
        texts = [text for text in texts if len(text) <= field.type.max_length]
    numbers = range(1, 1 + len(texts))
    parents(entity, *numbers)
    rows = [
        example(entity, number, **{field.name: text})
        for number, text in zip(numbers, texts, strict=True)
    ]
    assert set(land(entity, *rows).outcome_by_line()) == {"inserted"}
    assert stored(database, entity) == expected(entity, *rows)
    assert set(land(entity, *rows).outcome_by_line()) == {"unchanged"}


EQUAL_JSON = [
    b'{"a":1,"b":[{"c":2.5,"d":null}]}',
    b'{"b":[{"d":null,"c":2.50}],"a":1.0}',
    b' {"a" : 1e0 , "b" : [ {"d":null,"c":25e-1} ] }',
    b'{"\\u0061":1,"b":[{"c":2.5000,"\\u0064":null}]}',
]
OTHER_JSON = [
    b'{"a":"1","b":[{"c":2.5,"d":null}]}',
    b'{"a":1,"b":[{"c":2.5}]}',
    b'{"a":1,"b":[{"d":null,"c":2.5},{}]}',
    b'{"a":1,"b":{"c":2.5,"d":null}}',
    b'{"a":true,"b":[{"c":2.5,"d":null}]}',
    b'{"a":1,"b":[{"c":2.500000000000000000000000001,"d":null}]}',
]


@pytest.mark.parametrize(("entity", "field"), fields_of(JsonObject))
def test_json_is_compared_by_meaning(
    entity: Entity, field: Field, database: road.Database, land, parents
):
    parents(entity, 1)
    before = records.line(records.without(example(entity, 1), field.name))

    def row(value: bytes) -> bytes:
        return before.replace(b"{", b'{"%s":%s,' % (field.name.encode(), value), 1)

    land(entity, row(EQUAL_JSON[0]))
    for value in EQUAL_JSON:
        assert land(entity, row(value)).outcome_by_line() == ["unchanged"]
    for value in OTHER_JSON:
        land(entity, row(EQUAL_JSON[0]))
        assert land(entity, row(value)).outcome_by_line()[0] in ("updated", "rejected")


def test_awkward_strings_land_as_they_are(shared_data: Path, database: road.Database, land):
    entity = BY_NAME["customers"]
    strings = [
        text
        for text in json.loads((shared_data / "text" / "blns.json").read_text("utf-8"))
        if len(text) <= 255 and "\x00" not in text
    ]
    assert len(strings) > 400
    rows = [
        example(entity, number, name=text, metadata={text: [text]})
        for number, text in enumerate(strings)
    ]
    assert set(land(entity, *rows).outcome_by_line()) == {"inserted"}
    assert stored(database, entity) == expected(entity, *rows)
    assert set(land(entity, *rows).outcome_by_line()) == {"unchanged"}
