"""Stock calls: what each is answered, and that no repetition counts twice, on every database."""

import gzip
import json
from uuid import uuid4

import pytest

from headrace.pipeline.formats.compression import zstd
from tests import stock
from tests.conftest import on_every_database
from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import form
from tests.stock import Till
from tests.test_idempotency import at_once, code

pytestmark = on_every_database


@pytest.fixture(scope="module")
def till(running_service: Service) -> Till:
    """A merchant with goods, for tests that use a product of their own."""
    return Till(running_service.add_tenant(max_calls_per_minute=0))


@pytest.fixture
def cup(till: Till) -> str:
    """A product that no other test moves."""
    return till.product()


def test_events_of_several_products_are_told_by_product(till, cup):
    bowl = till.product()
    events = [stock.event(cup, delta=5), stock.event(bowl, delta=2), stock.event(cup, delta=-1)]
    answer = till.update(events)
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "status": "success",
            "applied": [
                {"product_id": cup, "events_processed": 2, "final_level": 4},
                {"product_id": bowl, "events_processed": 1, "final_level": 2},
            ],
            "conflicts": [],
            "total_events_processed": 3,
            "events_received": 3,
            "outcomes": {"inserted": 3, "unchanged": 0, "rejected": 0},
            "level_mismatches": 0,
            "unknown_keys": {},
        },
    )


def test_one_impossible_event_refuses_its_product_and_no_other(till, cup):
    bowl, nobodys = till.product(), str(uuid4())
    events = [
        stock.event(cup, delta=5),
        stock.event(bowl, delta=2),
        stock.event(cup, delta=-6),
        stock.event(nobodys, delta=1),
        {"delta": 1},
        stock.event(bowl, delta="x"),
        5,
    ]
    answer = till.update(events).json()
    assert (answer["status"], answer["applied"]) == ("partial_success", [])
    assert [
        (conflict["product_id"], conflict["code"], conflict["line"], conflict["events_refused"])
        for conflict in answer["conflicts"]
    ] == [
        (cup, "negative_level", 3, 2),
        (bowl, "bad_number", 6, 2),
        (nobodys, "reference_missing", 4, 1),
        (None, "required", 5, 1),
        (None, "bad_json", 7, 1),
    ]
    assert answer["outcomes"] == {"inserted": 0, "unchanged": 0, "rejected": 7}
    assert answer["events_received"] == 7
    assert [till.levels().get(goods, 0) for goods in (cup, bowl)] == [0, 0]


def test_a_conflict_lists_its_faulty_lines_up_to_a_bound(till, cup):
    events = [stock.event(cup, delta="x") for _ in range(25)] + [stock.event(cup, delta=1)]
    (conflict,) = till.update(events).json()["conflicts"]
    assert (conflict["events_refused"], conflict["more_faults"]) == (26, 5)
    assert [fault["line"] for fault in conflict["faults"]] == list(range(1, 21))
    told = {"code": "bad_number", "line": 1, "field": "delta", "value": '"x"'}
    assert told.items() <= conflict.items()


def test_levels_are_set_and_compared(till, cup):
    till.update([stock.event(cup, set=8)])
    refused = till.update([stock.event(cup, set=3, expected=7)]).json()
    (conflict,) = refused["conflicts"]
    assert (conflict["code"], conflict["field"], conflict["value"]) == (
        "level_changed",
        "expected",
        "7",
    )
    answer = till.update([stock.event(cup, set=3, expected=8), stock.event(cup, delta=0)]).json()
    assert answer["applied"] == [{"product_id": cup, "events_processed": 2, "final_level": 3}]
    assert answer["outcomes"] == {"inserted": 1, "unchanged": 1, "rejected": 0}


def test_levels_may_be_negative_where_the_tenant_says_so(running_service):
    till = Till(running_service.add_tenant(negative_levels="allow"))
    cup = till.product()
    assert till.update([stock.event(cup, delta=-3)]).json()["applied"][0]["final_level"] == -3


