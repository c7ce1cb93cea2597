"""The double of Supabase Storage answers as the real one, in all that our store looks at.

`supabase_storage.py` says how a real server is named.
"""

from typing import Any, NamedTuple

import httpx2
import pytest

from tests import supabase_storage

PHOTO = b"\xff\xd8\xff a photo"
HELD = {"a/one": PHOTO, "a/two": b"", "a/b/three": b"12345"}
ABSENT = "there-is-no-such-bucket"
LIST: dict[str, Any] = {"limit": 1000, "offset": 0}
NO_BUCKET = (400, "404", "NoSuchBucket", "Bucket not found")
NO_KEY = (400, "404", "NoSuchKey", "Object not found")
NO_RIGHT = {"headers": {"Authorization": "Bearer stale"}}
PUT: dict[str, Any] = {
    "content": PHOTO,
    "headers": {"Content-Type": "image/jpeg", "x-upsert": "true"},
}
FOLDER_A = [("b", None), ("one", len(PHOTO)), ("two", 0)]


class Case(NamedTuple):
    """A request, and what it is answered. In the path, {} is the bucket."""

    method: str
    path: str
    request: dict[str, Any]
    answer: object


CASES = {
    "bucket": Case("GET", "bucket/{}", {}, 200),
    "no bucket": Case("GET", f"bucket/{ABSENT}", {}, NO_BUCKET),
    "put": Case("POST", "object/{}/c/new", PUT, "{}/c/new"),
    "put over another": Case("POST", "object/{}/a/one", PUT, "{}/a/one"),
    "put but not over another": Case(
        *("POST", "object/{}/a/one", {"content": PHOTO}),
        (400, "409", "KeyAlreadyExists", "The resource already exists"),
    ),
    "put into no bucket": Case("POST", f"object/{ABSENT}/a/one", PUT, NO_BUCKET),
    "put with a bad name": Case(
        *("POST", "object/{}/a/%5Bone%5D", PUT),
        (400, "400", "InvalidKey", "Invalid key: a/[one]"),
    ),
    "put too much": Case(
        *("POST", "object/{}/c/large"),
        {**PUT, "content": b"x" * (supabase_storage.MOST_BYTES + 1)},
        (400, "413", "EntityTooLarge", "The object exceeded the maximum allowed size"),
    ),
    "read": Case("GET", "object/authenticated/{}/a/one", {}, ("image/jpeg", PHOTO)),
    "read nothing": Case("GET", "object/authenticated/{}/a/none", {}, NO_KEY),
    "read from no bucket": Case("GET", f"object/authenticated/{ABSENT}/a", {}, NO_BUCKET),
    "info": Case("GET", "object/info/authenticated/{}/a/one", {}, len(PHOTO)),
    "info of what is empty": Case("GET", "object/info/authenticated/{}/a/two", {}, 0),
    "info of nothing": Case("GET", "object/info/authenticated/{}/a/none", {}, NO_KEY),
    "info from no bucket": Case("GET", f"object/info/authenticated/{ABSENT}/a", {}, NO_BUCKET),
    "list": Case("POST", "object/list/{}", {"json": {"prefix": "a", **LIST}}, FOLDER_A),
    "list a page": Case(
        *("POST", "object/list/{}", {"json": {"prefix": "a", "limit": 1, "offset": 1}}),
        FOLDER_A[1:2],
    ),
    "list beyond the last": Case(
        *("POST", "object/list/{}", {"json": {"prefix": "a", "limit": 1, "offset": 3}}), []
    ),
    "list no folder": Case("POST", "object/list/{}", {"json": {"prefix": "none", **LIST}}, []),
    "list no bucket": Case("POST", f"object/list/{ABSENT}", {"json": {"prefix": "a", **LIST}}, []),
    "sign nothing": Case("POST", "object/sign/{}/a/none", {"json": {"expiresIn": 60}}, NO_KEY),
    "sign for no time": Case(
        *("POST", "object/sign/{}/a/one", {"json": {"expiresIn": 0}}),
        (400, "400", "InvalidRequest", "body/expiresIn must be >= 1"),
    ),
    "sign in no bucket": Case(
        *("POST", f"object/sign/{ABSENT}/a/one", {"json": {"expiresIn": 60}}), NO_KEY
    ),
    "read with a bad link": Case(
        *("GET", "object/sign/{}/a/one?token=another's", {}),
        (400, "400", "InvalidJWT", "Invalid Compact JWS"),
    ),
    "remove": Case(
        *("DELETE", "object/{}", {"json": {"prefixes": ["a/one", "a/none"]}}), [("a/one",)]
    ),
    "remove nothing": Case("DELETE", "object/{}", {"json": {"prefixes": ["a/none"]}}, []),
    "remove from no bucket": Case(
        *("DELETE", f"object/{ABSENT}", {"json": {"prefixes": ["a/one"]}}), []
    ),
    "a stale key": Case(
        *("GET", "object/info/authenticated/{}/a/one", NO_RIGHT),
        (400, "403", "AccessDenied", "Invalid Compact JWS"),
    ),
}


