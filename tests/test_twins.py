"""Which of two rows with one natural key is the first must not depend on how a file is cut."""

from uuid import UUID

from tests.road import land, ndjson

PRODUCTS = 60


def product(number: int, sku: str) -> dict:
    return {"product_id": str(UUID(int=number + (1 << 100))), "sku": sku, "name": "x", "price": 1}


def test_the_first_line_keeps_a_natural_key_however_the_file_is_cut(database, tmp_path):
    database.dialect.segment_rows = 7
    records = [product(number, f"S{number}") for number in reversed(range(PRODUCTS))]
    records[-1]["sku"] = records[0]["sku"]  # the highest id first, the lowest last
    ledger = land(database, tmp_path, "products", ndjson(*records))
    assert len(ledger.plan) > 5
    assert ledger.outcome_by_line() == ["inserted"] * (PRODUCTS - 1) + ["rejected"]
    assert records[0]["product_id"] in ledger.rejects[0].message
