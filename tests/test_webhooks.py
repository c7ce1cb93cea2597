"""Webhooks from effect to receiver: signed, sent again, kept apart, and never in the way."""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from standardwebhooks import WebhookVerificationError

from apps.webhooks.kinds import KINDS, MOST_PRODUCTS
from apps.webhooks.schedule import JITTER, WAITS
from headrace.pipeline.formats import NDJSON
from tests import documents, hooks, prices, stock
from tests.conftest import on_every_database
from tests.exports import Exporter
from tests.hooks import Hooks, Receiver
from tests.inside import Inside
from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import ask, customer, order, product
from tests.stock import Till
from tests.test_idempotency import code
from tests.test_tenants_http import assert_same_absence

#: For what every database does alike, and for what its times are spelled most oddly on.
on_sqlite = pytest.mark.parametrize("running_service", ["sqlite"], indirect=True, scope="session")
NEGATIVE = {"negative_levels": "allow", **prices.UNLIMITED}


@pytest.fixture(scope="module")
def shop(running_service: Service) -> Merchant:
    """One merchant for the tests that leave nothing behind."""
    return running_service.add_tenant()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with hooks.receiving() as opened:
        yield opened


@on_every_database
def test_what_happens_is_told_to_a_receiver_that_verifies_it(running_service, receiver):
    merchant = running_service.add_tenant(**NEGATIVE)
    endpoint, secret = Hooks(merchant).make(receiver.url)
    goods = product()
    upload = merchant.load("products.ndjson", ndjson(goods))
    price = prices.send(merchant, goods["product_id"], {"new_price": "2500"}).json()
    export = Exporter(merchant).made(entity="products", format=NDJSON)
    Till(merchant).update([stock.event(goods["product_id"], delta=-3)])
    told = {one.told()["type"]: one.verified(secret)["data"] for one in receiver.wait(4)}
    assert told["upload.completed"] == {
        "upload_token": upload["upload_token"],
        "status": "completed",
        "files": {"received": 1, "failed": 0},
        "lines_received": 1,
        "outcomes": upload["outcomes"],
        "status_url": f"/api/v1/ingest/sessions/{upload['upload_token']}/status/",
    }
    assert told["price.anomaly"] == price
    shown = ("export_id", "entity", "format", "compression", "rows", "bytes", "sha256")
    addresses = ("status_url", "download_url")
    assert told["export.completed"] == {name: export[name] for name in (*shown, *addresses)}
    fallen = {"product_id": goods["product_id"], "level": -3}
    assert told["stock.negative"] == {"products": [fallen]}
    log = Hooks(merchant).ended(endpoint)
    assert {one["webhook_id"] for one in log} == {one.id for one in receiver.received}
    assert [[one["state"], len(one["attempts"])] for one in log] == [["delivered", 1]] * 4
    shown = {name: log[0]["attempts"][0][name] for name in ("status", "error", "answer")}
    assert shown == {"status": 200, "error": None, "answer": "thanks"}


@on_every_database
def test_a_level_is_told_once_a_request_when_it_falls_below_0(running_service, receiver):
    till = Till(running_service.add_tenant(**NEGATIVE))
    endpoint, _ = Hooks(till.merchant).make(receiver.url, "stock.negative")
    products = till.products(6)

    def by(way: str, *changes: tuple[str, int]) -> None:
        events = [stock.event(key, delta=change) for key, change in changes]
        if way == "call":
            assert till.update(events).json()["status"] == "success"
        else:
            assert till.merchant.load("stock_events.ndjson", ndjson(*events))["finished"]

    for way, (one, two, three) in (("call", products[:3]), ("file", products[3:])):
        by(way, (one, 1), (one, -2), (one, -2), (two, -1), (two, 1))
        by(way, (one, -1))  # it is below 0 already
        by(way, (one, 4), (two, 5))
        by(way, (one, -1), (two, 7), (three, -1), (three, 1))
    till.update([stock.event(three, delta=-9)])
    assert len(Hooks(till.merchant).ended(endpoint)) == 5
    told = [one for received in receiver.of() for one in received.told()["data"]["products"]]
    falls = [(one, level) for one in products[::3] for level in (-3, -1)] + [(three, -9)]
    assert Counter((one["product_id"], one["level"]) for one in told) == Counter(falls)


