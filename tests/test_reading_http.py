"""Reading back: a list and a row of every record type, exact, page by page, of one tenant only."""

import json
from uuid import uuid4

import pytest

from headrace.entities import BY_NAME, ENTITIES, TABLES
from headrace.reading.filters import words
from headrace.reading.selection import is_comparable
from tests import reading, records
from tests import test_tenants_http as tenants
from tests.conftest import DIALECTS, on_every_database
from tests.inside import Inside
from tests.reading import ROWS, ask, keys, page, walk
from tests.road import ndjson
from tests.shop import customer, order

BY_TABLE = pytest.mark.parametrize("entity", TABLES.values(), ids=lambda entity: entity.name)
ORDERS, PRODUCTS = BY_NAME["orders"], BY_NAME["products"]


@on_every_database
@BY_TABLE
def test_pages_have_every_row_once_in_the_order_of_the_key(entity, stocked):
    pages = list(walk(stocked, entity.name, limit=7))
    rows = [row for page in pages for row in page]
    assert [len(page) for page in pages] == [7, 7, 7, 4]
    assert rows == page(stocked, entity.name, limit=1_000)["data"]
    found = keys(entity, rows)
    assert found == sorted(found)
    parents = {reference.field: reference.entity for reference in entity.references}
    kind = parents.get(entity.key, entity.name)  # a level's key is that of its product
    assert found == sorted(records.key(kind, number) for number in range(ROWS))


@on_every_database
@BY_TABLE
def test_rows_say_what_was_sent(entity, stocked):
    if entity not in ENTITIES:
        assert {row["level"] for row in page(stocked, entity.name)["data"]} == set(
            range(1, ROWS + 1)
        )
        return
    rows = {row[entity.key]: row for row in page(stocked, entity.name)["data"]}
    for number in range(ROWS):
        sent = json.loads(records.line(records.example(entity, number)))
        assert rows[sent[entity.key]] == {**sent, **computed(entity, sent)}


def computed(entity, sent: dict) -> dict:
    """What is ours to say, whatever a record says."""
    return {entity.levels.level: sent[entity.levels.change]} if entity.levels else {}


@on_every_database
def test_no_digit_and_no_character_is_lost(merchant):
    exact = {
        "total_amount": "123456789012345.6789",
        "order_date": "2025-03-01T10:00:00.000001+02:00",
        "external_order_id": 'a "quoted", \\ and\ttabbed ünïcödé 🙂 \u2028',
    }
    big = b'{"b": 1.0000000000000000000001, "a": 123456789012345678901234567890}'
    row = order(raw_payload={"x": 0}, **exact)
    line = ndjson(row).replace(b'{"x": 0}', big)
    assert merchant.load("orders.ndjson", line)["outcomes"]["inserted"] == 1
    answer = ask(merchant, f"orders/{row['order_id']}/")
    assert '"total_amount":123456789012345.6789' in answer.text
    assert '"order_date":"2025-03-01T08:00:00.000001Z"' in answer.text
    payload = answer.text.split('"raw_payload":')[1].replace(" ", "")
    assert '"a":123456789012345678901234567890' in payload
    assert '"b":1.0000000000000000000001' in payload
    assert answer.json()["external_order_id"] == exact["external_order_id"]
    listed = ask(merchant, "orders/").text
    assert listed == f'{{"data":[{answer.text}],"next_cursor":null}}'
    assert ask(merchant, "orders/search").text.partition("\n")[0] == answer.text


@BY_TABLE
def test_fields_are_columns_of_the_record_type_behind_its_key(entity, stocked):
    for field in entity.columns:
        [row] = page(stocked, entity.name, fields=field.name, limit=1)["data"]
        assert list(row) == list(dict.fromkeys((entity.key, field.name)))
    names = [field.name for field in entity.columns][::-1]
    [row] = page(stocked, entity.name, fields=names[:-1], limit=1)["data"]
    assert list(row) == [entity.key, *names[:-1]]
    assert page(stocked, entity.name, fields=",".join(names), limit=1)["data"] == [
        ask(stocked, f"{entity.name}/{row[entity.key]}/", fields=",".join(names)).json()
    ]


def number_of(row: dict) -> int:
    return int(row["external_order_id"].split()[0])


