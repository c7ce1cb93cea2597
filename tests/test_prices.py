"""Price calls through HTTP: what they answer, what they change, what they refuse."""

import json
import socket
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest

from tests import prices
from tests.conftest import on_every_database
from tests.prices import add_products, add_shop, follow, intervals, price_of, send, stream, told
from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import ask
from tests.test_idempotency import code

pytestmark = on_every_database


@pytest.fixture(scope="module")
def shop(running_service: Service) -> Merchant:
    """One merchant for the tests that need no empty one."""
    return add_shop(running_service)


@pytest.fixture(scope="module")
def kettle(shop: Merchant) -> str:
    """A product that every call here leaves as it is."""
    return add_products(shop)[0]


def test_a_price_is_taken_in_with_its_event_and_its_interval(shop):
    [item] = add_products(shop)
    before = prices.events(shop)
    answer = send(shop, item, {"new_price": 105.5, "metadata": {"reason": "promotion"}})
    assert answer.status_code == 201
    found = told(answer)
    assert found.pop("event_id") != found["product_id"]
    assert found.pop("processed_at").endswith("Z")
    assert found == {
        "product_id": item,
        "old_price": 100,
        "new_price": Decimal("105.5"),
        "claimed_old_price": None,
        "pct_change": Decimal("5.5"),
        "anomaly_detected": False,
        "anomaly_reason": None,
        "reasons": [],
        "severity": "none",
        "status": "processed",
        "source": "api",
    }
    assert price_of(shop, item) == Decimal("105.5")
    [(price, _, end)] = intervals(shop, item)
    assert (price, end) == (Decimal("105.5"), None)
    assert prices.events(shop) == before + 1


def test_the_next_price_cuts_the_interval_of_the_one_before(shop):
    [item] = add_products(shop)
    for price in (101, 102, 103):
        assert send(shop, item, {"new_price": price}).status_code == 201
    found = intervals(shop, item)
    assert [price for price, _, _ in found] == [101, 102, 103]
    assert [end for _, _, end in found] == [found[1][1], found[2][1], None]
    prices.assert_sound(shop, item)


def test_an_interval_that_ends_is_cut_where_it_stands_and_the_next_ends_with_it(shop):
    [item] = add_products(shop)
    past, future = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
    history = {"id": str(uuid4()), "product_id": item, "price": "90"}
    shop.load("price_history", ndjson({**history, "effective_from": past, "effective_to": future}))
    send(shop, item, {"new_price": 95})
    (_, start, cut), (price, opened, end) = intervals(shop, item)
    assert (start.year, cut, price, end.year) == (2020, opened, 95, 2100)


def test_a_price_before_the_first_interval_ends_where_that_begins(shop):
    [item] = add_products(shop)
    history = {"id": str(uuid4()), "product_id": item, "price": "90"}
    shop.load("price_history", ndjson({**history, "effective_from": "2100-01-01T00:00:00Z"}))
    send(shop, item, {"new_price": 95})
    (price, _, end), (_, start, still_open) = intervals(shop, item)
    assert (price, end, still_open) == (95, start, None)


def test_a_call_after_the_clock_was_set_back_comes_after_the_one_before(shop):
    [item] = add_products(shop)
    send(shop, item, {"new_price": 95})
    moved = {"sqlite": "strftime('%Y-%m-%d %H:%M:%S.999999', effective_from, '+2 hours')"}
    later = moved.get(shop.service.dialect, "effective_from + INTERVAL '2' HOUR")
    mine = prices.of_product(shop, item)
    ask(shop.service, f"UPDATE price_history SET effective_from = {later} WHERE {mine}")
    assert send(shop, item, {"new_price": 96}).status_code == 201
    (_, start, end), (price, opened, _) = intervals(shop, item)
    assert (price, opened) == (96, end)
    assert end - start == timedelta(microseconds=1)
    prices.assert_sound(shop, item)


def test_the_same_price_again_is_an_event_and_changes_nothing(shop):
    [item] = add_products(shop)
    send(shop, item, {"new_price": 101})
    row = f"SELECT * FROM products WHERE {prices.of_product(shop, item)}"
    before = ask(shop.service, row), intervals(shop, item), prices.events(shop)
    found = told(send(shop, item, {"new_price": "101.0000"}))
    assert (found["status"], found["pct_change"], found["severity"]) == ("unchanged", 0, "none")
    rows, history, events = before
    assert (ask(shop.service, row), intervals(shop, item)) == (rows, history)
    assert prices.events(shop) == events + 1