@on_every_database
def test_an_upload_is_told_when_it_ends_and_again_when_that_changes(running_service, receiver):
    merchant = running_service.add_tenant()
    endpoint, _ = Hooks(merchant).make(receiver.url)
    buyer, other = customer(), customer()
    waiting = [order(customer_id=one["customer_id"]) for one in (buyer, other)]
    parked = merchant.load("orders.ndjson", ndjson(*waiting))["upload_token"]
    bad = merchant.load("customers.ndjson", ndjson(buyer, customer(name=7)))["upload_token"]
    assert merchant.wait(parked)["outcomes"]["parked"] == 1
    merchant.load("customers.ndjson", ndjson(other))
    merchant.wait(parked)
    assert len(Hooks(merchant).ended(endpoint)) == 4
    told = [one.told() for one in receiver.of()]
    of = {token: [] for token in (parked, bad)}
    for one in told:
        of.setdefault(one["data"]["upload_token"], []).append(one)
    assert [one["type"] for one in of[bad]] == ["upload.needs_attention"]
    # One of two that landed is no change; both are.
    assert {one["type"]: one["data"]["outcomes"]["parked"] for one in of[parked]} == {
        "upload.needs_attention": 2,
        "upload.completed": 0,
    }
    assert len(told) == 4


@on_every_database
def test_of_two_files_that_end_at_once_the_later_one_tells(running_service):
    merchant = running_service.add_tenant()
    Hooks(merchant).make("http://127.0.0.1:9/")
    told = Inside(running_service, "hooks_inside").do("end_at_once", merchant.tenant)
    assert told == [{"received": 2, "failed": 0}]


def test_files_of_an_upload_that_end_at_once_are_told_as_one(running_service, receiver):
    merchant = running_service.add_tenant()
    Hooks(merchant).make(receiver.url)
    token = merchant.open_upload()
    for _ in range(6):
        merchant.send("customers.ndjson", ndjson(customer()), token=token)
    merchant.wait(token)
    last = receiver.wait(1, kind="upload.completed")
    while last[-1].told()["data"]["files"]["received"] < 6:
        last = receiver.wait(len(last) + 1)
    counts = [one.told()["data"]["files"]["received"] for one in last]
    assert len(set(counts)) == len(counts), "one a state of the upload"


@on_sqlite
def test_an_endpoint_gets_the_events_that_it_asks_for_and_no_others_tenants(
    merchant, stranger, receiver
):
    with hooks.receiving() as theirs, hooks.receiving() as narrow:
        Hooks(stranger).make(theirs.url)
        Hooks(merchant).make(narrow.url, "export.completed", description="a narrow one")
        Hooks(merchant).make(receiver.url, "upload.completed", "price.anomaly")
        merchant.load("customers.ndjson", ndjson(customer()))
        Exporter(merchant).made(entity="customers", format=NDJSON)
        [upload], [export] = receiver.wait(1), narrow.wait(1)
        stranger.load("customers.ndjson", ndjson(customer()))
        theirs.wait(1)
    assert (upload.told()["type"], export.told()["type"]) == (
        "upload.completed",
        "export.completed",
    )
    assert (len(receiver.received), len(narrow.received), len(theirs.received)) == (1, 1, 1)


@on_sqlite
def test_the_old_and_the_new_secret_sign_while_they_overlap(merchant, receiver):
    own = Hooks(merchant)
    endpoint, old = own.make(receiver.url)
    rotated = own.call("POST", f"{endpoint}/rotate/", json={"overlap_hours": 2})
    new = rotated["secret"]
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", new)
    assert new != old
    assert rotated["old_secret_until"] > rotated["created_at"]
    own.call("POST", f"{endpoint}/test/", status=202)
    [received] = receiver.wait(1)
    assert received.verified(old) == received.verified(new)
    assert len(received.headers["webhook-signature"].split()) == 2
    ask(merchant.service, "UPDATE webhook_endpoints SET old_until = '2020-01-01'")
    own.call("POST", f"{endpoint}/test/", status=202)
    later = receiver.wait(2)[1]
    later.verified(new)
    with pytest.raises(WebhookVerificationError):
        later.verified(old)
    assert own.call("GET", f"{endpoint}/")["old_secret_until"] is None