CHOICES = [
    ({"external_order_id": "3 external_order_id"}, [3]),
    ({"external_order_id": ["3 external_order_id", "5 external_order_id"]}, [3, 5]),
    ({"external_order_id": "3 external_order_id,5 external_order_id"}, []),
    ({"external_order_id_contains": "24 ext"}, [24]),
    ({"external_order_id_contains": "%"}, []),
    ({"order_status": "paid,shipped", "order_date_before": "2024-01-01T05:00:00Z"}, [3, 4]),
    ({"order_status": ["paid", "shipped"], "order_date_to": "2024-01-01T03:00:00Z"}, [3]),
    ({"order_date_from": "2024-01-01T22:30:00Z"}, [23, 24]),
    ({"total_amount_from": "32.0001", "total_amount_before": "33.0001"}, [22]),
    ({"total_amount_to": "10.0001"}, [0]),
    ({"total_amount_from": "-5", "total_amount_to": "11"}, [0]),
    ({"customer_id": records.key("customers", 7)}, [7]),
    ({"customer_id_missing": "true"}, []),
    ({"order_id": ",".join(records.key("orders", at) for at in (9, 2))}, [2, 9]),
]


@on_every_database
@pytest.mark.parametrize(("asked", "numbers"), CHOICES)
def test_rows_are_chosen_by_what_their_columns_hold(asked, numbers, stocked):
    rows = [row for page in walk(stocked, "orders", limit=2, **asked) for row in page]
    assert sorted(map(number_of, rows)) == numbers


def test_truth_is_spelled_as_it_is_told(stocked):
    rows = page(stocked, "products", active="true")["data"]
    assert len(rows) == ROWS // 2
    assert {row["active"] for row in rows} == {True}


def test_a_time_without_a_zone_is_the_tenants(running_service):
    shop = running_service.add_tenant(time_zone="Europe/Berlin")
    placed = order(order_date="2025-07-01T00:30:00")  # half past ten of the day before, in UTC
    shop.load("orders.ndjson", ndjson(placed))
    assert page(shop, "orders", order_date_from="2025-07-01")["data"] != []
    assert page(shop, "orders", order_date_from="2025-07-01T00:00:00Z")["data"] == []
    lines, _ = reading.search(shop, start_date="2025-07-01", end_date="2025-07-01")
    assert len(lines) == 1
    assert reading.search(shop, end_date="2025-06-30")[0] == []


@pytest.mark.parametrize("lost", ["2025-07-01T00:30:00 02:00", "2025-07-01 00:30 02"])
def test_a_plus_that_an_address_made_a_blank_is_told(stocked, lost):
    for name, asked in (("orders/", "order_date_from"), ("stock/events", "since")):
        answer = ask(stocked, name, **{asked: lost})
        assert answer.status_code == 400
        assert "such as 2025-03-01T09:30:00+01:00" in answer.json()["detail"]
        assert "Encode + as %2B." in answer.json()["detail"]
    assert "%2B" not in ask(stocked, "orders/", order_date_from="soon 02").json()["detail"]


WRONG = [
    {"colour": "red"},
    {"tenant_id": str(uuid4())},
    {"source_sequence_from": "0"},
    {"raw_payload": "{}"},
    {"order_status": "lost"},
    {"order_status": "paid,"},
    {"order_date": "yesterday"},
    {"order_date_from": ["2024-01-01", "2024-01-02"]},
    {"total_amount_from": "NaN"},
    {"total_amount": "1e999999999"},
    {"customer_id": "7"},
    {"customer_id_from": str(uuid4())},
    {"customer_id_missing": "maybe"},
    {"customer_id_missing": "false"},
    {"external_order_id": "nul\x00"},
    {"fields": ""},
    {"fields": "order_id,order_id"},
    {"fields": "customer__email"},
    {"limit": "0"},
    {"limit": "1001"},
    {"limit": "ten"},
    {"cursor": ""},
    {"cursor": "orders~"},
    {"cursor": str(uuid4())},
    {"cursor": f"customers~{uuid4()}"},
    {"cursor": f"orders~{uuid4()}~{uuid4()}"},
    {"cursor": "orders~x' OR 1=1 --"},
    {"after": f"2024-01-01~{uuid4()}"},
]


@pytest.mark.parametrize("asked", WRONG, ids=lambda asked: "&".join(asked))
def test_what_cannot_be_asked_is_refused_and_not_left_out(asked, stocked):
    answer = ask(stocked, "orders/", **asked)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_ids_in_addresses_are_spelled_in_either_case(stocked):
    key = page(stocked, "orders", limit=1)["data"][0]["order_id"]
    shouted = f"/tenants/{str(stocked.tenant).upper()}/orders/{key.upper()}/"
    answer = stocked.request("GET", shouted)
    assert (answer.status_code, answer.json()["order_id"]) == (200, key)
    assert stocked.request("GET", shouted.replace("-", "", 1)).status_code == 404


