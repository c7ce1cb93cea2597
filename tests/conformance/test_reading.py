"""What was landed is told again in words that change nothing, on every database alike."""

import csv
import io
import json
import random
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.entities import BY_NAME, ENTITIES
from headrace.pipeline.formats import CSV, FORMATS, JSON, NDJSON
from headrace.reading import documents, filters, reader
from headrace.reading.forms import FORMULA_STARTS
from headrace.reading.selection import BadSelection, Selection, columns_of, key_order
from headrace.schema import Entity
from tests import records, road
from tests.records import example

BY_ENTITY = pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.name)
BY_FORMAT = pytest.mark.parametrize("format", FORMATS)
UTC_ZONE = ZoneInfo("UTC")
ORDERS = BY_NAME["orders"]


def told(database: road.Database, selection: Selection, format: str = NDJSON, safe=False) -> bytes:
    """The document of a selection."""
    own = reader(database.dialect.name)
    form = documents.form_of(format, is_safe=safe)
    with database.transaction() as connection:
        lines = own.lines(connection, database.tenant, selection, form)
        blocks = list(documents.document(lines, format, selection.columns))
        count = own.count(connection, database.tenant, selection)
    if selection.limit is None:
        assert sum(block.rows for block in blocks) == count
    return b"".join(block.data for block in blocks)


def selection(entity: Entity, asked: dict | None = None, **more) -> Selection:
    found = filters.conditions(entity, asked or {}, UTC_ZONE)
    return Selection(entity, columns_of(entity), found, **more)


def rows(database: road.Database, wanted: Selection) -> list[dict]:
    return [json.loads(line) for line in told(database, wanted).splitlines()]


def a_row(entity: Entity, number: int, dice: random.Random) -> records.Record:
    """Any valid row, of a parent that is there."""
    row = records.random_record(entity, dice)
    for reference in entity.references:
        if row.get(reference.field) is not None:
            row[reference.field] = example(entity, number)[reference.field]
    return row


@BY_FORMAT
@BY_ENTITY
@settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 2**32))
def test_what_is_told_changes_nothing_when_it_is_sent_again(
    entity: Entity, format: str, database: road.Database, land, parents, seed
):
    dice = random.Random(seed)
    database.tenant = uuid4()
    parents(entity, *range(5))
    sent = [a_row(entity, number, dice) for number in range(5)]
    landed = land(entity, *sent).outcome_by_line().count("inserted")
    again = land(entity, data=told(database, selection(entity), format), format=format)
    assert again.outcome_by_line().count("unchanged") == again.received >= landed


@BY_ENTITY
def test_every_format_tells_the_same_rows(entity: Entity, database: road.Database, land, parents):
    parents(entity, *range(5))
    land(entity, *(example(entity, number) for number in range(5)))
    wanted = selection(entity, order=key_order(entity))
    lines = [json.loads(line) for line in told(database, wanted).splitlines()]
    assert json.loads(told(database, wanted, JSON)) == lines
    table = list(csv.DictReader(io.StringIO(told(database, wanted, CSV).decode())))
    assert [list(row) for row in table] == [[field.name for field in entity.kept]] * 5
    for row, line in zip(table, lines, strict=True):
        for field in entity.kept:
            cell, value = row[field.name], line[field.name]
            is_text = value is None or isinstance(value, str)
            assert (cell if is_text else json.loads(cell)) == ("" if value is None else value)


@pytest.fixture
def orders(database: road.Database, land, parents) -> road.Database:
    """Ten orders, each an hour after the one before."""
    parents(ORDERS, *range(10))
    land(ORDERS, *(example(ORDERS, number) for number in range(10)))
    return database


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({"external_order_id": "3 external_order_id"}, [3]),
        ({"external_order_id": ["3 external_order_id", "7 external_order_id"]}, [3, 7]),
        ({"external_order_id": {"contains": "5 ext"}}, [5]),
        ({"external_order_id": {"contains": "%"}}, []),
        ({"external_order_id": {"contains": "EXT"}}, []),
        ({"total_amount": {"from": "15.0001", "before": 17}}, [5, 6]),
        ({"total_amount": "13.0001"}, [3]),
        ({"order_date": {"from": example(ORDERS, 8)["order_date"]}}, [8, 9]),
        ({"order_date": {"before": example(ORDERS, 1)["order_date"]}}, [0]),
        ({"order_date": {"to": example(ORDERS, 1)["order_date"]}}, [0, 1]),
        ({"total_amount": {"from": -1, "to": "10.0001"}}, [0]),
        ({"customer_id": example(ORDERS, 2)["customer_id"].upper()}, [2]),
        ({"customer_id": None}, []),
        ({"order_status": ["confirmed"], "kind": "return"}, [1]),
    ],
)
def test_conditions_choose(asked, numbers, orders):
    found = rows(orders, selection(ORDERS, asked, order=key_order(ORDERS)))
    expected = [example(ORDERS, number)["order_id"] for number in numbers]
    assert sorted(row["order_id"] for row in found) == sorted(expected)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("names", [("order_id",), ("order_date", "order_id"), ("kind", "order_id")])