@pytest.mark.parametrize(
    "spelling", ["0", "0.0001", "999999999999.9999", "12.3400", "1e2", '"7.25"', "123456789.1234"]
)
def test_no_digit_of_a_price_is_lost(shop, spelling):
    [item] = add_products(shop, price="50")
    answer = send(shop, item, f'{{"new_price": {spelling}}}'.encode())
    wanted = Decimal(spelling.strip('"'))
    assert (answer.status_code, told(answer)["new_price"]) == (201, wanted)
    assert b"E" not in answer.content.partition(b'"new_price":')[2].partition(b",")[0]
    assert price_of(shop, item) == wanted
    assert told(send(shop, item, {"new_price": 50}))["old_price"] == wanted


REFUSED = {
    "NaN": (b'{"new_price": NaN}', "invalid_value", "bad_number", "new_price"),
    "a text NaN": (b'{"new_price": "NaN"}', "invalid_value", "bad_number", "new_price"),
    "Infinity": (b'{"new_price": Infinity}', "invalid_value", "bad_number", "new_price"),
    "-Infinity": (b'{"new_price": -Infinity}', "invalid_value", "bad_number", "new_price"),
    "1e400": (b'{"new_price": 1e400}', "invalid_value", "bad_number", "new_price"),
    "10^12": (b'{"new_price": 1e12}', "invalid_value", "bad_number", "new_price"),
    "negative": (b'{"new_price": -0.01}', "invalid_value", "bad_number", "new_price"),
    "five decimals": (b'{"new_price": 1.00001}', "invalid_value", "bad_number", "new_price"),
    "true": (b'{"new_price": true}', "invalid_value", "bad_number", "new_price"),
    "words": (b'{"new_price": "ten"}', "invalid_value", "bad_number", "new_price"),
    "null": (b'{"new_price": null}', "invalid_value", "required", "new_price"),
    "none": (b"{}", "invalid_value", "required", "new_price"),
    "an old price that is none": (
        b'{"new_price": 1, "old_price": "x"}',
        "invalid_value",
        "bad_number",
        "old_price",
    ),
    "a long source": (
        b'{"new_price": 1, "source": "%s"}' % (b"x" * 51),
        "invalid_value",
        "too_long",
        "source",
    ),
    "metadata that is none": (
        b'{"new_price": 1, "metadata": [1]}',
        "invalid_value",
        "bad_type",
        "metadata",
    ),
    "strict in words": (
        b'{"new_price": 1, "strict": "yes"}',
        "invalid_value",
        "bad_type",
        "strict",
    ),
    "strict about nothing": (
        b'{"new_price": 1, "strict": true}',
        "invalid_value",
        "required",
        "old_price",
    ),
    "an unknown member": (
        b'{"new_price": 1, "price": 2}',
        "invalid_value",
        "unknown_member",
        "price",
    ),
    "a member twice": (
        b'{"new_price": 1, "new_price": 2}',
        "invalid_value",
        "duplicate_key",
        "new_price",
    ),
    "broken JSON": (b'{"new_price": 1', "invalid_request", "bad_json", ""),
    "a number": (b"5", "invalid_request", "bad_json", ""),
    "an array": (b'[{"new_price": 1}]', "invalid_request", "bad_json", ""),
    "too deep": (
        b'{"new_price": 1, "metadata": %s1%s}' % (b'{"a":' * 70, b"}" * 70),
        "invalid_request",
        "bad_json",
        "",
    ),
    "no UTF-8": (b'{"new_price": 1, "source": "\xff"}', "invalid_request", "bad_encoding", ""),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_body_with_a_fault_is_told_which(shop, kettle, kind):
    body, problem, fault, field = REFUSED[kind]
    answer = send(shop, kettle, body)
    assert code(answer) == (400, problem), answer.text
    error = answer.json()["errors"][0]
    assert (error["code"], error["field"]) == (fault, field)
    assert error["message"] in answer.json()["detail"]
    assert price_of(shop, kettle) == 100


def test_every_fault_of_a_body_is_told(shop, kettle):
    answer = send(shop, kettle, {"new_price": -1, "old_price": "x", "source": 5, "other": 1})
    assert [error["field"] for error in answer.json()["errors"]] == [
        *("new_price", "old_price", "source", "other")
    ]


def test_a_body_that_is_empty_too_large_or_packed_is_refused(shop, kettle):
    assert code(send(shop, kettle, b"")) == (400, "invalid_request")
    assert code(send(shop, kettle, b" " * 70_000)) == (413, "too_large")
    packed = send(shop, kettle, {"new_price": 1}, **{"Content-Encoding": "gzip"})
    assert code(packed) == (415, "unsupported_format")
    assert price_of(shop, kettle) == 100


def test_a_chunked_body_is_read_and_held_to_the_same_bound(shop):
    [item] = add_products(shop)
    headers = {"Idempotency-Key": uuid4().hex, "Content-Type": "application/json"}
    path = prices.address(shop, item)
    parts = [b'{"new_', b'price": 1', b"04.5}"]
    answer = shop.request("POST", path, content=iter(parts), headers=headers)
    assert (answer.status_code, told(answer)["new_price"]) == (201, Decimal("104.5"))
    headers["Idempotency-Key"] = uuid4().hex
    answer = shop.request("POST", path, content=iter([b" " * 50_000] * 2), headers=headers)
    assert code(answer) == (413, "too_large")


def test_a_body_that_ends_before_its_length_changes_nothing(shop, kettle):
    own = shop.service
    with socket.create_connection(("127.0.0.1", own.port)) as connection:
        head = [f"POST /api/v1{prices.address(shop, kettle)} HTTP/1.1", "Host: x"]
        head += [f"X-API-Key: {shop.key}", "Idempotency-Key: cut", "Content-Length: 400", "", ""]
        connection.sendall("\r\n".join(head).encode() + b'{"new_price": 1}')
        connection.shutdown(socket.SHUT_WR)
        assert b" 400 " in connection.makefile("rb").readline()
    assert price_of(shop, kettle) == 100


@pytest.mark.parametrize("key", [None, "", '""', "k" * 256])
def test_a_call_without_a_usable_key_is_refused(shop, kettle, key):
    headers = {} if key is None else {"Idempotency-Key": key}
    path = prices.address(shop, kettle)
    answer = shop.request("POST", path, json={"new_price": 1}, headers=headers)
    assert code(answer) == (400, "idempotency_key_required")


def test_what_is_not_the_callers_is_as_absent_as_what_never_was(shop, stranger, kettle):
    nothing = str(uuid4())
    answers = [
        send(shop, nothing, {"new_price": 1}),
        send(stranger, kettle, {"new_price": 1}),
        stranger.request(
            "POST",
            prices.address(shop, kettle),
            json={"new_price": 1},
            headers={"Idempotency-Key": "k"},
        ),
    ]
    for path in (f"products/{nothing}/price-anomalies/", f"products/{kettle}/price-anomalies/"):
        answers.append(stranger.request("GET", f"/tenants/{stranger.tenant}/{path}"))
        answers.append(stranger.request("GET", f"/tenants/{shop.tenant}/{path}"))
    answers.append(stranger.request("GET", f"/tenants/{shop.tenant}/price-anomalies/"))
    assert {(answer.status_code, answer.content) for answer in answers} == {
        (404, answers[0].content)
    }
    assert price_of(shop, kettle) == 100
    assert prices.events(stranger) == 0


def test_one_product_id_of_two_tenants_has_two_prices_and_two_histories(running_service):
    shops = [add_shop(running_service) for _ in range(3)]
    item, shared = str(uuid4()), {"sku": "shared", "name": "Tea"}
    for place, one in enumerate(shops, 1):
        row = {"product_id": item, "price": f"{place}00", **shared}
        assert one.load("products.ndjson", ndjson(row))["outcomes"]["inserted"] == 1
    first, middle, last = shops
    for one in (first, last):  # its only interval is yet to come; the others have none
        row = {"id": str(uuid4()), "product_id": item, "price": "7"}
        one.load("price_history.ndjson", ndjson({**row, "effective_from": "2100-01-01T00:00:00Z"}))
    for place, one in enumerate(shops, 1):
        assert told(send(one, item, {"new_price": place * 100 + 1}))["old_price"] == place * 100
    ends = [[end and end.year for _, _, end in intervals(one, item)] for one in shops]
    assert ends == [[2100, None], [None], [2100, None]]
    assert told(send(middle, item, {"new_price": 202}))["old_price"] == 201
    assert [price_of(one, item) for one in shops] == [101, 202, 301]
    prices.assert_sound(middle, item)


def test_a_call_is_as_new_as_its_own_tenants_files(running_service):
    shops = [add_shop(running_service) for _ in range(3)]
    goods = [add_products(one)[0] for one in shops]
    for busy in (shops[0], shops[2]):
        for _ in range(3):
            add_products(busy)
    first, middle, last = zip(shops, goods, strict=True)
    for one, item in (middle, first, last):
        assert send(one, item, {"new_price": 101}).status_code == 201
        newer = {"product_id": item, "sku": item[:13], "name": "Tea", "price": "102"}
        assert one.load("products.ndjson", ndjson(newer))["outcomes"]["updated"] == 1
        assert price_of(one, item) == 102


def test_the_old_price_is_ours_and_a_callers_is_kept_beside_it(shop):
    [item] = add_products(shop)
    found = told(send(shop, item, {"new_price": 103, "old_price": 99.5}))
    assert (found["old_price"], found["claimed_old_price"]) == (100, Decimal("99.5"))


def test_a_strict_caller_is_refused_when_the_price_is_another_one(shop):
    [item] = add_products(shop)
    key, asked = uuid4().hex, {"new_price": 90, "old_price": 95, "strict": True}
    answer = send(shop, item, asked, key=key)
    assert code(answer) == (409, "price_changed")
    assert told(answer)["current_price"] == 100
    assert price_of(shop, item) == 100
    send(shop, item, {"new_price": 95})
    assert send(shop, item, asked, key=key).status_code == 201  # the key was not used up
    again = send(shop, item, asked, key=key)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert price_of(shop, item) == 90


def test_the_same_request_again_gets_the_same_bytes_and_another_gets_none(shop):
    [item, other] = add_products(shop, 2)
    key = uuid4().hex
    first = send(shop, item, {"new_price": 120, "metadata": {"a": 1, "b": 2}}, key=key)
    again = send(
        shop, item, b'{"metadata": {"b": 2, "a": 1.0}, "new_price": "120.00"}', key=f'"{key}"'
    )
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    for product_id, body in ((item, {"new_price": 121}), (other, {"new_price": 120})):
        assert code(send(shop, product_id, body, key=key)) == (422, "idempotency_mismatch")
    assert len(intervals(shop, item)) == 1
    assert intervals(shop, other) == []


def test_a_key_of_yesterday_is_a_new_one(shop):
    [item] = add_products(shop)
    key = uuid4().hex
    send(shop, item, {"new_price": 101}, key=key)
    mine = f"idempotency_keys.key = '{key}'"
    ask(shop.service, f"UPDATE idempotency_keys SET created_at = '2020-01-01' WHERE {mine}")
    second = send(shop, item, {"new_price": 102}, key=key)
    assert (second.status_code, price_of(shop, item)) == (201, 102)
    third = send(shop, item, {"new_price": 102}, key=key)
    assert (third.content, third.headers["Idempotency-Replayed"]) == (second.content, "true")


def test_an_anomaly_says_why_and_is_in_the_stream_and_in_the_feed(merchant):
    [item] = add_products(merchant)
    send(merchant, item, {"new_price": 101})
    answer = send(merchant, item, {"new_price": 1010, "source": "till", "metadata": {"x": [1]}})
    found = answer.json()
    assert (found["severity"], found["anomaly_detected"]) == ("extreme", True)
    assert {reason["code"] for reason in found["reasons"]} == {"decimal_shift", "percent_change"}
    assert found["anomaly_reason"] == found["reasons"][0]["message"]
    lines, about = stream(merchant, item)
    assert about == {
        "product_id": item,
        "count": 1,
        "hours": 24,
        "limit": None,
        "truncated": False,
    }
    assert lines == [{**found, "metadata": {"x": [1]}, "cursor": "1"}]
    assert follow(merchant) == {"data": lines, "next_cursor": "1"}
    assert follow(merchant, "1") == {"data": [], "next_cursor": "1"}


def test_a_stream_goes_back_so_many_hours_and_has_so_many_lines(merchant):
    [item, other] = add_products(merchant, 2)
    for price in (1000, 100, 1000):
        send(merchant, item, {"new_price": price})
    send(merchant, other, {"new_price": 1000})
    lines, about = stream(merchant, item, limit=2)
    assert ([line["cursor"] for line in lines], about["truncated"]) == (["3", "2"], True)
    lines, about = stream(merchant, item, limit=3)
    assert (about["count"], about["truncated"]) == (3, False)
    ask(
        merchant.service,
        "UPDATE price_events SET processed_at = '2020-01-01 00:00:00' WHERE feed_number < 3 AND"
        f" tenant_id = {merchant.service.spelled(merchant.tenant)}",
    )
    assert stream(merchant, item)[1]["count"] == 1
    assert stream(merchant, item, hours=87_000)[1]["count"] == 3


@pytest.mark.parametrize(
    "asked", ["hours=0", "hours=x", "hours=-1", "hours=1e3", "limit=0", "limit=9999999", "hours="]
)
def test_bounds_of_a_stream_are_checked(shop, kettle, asked):
    path = f"/tenants/{shop.tenant}/products/{kettle}/price-anomalies/?{asked}"
    answer = shop.request("GET", path)
    assert code(answer) == (400, "invalid_value")
    assert answer.json()["errors"][0]["field"] == asked.partition("=")[0]


@pytest.mark.parametrize(
    "asked", ["wait=26", "wait=x", "limit=1001", "after=x", "after=-1", "after=999999999"]
)
def test_bounds_of_a_feed_are_checked(shop, asked):
    answer = shop.request("GET", f"/tenants/{shop.tenant}/price-anomalies/?{asked}")
    assert answer.status_code == 400


def test_a_feed_is_read_page_by_page_or_from_now_on(merchant):
    items = add_products(merchant, 5)
    assert follow(merchant, "latest") == {"data": [], "next_cursor": "0"}
    for item in items:
        send(merchant, item, {"new_price": 1000})
    seen, cursor = [], None
    while (page := follow(merchant, cursor, limit=2))["data"]:
        seen += [line["product_id"] for line in page["data"]]
        cursor = page["next_cursor"]
    assert (seen, cursor) == (items, "5")
    assert follow(merchant, "latest")["next_cursor"] == "5"


def test_a_product_without_a_history_is_measured_by_its_category_or_else_its_tenant(merchant):
    category = str(uuid4())
    known = add_products(merchant, 10, category_id=category)
    rows = [interval for item in known for interval in quiet_history(item)]
    assert merchant.load("price_history.ndjson", ndjson(*rows))["outcomes"]["inserted"] == 60
    found = {}
    for own in (category, str(uuid4()), None):
        [item] = add_products(merchant, price="50", category_id=own)
        [reason] = send(merchant, item, {"new_price": 57}).json()["reasons"]
        found[own] = (reason["code"], reason["numbers"]["level"], reason["numbers"]["changes"])
    assert [*found.values()] == [
        ("robust_score", "category", 50),
        ("robust_score", "tenant", 50),
        ("robust_score", "tenant", 50),
    ]
    [reason] = send(merchant, known[0], {"new_price": 86}).json()["reasons"]
    assert reason["numbers"]["level"] == "category"  # five changes are no history yet


def quiet_history(item: str) -> list[dict]:
    """Six prices that differ by one per cent."""
    days = [f"2025-03-{day:02d}T00:00:00Z" for day in range(1, 7)]
    return [
        {
            "id": str(uuid4()),
            "product_id": item,
            "price": "10.1" if at % 2 else "10",
            "effective_from": start,
            "effective_to": end,
        }
        for at, (start, end) in enumerate(zip(days, [*days[1:], None], strict=True))
    ]


def test_calls_are_counted_and_every_answer_says_what_is_left(running_service):
    limited = running_service.add_tenant(max_product_calls_per_minute=2)
    [item] = add_products(limited)
    answers = [send(limited, item, {"new_price": price}) for price in ("x", 101, 102)]
    assert [answer.status_code for answer in answers] == [400, 201, 429]
    assert all("RateLimit" in answer.headers for answer in answers)
    assert code(answers[2]) == (429, "quota-exceeded")
    assert price_of(limited, item) == 101


def test_a_file_accepted_before_a_call_is_older_and_one_accepted_after_it_is_newer(merchant):
    [item] = add_products(merchant)
    send(merchant, item, {"new_price": 111})
    row = {"product_id": item, "sku": item[:13], "name": "Tea", "price": "120"}
    sequence = f"SELECT source_sequence FROM products WHERE {prices.of_product(merchant, item)}"
    [(found,)] = ask(merchant.service, sequence)
    assert divmod(found, 2**32) == (1, 2**32 - 1)
    assert merchant.load("products.ndjson", ndjson(row))["outcomes"]["updated"] == 1
    assert price_of(merchant, item) == 120
    assert json.loads(send(merchant, item, {"new_price": 121}).content)["old_price"] == 120
