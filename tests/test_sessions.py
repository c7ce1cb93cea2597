"""Uploads to their end: limits, all or nothing, complete, cancel, resume, expiry; parked lines."""

import gzip
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

import pytest

from tests import service
from tests.conftest import HTTP_DIALECTS, on_every_database, server_of
from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import ask, customer, order, product, stored_objects

BAD = b'{"customer_id": 7}\n'
BIG = 60_000  # lines: several segments on every database


def sound(lines: int) -> bytes:
    return ndjson(*(customer() for _ in range(lines)))


def step(merchant: Merchant, token: str, name: str, **options) -> dict:
    response = merchant.request("POST", f"/ingest/sessions/{token}/{name}/", json=options)
    assert response.status_code == 200, response.text
    return response.json()


def ending(status: dict) -> tuple:
    """How the upload's only chunk ended: state, code, and its outcomes without the zeros."""
    (chunk,) = status["chunks"]
    counts = {name: number for name, number in chunk["outcomes"].items() if number}
    assert sum(counts.values()) == chunk["lines_received"]
    return chunk["status"], chunk["code"], counts


def loaded(merchant: Merchant, data: bytes, name: str = "customers.ndjson", **options) -> dict:
    return merchant.load(name, data, token=merchant.open_upload(**options))


# Limits.


def test_a_file_with_more_rejects_than_allowed_fails_before_anything_of_it_lands(merchant):
    status = loaded(merchant, sound(5) + BAD * 3, max_errors=2)
    assert ending(status) == ("failed", "too_many_rejects", {"rejected": 3, "unprocessed": 5})
    assert (status["status"], status["reject_codes"]) == ("failed", {"bad_uuid": 3})
    assert [reject["line"] for reject in merchant.rejects(status["upload_token"])] == [6, 7, 8]


@pytest.mark.parametrize("limit", [{"max_errors": 3}, {"max_error_rate": 0.375}])
def test_as_many_rejects_as_allowed_are_no_failure(merchant, limit):
    status = loaded(merchant, sound(5) + BAD * 3, **limit)
    assert ending(status) == ("completed_with_rejects", None, {"inserted": 5, "rejected": 3})


def test_the_share_of_rejects_is_limited_too(merchant):
    status = loaded(merchant, sound(5) + BAD * 3, max_error_rate=0.3)
    assert ending(status)[:2] == ("failed", "too_many_rejects")


def test_rejects_that_only_the_tables_can_tell_count_too(merchant):
    taken = product()
    merchant.load("products.ndjson", ndjson(taken))
    rivals = [product(sku=taken["sku"]) for _ in range(3)]
    status = loaded(merchant, ndjson(product(), *rivals), "products.ndjson", max_errors=2)
    state, code, counts = ending(status)
    assert (state, code, counts["rejected"]) == ("failed", "too_many_rejects", 3)


def test_resume_takes_new_limits(merchant):
    token = loaded(merchant, sound(5) + BAD * 3, max_errors=2)["upload_token"]
    assert step(merchant, token, "resume")["resumed"] == 1
    assert ending(merchant.wait(token))[:2] == ("failed", "too_many_rejects")
    assert step(merchant, token, "resume", max_errors=3)["resumed"] == 1
    assert ending(merchant.wait(token))[2] == {"inserted": 5, "rejected": 3}
    assert len(merchant.rejects(token)) == 3


@pytest.mark.parametrize(
    "options",
    [
        {"max_errors": -1},
        {"max_errors": "many"},
        {"max_error_rate": 1.5},
        {"error_policy": "ignore"},
        {"error_policy": "reject_all", "on_missing_parent": "park"},
        {"max_error": 1},
    ],
)
def test_options_that_mean_nothing_are_refused(merchant, options):
    response = merchant.request("POST", "/ingest/sessions/", json=options)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert next(iter(options)) in response.json()["detail"] or "error_policy" in options


# All or nothing.


def test_reject_all_lands_nothing_of_a_file_with_a_bad_line(merchant):
    status = loaded(merchant, sound(4) + BAD, error_policy="reject_all")
    assert ending(status) == ("failed", "rejected_whole", {"rejected": 1, "unprocessed": 4})
    assert rows(merchant, "customers") == 0


