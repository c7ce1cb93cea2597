"""One effect per Idempotency-Key, and the same answer to every repetition."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import customer, form, stored_objects

PATHS = {
    "a file": "/ingest/comprehensive/",
    "an upload": "/ingest/sessions/",
}


@pytest.fixture(scope="module")
def shop(running_service: Service) -> Merchant:
    return running_service.add_tenant()


def open_upload(merchant: Merchant, key: str, **options):
    return merchant.request(
        "POST", "/ingest/sessions/", json=options, headers={"Idempotency-Key": key}
    )


def assert_replayed(first, second) -> None:
    """The second answer is the first one, byte by byte, and says that it is a replay."""
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert second.headers["Location"] == first.headers["Location"]
    assert first.headers.get("Idempotency-Replayed") is None
    assert second.headers["Idempotency-Replayed"] == "true"


def code(response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


def at_once(number: int, call) -> list:
    """The answers to `number` calls made at the same time."""
    with ThreadPoolExecutor(number) as pool:
        return [future.result() for future in [pool.submit(call) for _ in range(number)]]


def assert_one_effect(merchant: Merchant, answers: list, objects_before: int) -> None:
    """All were accepted with identical bytes, and one chunk and one object is there."""
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotency-Replayed" not in answer.headers for answer in answers) == 1
    status = merchant.wait(answers[0].json()["upload_token"])
    assert (status["files"]["received"], status["outcomes"]["inserted"]) == (1, 1)
    assert len(stored_objects(merchant)) == objects_before + 1


def assert_one_effect_of_requests_at_once(merchant: Merchant, number: int) -> None:
    key, data = uuid4().hex, ndjson(customer())
    before = len(stored_objects(merchant))
    answers = at_once(number, lambda: merchant.send("customers.ndjson", data, key=key))
    assert_one_effect(merchant, answers, before)


def test_a_file_without_a_key_is_refused(shop):
    response = shop.request(
        "POST",
        "/ingest/comprehensive/",
        content=ndjson(customer()),
        headers={"X-Filename": "customers.ndjson"},
    )
    assert code(response) == (400, "idempotency_key_required")


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
@pytest.mark.parametrize("key", ["", '""', "k" * 256, '"' + "k" * 256 + '"', "k\tk", "clé"])
def test_a_key_that_is_not_1_to_255_printable_characters_is_refused(shop, path, key):
    headers = {"X-Filename": "customers.ndjson", "Idempotency-Key": key.encode()}
    content = ndjson(customer()) if "comprehensive" in path else b""
    response = shop.request("POST", path, content=content, headers=headers)
    assert code(response) == (400, "idempotency_key_required")


@pytest.mark.parametrize("key", ["k", "k" * 255, '"quoted"', 'a "b" c', "~!@#$%^&*()"])
def test_a_key_of_1_to_255_printable_characters_is_accepted(shop, key):
    data = ndjson(customer())
    first = shop.send("customers.ndjson", data, key=key)
    assert first.status_code == 201
    assert_replayed(first, shop.send("customers.ndjson", data, key=key))


def test_a_quoted_key_is_the_bare_one(shop):
    key, data = uuid4().hex, ndjson(customer())
    first = shop.send("customers.ndjson", data, key=f'"{key}"')
    assert_replayed(first, shop.send("customers.ndjson", data, key=key))


def test_the_same_request_again_is_answered_with_the_same_bytes(shop):
    key, data = uuid4().hex, ndjson(customer())
    before = len(stored_objects(shop))
    first = shop.send("customers.ndjson", data, key=key)
    shop.wait(first.json()["upload_token"])
    answers = [shop.send("customers.ndjson", data, key=key) for _ in range(3)]
    for again in answers:
        assert_replayed(first, again)
    assert_one_effect(shop, [first, *answers], before)


def test_a_form_with_another_boundary_is_the_same_request(shop):
    key, part = uuid4().hex, ("file", "customers.ndjson", ndjson(customer()))
    answers = []
    for boundary in ("one", "another"):
        asked = form(part, boundary=boundary)
        headers = {**asked["headers"], "Idempotency-Key": key}
        answers.append(
            shop.request(
                "POST", "/ingest/comprehensive/", content=asked["content"], headers=headers
            )
        )
    assert_replayed(*answers)


def test_another_request_with_the_same_key_is_refused_and_keeps_nothing(shop):
    key, data, token = uuid4().hex, ndjson(customer()), shop.open_upload()
    first = shop.send("customers.ndjson", data, key=key)
    before = len(stored_objects(shop))
    others = [
        shop.send("customers.ndjson", ndjson(customer()), key=key),
        shop.send("customers.ndjson", data + b"\n", key=key),
        shop.send("products.ndjson", data, key=key),
        shop.send("customers.ndjson", data, key=key, token=token),
    ]
    assert [code(other) for other in others] == [(422, "idempotency_mismatch")] * 4
    assert len(stored_objects(shop)) == before
    assert shop.status(token)["files"]["received"] == 0
    assert_replayed(first, shop.send("customers.ndjson", data, key=key))


def test_the_same_key_of_another_tenant_is_another_key(shop, stranger):
    key, data = uuid4().hex, ndjson(customer())
    ours = shop.send("customers.ndjson", data, key=key)
    theirs = stranger.send("customers.ndjson", data, key=key)
    assert (ours.status_code, theirs.status_code) == (201, 201)
    assert ours.json()["chunk_id"] != theirs.json()["chunk_id"]
    assert "Idempotency-Replayed" not in theirs.headers
    assert code(stranger.send("customers.ndjson", data + data, key=key)) == (
        422,
        "idempotency_mismatch",
    )


@pytest.mark.parametrize("number", [6, 16])
def test_identical_requests_at_once_have_one_effect_and_one_answer(shop, number):
    assert_one_effect_of_requests_at_once(shop, number)


def test_different_requests_with_one_key_at_once_have_one_effect(shop):
    key = uuid4().hex
    before = len(stored_objects(shop))
    answers = at_once(6, lambda: shop.send("customers.ndjson", ndjson(customer()), key=key))
    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 5
    assert len(stored_objects(shop)) == before + 1


def test_a_request_that_was_refused_does_not_use_up_its_key(shop):
    key, data = uuid4().hex, ndjson(customer())
    refused = [
        shop.send("customers.ndjson", b"", key=key),
        shop.send("suppliers.ndjson", data, key=key),
        shop.send("customers.zip", data, key=key),
        shop.send("customers.ndjson", data, key=key, token="up_nobody"),
        shop.send("customers.ndjson", data, key=key, **{"X-API-Key": "wrong"}),
    ]
    assert [answer.status_code for answer in refused] == [400, 400, 415, 404, 401]
    first = shop.send("customers.ndjson", data, key=key)
    assert (first.status_code, first.headers.get("Idempotency-Replayed")) == (201, None)


def test_opening_an_upload_again_with_the_same_key_returns_the_first(shop):
    key = uuid4().hex
    first = open_upload(shop, key)
    assert_replayed(first, open_upload(shop, f'"{key}"', on_missing_parent="park"))
    other = open_upload(shop, key, on_missing_parent="reject")
    assert code(other) == (422, "idempotency_mismatch")


def test_opening_an_upload_needs_no_key(shop):
    assert shop.open_upload() != shop.open_upload()


def test_a_key_for_a_file_is_not_a_key_for_an_upload(shop):
    key = uuid4().hex
    assert open_upload(shop, key).status_code == 201
    assert shop.send("customers.ndjson", ndjson(customer()), key=key).status_code == 201


@pytest.mark.parametrize("number", [6, 16])
def test_identical_openings_at_once_open_one_upload(merchant, number):
    key = uuid4().hex
    answers = at_once(number, lambda: open_upload(merchant, key))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert len(merchant.request("GET", "/ingest/sessions/").json()["data"]) == 1


def test_a_refused_opening_does_not_use_up_its_key(shop):
    key = uuid4().hex
    assert open_upload(shop, key, on_missing_parent="guess").status_code == 400
    first = open_upload(shop, key)
    assert (first.status_code, first.headers.get("Idempotency-Replayed")) == (201, None)