def test_a_claim_that_is_wrong_is_counted_and_a_key_that_is_unknown_too(till, cup):
    answer = till.update([stock.event(cup, delta=5, resulting_level=6, colour="red")]).json()
    assert (answer["level_mismatches"], answer["unknown_keys"]) == (1, {"colour": 1})
    (movement,) = till.events(product_id=cup, mismatch="true")
    assert (movement["resulting_level"], movement["claimed_level"]) == (5, 6)


BODIES = {
    "an array": lambda events: (json.dumps(events).encode(), {}),
    "lines": lambda events: (ndjson(*events), {"Content-Type": "application/x-ndjson"}),
    "lines as curl sends them": lambda events: (
        ndjson(*events),
        {"Content-Type": "application/x-www-form-urlencoded"},
    ),
    "gzip": lambda events: (gzip.compress(ndjson(*events)), {"Content-Encoding": "gzip"}),
    "gzip that says nothing": lambda events: (gzip.compress(ndjson(*events)), {}),
    "zstd": lambda events: (zstd.compress(ndjson(*events)), {"Content-Encoding": "zstd"}),
    "a form": lambda events: in_form("stock_events.ndjson", ndjson(*events)),
    "a packed form": lambda events: in_form("s.ndjson.gz", gzip.compress(ndjson(*events))),
}


def in_form(name: str, data: bytes) -> tuple[bytes, dict]:
    request = form(("file", name, data))
    del request["headers"]["Idempotency-Key"]
    return request["content"], request["headers"]


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_events_come_as_any_kind_of_json(till, cup, body, method):
    content, headers = body([stock.event(cup, delta=5), stock.event(cup, delta=1)])
    answer = till.send(content, method=method, **headers)
    assert (answer.status_code, answer.json()["applied"][0]["final_level"]) == (200, 6), answer.text


def test_an_event_without_anything_optional_happens_now_and_by_the_system(till, cup):
    answer = till.send(json.dumps([{"product_id": cup, "delta": 2}]).encode(), key=uuid4().hex)
    assert answer.json()["status"] == "success"
    (movement,) = till.events(product_id=cup)
    assert (movement["source"], movement["meta"], movement["sequence"]) == ("system", {}, 1)
    assert movement["event_time"].startswith("20")


def test_events_without_ids_need_a_key_and_nothing_is_applied_without(till, cup):
    events = [stock.event(cup, delta=5), {"product_id": cup, "delta": 1}]
    assert code(till.update(events)) == (400, "idempotency_key_required")
    assert cup not in till.levels()
    assert till.update(events, key=uuid4().hex).json()["applied"][0]["final_level"] == 6


def test_a_key_replays_the_first_answer_byte_by_byte(till, cup):
    events, key = [{"product_id": cup, "delta": 5}, {"product_id": cup, "delta": -9}], uuid4().hex
    first = till.update(events, key=key)
    till.update([stock.event(cup, delta=50)])
    again = till.update(events, key=key)
    assert (again.status_code, again.content) == (200, first.content)
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert till.levels()[cup] == 50
    other = till.update([stock.event(cup, delta=1)], key=key)
    assert code(other) == (422, "idempotency_mismatch")


def test_the_same_file_after_its_key_has_expired_applies_nothing_twice(till, cup):
    events, key = [{"product_id": cup, "delta": 5}, {"product_id": cup, "delta": 5}], uuid4().hex
    assert till.update(events, key=key).json()["outcomes"]["inserted"] == 2
    till.forget(key)
    answer = till.update(events, key=key)
    assert answer.json()["outcomes"] == {"inserted": 0, "unchanged": 2, "rejected": 0}
    assert (till.levels()[cup], len(till.events(product_id=cup))) == (10, 2)
    till.forget(key)
    other = till.update([{"product_id": cup, "delta": 6}], key=key).json()
    assert [conflict["code"] for conflict in other["conflicts"]] == ["event_conflict"]


def test_events_with_ids_are_known_again_without_any_key(till, cup):
    events = [stock.event(cup, delta=5), stock.event(cup, delta=-1)]
    till.update(events)
    answer = till.update([*events, stock.event(cup, delta=2)]).json()
    assert answer["outcomes"] == {"inserted": 1, "unchanged": 2, "rejected": 0}
    assert answer["applied"] == [{"product_id": cup, "events_processed": 3, "final_level": 6}]