@pytest.fixture(params=supabase_storage.KINDS, scope="module")
def place(request):
    with supabase_storage.environment_of(request.param) as environment:
        yield environment


@pytest.fixture
def client(place):
    """A client whose bucket holds HELD and nothing else."""
    key = place["SUPABASE_SERVICE_ROLE_KEY"]
    with httpx2.Client(
        base_url=f"{place['NEXT_PUBLIC_SUPABASE_URL']}/storage/v1",
        headers={"Authorization": f"Bearer {key}", "apikey": key},
    ) as opened:
        bucket = place["HEADRACE_RECOGNITIONS_BUCKET"]
        opened.request("DELETE", f"/object/{bucket}", json={"prefixes": ["c/new", "c/large"]})
        for name, data in HELD.items():
            put = opened.post(f"/object/{bucket}/{name}", **{**PUT, "content": data})
            assert put.is_success, put.text
        yield opened


@pytest.mark.parametrize("name", CASES)
def test_every_request_is_answered_alike(client, place, name):
    case, bucket = CASES[name], place["HEADRACE_RECOGNITIONS_BUCKET"]
    asked = client.request(case.method, case.path.replace("{}", bucket), **case.request)
    expected = case.answer.replace("{}", bucket) if isinstance(case.answer, str) else case.answer
    assert looked_at(asked, case.path) == expected


def looked_at(answer: httpx2.Response, path: str) -> object:
    """What of an answer our store looks at, with the code that the server has for a refusal."""
    if not answer.is_success:
        told = answer.json()
        return answer.status_code, told["statusCode"], told["code"], told["message"]
    if "json" not in answer.headers["Content-Type"]:
        return answer.headers["Content-Type"], answer.content
    told = answer.json()
    if isinstance(told, list):
        return [entry(one) for one in told]
    if path.startswith("bucket"):
        return answer.status_code
    return told.get("Key", told.get("size"))


def entry(one: dict[str, Any]) -> tuple:
    """One entry of a list; one that was removed has its whole name."""
    if "bucket_id" in one:
        return (one["name"],)
    if one["id"] is None:
        return one["name"], None
    return one["name"], int(one["metadata"]["size"])


def test_a_link_is_of_one_object(client, place):
    bucket = place["HEADRACE_RECOGNITIONS_BUCKET"]
    signed = client.post(f"/object/sign/{bucket}/a/one", json={"expiresIn": 60}).json()["signedURL"]
    assert signed.startswith(f"/object/sign/{bucket}/a/one?token=")
    base = f"{place['NEXT_PUBLIC_SUPABASE_URL']}/storage/v1"
    assert httpx2.get(f"{base}{signed}").content == PHOTO
    assert httpx2.get(f"{base}{signed.replace('a/one', 'a/two')}").status_code == 400
    assert httpx2.get(f"{base}{signed.partition('?')[0]}").status_code == 400
