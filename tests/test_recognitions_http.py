"""Recognitions over HTTP: what the loader brought is told whole, and photos are shown by links."""

import hashlib
import json
import os
import tarfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from typer.testing import CliRunner

from headrace.recognitions import assembly, settings, storing
from headrace.recognitions.command import app
from tests import (
    reading,
    recognition_rows,
    recognition_sets,
    service,
    stores,
    supabase_storage,
)
from tests import test_keys as keys
from tests.conftest import on_every_database
from tests.inside import Inside
from tests.operators import Operator
from tests.recognition_sets import FIRST_ID, Dataset
from tests.service import Merchant, Service
from tests.test_lifecycle import wait_for_takeout

COUNT = 7
DAYS = {0: "2025-10-13", 1: "2025-10-12", 2: None}  # of the others it is 2025-10-11
WHOLE = (
    *("recognition_id", "recognized_on", "batch_id", "loaded_at"),
    *("photos", "menu_items", "check_lines", "detections"),
)
LIST = "recognitions/"
OURS = ("HEADRACE_", "AWS_", "NEXT_PUBLIC_", "SUPABASE_", "DB_", "DATABASE_")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """Recognitions of several days, and one of none."""
    made = recognition_sets.make(tmp_path_factory.mktemp("dataset"), COUNT)
    for place, day in DAYS.items():
        for file in made.folder(FIRST_ID + place).rglob("*2025-10-11_*"):
            file.rename(file.with_name(file.name.replace("2025-10-11_", f"{day}_" if day else "")))
    return made


@pytest.fixture(scope="module")
def team(running_service: Service, dataset: Dataset) -> Merchant:
    """A tenant with all of them in two batches, for those who only read."""
    made = running_service.add_tenant()
    assert load(made, dataset, "--limit", 4, "--batch-id", "first")["outcomes"]["loaded"] == 4
    assert load(made, dataset, "--batch-id", "second")["outcomes"]["loaded"] == 3
    command(made, "load-qwen", "--file", dataset.annotations)
    return made


def load(merchant: Merchant, dataset: Dataset, *arguments: object) -> dict[str, Any]:
    return command(merchant, "load", "--source", dataset.path, *arguments)


def command(merchant: Merchant, *arguments: object) -> dict[str, Any]:
    """What the loader tells: the command in this process, in the environment of the service."""
    given = merchant.service.environment
    embedded = f"sqlite:///{merchant.service.home / 'headrace.sqlite3'}"
    environment = {
        **{name: given.get(name) for name in os.environ if name.startswith(OURS)},
        **{name: value for name, value in given.items() if name.startswith(OURS)},
        "DATABASE_URL": given.get("DATABASE_URL", embedded),
    }
    words = [*arguments, "--tenant", merchant.tenant, "--json"]
    done = CliRunner().invoke(app, [str(word) for word in words], env=environment)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def whole(merchant: Merchant, number: int) -> dict[str, Any]:
    answer = reading.ask(merchant, f"{LIST}{number}/")
    assert answer.status_code == 200, answer.text
    return answer.json()


def link(merchant: Merchant, number: int = FIRST_ID, place: int = 0) -> str:
    return str(whole(merchant, number)["photos"][place]["url"])


def show(merchant: Merchant, url: str, method: str = "GET", **headers: str) -> httpx2.Response:
    """What a link shows to whoever has it."""
    return merchant.service.request(method, url, headers=headers)


