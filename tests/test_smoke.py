from tests.road import land, ndjson
from tests.service import Merchant


def test_a_file_lands_through_the_engine(database, tmp_path):
    record = {"customer_id": "123e4567-e89b-42d3-a456-426614174000", "name": "Ada"}
    ledger = land(database, tmp_path, "customers", ndjson(record))
    assert ledger.outcome_by_line() == ["inserted"]


def test_a_file_lands_through_http(merchant: Merchant):
    record = {"customer_id": "123e4567-e89b-42d3-a456-426614174000", "name": "Ada"}
    status = merchant.load("customers.ndjson", ndjson(record))
    assert status["status"] == "completed"
    assert status["outcomes"]["inserted"] == 1