@on_sqlite
def test_a_secret_is_shown_when_it_is_made_and_is_nowhere_else(merchant, receiver):
    own = Hooks(merchant)
    endpoint, secret = own.make(receiver.url)
    shown = [own.call("GET"), own.call("GET", f"{endpoint}/"), own.deliveries(endpoint)]
    stored = ask(merchant.service, "SELECT * FROM webhook_endpoints")
    bare = secret.removeprefix("whsec_")
    for text in (json.dumps(shown), str(stored), merchant.service.log()):
        assert bare not in text
        assert "whsec_" not in text


@on_sqlite
def test_signatures_do_not_hold_for_anything_else(merchant, receiver):
    endpoint, secret = Hooks(merchant).make(receiver.url)
    Hooks(merchant).call("POST", f"{endpoint}/test/", status=202)
    [received] = receiver.wait(1)
    assert received.verified(secret)["data"] == {"endpoint_id": endpoint}
    changed = [
        received._replace(body=received.body + b" "),
        received._replace(headers={**received.headers, "webhook-id": "msg_other"}),
        received._replace(headers={**received.headers, "webhook-timestamp": "1700000000"}),
    ]
    for one in changed:
        with pytest.raises(WebhookVerificationError):
            one.verified(secret)


@on_every_database
def test_an_event_is_sent_by_the_schedule_until_it_is_given_up_and_may_be_replayed(
    running_service, receiver
):
    merchant = running_service.add_tenant()
    own = Hooks(merchant)
    endpoint, secret = own.make(receiver.url)
    receiver.answer = lambda received: (500, {}, b"no" * 5_000)
    own.call("POST", f"{endpoint}/test/", status=202)
    waited = Inside(running_service, "hooks_inside").do("fail", merchant.tenant, len(WAITS))
    for wait, seconds in zip(WAITS, waited, strict=True):
        assert wait * (1 - JITTER) - 1 < seconds < wait * (1 + JITTER) + 1
    [given_up] = own.ended(endpoint)
    assert (given_up["state"], given_up["attempts_left"]) == ("failed", 0)
    told = {(one["status"], one["error"], one["answer"]) for one in given_up["attempts"]}
    assert told == {(500, "status", "no" * 500)}
    assert own.call("GET", f"{endpoint}/")["failures"] == len(WAITS) + 1
    receiver.answer = lambda received: (204, {}, b"")
    own.call("POST", f"{endpoint}/deliveries/{given_up['delivery_id']}/replay/", status=202)
    [replayed] = own.ended(endpoint)
    assert (replayed["state"], len(replayed["attempts"])) == ("delivered", len(WAITS) + 2)
    assert {one.id for one in receiver.received} == {given_up["webhook_id"]}
    assert {one.verified(secret)["type"] for one in receiver.received} == {"webhook.test"}
    state = own.call("GET", f"{endpoint}/")
    assert (state["failures"], state["held_until"]) == (0, None)


@on_every_database
def test_an_event_is_not_there_where_what_happened_is_undone(running_service):
    merchant = running_service.add_tenant()
    Hooks(merchant).make("http://127.0.0.1:9/")
    left, after = Inside(running_service, "hooks_inside").do("undo", merchant.tenant)
    assert (left, after) == ([0, 0], [1, 1])


@on_sqlite
def test_while_an_endpoint_fails_what_comes_waits_with_it(merchant, receiver):
    own = Hooks(merchant)
    endpoint, _ = own.make(receiver.url)
    receiver.answer = lambda received: (503, {}, b"")
    own.call("POST", f"{endpoint}/test/", status=202)
    own.attempts(endpoint, 1)
    ask(merchant.service, "UPDATE webhook_lanes SET held_until = '2100-01-01'")
    merchant.load("customers.ndjson", ndjson(customer()))
    merchant.load("customers.ndjson", ndjson(customer()))
    assert [len(one["attempts"]) for one in own.deliveries(endpoint)] == [0, 0, 1]
    receiver.answer = lambda received: (200, {}, b"")
    Inside(merchant.service, "hooks_inside").do("hurry", merchant.tenant)
    assert {one["state"] for one in own.ended(endpoint)} == {"delivered"}