@pytest.mark.parametrize("has_key", [True, False])
def test_identical_calls_at_once_have_one_effect(till, cup, has_key):
    named = {} if has_key else {"stock_event_id": str(uuid4())}
    content = json.dumps([{"product_id": cup, "delta": 5, **named}]).encode()
    key = uuid4().hex if has_key else None
    answers = at_once(12, lambda: till.send(content, key=key))
    assert [answer.status_code for answer in answers] == [200] * 12
    assert (till.levels()[cup], len(till.events(product_id=cup))) == (5, 1)
    inserted = [answer.json()["outcomes"]["inserted"] for answer in answers]
    if has_key:
        assert len({answer.content for answer in answers}) == 1
        assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    else:
        assert sorted(inserted) == [0] * 11 + [1]


BROKEN = {
    "nothing": (b"", "empty_file"),
    "blanks": (b"\n \n", "empty_file"),
    "an empty array": (b" [] ", "empty_file"),
    "an array cut short": (b'[{"delta": 1}, {', "bad_array"),
    "more behind the array": (b"[] 5", "bad_array"),
    "a gzip cut short": (gzip.compress(b'{"delta": 1}')[:-4], "corrupt"),
    "a gzip and more": (gzip.compress(b'{"delta": 1}') + b"more", "corrupt"),
}


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_a_body_that_is_broken_as_a_whole_is_refused_as_one(till, case):
    content, expected = case
    assert code(till.send(content, key=uuid4().hex)) == (400, expected)


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"product_id,delta\n", {"Content-Type": "text/csv"}),
        (b"product_id,delta\n", {"X-Filename": "stock_events.csv"}),
        (b"PK\x03\x04rest", {}),
        (b"{}", {"Content-Encoding": "br"}),
    ],
)
def test_a_format_that_is_not_taken_is_named_with_those_that_are(till, content, headers):
    answer = till.send(content, key=uuid4().hex, **headers)
    assert code(answer) == (415, "unsupported_format")
    assert "json" in answer.text or "gzip" in answer.text


def test_what_is_too_much_to_wait_for_becomes_a_job_with_the_same_promise(till, cup):
    bowl, key = till.product(), uuid4().hex
    events = [{"product_id": cup, "delta": 1} for _ in range(10_000)]
    events += [{"product_id": bowl, "delta": 1}, {"product_id": bowl, "delta": -2}]
    assert code(till.update([stock.event(cup, delta=1)] * 10_001)) == (
        400,
        "idempotency_key_required",
    )
    answer = till.update(events, key=key)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == answer.json()["status_url"]
    again = till.update(events, key=key)
    assert (again.status_code, again.content) == (202, answer.content)
    assert code(till.update(events[:5], key=key)) == (422, "idempotency_mismatch")
    status = till.merchant.wait(answer.json()["upload_token"])
    assert (status["outcomes"]["inserted"], status["outcomes"]["rejected"]) == (10_000, 2)
    assert status["reject_codes"] == {"negative_level": 1, "refused_together": 1}
    assert till.levels()[cup] == 10_000
    till.forget(key)
    status = till.merchant.wait(till.update(events, key=key).json()["upload_token"])
    assert status["outcomes"]["unchanged"] == 10_000


def test_a_body_over_the_bytes_that_are_waited_for_is_stored_from_its_first_byte(till, cup):
    filler = {"note": "x" * 100_000}
    events = [{"product_id": cup, "delta": 1, "meta": filler} for _ in range(45)]
    content = ndjson(*events)
    assert len(content) > 4 << 20
    answer = till.send(content, key=uuid4().hex)
    assert answer.status_code == 202, answer.text
    assert answer.json()["bytes"] == len(content)
    assert till.merchant.wait(answer.json()["upload_token"])["outcomes"]["inserted"] == 45


def test_what_unpacks_to_more_than_is_waited_for_becomes_a_job(till, cup):
    line = json.dumps({"product_id": cup, "delta": 1, "meta": {"note": "x" * 500_000}})
    content = gzip.compress("\n".join([line] * 40).encode())
    answer = till.send(content, key=uuid4().hex)
    assert answer.status_code == 202, answer.text
    assert till.merchant.wait(answer.json()["upload_token"])["outcomes"]["inserted"] == 40