def test_reject_all_lands_nothing_when_the_tables_refuse_a_line(merchant):
    taken = product()
    merchant.load("products.ndjson", ndjson(taken))
    data = ndjson(product(), product(sku=taken["sku"]), product())
    status = loaded(merchant, data, "products.ndjson", error_policy="reject_all")
    assert ending(status) == ("failed", "rejected_whole", {"rejected": 1, "unprocessed": 2})
    assert status["reject_codes"] == {"natural_key_taken": 1}
    assert [reject["line"] for reject in merchant.rejects(status["upload_token"])] == [2]
    assert rows(merchant, "products") == 1


def test_reject_all_waits_for_no_parent(merchant):
    data = ndjson(order(), order(customer_id=str(uuid4())))
    status = loaded(merchant, data, "orders.ndjson", error_policy="reject_all")
    assert ending(status) == ("failed", "rejected_whole", {"rejected": 1, "unprocessed": 1})
    assert rows(merchant, "orders") == 0


def test_reject_all_lands_a_sound_file_in_one_transaction(merchant):
    token = merchant.open_upload(error_policy="reject_all")
    accepted = merchant.send("customers.ndjson", sound(BIG), token=token)
    assert accepted.status_code == 201
    seen = set()
    while not merchant.status(token)["finished"]:
        seen.add(rows(merchant, "customers"))
    assert ending(merchant.wait(token)) == ("completed", None, {"inserted": BIG})
    assert seen <= {0, BIG}


def test_a_file_that_failed_whole_lands_when_what_it_needed_is_there(merchant):
    buyer = customer()
    data = ndjson(order(), order(customer_id=buyer["customer_id"]))
    token = loaded(merchant, data, "orders.ndjson", error_policy="reject_all")["upload_token"]
    merchant.load("customers.ndjson", ndjson(buyer))
    assert step(merchant, token, "resume")["resumed"] == 1
    status = merchant.wait(token)
    assert ending(status) == ("completed", None, {"inserted": 2})
    assert (status["reject_codes"], merchant.rejects(token)) == ({}, [])


# Complete, cancel, resume.


def test_a_completed_upload_takes_no_more_files_and_says_so(merchant):
    token = merchant.open_upload()
    assert step(merchant, token, "complete")["accepts_files"] is False
    assert step(merchant, token, "complete")["status"] == "completed"
    response = merchant.send("customers.ndjson", sound(1), token=token)
    assert (response.status_code, response.json()["code"]) == (409, "upload_closed")
    assert stored_objects(merchant) == []


def test_complete_lets_what_was_received_finish(merchant):
    token = merchant.send("customers.ndjson", sound(3)).json()["upload_token"]
    step(merchant, token, "complete")
    assert merchant.wait(token)["status"] == "completed"


@on_every_database
def test_cancel_stops_at_the_next_segment_and_resume_goes_on_from_there(merchant):
    lines = BIG if merchant.service.dialect == "sqlite" else 4 * BIG
    token = merchant.send("customers.ndjson", sound(lines)).json()["upload_token"]
    while not (landed := merchant.status(token)["outcomes"]["inserted"]):
        time.sleep(0.01)
    assert landed < lines
    step(merchant, token, "cancel")
    status = merchant.wait(token)
    state, code, counts = ending(status)
    assert (status["status"], state, code) == ("cancelled", "cancelled", "cancelled")
    assert set(counts) == {"inserted", "unprocessed"}
    assert rows(merchant, "customers") == counts["inserted"]
    assert step(merchant, token, "resume")["resumed"] == 1
    assert ending(merchant.wait(token)) == ("completed", None, {"inserted": lines})
    assert rows(merchant, "customers") == lines


def test_cancel_counts_the_lines_of_files_that_were_never_begun(merchant):
    token = merchant.open_upload()
    files = [sound(7) + BAD, b"\n\n" + sound(2), gzip.compress(sound(5))]
    for data in files:
        name = "orders.ndjson.gz" if data[:1] == b"\x1f" else "orders.ndjson"
        assert merchant.send(name, data, token=token).status_code == 201
        step(merchant, token, "cancel") if data is files[-1] else None
    status = merchant.wait(token)
    by_chunk = [sum(chunk["outcomes"].values()) for chunk in status["chunks"]]
    assert by_chunk == [chunk["lines_received"] for chunk in status["chunks"]] == [8, 2, 5]
    assert status["finished"]