def assert_refused(answer: httpx2.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_recognition_says_what_its_files_say(team, dataset):
    number = FIRST_ID + 3
    told = whole(team, number)
    assert tuple(told) == WHOLE
    photos = [told_of(dataset.photo(number, word)) for word in ("Main", "Qualifying")]
    links = [(one.pop("url"), one.pop("url_expires_at")) for one in told["photos"]]
    assert told == {
        "recognition_id": number,
        "recognized_on": "2025-10-11",
        "batch_id": "first",
        "loaded_at": told["loaded_at"],
        "photos": photos,
        "menu_items": list(map(dish, json.loads(dataset.menu(number).read_text()))),
        "check_lines": check_lines(dataset, number),
        "detections": detections(dataset, number),
    }
    assert len({url for url, _ in links}) == len({until for _, until in links}) + 1 == 2


def told_of(photo: Path) -> dict[str, Any]:
    data = photo.read_bytes()
    width, height = Image.open(photo).size
    return {
        "role": photo.stem.rpartition("_")[2].lower(),
        "width": width,
        "height": height,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "media_type": "image/jpeg",
    }


def dish(found: dict[str, str]) -> dict[str, str]:
    return {"external_id": found["ExternalId"], "name": found["Name"]}


def check_lines(dataset: Dataset, number: int) -> list[dict[str, Any]]:
    return [
        {"line": line, "choice": choice, "quantity": one["Count"], **dish(found)}
        for line, one in enumerate(json.loads(dataset.check(number).read_text()))
        for choice, found in enumerate(one["Dishes"])
    ]


def detections(dataset: Dataset, number: int) -> list[dict[str, Any]]:
    entries = json.loads(dataset.annotations.read_text())
    return [
        {
            "type": kind,
            "role": word.lower(),
            "label": box["label"],
            "box": dict(zip(("x_min", "y_min", "x_max", "y_max"), box["bbox_2d"], strict=True)),
        }
        for word in ("Main", "Qualifying")
        for kind, part in (("dish", "dishes"), ("plate", "plates"))
        for box in entries[recognition_sets.photo_path(number, word)][part]["qwen_detections"]
    ]


@on_every_database
def test_every_database_tells_the_same(merchant):
    recognition_rows.insert(merchant, "a text")
    told = whole(merchant, recognition_rows.NUMBER)
    [photo] = told["photos"]
    assert told == {
        "recognition_id": 7,
        "recognized_on": "2025-10-11",
        "batch_id": "a text",
        "loaded_at": told["loaded_at"],
        "photos": [
            {
                "role": "main",
                "width": 7,
                "height": 7,
                "sha256": "a text",
                "bytes": 7,
                **{name: photo[name] for name in ("media_type", "url", "url_expires_at")},
            }
        ],
        "menu_items": [{"external_id": "a text", "name": "a text"}],
        "check_lines": [
            {"line": 7, "choice": 7, "quantity": 7, "external_id": "a text", "name": "a text"}
        ],
        "detections": [
            {
                "type": "dish",
                "role": "main",
                "label": "a text",
                "box": {"x_min": 7, "y_min": 7, "x_max": 9, "y_max": 9},
            }
        ],
    }
    for asked in ({"recognized_on_from": "2025-10-11"}, {"batch_id": "a text"}, {}):
        [row] = reading.page(merchant, "recognitions", **asked)["data"]
        assert row == {name: told[name] for name in WHOLE[:4]}
    assert Operator(merchant.service).used(merchant)["stored_bytes"] == 7


def test_pages_have_every_recognition_once_by_number(team):
    found = list(reading.walk(team, LIST.rstrip("/"), limit=3))
    assert [[row["recognition_id"] - FIRST_ID for row in page] for page in found] == [
        [0, 1, 2],
        [3, 4, 5],
        [6],
    ]
    one = found[1][1]
    known = whole(team, one["recognition_id"])
    assert one == {name: known[name] for name in WHOLE[:4]}


CHOICES = [
    ({}, [0, 1, 2, 3, 4, 5, 6]),
    ({"recognized_on": "2025-10-12"}, [1]),
    ({"recognized_on": "2025-10-11", "batch_id": "second"}, [4, 5, 6]),
    ({"recognized_on_from": "2025-10-12"}, [1, 0]),
    ({"recognized_on_to": "2025-10-12"}, [3, 4, 5, 6, 1]),
    ({"recognized_on_from": "2025-10-12", "recognized_on_to": "2025-10-12"}, [1]),
    ({"recognized_on_missing": "true"}, [2]),
    ({"recognized_on": "2025-10-14"}, []),
    ({"batch_id": "first"}, [0, 1, 2, 3]),
    ({"batch_id": ["first", "second"], "recognized_on_to": "2025-10-11"}, [3, 4, 5, 6]),
    ({"batch_id": "first,second"}, []),
]


@pytest.mark.parametrize(("asked", "places"), CHOICES)
def test_recognitions_are_chosen_by_day_and_batch(asked, places, team):
    rows = [row for page in reading.walk(team, "recognitions", limit=2, **asked) for row in page]
    assert [row["recognition_id"] - FIRST_ID for row in rows] == places


def test_fields_are_members_in_their_order_behind_the_number(team):
    asked = ["detections", "photos", "recognized_on"]
    page = reading.page(team, "recognitions", fields=",".join(asked))["data"]
    assert {tuple(row) for row in page} == {("recognition_id", *asked)}
    for row in page:
        one = reading.ask(team, f"{LIST}{row['recognition_id']}/", fields=asked)
        assert one.json() == row


WRONG = [
    {"colour": "red"},
    {"tenant_id": "x"},
    {"recognized_on": "yesterday"},
    {"recognized_on": "2025-02-30"},
    {"recognized_on": ["2025-10-11", "2025-10-12"]},
    {"recognized_on_from": "20251011"},
    {"recognized_on_missing": "false"},
    {"batch_id": "nul\x00"},
    {"batch_id": "x" * 65},
    {"fields": ""},
    {"fields": "photos,photos"},
    {"fields": "object_key"},
    {"limit": "0"},
    {"limit": "1001"},
    {"cursor": ""},
    {"cursor": "2025-10-11~1"},
    {"cursor": str(2**63)},
    {"cursor": "x' OR 1=1 --"},
    {"cursor": "100001", "recognized_on_from": "2025-10-11"},
    {"cursor": "never~100001~145e09b8", "recognized_on_from": "2025-10-11"},
]


@pytest.mark.parametrize("asked", WRONG, ids=lambda asked: "&".join(asked))
def test_what_cannot_be_asked_is_refused_and_not_left_out(asked, team):
    assert_refused(reading.ask(team, LIST, **asked), 400, "invalid_request")


def test_a_recognition_that_is_not_there_is_not_found(team):
    for number in (1, 2**63 - 1, 2**63, 10**40, "x", -1):
        assert_refused(reading.ask(team, f"{LIST}{number}/"), 404, "not_found")
    assert_refused(reading.ask(team, f"{LIST}{FIRST_ID}/", cursor="1"), 400, "invalid_request")


def test_an_etag_says_whether_a_recognition_has_changed(merchant, dataset):
    load(merchant, dataset, "--limit", 1, "--batch-id", "one")
    path = f"/tenants/{merchant.tenant}/{LIST}{FIRST_ID}/?fields=batch_id,menu_items"
    first = merchant.request("GET", path)
    known = {"If-None-Match": first.headers["ETag"]}
    again = merchant.request("GET", path, headers=known)
    assert (again.status_code, again.content) == (304, b"")
    load(merchant, dataset, "--limit", 1, "--batch-id", "two", "--force")
    changed = merchant.request("GET", path, headers=known)
    assert (changed.status_code, changed.json()["batch_id"]) == (200, "two")


def test_another_tenant_and_a_key_without_the_scope_are_told_nothing(team, stranger):
    for path in (LIST, f"{LIST}{FIRST_ID}/"):
        address = reading.path_of(team, path)
        assert_refused(stranger.request("GET", address), 404, "not_found")
        blind = keys.mint(team, "ingest", "export", "stock", "price")
        assert_refused(blind.request("GET", address), 403, "wrong_scope")
    assert reading.page(stranger, "recognitions") == {"data": [], "next_cursor": None}
    assert_refused(reading.ask(stranger, f"{LIST}{FIRST_ID}/"), 404, "not_found")


def test_a_link_shows_the_photo_to_whoever_has_it(team, dataset):
    for place, word in enumerate(("Main", "Qualifying")):
        data = dataset.photo(FIRST_ID, word).read_bytes()
        answer = show(team, link(team, FIRST_ID, place))
        assert answer.status_code == 200
        assert answer.content == data
        assert {name: answer.headers[name] for name in HEADERS} == {
            "Content-Type": "image/jpeg",
            "Content-Length": str(len(data)),
            "Content-Disposition": f'inline; filename="{FIRST_ID}_{word.lower()}.jpeg"',
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "Accept-Ranges": "bytes",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Content-Security-Policy": answer.headers["Content-Security-Policy"],
        }
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        private, age, _ = answer.headers["Cache-Control"].split(", ")
        assert private == "private"
        assert 0 < int(age.removeprefix("max-age=")) <= 900


HEADERS = (
    *("Content-Type", "Content-Length", "Content-Disposition", "ETag", "Accept-Ranges"),
    *("X-Content-Type-Options", "Cross-Origin-Resource-Policy", "Content-Security-Policy"),
)


def test_a_photo_is_continued_where_it_broke_and_not_sent_to_who_has_it(team, dataset):
    url, data = link(team), dataset.photo(FIRST_ID, "Main").read_bytes()
    etag = show(team, url, "HEAD").headers["ETag"]
    part = show(team, url, Range="bytes=100-", **{"If-Range": etag})
    assert (part.status_code, part.content) == (206, data[100:])
    assert part.headers["Content-Range"] == f"bytes 100-{len(data) - 1}/{len(data)}"
    assert show(team, url, Range="bytes=5-9").content == data[5:10]
    assert show(team, url, Range="bytes=5-9", **{"If-Range": '"x"'}).content == data
    assert_refused(show(team, url, Range=f"bytes={len(data)}-"), 416, "range_not_satisfiable")
    known = show(team, url, **{"If-None-Match": etag})
    assert (known.status_code, known.content) == (304, b"")
    head = show(team, url, "HEAD")
    assert (head.content, head.headers["Content-Length"]) == (b"", str(len(data)))


def test_a_link_that_we_have_not_signed_is_refused(team, stranger):
    url = link(team)
    said, _, signature = url.rpartition("/")[2].partition(".")
    other = link(team, FIRST_ID + 1).rpartition("/")[2]
    wrong = [
        f"{said}.{signature[::-1]}",
        f"{said}.{signature[:-1]}",
        f"{said[::-1]}.{signature}",
        f"{other.partition('.')[0]}.{signature}",
        said,
        f"{said}.",
        f".{signature}",
        "x",
        "ключ",
        f"{said}.{signature}.{signature}",
        Inside(team.service, "recognitions_inside").do("sign_by_another_salt", str(team.tenant)),
    ]
    for text in wrong:
        answer = show(team, f"/api/v1/photos/{text}", **{"X-API-Key": team.key})
        assert_refused(answer, 403, "link_invalid")
    assert show(team, url, **{"X-API-Key": stranger.key}).status_code == 200


def test_a_link_expires(passing_on, dataset):
    merchant = passing_on.add_tenant()
    load(merchant, dataset, "--limit", 1)
    url, end = link(merchant), time.monotonic() + 60
    first = show(merchant, url)
    assert first.status_code == 200
    while (answer := show(merchant, url)).status_code == 200:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert_refused(answer, 403, "link_expired")
    assert show(merchant, link(merchant)).content == first.content


def test_no_link_is_written_into_a_log(team):
    url = link(team)
    assert show(team, url).status_code == 200
    assert_refused(show(team, f"{url}x"), 403, "link_invalid")
    log = team.service.log()
    assert "/api/v1/photos/[photo]" in log
    assert url.removeprefix("/api/v1/photos/") not in log


def test_a_suspended_tenants_links_do_not_work_until_it_is_back(running_service, dataset):
    operator = Operator(running_service)
    merchant = operator.new()
    load(merchant, dataset, "--limit", 1)
    url = link(merchant)
    operator.suspend(merchant)
    assert_refused(show(merchant, url), 403, "suspended")
    operator.suspend(merchant, "read_only")
    assert show(merchant, url).status_code == 200
    operator.done("POST", f"/tenants/{merchant.tenant}/resume/")
    assert show(merchant, url).status_code == 200


def test_a_photo_that_the_store_has_lost_is_missing_until_it_is_loaded_again(merchant, dataset):
    load(merchant, dataset, "--limit", 1)
    url, data = link(merchant), dataset.photo(FIRST_ID, "Main").read_bytes()
    folder = merchant.service.home / "objects" / "recognitions" / str(merchant.tenant)
    [lost] = folder.rglob(hashlib.sha256(data).hexdigest())
    lost.write_bytes(data[:-1])
    assert_refused(show(merchant, url), 404, "photo_missing")
    lost.unlink()
    assert_refused(show(merchant, url), 404, "photo_missing")
    assert load(merchant, dataset, "--limit", 1)["outcomes"]["mended"] == 1
    assert show(merchant, url).content == data


def test_a_link_never_shows_the_photo_that_took_the_place_of_its_own(merchant, tmp_path):
    old, new = (recognition_sets.make(tmp_path / seed, 1, seed) for seed in ("old", "new"))
    load(merchant, old)
    url = link(merchant)
    load(merchant, new, "--force", "--batch-id", "new")
    assert_refused(show(merchant, url), 404, "not_found")
    assert show(merchant, link(merchant)).content == new.photo(FIRST_ID, "Main").read_bytes()
    command(merchant, "reset", "--batch-id", "new", "--confirm")
    assert_refused(show(merchant, url), 404, "not_found")
    assert_refused(reading.ask(merchant, f"{LIST}{FIRST_ID}/"), 404, "not_found")


def test_who_reads_while_it_is_loaded_anew_is_told_of_one_load(merchant, tmp_path):
    old, new = (recognition_sets.make(tmp_path / seed, 1, seed) for seed in ("old", "new"))
    load(merchant, old)
    inside = Inside(merchant.service, "recognitions_inside")
    told = inside.do("read_while_it_is_loaded", str(merchant.tenant), FIRST_ID, new.path)
    assert [one["sha256"] for one in told["photos"]] == [
        told_of(new.photo(FIRST_ID, word))["sha256"] for word in ("Main", "Qualifying")
    ]
    assert told["check_lines"] == check_lines(new, FIRST_ID) != check_lines(old, FIRST_ID)


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """The environment of who uses a bucket of S3."""
    with stores.s3() as environment:
        yield environment


@pytest.fixture(scope="module")
def on_s3(s3, tmp_path_factory) -> Iterator[Service]:
    with service.running(tmp_path_factory.mktemp("s3"), **s3) as running:
        yield running


@pytest.fixture(scope="module")
def passing_on(s3, tmp_path_factory) -> Iterator[Service]:
    """Another service, whose readers do not reach the bucket and whose links are short-lived."""
    settings = {"HEADRACE_PHOTO_REDIRECTS": "off", "HEADRACE_PHOTO_LINK_SECONDS": "12"}
    with service.running(tmp_path_factory.mktemp("passing_on"), **s3, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def supabase() -> Iterator[supabase_storage.Double]:
    with supabase_storage.Double().serving() as double:
        yield double


@pytest.fixture(scope="module")
def on_supabase(supabase, tmp_path_factory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("supabase")
    with service.running(home, **supabase.environment) as running:
        yield running


@pytest.mark.parametrize("where", ["on_s3", "on_supabase"])
def test_a_store_that_signs_links_is_redirected_to(where, request, dataset):
    merchant = request.getfixturevalue(where).add_tenant()
    load(merchant, dataset, "--limit", 1)
    photo = whole(merchant, FIRST_ID)["photos"][0]
    answer = show(merchant, photo["url"])
    assert (answer.status_code, answer.headers["Cache-Control"]) == (302, "no-store")
    shown = httpx2.get(answer.headers["Location"])
    assert (shown.status_code, shown.headers["Content-Type"]) == (200, "image/jpeg")
    assert hashlib.sha256(shown.content).hexdigest() == photo["sha256"]
    assert httpx2.get(answer.headers["Location"].partition("?")[0]).status_code >= 400
    known = show(merchant, photo["url"], **{"If-None-Match": f'"{photo["sha256"]}"'})
    assert known.status_code == 304
    take_from_store(merchant, photo["sha256"])
    assert_refused(show(merchant, photo["url"]), 404, "photo_missing")


def test_where_readers_do_not_reach_the_store_its_photos_are_passed_on(passing_on, dataset):
    merchant = passing_on.add_tenant()
    load(merchant, dataset, "--limit", 1)
    data = dataset.photo(FIRST_ID, "Main").read_bytes()
    assert show(merchant, link(merchant)).content == data
    assert show(merchant, link(merchant), Range="bytes=7-").content == data[7:]


def test_a_store_that_does_not_answer_is_said_to_be_unavailable(on_supabase, supabase, dataset):
    merchant = on_supabase.add_tenant()
    load(merchant, dataset, "--limit", 1)
    url = link(merchant)
    supabase.failing = 1
    assert_refused(show(merchant, url), 503, "unavailable")
    assert show(merchant, url).status_code == 302


def take_from_store(merchant: Merchant, sha256: str) -> None:
    """Remove a photo past the service."""
    place, folder = settings.photos_of(merchant.service.environment)
    assembly.store_of(place).delete(storing.key_of(folder, merchant.tenant, sha256))


def test_photos_count_once_as_bytes_that_are_kept(running_service, tmp_path):
    operator = Operator(running_service)
    merchant = operator.new()
    double = recognition_sets.make(tmp_path / "double", 2)
    first, second = (double.photo(FIRST_ID + at, "Main") for at in range(2))
    second.write_bytes(first.read_bytes())
    load(merchant, double)
    files = {file.read_bytes() for file in double.path.rglob("*.jpg")}
    assert len(files) == 3
    kept = sum(map(len, files))
    assert operator.used(merchant)["stored_bytes"] == kept
    operator.limit(merchant, max_stored_bytes=kept)
    refused = merchant.send("customers.ndjson", b'{"name": "Ada"}\n')
    assert_refused(refused, 507, "storage_quota")
    assert "photos" in refused.json()["detail"]


def test_an_erased_tenants_photos_go_and_its_links_with_them(running_service, dataset):
    operator = Operator(running_service)
    merchant, neighbour = operator.new(), operator.new()
    for one in (merchant, neighbour):
        load(one, dataset, "--limit", 2)
    url, others = link(merchant), link(neighbour)
    proof = operator.erase(merchant)
    assert proof["before"]["objects"]["recognitions"]["objects"] == 5  # with the mark of the owner
    assert proof["before"]["rows"]["recognition_photos"] == 4
    assert not (running_service.home / "objects" / "recognitions" / str(merchant.tenant)).exists()
    assert_refused(show(merchant, url), 403, "suspended")
    assert show(neighbour, others).status_code == 200


def test_photos_of_another_database_in_the_same_place_outlive_an_erasure(
    on_s3, passing_on, dataset
):
    merchant = on_s3.add_tenant()
    load(merchant, dataset, "--limit", 1)
    twin = passing_on.add_tenant(merchant.tenant)
    proof = Operator(passing_on).erase(twin)
    assert proof["before"]["objects"]["recognitions"] == {"objects": 0, "bytes": 0}
    assert show(merchant, link(merchant)).status_code == 302
    proof = Operator(on_s3).erase(merchant)
    assert proof["before"]["objects"]["recognitions"]["objects"] == 3


def test_a_takeout_has_a_data_set_that_is_loaded_as_it_was(merchant, stranger, dataset, tmp_path):
    load(merchant, dataset)
    command(merchant, "load-qwen", "--file", dataset.annotations)
    tar = taken_out(merchant)
    files = {name: file.read() for name, file in members(tar)}
    assert files.pop("qwen_annotations.json")
    assert files == {
        str(file.relative_to(dataset.path)): file.read_bytes()
        for file in dataset.path.rglob("*")
        if file.is_file() and file != dataset.annotations
    }
    copy = Dataset(tmp_path / "copy")
    with tarfile.open(fileobj=BytesIO(tar)) as opened:
        opened.extractall(copy.path, filter="data")
    assert load(stranger, copy)["outcomes"]["loaded"] == COUNT
    command(stranger, "load-qwen", "--file", copy.annotations)
    parts = "recognized_on,menu_items,check_lines,detections"
    one, two = (
        reading.page(who, "recognitions", fields=parts)["data"] for who in (merchant, stranger)
    )
    assert one == two
    assert one[3]["detections"] == detections(dataset, FIRST_ID + 3)


def taken_out(merchant: Merchant) -> bytes:
    """The data set of a takeout."""
    path = f"/tenants/{merchant.tenant}/reports/takeouts"
    told = wait_for_takeout(merchant, merchant.request("POST", path, json={}))
    [file] = [one for one in told["files"] if one["entity"] == "recognitions"]
    assert (file["resendable"], file["rows"]) == (False, COUNT)
    answer = merchant.request("GET", file["download_url"][7:])
    assert answer.headers["Content-Type"] == "application/x-tar"
    assert hashlib.sha256(answer.content).hexdigest() == file["sha256"]
    return answer.content


def members(tar: bytes) -> Iterator[tuple[str, Any]]:
    with tarfile.open(fileobj=BytesIO(tar)) as opened:
        for one in opened:
            yield one.name, opened.extractfile(one)


def test_a_takeout_names_the_photos_that_the_store_has_lost(merchant, dataset):
    load(merchant, dataset)
    photo = dataset.photo(FIRST_ID + 4, "Main")
    digest = hashlib.sha256(photo.read_bytes()).hexdigest()
    folder = merchant.service.home / "objects" / "recognitions" / str(merchant.tenant)
    [lost] = folder.rglob(digest)
    lost.unlink()
    files = {name: file.read() for name, file in members(taken_out(merchant))}
    path = str(photo.relative_to(dataset.path))
    assert path not in files
    assert len(files) == COUNT * 4
    assert json.loads(files["photos_that_are_lost.json"]) == [{"path": path, "sha256": digest}]