def test_a_product_of_another_tenant_is_one_that_is_not_there(till, cup, stranger):
    thief = Till(stranger)
    answer = thief.update([stock.event(cup, delta=1)]).json()
    assert [conflict["code"] for conflict in answer["conflicts"]] == ["reference_missing"]
    foreign = stock.event(cup, delta=1, tenant_id=str(till.merchant.tenant))
    assert thief.update([foreign]).json()["conflicts"][0]["code"] == "foreign_tenant"
    assert thief.levels() == {}
    assert cup not in till.levels()


def test_equal_event_ids_and_keys_of_two_tenants_stay_apart(till, cup, stranger):
    other = Till(stranger)
    bowl, shared, key = other.product(), str(uuid4()), uuid4().hex
    for one, goods in ((till, cup), (other, bowl)):
        event = {"product_id": goods, "delta": 3, "stock_event_id": shared}
        assert one.update([event], key=key).json()["outcomes"]["inserted"] == 1
    assert (till.levels()[cup], other.levels()) == (3, {bowl: 3})


def test_calls_are_counted_and_say_what_is_left(running_service):
    till = Till(running_service.add_tenant(max_calls_per_minute=2))
    cup = till.product()
    first = till.update([stock.event(cup, delta=1)])
    broken = till.send(b"", key="k")
    refused = till.update([stock.event(cup, delta=1)])
    assert [answer.status_code for answer in (first, broken, refused)] == [200, 400, 429]
    assert {answer.headers["RateLimit-Policy"] for answer in (first, broken, refused)} == {
        '"tenant";q=2;w=60'
    }
    assert (refused.json()["code"], int(refused.headers["Retry-After"])) == ("quota-exceeded", 30)
    assert till.levels() == {cup: 1}


def pages(till: Till, path: str, **parameters) -> list[list[dict]]:
    """All pages of a list."""
    found, cursor = [], None
    while True:
        asked = parameters | ({"cursor": cursor} if cursor else {})
        answer = till.ask(path, **asked)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["data"])
        if (cursor := answer.json()["next_cursor"]) is None:
            return found


def test_levels_are_listed_in_pages_and_chosen_by_level_and_product(stranger):
    till = Till(stranger)
    goods = sorted(till.product() for _ in range(5))
    till.update([stock.event(cup, delta=10 - place) for place, cup in enumerate(goods)])
    listed = pages(till, "levels", limit=2)
    assert [len(page) for page in listed] == [2, 2, 1]
    rows = [row for page in listed for row in page]
    assert [(row["product_id"], row["level"], row["sequence"]) for row in rows] == [
        (cup, 10 - place, 1) for place, cup in enumerate(goods)
    ]
    low = [row["level"] for page in pages(till, "levels", below=9, limit=1) for row in page]
    assert low == [6, 7, 8]
    (chosen,) = pages(till, "levels", product_id=[f"{goods[0]},{goods[3]}", goods[1].upper()])
    assert [row["product_id"] for row in chosen] == [goods[0], goods[1], goods[3]]


def test_movements_are_listed_by_product_in_their_order_and_by_what_they_say(stranger):
    till = Till(stranger)
    cup, bowl = till.product(), till.product()
    late = {"event_time": "2024-01-01T00:00:00Z", "meta": {"bill": 7}, "source": "audit"}
    till.update([stock.event(cup, delta=4), stock.event(bowl, delta=1), stock.event(cup, delta=1)])
    till.update([stock.event(cup, set=2, **late, resulting_level=2)])
    rows = [row for page in pages(till, "events", product_id=cup, limit=2) for row in page]
    told = [(row["sequence"], row["delta"], row["resulting_level"]) for row in rows]
    assert told == [(1, 4, 4), (2, 1, 5), (3, -3, 2)]
    last = rows[-1]
    assert (last["event_time"], last["source"], last["meta"], last["claimed_level"]) == (
        "2024-01-01T00:00:00.000000Z",
        "audit",
        {"bill": 7},
        2,
    )
    everything = [row for page in pages(till, "events", limit=3) for row in page]
    assert sorted(row["stock_event_id"] for row in everything) == [
        row["stock_event_id"] for row in everything
    ]
    assert len(everything) == 4
    assert len(till.events(since="2025-01-01")) == 3
    assert till.events(since="2025-01-01", product_id=bowl)[0]["product_id"] == bowl
    assert till.events(mismatch="true") == []