def test_a_cancelled_upload_takes_no_files_until_it_is_resumed(merchant):
    token = merchant.open_upload()
    assert step(merchant, token, "cancel")["status"] == "cancelled"
    assert merchant.send("customers.ndjson", sound(1), token=token).status_code == 409
    assert step(merchant, token, "resume") | {"chunks": []} == {
        **merchant.status(token),
        "resumed": 0,
    }
    assert merchant.send("customers.ndjson", sound(1), token=token).status_code == 201
    assert merchant.wait(token)["status"] == "completed"


def test_a_corrupt_file_can_be_resumed_and_stays_corrupt(merchant):
    status = loaded(merchant, gzip.compress(sound(50))[:-9], "customers.ndjson.gz")
    assert status["status"] == "failed"
    token = status["upload_token"]
    assert step(merchant, token, "resume")["resumed"] == 1
    again = merchant.wait(token)
    assert (again["chunks"], again["status"]) == (status["chunks"], "failed")


def test_what_is_sound_is_not_resumed(merchant):
    token = loaded(merchant, sound(2) + BAD)["upload_token"]
    assert step(merchant, token, "resume")["resumed"] == 0
    assert merchant.status(token)["finished"]


def test_lines_that_wake_between_a_cancel_and_a_resume_keep_their_outcome(merchant):
    buyer = customer()
    waiting = order(customer_id=buyer["customer_id"])
    data = ndjson(waiting, *(order() for _ in range(BIG)))
    token = merchant.send("orders.ndjson", data).json()["upload_token"]
    while not (now := merchant.status(token))["outcomes"]["parked"]:
        assert not now["finished"], "it was over before it could be cancelled"
        time.sleep(0.01)
    step(merchant, token, "cancel")
    assert ending(merchant.wait(token))[0] in ("cancelled", "completed")
    merchant.load("customers.ndjson", ndjson(buyer))
    assert merchant.wait(token)["outcomes"]["parked"] == 0
    step(merchant, token, "resume")
    state, _, counts = ending(merchant.wait(token))
    assert (state, counts) == ("completed", {"inserted": BIG + 1})


@pytest.mark.parametrize("name", ["complete", "cancel", "resume"])
def test_a_stranger_cannot_touch_an_upload(merchant, stranger, name):
    token = merchant.open_upload()
    before = merchant.status(token)
    response = stranger.request("POST", f"/ingest/sessions/{token}/{name}/", json={})
    absent = stranger.request("POST", f"/ingest/sessions/{token[::-1]}/{name}/", json={})
    assert (response.status_code, absent.status_code) == (404, 404)
    assert response.content == absent.content
    assert merchant.status(token) == before


def test_the_list_shows_every_upload_with_its_state(merchant):
    opened = merchant.open_upload()
    cancelled = merchant.open_upload()
    step(merchant, cancelled, "cancel")
    done = loaded(merchant, sound(1))["upload_token"]
    failed = loaded(merchant, gzip.compress(sound(9))[:-4], "customers.ndjson.gz")["upload_token"]
    mixed = loaded(merchant, sound(1) + BAD)["upload_token"]
    listed = merchant.request("GET", "/ingest/sessions/").json()["data"]
    assert [(row["upload_token"], row["status"]) for row in listed] == [
        (mixed, "completed_with_rejects"),
        (failed, "failed"),
        (done, "completed"),
        (cancelled, "cancelled"),
        (opened, "open"),
    ]


LONG_AGO = "2020-01-01 00:00:00"


def test_an_upload_that_gets_no_files_expires(merchant):
    token = merchant.open_upload()
    past = f"expires_at = '{LONG_AGO}'"
    ask(merchant.service, f"UPDATE uploads SET {past} WHERE token = '{token}'")
    status = merchant.status(token)
    assert (status["status"], status["accepts_files"]) == ("expired", False)
    assert status["finished"]
    response = merchant.send("customers.ndjson", sound(1), token=token)
    assert (response.status_code, response.json()["code"]) == (409, "upload_closed")


@pytest.mark.parametrize("name", ["complete", "cancel"])
def test_an_upload_that_ends_without_files_is_finished(merchant, name):
    token = merchant.open_upload()
    assert not merchant.status(token)["finished"]
    status = step(merchant, token, name)
    assert (status["finished"], status["accepts_files"], status["chunks"]) == (True, False, [])


# Parked lines.