def test_what_is_no_record_type_is_not_there(stocked):
    for name in ("tenants/", "api_keys/", "jobs/", "orders", f"price_events/{uuid4()}/", "Orders/"):
        answer = ask(stocked, name)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_no_parameter_can_be_taken_for_two():
    for entity in TABLES.values():
        fields = [field for field in entity.columns if is_comparable(field)]
        names = [field.name for field in entity.columns]
        names += [f"{field.name}_{word}" for field in fields for word in words(field)]
        names += [f"{field.name}_missing" for field in fields if field.null]
        assert len({*names, "fields", "cursor", "limit"}) == len(names) + 3


def test_a_cursor_is_of_its_own_list_and_skips_no_rows_of_another(stocked):
    unfiltered = page(stocked, "orders", limit=2)["next_cursor"]
    paid = page(stocked, "orders", limit=1, order_status="paid")["next_cursor"]
    for asked in (
        {"cursor": unfiltered, "order_status": "paid"},
        {"cursor": paid, "order_status": "shipped"},
        {"cursor": paid, "order_status": "paid", "currency": "EUR"},
        {"cursor": paid},
    ):
        answer = ask(stocked, "orders/", **asked)
        assert (answer.status_code, answer.json()["code"]) == (409, "cursor_outdated")
        assert "for the same list" in answer.json()["detail"]
    other_page = {"order_status": "paid", "limit": 5, "fields": "order_status"}
    assert page(stocked, "orders", cursor=paid, **other_page)["data"] != []


def test_a_cursor_leads_no_further_than_its_tenant(merchant, stranger):
    for caller, name in ((merchant, "Ada"), (stranger, "Bob")):
        ids = [f"{at:08d}-0000-4000-8000-000000000000" for at in range(6)]
        rows = [customer(customer_id=key, name=name) for key in ids]
        caller.load("customers.ndjson", ndjson(*rows))
    cursor = page(merchant, "customers", limit=2)["next_cursor"]
    assert str(merchant.tenant) not in cursor
    rest = page(stranger, "customers", cursor=cursor)["data"]
    assert [row["name"] for row in rest] == ["Bob"] * 4


@on_every_database
def test_a_row_of_another_is_as_absent_as_one_that_never_was(merchant, stranger):
    mine = customer(name="Ada")
    merchant.load("customers.ndjson", ndjson(mine))
    path = f"customers/{mine['customer_id']}/"
    assert ask(merchant, path).json()["name"] == "Ada"
    tenants.assert_same_absence(ask(stranger, path), ask(stranger, f"customers/{uuid4()}/"))
    stranger.load("customers.ndjson", ndjson({**mine, "name": "Bob"}))
    assert [ask(caller, path).json()["name"] for caller in (merchant, stranger)] == ["Ada", "Bob"]


def test_a_row_that_did_not_change_is_not_sent_again(merchant):
    row = customer(name="Ada")
    path = f"/tenants/{merchant.tenant}/customers/{row['customer_id']}/"
    merchant.load("customers.ndjson", ndjson(row))
    etag = merchant.request("GET", path).headers["ETag"]
    for given in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = merchant.request("GET", path, headers={"If-None-Match": given})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", etag)
    merchant.load("customers.ndjson", ndjson({**row, "name": "Eve"}))
    answer = merchant.request("GET", path, headers={"If-None-Match": etag})
    assert (answer.status_code, answer.json()["name"]) == (200, "Eve")


def test_a_page_of_large_rows_ends_earlier_and_goes_on(merchant):
    large = [customer(metadata={"text": "x" * 900_000}) for _ in range(12)]
    merchant.load("customers.ndjson", ndjson(*large))
    pages = list(walk(merchant, "customers", limit=1_000))
    assert [len(page) for page in pages] == [10, 2]
    assert len({row["customer_id"] for page in pages for row in page}) == 12


@on_every_database
def test_a_page_that_looks_for_its_rows_too_long_is_given_up(merchant):
    merchant.load("customers.ndjson", ndjson(*(customer() for _ in range(25_000))))
    within = Inside(merchant.service, "reading_inside")
    told = within.do("look_for_rare_rows", merchant.tenant, "name_contains=nobody&email=a")
    assert told["at first"] == (
        "400 too_broad: Rows by name, email were looked for longer than 0.001 s. Name a value of an"
        " indexed column (customer_id), ask for fewer rows a page, or export them."
    )
    assert told["then"] == '{"data":[],"next_cursor":null}'


def test_every_dialect_is_among_those_that_lists_are_tested_on():
    assert DIALECTS == ("sqlite", "postgresql", "mariadb")