def test_movements_since_a_time_without_a_zone_are_those_of_the_tenants_zone(running_service):
    till = Till(running_service.add_tenant(time_zone="Europe/Berlin"))
    moved = stock.event(till.product(), delta=4, event_time="2025-06-01T00:30:00")
    till.update([moved])  # half past ten of the day before, in UTC
    assert len(till.events(since="2025-06-01")) == 1
    assert till.events(since="2025-06-01T00:00:00Z") == []


def test_each_tenants_movements_without_a_zone_are_of_its_own(running_service):
    for zone, moment in (("Europe/Berlin", "22:30:00"), ("Asia/Tokyo", "15:30:00")):
        till = Till(running_service.add_tenant(time_zone=zone))
        till.update([stock.event(till.product(), delta=4, event_time="2025-06-01T00:30:00")])
        assert len(till.events(since=f"2025-05-31T{moment}Z")) == 1
        assert till.events(since=f"2025-05-31T{moment[:-1]}1Z") == []


REFUSED = [
    ("levels", {"below": "x"}),
    ("levels", {"below": "1.5"}),
    ("levels", {"below": str(2**31)}),
    ("levels", {"limit": "0"}),
    ("levels", {"limit": "1001"}),
    ("levels", {"cursor": ""}),
    ("levels", {"cursor": "x' OR 1=1 --"}),
    ("levels", {"cursor": str(uuid4()), "below": "5"}),
    ("levels", {"cursor": f"5~{uuid4()}"}),
    ("levels", {"product_id": "x"}),
    ("levels", {"product_id": ",".join(str(uuid4()) for _ in range(101))}),
    ("levels", {"bellow": "5"}),
    ("events", {"product_id": "\x00"}),
    ("events", {"since": "yesterday"}),
    ("events", {"mismatch": "1"}),
    ("events", {"cursor": "5"}),
    ("events", {"cursor": str(uuid4()), "product_id": str(uuid4())}),
    ("events", {"tenant_id": str(uuid4())}),
]


@pytest.mark.parametrize(("path", "parameters"), REFUSED)
def test_what_cannot_be_asked_of_a_list_is_refused(till, path, parameters):
    assert code(till.ask(path, **parameters)) == (400, "invalid_request")


def test_a_cursor_of_another_question_is_refused(stranger):
    till = Till(stranger)
    cup, bowl = till.product(), till.product()
    till.update([stock.event(product, delta=1) for product in (cup, bowl) for _ in range(3)])
    cursor = till.ask("events", product_id=cup, limit=1).json()["next_cursor"]
    refused = till.ask("events", product_id=bowl, cursor=cursor)
    assert code(refused) == (409, "cursor_outdated")
    assert len(till.events(product_id=cup, cursor=cursor)) == 2
    low = till.ask("levels", below=9, limit=1).json()["next_cursor"]
    assert code(till.ask("levels", below=5, cursor=low)) == (409, "cursor_outdated")


def test_a_cursor_of_another_tenant_lists_rows_of_ones_own_only(till, stranger):
    theirs = Till(stranger)
    bowl = theirs.product()
    till.update([stock.event(till.product(), delta=1), stock.event(till.product(), delta=1)])
    theirs.update([stock.event(bowl, delta=7)])
    cursor = till.ask("levels", limit=1).json()["next_cursor"]
    listed = theirs.ask("levels", cursor=cursor).json()["data"]
    assert {row["product_id"] for row in listed} <= {bowl}


def test_files_of_the_road_land_in_the_same_ledger(till, cup: str):
    till.update([stock.event(cup, delta=5)])
    merchant: Merchant = till.merchant
    merchant.load("stock_events.ndjson", ndjson(stock.event(cup, delta=-2)))
    till.update([stock.event(cup, delta=1)])
    rows = till.events(product_id=cup)
    assert [(row["sequence"], row["resulting_level"]) for row in rows] == [(1, 5), (2, 3), (3, 4)]