@on_every_database
def test_an_endpoint_that_is_gone_is_disabled_and_may_be_enabled_again(running_service, receiver):
    merchant = running_service.add_tenant()
    own = Hooks(merchant)
    endpoint, _ = own.make(receiver.url)
    receiver.answer = lambda received: (410, {}, b"")
    own.call("POST", f"{endpoint}/test/", status=202)
    [one] = own.ended(endpoint)
    state = own.call("GET", f"{endpoint}/")
    assert (one["state"], state["enabled"], state["disabled_because"]) == ("failed", False, "gone")
    merchant.load("customers.ndjson", ndjson(customer()))
    since = {"json": {"since": one["created_at"]}}
    replay = f"{endpoint}/deliveries/{one['delivery_id']}/replay/"
    for path, more in ((replay, {}), (f"{endpoint}/test/", {}), (f"{endpoint}/replay/", since)):
        assert own.call("POST", path, status=409, **more)["code"] == "endpoint_disabled"
    receiver.answer = lambda received: (200, {}, b"")
    assert own.call("PATCH", f"{endpoint}/", json={"enabled": True})["enabled"]
    assert own.call("POST", f"{endpoint}/replay/", status=202, **since) == {"replayed": 1}
    assert [one["state"] for one in own.ended(endpoint)] == ["delivered"]
    assert own.call("POST", f"{endpoint}/replay/", status=202, **since) == {"replayed": 0}
    assert len(receiver.received) == 2


@on_sqlite
def test_an_endpoint_is_changed_listed_and_deleted(merchant, receiver):
    own = Hooks(merchant)
    endpoint, _ = own.make("http://127.0.0.1:9/", "price.anomaly", description="first")
    assert [one["endpoint_id"] for one in own.call("GET")["data"]] == [endpoint]
    more = {"url": receiver.url, "description": "", "events": sorted(KINDS)}
    changed = own.call("PATCH", f"{endpoint}/", json=more)
    assert {name: changed[name] for name in more} == more
    own.call("POST", f"{endpoint}/test/", status=202)
    receiver.wait(1)
    own.call("PATCH", f"{endpoint}/", json={"enabled": False})
    merchant.load("customers.ndjson", ndjson(customer()))
    own.call("PATCH", f"{endpoint}/", json={"enabled": True})
    assert len(own.ended(endpoint)) == 1
    own.call("DELETE", f"{endpoint}/", status=204)
    assert own.call("GET") == {"data": [], "next_cursor": None}
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "deliveries/"), ("POST", "test/")):
        own.call(method, f"{endpoint}/{path}", status=404)
    merchant.load("customers.ndjson", ndjson(customer()))
    assert len(receiver.received) == 1


@on_sqlite
def test_an_endpoint_of_another_is_as_absent_as_one_that_never_was(merchant, stranger, receiver):
    theirs = Hooks(stranger)
    endpoint, _ = theirs.make(receiver.url)
    theirs.call("POST", f"{endpoint}/test/", status=202)
    [delivery] = theirs.ended(endpoint)
    own, _ = Hooks(merchant).make(receiver.url)
    since = {"json": {"since": "2020-01-01T00:00:00Z"}}
    calls = [
        *(("GET", "{}/"), ("DELETE", "{}/"), ("GET", "{}/deliveries/"), ("POST", "{}/test/")),
        *(("POST", "{}/rotate/", {"json": {}}), ("POST", "{}/replay/", since)),
        ("PATCH", "{}/", {"json": {"enabled": False, "url": receiver.url}}),
    ]
    for method, path, *more in calls:
        answers = (
            merchant.request(method, Hooks(merchant).base + path.format(key), **(more or [{}])[0])
            for key in (endpoint, uuid4())
        )
        assert_same_absence(*answers)
    replays = (f"{own}/deliveries/{key}/replay/" for key in (delivery["delivery_id"], uuid4()))
    answers = (merchant.request("POST", Hooks(merchant).base + path) for path in replays)
    assert_same_absence(*answers)
    cursors = ({"cursor": key} for key in (delivery["delivery_id"], str(uuid4())))
    told = [Hooks(merchant).call("GET", f"{own}/deliveries/", 400, params=one) for one in cursors]
    assert told[0] == told[1]
    assert theirs.call("GET", f"{endpoint}/")["enabled"]
    assert len(theirs.deliveries(endpoint)) == 1


