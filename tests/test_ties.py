"""What becomes of a line must not depend on how its file is cut into segments."""

from uuid import UUID

import pytest

from tests.road import land, ndjson

OTHERS = 60
WHEN = "2024-01-01T00:00:00"


def product(number: int, sku: str) -> dict:
    uuid = str(UUID(int=number + (number << 120)))
    return {"product_id": uuid, "sku": sku, "name": "x", "price": 1, "created_at": WHEN}


def padded(*records: dict) -> bytes:
    """The records between others, so that there is something to cut."""
    others = [product(number, f"S{number}") for number in range(100, 100 + OTHERS)]
    return ndjson(*others[: OTHERS // 2], *records, *others[OTHERS // 2 :])


CASES = {
    "the highest id is first": [product(90, "A"), product(1, "A")],
    "the lowest id is first": [product(1, "A"), product(90, "A")],
    "an id with two keys": [product(9, "X"), product(9, "X"), product(9, "Z")],
    "a chain": [product(1, "A"), product(80, "A"), product(80, "B"), product(40, "B")],
    "a key given up": [product(1, "A"), product(90, "A"), product(1, "B")],
}


@pytest.mark.parametrize("case", CASES)
def test_products_that_share_a_natural_key_end_alike_however_cut(case, database, tmp_path):
    data = padded(*CASES[case])
    whole = land(database, tmp_path, "products", data)
    expected = database.rows("products")
    with database.transaction() as connection:
        connection.cursor().execute("DELETE FROM products")
    database.dialect.segment_rows = 5
    cut = land(database, tmp_path, "products", data)
    assert len(cut.plan) > 5
    assert cut.outcome_by_line() == whole.outcome_by_line()
    assert [reject.message for reject in cut.rejects] == [
        reject.message for reject in whole.rejects
    ]
    assert database.rows("products") == expected


def test_an_event_id_under_two_products_ends_alike_however_cut(database, tmp_path):
    products = [product(number, f"S{number}") for number in range(100, 130)]
    land(database, tmp_path, "products", ndjson(*products))
    event = {"delta": 1, "event_time": WHEN}
    others = [
        {"stock_event_id": str(UUID(int=at)), "product_id": one["product_id"], **event}
        for at, one in enumerate(products, 1000)
    ]
    twice = [
        {"stock_event_id": str(UUID(int=7)), "product_id": one["product_id"], **event}
        for one in (products[-1], products[0])
    ]
    database.dialect.segment_rows = 4
    ledger = land(database, tmp_path, "stock_events", ndjson(*others, *twice), number=2)
    assert ledger.outcome_by_line() == ["inserted"] * 31 + ["rejected"]
