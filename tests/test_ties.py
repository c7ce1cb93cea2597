"""What becomes of a line must not depend on how its file is cut into segments."""

from dataclasses import replace
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from headrace.pipeline import scratch, ties
from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.load import Policy
from headrace.pipeline.verify import verify
from tests import road
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


def test_rows_that_must_land_together_and_are_too_many_are_refused_and_no_others(
    database, tmp_path
):
    policy = Policy(whole_bytes=1_500)
    database.dialect.segment_rows = 5
    many = [product(number, f"S{number}") for number in range(100)]
    assert land(database, tmp_path, "products", ndjson(*many), policy=policy).finished
    tied = [product(number, "A") for number in range(100)]
    with pytest.raises(Permanent, match="expected at most 1,500 bytes at once; rows that") as told:
        land(database, tmp_path, "products", ndjson(*tied), policy=policy)
    assert told.value.code is FailureCode.TOO_LARGE_AT_ONCE


def test_more_keys_that_share_values_than_are_kept_in_memory_are_refused_and_their_lines_counted(
    database, monkeypatch, tmp_path
):
    monkeypatch.setattr(ties, "MOST_TIED", 10)
    tied = ndjson(*(product(number, "A") for number in range(11)))
    with pytest.raises(Permanent, match="expected at most 10 keys that share values") as told:
        land(database, tmp_path, "products", b"{\n" + tied)
    assert told.value.code is FailureCode.TOO_LARGE_AT_ONCE
    assert told.value.received == 12


def test_rows_that_another_version_or_zone_has_made_are_made_anew(tmp_path):
    load = road.load_of("products", ndjson(product(1, "A")))
    scratch.keep(tmp_path, load, [])
    assert scratch.kept(tmp_path, load) == []
    older = replace(load.entity, fields=load.entity.fields[:-1])
    for changed in ({"entity": older}, {"zone": ZoneInfo("Europe/Berlin")}):
        assert scratch.kept(tmp_path, replace(load, **changed)) is None


def test_where_long_rows_are_together_segments_have_fewer_of_them(monkeypatch, tmp_path):
    monkeypatch.setattr(scratch, "SEGMENT_BYTES", 2_000)
    mixed = [{**product(at, f"S{at}"), "name": "x" * (1 if at < 100 else 250)} for at in range(200)]
    rows = verify(road.load_of("products", ndjson(*mixed)), tmp_path, lambda _: None).rows
    cut = scratch.scatter(rows, scratch.plan(rows, 50_000), tmp_path)
    sizes = [segment.bytes for segment in cut]
    assert sum(segment.count for segment in cut) == 200
    assert max(sizes) <= 2_400
    assert min(sizes) >= 1_000
