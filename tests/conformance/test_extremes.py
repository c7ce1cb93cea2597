"""What a database might bend: texts that look alike, deep and long values, the ends of time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from headrace.entities import BY_NAME
from tests import records, road
from tests.records import example, expected, stored

CUSTOMERS, PRODUCTS, ORDERS = BY_NAME["customers"], BY_NAME["products"], BY_NAME["orders"]
ALIKE = ["A", "a", "A ", " A", "Ａ", "Á", "A\u0301", "ß", "ss", "SS", "ﬀ", "ff", "A\t", "A\u00a0"]


def test_texts_that_only_look_alike_are_different_keys(database: road.Database, land):
    rows = [example(PRODUCTS, number, sku=sku) for number, sku in enumerate(ALIKE)]
    assert set(land(PRODUCTS, *rows).outcome_by_line()) == {"inserted"}
    assert stored(database, PRODUCTS) == expected(PRODUCTS, *rows)
    assert set(land(PRODUCTS, *rows).outcome_by_line()) == {"unchanged"}
    thief = example(PRODUCTS, 100, sku="A ")
    ledger = land(PRODUCTS, thief)
    assert records.rejected(ledger) == [(1, "natural_key_taken", "sku")]
    assert rows[ALIKE.index("A ")]["product_id"] in ledger.rejects[0].message


def test_ids_of_every_version_and_variant_land(database: road.Database, land):
    """MariaDB's own type for them refuses some."""
    digits = "0123456789abcdef"
    ids = [f"70c6a5b8-5387-{one}613-{other}6c4-68aec7321cc0" for one in digits for other in digits]
    rows = [example(CUSTOMERS, number, customer_id=key) for number, key in enumerate(ids)]
    assert set(land(CUSTOMERS, *rows).outcome_by_line()) == {"inserted"}
    assert stored(database, CUSTOMERS) == expected(CUSTOMERS, *rows)
    assert set(land(CUSTOMERS, *rows).outcome_by_line()) == {"unchanged"}


def test_a_change_of_case_or_of_blanks_alone_is_a_change(database: road.Database, land):
    land(CUSTOMERS, example(CUSTOMERS, 1, name="Ada"))
    for name in ("ada", "ada ", "ada  "):
        row = example(CUSTOMERS, 1, name=name)
        assert land(CUSTOMERS, row).outcome_by_line() == ["updated"]
        assert stored(database, CUSTOMERS) == expected(CUSTOMERS, row)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b'{"a":' * 62 + b"{}" + b"}" * 62, id="64 deep"),
        pytest.param(b'{"a":"%s"}' % (b"x" * 1_000_000), id="a mebibyte"),
        pytest.param(b'{"a":"%s"}' % (rb"\\\n\t\"\u00e9" * 60_000), id="a mebibyte of escapes"),
        pytest.param(b'{"a":[%s1]}' % (b"1e40," * 100_000), id="numbers that grow"),
    ],
)
def test_deep_and_long_objects_land_and_are_equal_again(
    value: bytes, database: road.Database, land
):
    row = records.line(records.without(example(ORDERS, 1), "customer_id", "raw_payload"))
    line = row.replace(b"{", b'{"raw_payload":%s,' % value, 1)
    assert land(ORDERS, line).outcome_by_line() == ["inserted"]
    assert land(ORDERS, line).outcome_by_line() == ["unchanged"]
    other = line.replace(b'"raw_payload":{"a"', b'"raw_payload":{"b"')
    assert land(ORDERS, other).outcome_by_line() == ["updated"]


def test_the_first_and_the_last_moment_are_kept_to_the_microsecond(database: road.Database, land):
    moments = ["1970-01-01T00:00:00Z", "2200-12-31T23:59:59.999999Z", "2024-02-29T12:00:00.000001Z"]
    rows = [
        records.without(example(ORDERS, number, order_date=moment), "customer_id")
        for number, moment in enumerate(moments)
    ]
    assert set(land(ORDERS, *rows).outcome_by_line()) == {"inserted"}
    assert stored(database, ORDERS) == expected(ORDERS, *rows)
    assert set(land(ORDERS, *rows).outcome_by_line()) == {"unchanged"}