@on_sqlite
def test_the_log_is_paged_and_chosen_by_state(merchant, receiver):
    own = Hooks(merchant)
    endpoint, _ = own.make(receiver.url)
    made = [own.call("POST", f"{endpoint}/test/", status=202)["delivery_id"] for _ in range(5)]
    assert {one["delivery_id"] for one in own.ended(endpoint)} == {*made}
    found, cursor = [], {}
    while cursor is not None:
        page = own.call("GET", f"{endpoint}/deliveries/", params={"limit": 2, **cursor})
        found += [one["delivery_id"] for one in page["data"]]
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
    assert found == [one["delivery_id"] for one in own.deliveries(endpoint)]
    assert own.deliveries(endpoint, state="failed") == []
    assert len(own.deliveries(endpoint, state="delivered")) == 5


BAD_REQUESTS = {
    "no url": ({}, "invalid_request"),
    "unknown option": ({"url": "https://hooks.example.org/", "secret": "x"}, "invalid_request"),
    "unknown event": ({"url": "http://127.0.0.1/", "events": ["upload"]}, "invalid_request"),
    "no events": ({"url": "http://127.0.0.1/", "events": []}, "invalid_request"),
    "events no list": ({"url": "http://127.0.0.1/", "events": {"a": 1}}, "invalid_request"),
    "NUL": ({"url": "http://127.0.0.1/", "description": "a\0b"}, "invalid_request"),
    "half a letter": ({"url": "http://127.0.0.1/", "description": "\ud800"}, "invalid_request"),
    "not http": ({"url": "ftp://127.0.0.1/"}, "address_refused"),
    "user": ({"url": "http://me:secret@127.0.0.1/"}, "address_refused"),
    "private": ({"url": "http://10.0.0.1/"}, "address_refused"),
    "metadata": ({"url": "http://169.254.169.254/latest/meta-data/"}, "address_refused"),
    "mapped": ({"url": "http://[::ffff:10.0.0.1]/"}, "address_refused"),
    "no such name": ({"url": "http://nothing.invalid/"}, "address_refused"),
}


@on_sqlite
@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_an_endpoint_that_cannot_be_is_refused_and_not_there(shop, case: str):
    asked, expected = BAD_REQUESTS[case]
    json_ = {"Content-Type": "application/json"}
    data = json.dumps(asked).encode()
    answer = shop.request("POST", Hooks(shop).base, content=data, headers=json_)
    assert code(answer) == (400, expected), answer.text
    assert Hooks(shop).call("GET")["data"] == []
    assert "me:secret" not in shop.service.log()


@on_sqlite
def test_an_address_is_looked_at_again_when_it_is_sent(merchant, receiver):
    own = Hooks(merchant)
    endpoint, _ = own.make(receiver.url)
    mine = f"endpoint_id = {merchant.service.spelled(endpoint)}"
    moved = "http://10.0.0.1:9/a-token-of-the-receiver"  # as a name that is rebound
    ask(merchant.service, f"UPDATE webhook_endpoints SET url = '{moved}' WHERE {mine}")
    own.call("POST", f"{endpoint}/test/", status=202)
    [delivery] = own.attempted(endpoint)
    assert [one["error"] for one in delivery["attempts"]] == ["address_refused"]
    assert "a-token-of-the-receiver" not in merchant.service.log()


@on_sqlite
def test_what_an_address_answers_says_nothing_of_the_one_that_came_after_it(merchant, receiver):
    own = Hooks(merchant)
    endpoint, _ = own.make(f"{receiver.url}/old")
    moved = f"{receiver.url}/new"

    def answer(received):
        if received.path.endswith("/new"):
            return 200, {}, b""
        own.call("PATCH", f"{endpoint}/", json={"url": moved})
        return 410, {}, b""

    receiver.answer = answer
    own.call("POST", f"{endpoint}/test/", status=202)
    own.ended(endpoint)
    state = own.call("GET", f"{endpoint}/")
    assert (state["url"], state["enabled"], state["disabled_because"]) == (moved, True, None)
    own.call("POST", f"{endpoint}/test/", status=202)
    assert {one["state"] for one in own.ended(endpoint)} == {"failed", "delivered"}