def test_pages_have_every_row_once_and_in_order(names, descending, orders):
    order = columns_of(ORDERS, names)
    whole = rows(orders, selection(ORDERS, order=order, descending=descending))
    paged: list[dict] = []
    after: tuple[str, ...] = ()
    while True:
        more = selection(ORDERS, order=order, descending=descending, after=after, limit=3)
        page = rows(orders, more)
        paged += page
        if len(page) < 3:
            break
        after = tuple(filters.value(field, page[-1][field.name], UTC_ZONE) for field in order)
    assert paged == whole
    assert len(whole) == 10
    keys = [tuple(row[name] for name in names) for row in whole]
    assert keys == sorted(keys, reverse=descending)


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("after", [(), ("2024-01-01 06:00:00", str(UUID(int=2**128 - 1)))])
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"customer_id": example(ORDERS, 2)["customer_id"]},
        {"kind": ["return", "sale"], "total_amount": {"from": "12"}},
        {"customer_id": example(ORDERS, 4)["customer_id"], "kind": "return"},
        {"external_order_id": {"contains": "ext"}, "order_date": {"from": "2024-01-01T03:00:00Z"}},
    ],
)
def test_who_asks_for_the_first_rows_at_once_gets_the_same_rows(asked, after, limit, orders):
    newest = columns_of(ORDERS, ("order_date", "order_id"))
    more = {"order": newest, "descending": True, "after": after, "limit": limit}
    found = rows(orders, selection(ORDERS, asked, **more))
    assert rows(orders, selection(ORDERS, asked, prompt=True, **more)) == found
    assert rows(orders, selection(ORDERS, asked, prompt=True, order=newest[:1])) != []


def test_moments_are_in_the_order_of_time(database, land, parents):
    parents(ORDERS, 0)
    moments = ["2024-01-01T00:00:00", "2024-01-01T00:00:00.5", "2024-01-01T00:00:00.25"]
    made = enumerate(moments)
    land(ORDERS, *(example(ORDERS, at, order_date=one, customer_id=None) for at, one in made))
    wanted = selection(ORDERS, order=columns_of(ORDERS, ("order_date",)))
    told = [row["order_date"].rstrip("0Z") for row in rows(database, wanted)]
    assert [one.partition(".")[2] for one in told] == ["", "25", "5"]


def test_another_tenants_rows_are_not_told(orders):
    own = reader(orders.dialect.name)
    with orders.transaction() as connection:
        wanted = selection(ORDERS)
        lines = list(own.lines(connection, uuid4(), wanted, documents.form_of(CSV)))
    assert lines == []


def test_a_spreadsheet_sees_no_formula_and_the_text_can_be_had_back(database, land, parents):
    entity = BY_NAME["products"]
    texts = ["=1+1", "+1", "-1", "@a", "\tx", "\rx", "'x", "''", "plain", "a=b", "1,2", 'x"y']
    sent = [example(entity, number, name=text) for number, text in enumerate(texts)]
    land(entity, *sent)
    wanted = selection(entity, order=key_order(entity))
    raw = told(database, wanted, CSV).decode()
    safe = told(database, wanted, CSV, safe=True).decode()
    cells = [row["name"] for row in csv.DictReader(io.StringIO(safe, newline=""))]
    assert not any(cell[0] in FORMULA_STARTS and cell[0] != "'" for cell in cells)
    plain = [row["name"] for row in csv.DictReader(io.StringIO(raw, newline=""))]
    assert [cell.removeprefix("'") for cell in cells] == plain
    assert sorted(plain) == sorted(texts)


@pytest.mark.parametrize(
    ("asked", "told_what"),
    [
        ({"tenant_id": "x"}, "no column 'tenant_id'"),
        ({"password; DROP": 1}, "no column"),
        ({"raw_payload": {}}, "no condition compares"),
        ({"order_status": "lost"}, "order_status"),
        ({"order_status": []}, "from 1 to"),
        ({"order_date": {"since": "2024-01-01"}}, "`from`"),
        ({"order_date": {"from": None}}, "order_date"),
        ({"order_date": "yesterday"}, "order_date"),
        ({"customer_id": {"from": "a"}}, "no place here"),
        ({"total_amount": {"from": "NaN"}}, "total_amount"),
        ({"total_amount": True}, "total_amount"),
        ({"kind": {}}, "`contains`"),
    ],
)
def test_what_cannot_be_asked_is_said(asked, told_what):
    with pytest.raises(BadSelection, match=told_what):
        filters.conditions(ORDERS, asked, UTC_ZONE)


def test_no_column_is_asked_for_twice_or_not_at_all():
    for names in ([], ["kind", "kind"], ["kind", "source_sequence"]):
        with pytest.raises(BadSelection):
            columns_of(ORDERS, names)