def test_a_tenant_may_choose_to_reject_at_once(running_service):
    merchant = running_service.add_tenant(on_missing_parent="reject")
    status = merchant.load("orders.ndjson", ndjson(order(customer_id=str(uuid4()))))
    assert status["reject_codes"] == {"reference_missing": 1}
    token = merchant.open_upload(on_missing_parent="park")
    status = merchant.load("orders.ndjson", ndjson(order(customer_id=str(uuid4()))), token=token)
    assert status["outcomes"]["parked"] == 1


def test_a_line_that_wakes_after_the_end_changes_counters_and_state(merchant):
    buyer, taken = customer(), order()
    merchant.load("orders.ndjson", ndjson(taken))
    rival = order(customer_id=buyer["customer_id"], external_order_id=taken["external_order_id"])
    waiting = merchant.load("orders.ndjson", ndjson(order(), rival))
    assert ending(waiting) == ("completed", None, {"inserted": 1, "parked": 1})
    merchant.load("customers.ndjson", ndjson(buyer))
    status = merchant.wait(waiting["upload_token"])
    assert status["status"] == "completed_with_rejects"
    assert ending(status) == ("completed_with_rejects", None, {"inserted": 1, "rejected": 1})
    assert status["reject_codes"] == {"natural_key_taken": 1}


HOURS_LEFT = {
    "postgresql": "EXTRACT(EPOCH FROM expires_at - now()) / 3600",
    "mariadb": "TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), expires_at) / 3600",
    "sqlite": "(julianday(expires_at) - julianday('now')) * 24",
}


@on_every_database
def test_time_to_live_begins_when_a_line_is_parked(merchant):
    token = loaded(merchant, ndjson(order(customer_id=str(uuid4()))), "orders.ndjson")[
        "upload_token"
    ]
    assert merchant.status(token)["outcomes"]["parked"] == 1
    hours = HOURS_LEFT[merchant.service.dialect]
    mine = f"WHERE chunk_id = {_chunk(merchant, token)}"
    assert ask(merchant.service, f"SELECT ROUND({hours}) FROM parked {mine}") == [(48,)]
    ask(merchant.service, f"UPDATE parked SET expires_at = '{LONG_AGO}' {mine}")
    end = time.monotonic() + 200  # the sweep for these rests 20 times as long as it took
    while merchant.status(token)["outcomes"]["parked"] and time.monotonic() < end:
        time.sleep(0.2)
    status = merchant.wait(token)
    assert ending(status) == ("completed_with_rejects", None, {"rejected": 1})
    assert status["reject_codes"] == {"reference_missing": 1}


def _chunk(merchant: Merchant, token: str) -> str:
    return merchant.service.spelled(merchant.status(token)["chunks"][0]["chunk_id"])


def rows(merchant: Merchant, entity: str) -> int:
    mine = f"tenant_id = {merchant.service.spelled(merchant.tenant)}"
    count = f"SELECT COUNT(*) FROM {entity} WHERE {mine}"
    return ask(merchant.service, count)[0][0]


# Admission.


@pytest.fixture(params=HTTP_DIALECTS, scope="module")
def narrow(request, tmp_path_factory) -> Iterator[Service]:
    """A service without a worker that takes little at once."""
    server = server_of(request, request.param)
    limits = {
        "HEADRACE_WORKERS": "0",
        "HEADRACE_MAX_QUEUED_BYTES": "1000",
        "HEADRACE_MAX_ACTIVE_UPLOADS": "3",
    }
    home = tmp_path_factory.mktemp(f"narrow_{request.param}")
    with service.running(home, server, **limits) as running:
        yield running


def test_a_tenant_with_too_many_bytes_waiting_is_told_to_wait(narrow):
    merchant, other = narrow.add_tenant(), narrow.add_tenant()
    assert merchant.send("customers.ndjson", sound(10)).status_code == 201
    response = merchant.send("customers.ndjson", sound(10), key="later")
    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
    assert response.headers["Retry-After"] == "5"
    assert len(stored_objects(merchant)) == 1
    assert other.send("customers.ndjson", sound(10)).status_code == 201
    ask(narrow, "UPDATE tenants SET max_queued_bytes = 1000000")
    assert merchant.send("customers.ndjson", sound(10), key="later").status_code == 201


def test_a_tenant_with_too_many_uploads_at_work_is_told_to_wait(narrow):
    merchant = narrow.add_tenant()
    tokens = [merchant.send("customers.ndjson", sound(1)).json()["upload_token"] for _ in range(3)]
    response = merchant.send("customers.ndjson", sound(1))
    assert (response.status_code, response.json()["code"]) == (429, "queue_full")
    joined = merchant.send("customers.ndjson", sound(1), token=tokens[0])
    assert joined.status_code == 201


