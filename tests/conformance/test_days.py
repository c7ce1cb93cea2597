"""Promotion lists the days of what it changes, of what that was before, and no others."""

from uuid import uuid4

import psycopg
import pymysql
import pytest

from headrace.entities import BY_NAME, ENTITIES
from headrace.pipeline import promotion
from headrace.pipeline.dialects.base import Connection
from headrace.pipeline.errors import Retryable
from headrace.pipeline.verify import verify
from headrace.schema import Promotion
from tests import road
from tests.records import example
from tests.shop import order, order_item, product

ORDERS, ITEMS = BY_NAME["orders"], BY_NAME["order_items"]


@pytest.fixture
def listed(database: road.Database):
    """The days that were listed since the last call."""

    def found() -> list[str]:
        with database.transaction() as connection:
            cursor = connection.cursor()
            tenant = database.tenant
            mine = f"tenant_id = '{tenant if database.dialect.hides_rows else tenant.hex}'"
            cursor.execute(f"SELECT day FROM dirty_days WHERE {mine}")
            days = sorted(str(day) for (day,) in cursor.fetchall())
            cursor.execute(f"DELETE FROM dirty_days WHERE {mine}")
        return days

    return found


def test_only_orders_and_lines_have_days():
    assert [entity.name for entity in ENTITIES if entity.days] == ["orders", "order_items"]
    assert all(
        entity.promotion is Promotion.UPSERT and entity.interval is None
        for entity in ENTITIES
        if entity.days
    )


def test_days_are_listed_once_a_segment_in_utc(land, listed):
    moments = ("2025-03-01T00:00:00Z", "2025-03-01T23:59:59.999999Z", "2025-03-01T23:30:00-01:00")
    land(ORDERS, *(order(order_date=moment) for moment in moments))
    assert listed() == ["2025-03-01", "2025-03-02"]


def test_what_stays_as_it_is_lists_nothing(land, listed):
    bought, goods = order(), product()
    item = order_item(bought["order_id"], goods["product_id"])
    for name, record in (("orders", bought), ("products", goods), ("order_items", item)):
        land(BY_NAME[name], record)
    assert listed() == ["2025-03-01", "2025-03-01"]
    for name, record in (("orders", bought), ("products", goods), ("order_items", item)):
        assert land(BY_NAME[name], record).outcome_by_line() == ["unchanged"]
    assert listed() == []


def test_an_order_that_moves_lists_both_days(land, listed):
    moving, staying = order(), order(order_date="2025-03-05T10:00:00Z")
    land(ORDERS, moving, staying)
    listed()
    land(ORDERS, moving | {"order_date": "2025-03-09T10:00:00Z"}, staying)
    assert listed() == ["2025-03-01", "2025-03-09"]
    land(
        ORDERS,
        {key: moving[key] for key in ("order_id", "external_order_id", "order_date")}
        | {"total_amount": 7, "order_date": "2025-03-09T11:00:00Z"},
    )
    assert listed() == ["2025-03-09"]


def test_a_line_that_moves_lists_the_days_of_both_orders(land, listed):
    goods, first = product(), order()
    second = order(order_date="2025-03-05T10:00:00Z")
    item = order_item(first["order_id"], goods["product_id"])
    land(BY_NAME["products"], goods)
    land(ORDERS, first, second)
    land(ITEMS, item)
    listed()
    land(ITEMS, item | {"order_id": second["order_id"]})
    assert listed() == ["2025-03-01", "2025-03-05"]
    land(ITEMS, item | {"order_id": second["order_id"], "quantity": 9})
    assert listed() == ["2025-03-05"]


def test_the_day_of_a_line_is_that_of_its_own_tenants_order(database, land, listed):
    own, other = database.tenant, uuid4()
    goods, bought = product(), order()
    item = order_item(bought["order_id"], goods["product_id"])
    days = {other: "2025-03-07", own: "2025-03-01"}
    for database.tenant, day in days.items():
        land(BY_NAME["products"], goods)
        land(ORDERS, bought | {"order_date": f"{day}T10:00:00Z"})
        listed()
        land(ITEMS, item)
        assert listed() == [day]
    land(ITEMS, item | {"quantity": 9})
    assert listed() == [days[own]]


def test_refused_and_parked_rows_list_nothing(land, listed):
    bought = order()
    land(ORDERS, bought)
    listed()
    taken = order(external_order_id=bought["external_order_id"], order_date="2025-04-01T00:00:00Z")
    assert land(ORDERS, taken).outcome_by_line() == ["rejected"]
    orphan = order_item(bought["order_id"], product()["product_id"])
    assert land(ITEMS, orphan).outcome_by_line() == ["parked"]
    assert listed() == []


def test_an_older_row_lists_nothing(land, listed):
    bought = order()
    land(ORDERS, bought, number=9)
    listed()
    older = bought | {"order_date": "2025-04-01T00:00:00Z"}
    assert land(ORDERS, older, number=8).outcome_by_line() == ["superseded"]
    assert listed() == []


def test_records_of_every_other_type_list_nothing(land, listed):
    for entity in ENTITIES:
        land(entity, example(entity, 1))
    assert len(listed()) == 2


def test_no_order_moves_to_another_day_while_its_lines_are_written(database, land, tmp_path):
    """Else its new day might be computed before they can be seen, and never again."""
    if database.dialect.name == "sqlite":
        pytest.skip("one writer at a time: no neighbour can interfere")
    goods, bought = product(), order()
    item = order_item(bought["order_id"], goods["product_id"])
    for name, record in (("orders", bought), ("products", goods), ("order_items", item)):
        land(BY_NAME[name], record)

    def promote(connection: Connection, entity: str, record: dict, number: int) -> None:
        load = road.load_of(entity, road.ndjson(record), number=number, tenant=database.tenant)
        folder = tmp_path / entity
        folder.mkdir()
        rows = verify(load, folder, lambda records: None).rows.read()
        promotion.promote(connection, database.dialect, load, rows)

    moved = bought | {"order_date": "2025-04-01T00:00:00Z"}
    with road.beside(database) as neighbour, database.transaction() as connection:
        promote(connection, "order_items", item | {"quantity": 7}, 20)
        with (
            pytest.raises((psycopg.OperationalError, pymysql.OperationalError)) as caught,
            neighbour.transaction() as other,
        ):
            promote(other, "orders", moved, 21)
    assert isinstance(database.dialect.translated(caught.value), Retryable)


def test_what_decides_the_day_of_a_row_is_in_every_record():
    """Days of new rows are read from the records: a default that the table fills in has none."""
    dated = [entity for entity in ENTITIES if entity.days]
    fields = [one.fields[one.field_names.index(one.days.decided_by)] for one in dated]
    assert [field.name for field in fields if not field.required] == []
    assert len(fields) > 1