@on_sqlite
def test_what_is_done_to_an_endpoint_is_in_the_audit_log(merchant, receiver):
    own = Hooks(merchant)
    endpoint, secret = own.make(f"{receiver.url}/a-token", "price.anomaly")
    receiver.answer = lambda received: (410, {}, b"")
    own.call("POST", f"{endpoint}/test/", status=202)
    [delivery] = own.ended(endpoint)
    receiver.answer = lambda received: (200, {}, b"")
    own.call("PATCH", f"{endpoint}/", json={"enabled": True, "url": receiver.url})
    own.call("POST", f"{endpoint}/rotate/", json={})
    own.call("POST", f"{endpoint}/deliveries/{delivery['delivery_id']}/replay/", status=202)
    own.call("POST", f"{endpoint}/replay/", status=202, json={"since": "2020-01-01T00:00:00Z"})
    own.call("DELETE", f"{endpoint}/", status=204)
    log = merchant.request("GET", f"/tenants/{merchant.tenant}/audit/").text
    assert log.count(endpoint) == len(re.findall(r'"webhook\.\w+"', log)) == 7
    for done in ("created", "tested", "changed", "rotated", "replayed", "deleted"):
        assert f'"webhook.{done}"' in log
    assert secret not in log
    assert "a-token" not in log


def test_no_more_endpoints_are_made_than_a_tenant_may_have(merchant, receiver):
    def make(_: int) -> int:
        asked = {"url": receiver.url}
        return merchant.request("POST", Hooks(merchant).base, json=asked).status_code

    with ThreadPoolExecutor(4) as pool:
        assert Counter(pool.map(make, range(14))) == {201: 10, 409: 4}
    assert len(Hooks(merchant).call("GET")["data"]) == 10


@on_sqlite
def test_a_receiver_that_hangs_keeps_nobody_elses_events(merchant, stranger, receiver):
    released = threading.Event()

    def hang(received: object) -> tuple[int, dict[str, str], bytes]:
        released.wait(20)
        return 200, {}, b""

    with hooks.receiving() as hanging:
        hanging.answer = hang
        try:
            endpoint, _ = Hooks(stranger).make(hanging.url)
            Hooks(stranger).call("POST", f"{endpoint}/test/", status=202)
            hanging.wait(1)
            own, _ = Hooks(merchant).make(receiver.url)
            for count in range(1, 4):
                Hooks(merchant).call("POST", f"{own}/test/", status=202)
                receiver.wait(count)
            assert Hooks(stranger).deliveries(endpoint)[0]["attempts"] == []
        finally:
            released.set()
        Hooks(stranger).ended(endpoint)


@on_sqlite
def test_an_endpoint_made_a_moment_ago_gets_what_happens_next(running_service, receiver):
    """Before it was there its tenant's calls have looked, and found that nobody listens."""
    till = Till(running_service.add_tenant(**NEGATIVE))
    keys = till.products(6)
    for key in keys[:3]:
        till.update([stock.event(key, delta=-1)])
    Hooks(till.merchant).make(receiver.url, "stock.negative")
    for key in keys[3:]:
        till.update([stock.event(key, delta=-1)])
    told = [one.told()["data"]["products"] for one in receiver.wait(3)]
    assert {one["product_id"] for products in told for one in products} == set(keys[3:])


@on_sqlite
def test_many_levels_that_fall_at_once_are_told_together(running_service, receiver):
    till = Till(running_service.add_tenant(**NEGATIVE))
    Hooks(till.merchant).make(receiver.url, "stock.negative")
    keys = till.products(MOST_PRODUCTS + 1)
    till.update([stock.event(key, delta=-1) for key in keys])
    told = [one.told()["data"]["products"] for one in receiver.wait(2)]
    assert sorted(map(len, told)) == [1, MOST_PRODUCTS]
    assert sorted(one["product_id"] for products in told for one in products) == sorted(keys)


def test_the_document_names_every_event():
    sections = documents.sections("docs/webhooks.md")
    assert documents.table(sections["Events"]) == KINDS


@on_sqlite
def test_the_receiver_of_the_document_takes_what_is_sent_and_nothing_else(merchant, receiver):
    [block] = [one for one in documents.blocks("docs/webhooks.md") if one.language == "python"]
    endpoint, secret = Hooks(merchant).make(receiver.url)
    Hooks(merchant).call("POST", f"{endpoint}/test/", status=202)
    [received] = receiver.wait(1)
    names: dict = {}
    exec(block.text, names)  # what a reader would paste
    assert names["read_event"](secret, received.headers, received.body)["type"] == "webhook.test"
    assert names["read_event"](secret, received.headers, received.body + b" ") is None