def test_a_negative_zero_is_zero(database: road.Database, land):
    row = records.line(records.without(example(ORDERS, 1), "customer_id", "total_amount"))
    zeros = [b"0", b"-0", b"-0.0000", b"-0e5", b'"-0"', b"0.0"]
    lines = [row.replace(b"{", b'{"total_amount":%s,' % zero, 1) for zero in zeros]
    assert land(ORDERS, lines[0]).outcome_by_line() == ["inserted"]
    for line in lines:
        assert land(ORDERS, line).outcome_by_line() == ["unchanged"]


@pytest.mark.parametrize("entity", ["customers", "products", "stock_events"])
def test_two_loads_of_the_same_rows_at_once_end_as_one_after_the_other(
    entity: str, database: road.Database, tmp_path: Path, parents
):
    """Every key is inserted once, and the newer file has the last word."""
    if database.dialect.name == "sqlite":
        pytest.skip("one writer at a time: no neighbour can interfere")
    declared, numbers = BY_NAME[entity], range(1_000)
    parents(declared, *numbers)
    older = [example(declared, number) for number in numbers]
    newer = [changed(declared, row) for row in reversed(older)]
    start = Barrier(2)

    def load(own: road.Database, number: int, rows: list) -> list[str]:
        start.wait()
        file, more = records.file(*rows), {"number": number, "tenant": database.tenant}
        return road.land(own, tmp_path, entity, file, **more).outcome_by_line()

    with road.beside(database) as neighbour, ThreadPoolExecutor() as pool:
        ends = [pool.submit(load, *of) for of in ((database, 1, older), (neighbour, 2, newer))]
        first, second = (end.result() for end in ends)
    inserted = [first.count("inserted"), second.count("inserted")]
    assert sum(inserted) == len(numbers), (inserted, set(first), set(second))
    if entity == "stock_events":
        assert {*first, *second} <= {"inserted", "unchanged"}
    else:
        assert {*first} <= {"inserted", "superseded"}
        assert {*second} <= {"inserted", "updated"}
    assert stored(database, declared) == expected(declared, *newer)


def changed(entity, row: records.Record) -> records.Record:
    return row if entity.name == "stock_events" else row | {"name": f"{row['name']} again"}


def test_intervals_that_overlap_and_come_at_once_do_not_both_land(
    database: road.Database, tmp_path: Path, parents
):
    """Each file is one transaction, so that all of it comes first or second."""
    if database.dialect.name == "sqlite":
        pytest.skip("one writer at a time: no neighbour can interfere")
    prices, numbers = BY_NAME["price_history"], range(300)
    parents(prices, *numbers)
    ours = [example(prices, number) for number in numbers]
    shifted = [
        row | {"id": records.key("shifted", at), "effective_from": "2024-06-01T00:00:00Z"}
        for at, row in enumerate(ours)
    ]
    start = Barrier(2)

    def load(own: road.Database, number: int, rows: list) -> list[str]:
        start.wait()
        file, more = records.file(*rows), {"number": number, "tenant": database.tenant}
        return road.land(own, tmp_path, "price_history", file, **more).outcome_by_line()

    with road.beside(database) as neighbour, ThreadPoolExecutor() as pool:
        ends = [
            pool.submit(load, *of) for of in ((database, 1, ours), (neighbour, 2, shifted[::-1]))
        ]
        outcomes = [end.result() for end in ends]
    assert {*outcomes[0], *outcomes[1]} == {"inserted", "rejected"}
    assert [len(set(found)) for found in outcomes] == [1, 1]
    assert len(stored(database, prices)) == len(numbers)