def test_open_uploads_of_another_tenant_are_not_counted(narrow):
    other, merchant = narrow.add_tenant(), narrow.add_tenant()
    opened = [other.request("POST", "/ingest/sessions/", json={}).status_code for _ in range(4)]
    assert opened == [201, 201, 201, 429]
    assert merchant.request("POST", "/ingest/sessions/", json={}).status_code == 201


def test_the_same_request_again_is_answered_however_much_waits(narrow):
    merchant, data = narrow.add_tenant(), sound(10)
    first = merchant.send("customers.ndjson", data, key="once")
    again = merchant.send("customers.ndjson", data, key="once")
    assert (again.status_code, again.content) == (201, first.content)


def test_the_disk_keeps_a_reserve(tmp_path):
    with service.running(
        tmp_path, HEADRACE_WORKERS="0", HEADRACE_DISK_RESERVE_BYTES=str(1 << 60)
    ) as running:
        merchant = running.add_tenant()
        response = merchant.send("customers.ndjson", sound(1))
        assert (response.status_code, response.json()["code"]) == (507, "store_full")
        assert response.headers["Retry-After"] == "30"
        assert stored_objects(merchant) == []


def test_bodies_never_take_the_last_threads(tmp_path):
    with service.running(tmp_path, HEADRACE_WORKERS="0", HEADRACE_THREADS="5") as running:
        merchant = running.add_tenant()
        slow: list[socket.socket] = []
        try:
            _hold_all_seats(merchant, slow)
            response = merchant.send("customers.ndjson", sound(1))
            assert (response.status_code, response.json()["code"]) == (503, "busy")
            assert response.headers["Retry-After"] == "1"
            for _ in range(10):
                assert merchant.request("GET", "/ingest/sessions/").status_code == 200
        finally:
            for connection in slow:
                connection.close()
        end = time.monotonic() + 90
        while merchant.send("customers.ndjson", sound(1)).status_code != 201:
            assert time.monotonic() < end


def _open_body(merchant: Merchant, *, sent: bytes = b"{") -> socket.socket:
    """A request whose body does not go on."""
    connection = socket.create_connection(("127.0.0.1", merchant.service.port))
    head = "POST /api/v1/ingest/comprehensive/ HTTP/1.1\r\nHost: localhost\r\n"
    head += f"X-API-Key: {merchant.key}\r\nIdempotency-Key: {uuid4().hex}\r\n"
    head += "X-Filename: customers.ndjson\r\nContent-Length: 1000000\r\n\r\n"
    connection.sendall(head.encode() + sent)
    return connection


def _hold_all_seats(merchant: Merchant, slow: list[socket.socket]) -> None:
    """Hold bodies open until every process refuses more: which one takes them is chance."""
    end, refused = time.monotonic() + 60, 0
    while refused < 20:
        assert time.monotonic() < end
        if merchant.send("customers.ndjson", sound(1)).status_code == 503:
            refused += 1
        else:
            refused = 0
            slow.append(_open_body(merchant))


def test_a_body_that_brings_nothing_is_given_up(tmp_path):
    with service.running(
        tmp_path, HEADRACE_WORKERS="0", HEADRACE_BODY_SILENCE_SECONDS="1"
    ) as running:
        merchant = running.add_tenant()
        with _open_body(merchant) as connection:
            connection.settimeout(60)
            answer = connection.makefile("rb").read()  # it is closed, or this would not end
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"code":"too_slow"' in answer.replace(b" ", b"")
        assert stored_objects(merchant) == []


def test_a_body_that_trickles_is_given_up(tmp_path):
    with service.running(
        tmp_path,
        HEADRACE_WORKERS="0",
        HEADRACE_BODY_SILENCE_SECONDS="2",
        HEADRACE_MIN_BYTES_PER_SECOND="200000",
    ) as running:
        merchant = running.add_tenant()
        with _open_body(merchant) as connection:
            connection.settimeout(0.1)
            answer, end = b"", time.monotonic() + 90
            while not answer and time.monotonic() < end:
                with suppress(TimeoutError, BrokenPipeError):
                    connection.sendall(b"x" * 20)
                    answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 408 ")
