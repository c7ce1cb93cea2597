"""Rejects that are downloaded, mended and sent again, until everything has landed once."""

import csv
import io
import json
import re
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.entities import BY_NAME, ENTITIES, entity_of_file
from headrace.pipeline import mending
from headrace.pipeline.report import Fault, Reject
from headrace.schema import Entity
from tests import records, service, tables
from tests.road import ndjson
from tests.service import ROOT, Merchant, Service
from tests.shop import ask, customer, product
from tests.test_memory import LIMIT_KB, peaks

FAULTS = mending.FAULT_MEMBERS
MANY = 200_000
BY_ENTITY = pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.name)


@pytest.fixture(scope="module")
def shop(running_service: Service) -> Merchant:
    """One merchant for the tests that need no empty one."""
    return running_service.add_tenant()


def rejects(merchant: Merchant, token: str, headers: dict | None = None, **asked: str):
    path = f"/ingest/sessions/{token}/rejects/"
    return merchant.request("GET", path, params=asked, headers=headers or {})


def mendable(merchant: Merchant, token: str, **asked: str) -> list[bytes]:
    """The refused records as lines."""
    answer = rejects(merchant, token, form="records", **asked)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
    return answer.content.split(b"\n")[:-1]


def filename(answer: httpx2.Response) -> str:
    [name] = re.findall(r'^attachment; filename="([^"]*)"$', answer.headers["Content-Disposition"])
    return name


def refused(merchant: Merchant, entity: str, *lines: Any) -> str:
    """The token of an upload of one file, all of whose lines are refused."""
    status = merchant.load(f"{entity}.ndjson", ndjson(*lines))
    assert status["outcomes"]["rejected"] == status["lines_received"] == len(lines)
    return status["upload_token"]


def problem(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# From a file with every kind of fault to a file without.

BAD = {
    "no key": lambda entity, line: re.sub(rb'"%s":"[^"]*",' % entity.key.encode(), b"", line),
    "a key that is no UUID": lambda entity, line: with_first(line, entity.key, b'"x"'),
    "two faults": lambda entity, line: b'{"_op":"delete",' + with_first(line, entity.key, b"7")[1:],
    "a repeated key": lambda entity, line: b'{"%s":1,' % entity.key.encode() + line[1:],
    "not the end": lambda entity, line: line[:-1],
    "an array": lambda entity, line: b"[" + line + b"]",
    "no UTF-8": lambda entity, line: b'{"note":"\xff",' + line[1:],
    "a NUL": lambda entity, line: b'{"note":"\0",' + line[1:],
    "not a number": lambda entity, line: b'{"note":NaN,' + line[1:],
    "too deep": lambda entity, line: b'{"note":' + b"[" * 70 + b"]" * 70 + b"," + line[1:],
    "too long": lambda entity, line: b'{"note":"' + b"x" * (1 << 20) + b'",' + line[1:],
    "another tenant": lambda entity, line: b'{"tenant_id":"%s",' % str(uuid4()).encode() + line[1:],
    "mended wrongly": lambda entity, line: (
        b'{"_line":9, "_code":"x","\\u005ffield":"y" ,"_message":1,'
        + with_first(line, entity.key, b'""')[1:]
    ),
}


def with_first(line: bytes, name: str, value: bytes) -> bytes:
    """The line with another value of a text field."""
    return re.sub(rb'("%s":)"[^"]*"' % name.encode(), rb"\g<1>" + value, line)


def clean_lines(entity: Entity) -> list[bytes]:
    return [records.line(records.example(entity, number)) for number in range(2 * len(BAD) + 2)]


def with_faults(entity: Entity) -> bytes:
    """The clean lines, every second one spoiled; the last takes the natural key of the first."""
    lines = clean_lines(entity)
    for at, spoil in enumerate(BAD.values()):
        lines[2 * at + 1] = spoil(entity, lines[2 * at + 1])
    if entity.natural_keys:
        [name] = entity.natural_keys
        taken = records.example(entity, 0)[name]
        lines[-1] = with_first(lines[-1], name, json.dumps(taken).encode())
    return b"\n".join(lines) + b"\n"


def mended(entity: Entity, line: bytes, *, keep_members: bool) -> bytes:
    """A downloaded line with the values that it should have had."""
    given = json.loads(line)
    clean = json.loads(clean_lines(entity)[given["_line"] - 1])
    wrong = ("tenant_id", "_op", "note")
    kept = records.without(given, *wrong, *(() if keep_members else (*FAULTS, "_raw")))
    return json.dumps(kept | clean).encode()


def awaited(merchant: Merchant, *tokens: str) -> list[dict]:
    """The outcomes of uploads in which nothing is parked any more."""
    end = time.monotonic() + 60
    while any(status["outcomes"]["parked"] for status in map(merchant.wait, tokens)):
        assert time.monotonic() < end
        time.sleep(0.1)
    return [merchant.status(token)["outcomes"] for token in tokens]


@pytest.mark.parametrize("keep_members", [True, False], ids=["as they came", "members removed"])
def test_what_was_refused_lands_once_when_it_is_mended_and_sent_again(
    merchant: Merchant, stranger: Merchant, keep_members: bool
):
    first, second = merchant.open_upload(), merchant.open_upload()
    for entity in ENTITIES:
        merchant.send(f"{entity.name}_1.ndjson", with_faults(entity), token=first)
        stranger.load(f"{entity.name}.ndjson", b"\n".join(clean_lines(entity)))
    for chunk in merchant.wait(first)["chunks"]:
        entity = BY_NAME[chunk["entity"]]
        answer = rejects(merchant, first, form="records", chunk=chunk["chunk_id"])
        lines = answer.content.split(b"\n")[:-1]
        assert len(lines) == len(BAD) + bool(entity.natural_keys)
        assert filename(answer) == f"{entity.name}_1.rejects.ndjson"
        data = ndjson(*(mended(entity, line, keep_members=keep_members) for line in lines))
        merchant.send(filename(answer), data, token=second)
    told = awaited(merchant, second, first)
    sent = sum(len(clean_lines(entity)) for entity in ENTITIES)
    assert told[0]["rejected"] == 0
    assert told[0]["inserted"] + told[1]["inserted"] == sent
    mine, clean = (tables.contents(merchant.service, own.tenant) for own in (merchant, stranger))
    assert mine == clean


@BY_ENTITY
def test_a_line_that_was_no_record_is_refused_again_until_it_is_mended(shop, entity):
    lines = [b"{broken", b'["x"]', b'{"a": NaN}', b"\xff\0", b"x" * ((1 << 20) + 1)]
    texts = ["{broken", '["x"]', '{"a": NaN}', "\ufffd\0", "x" * mending.MAX_RAW]
    token = refused(shop, entity.name, *lines)
    given = mendable(shop, token)
    assert [json.loads(line)["_raw"] for line in given] == texts
    again = refused(shop, entity.name, *given)
    assert [(row["code"], row["field"]) for row in shop.rejects(again)] == [
        ("required", entity.key)
    ] * len(lines)
    once_more = [json.loads(line) for line in mendable(shop, again)]
    assert [(row["_line"], row["_raw"]) for row in once_more] == list(enumerate(texts, 1))


def test_a_line_that_is_mended_wrongly_comes_back_with_its_new_faults_only(shop):
    goods = product(price="free", name=None)
    del goods["sku"]
    [first] = mendable(shop, refused(shop, "products", goods))
    one = json.loads(first)
    assert list(one) == [*goods, *FAULTS]
    assert [one[name] for name in FAULTS] == [
        1,
        "required; required; bad_number",
        "sku; name; price",
        "line 1, sku: expected text of at most 100 characters, found no such key;"
        " name: expected text of at most 255 characters, not null;"
        " price: expected a number ≥ 0 within ±922,337,203,685,477.5807 with at most 4 decimals",
    ]
    half = one | {"sku": "T", "name": "Tea"}
    [second] = mendable(shop, refused(shop, "products", half))
    two = json.loads(second)
    assert list(two) == [*goods, "sku", *FAULTS]
    assert (two["_code"], two["_field"]) == ("bad_number", "price")
    whole = two | {"price": 2}
    assert shop.load("products.ndjson", ndjson(whole))["outcomes"]["inserted"] == 1


def test_values_keep_their_spelling_and_members_their_order(shop):
    raw = b' { "x" : 1.50, "y":1E400,"metadata": {"b":1,  "a":0.10}, "name":"\\u00e4\xc3\xa4" } \r'
    fault = (
        b'"_line":1,"_code":"required","_field":"customer_id",'
        b'"_message":"line 1, customer_id: expected a dashed UUID, found no such key"}'
    )
    assert mendable(shop, refused(shop, "customers", raw)) == [
        raw.strip()[:-1].rstrip() + b"," + fault
    ]
    old = b'{"_message":"old", "price":1.50 ,"_code":[{}], "_line" :0,"\\u005ffield":"x"}'
    found = mendable(shop, refused(shop, "customers", old))
    assert found == [b'{"price":1.50,' + fault]


# CSV.


def test_a_csv_has_every_field_as_it_was_spelled_and_every_fault(shop):
    key = str(uuid4())
    lines = [
        b'{"product_id":"%s","sku":"a,\\"b\\"\\n","name":"=1+1","price":1.50e400,"active":true}'
        % key.encode(),
        b'{"product_id":7,"sku":null,"name":"","price":-0.10,"active":false,"colour":"red"}',
        b'{"sku":{"b": 1, "a":[2]},"name":"\\ud800","created_at":"x","_code":"old"}',
        b"{broken",
    ]
    token = refused(shop, "products", *lines)
    answer = rejects(shop, token, form="records", format="csv")
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8; header=present"
    assert filename(answer) == "products.rejects.csv"
    header, *rows = csv.reader(io.StringIO(answer.text, newline=""))
    assert header == [*BY_NAME["products"].field_names, *FAULTS]
    faults = [[json.loads(line)[name] for name in FAULTS] for line in mendable(shop, token)]
    assert rows == [
        [key, 'a,"b"\n', "=1+1", "1.50e400", "", "true", "", *map(str, faults[0])],
        ["7", "", "", "-0.10", "", "false", "", *map(str, faults[1])],
        ["", '{"b": 1, "a":[2]}', "\\ud800", "", "", "", "x", *map(str, faults[2])],
        ["", "", "", "", "", "", "", *map(str, faults[3])],
    ]
    assert ',"",-0.10,' in answer.text  # an empty text is not a null
    assert all(row[-3] for row in rows)


def test_a_csv_of_several_record_types_asks_for_a_chunk(shop):
    token = shop.open_upload()
    for entity in ("customers", "products"):
        shop.send(entity, b"{}\n", token=token)
    chunks = shop.wait(token)["chunks"]
    answer = rejects(shop, token, form="records", format="csv")
    assert problem(answer) == (400, "invalid_request")
    assert "chunk" in answer.json()["detail"]
    for chunk in chunks:
        one = rejects(shop, token, form="records", format="csv", chunk=chunk["chunk_id"])
        assert one.text.count("\r\n") == 2
    assert len(mendable(shop, token)) == 2


# What may be asked, and by whom.


def test_records_are_chosen_by_chunk_and_by_code(shop):
    token = shop.open_upload()
    for name in ("customers_1.ndjson", "customers_2.ndjson"):
        shop.send(name, ndjson(customer(customer_id="x"), customer(name=7)), token=token)
    one, two = (chunk["chunk_id"] for chunk in shop.wait(token)["chunks"])

    def told(**asked: str) -> list[tuple[int, str]]:
        found = map(json.loads, mendable(shop, token, **asked))
        return [(row["_line"], row["_code"]) for row in found]

    assert told() == [(1, "bad_uuid"), (2, "bad_type")] * 2
    assert told(chunk=two) == [(1, "bad_uuid"), (2, "bad_type")]
    assert told(chunk=one, code="bad_type") == [(2, "bad_type")]
    assert told(code="bad_number") == []
    names = [
        filename(rejects(shop, token, form="records", **asked)) for asked in ({}, {"chunk": two})
    ]
    assert names == [f"customers_{token}.rejects.ndjson", "customers_2.rejects.ndjson"]


@pytest.mark.parametrize(
    "asked",
    [
        *({"form": "table"}, {"form": ""}, {"format": "xml"}, {"format": "csv"}, {"chunk": "7"}),
        {"form": "records", "format": "json"},
    ],
    ids=str,
)
def test_a_form_that_does_not_exist_is_an_invalid_request(shop, asked):
    assert problem(rejects(shop, shop.open_upload(), **asked)) == (400, "invalid_request")


def test_a_client_that_accepts_only_what_it_asks_for_gets_it(shop):
    token = refused(shop, "customers", {})
    answer = rejects(shop, token, {"Accept": "text/csv"}, form="records", format="csv")
    assert answer.status_code == 200


def test_a_stranger_finds_no_rejects_there(shop, stranger):
    token = refused(shop, "customers", {})
    for form in ("report", "records"):
        answer = rejects(stranger, token, form=form)
        absent = rejects(stranger, "up_" + "x" * 32, form=form)
        assert problem(answer) == problem(absent) == (404, "not_found")
        assert rejects(shop, token, form=form).status_code == 200


HOSTILE = ["../../etc/passwd", 'a"; filename="b.ndjson', "x\r\nSet-Cookie: a=b", "für Ännchen"]
HOSTILE += ["\0", "../.ndjson", "", "%s" % ("long" * 60), "orders.ndjson"]


@pytest.mark.parametrize("label", HOSTILE, ids=ascii)
def test_a_download_is_named_safely_whatever_the_file_was_called(shop, label):
    headers = {"X-Filename": quote(label), "Idempotency-Key": uuid4().hex}
    path = "/ingest/comprehensive/?entity=customers"
    sent = shop.request("POST", path, content=b"{}\n", headers=headers)
    assert sent.status_code == 201, sent.text
    token = sent.json()["upload_token"]
    shop.wait(token)
    name = filename(rejects(shop, token, form="records"))
    assert re.fullmatch(r"[\w.-]{1,240}\.rejects\.ndjson", name, re.ASCII)
    assert entity_of_file(name) == BY_NAME["customers"]


def test_what_is_not_kept_is_gone_and_never_silently_missing(shop):
    token = refused(shop, "customers", {})
    ask(shop.service, f"UPDATE chunks SET source = '' WHERE {of_upload(token)}")
    [told] = shop.rejects(token)
    assert (told["code"], told["raw"]) == ("required", None)
    assert problem(rejects(shop, token, form="records")) == (410, "gone")
    dropped = f"UPDATE chunks SET details_dropped_at = received_at WHERE {of_upload(token)}"
    ask(shop.service, dropped)
    assert problem(rejects(shop, token)) == (410, "gone")


def of_upload(token: str) -> str:
    return f"upload_id IN (SELECT id FROM uploads WHERE token = '{token}')"


def test_the_status_groups_rejects_by_code_and_field(shop):
    token = shop.open_upload()
    lines = [customer(customer_id="x"), customer(name=7), customer(name=8)]
    shop.send("customers_1.ndjson", ndjson(*lines), token=token)
    shop.wait(token)
    shop.send("products_1.ndjson", ndjson(product(name=9), product(price="a")), token=token)
    status = shop.wait(token)
    one, two = (chunk["chunk_id"] for chunk in status["chunks"])
    text = "expected text of at most 255 characters"
    money = "expected a number ≥ 0 within ±922,337,203,685,477.5807 with at most 4 decimals"
    assert status["reject_codes"] == {"bad_type": 3, "bad_uuid": 1, "bad_number": 1}
    assert status["reject_groups"] == [
        group("bad_type", "name", 3, one, 2, "7", text),
        group("bad_uuid", "customer_id", 1, one, 1, '"x"', "expected a dashed UUID"),
        group("bad_number", "price", 1, two, 2, '"a"', money),
    ]


def group(
    code: str, field: str, lines: int, chunk: str, line: int, value: str, expected: str
) -> dict:
    message = f"line {line}, {field}: {expected}"
    sample = {"chunk_id": chunk, "line": line, "value": value, "message": message}
    return {"code": code, "field": field, "lines": lines, "sample": sample}


# The command.


def ingest(shop: Merchant, data: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit code and account of `headrace ingest`."""
    command = [sys.executable, "-m", "headrace", "ingest", "--data-dir", str(data), "--json"]
    done = subprocess.run(
        [*command, "--api-url", shop.service.url, "--parked-grace", "20", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)["tenants"][0]


def test_the_command_writes_what_was_refused_and_sends_it_once_it_is_mended(merchant, tmp_path):
    data, out, last = tmp_path / "data", tmp_path / "fix", tmp_path / "fix_2"
    data.mkdir()
    goods = [product(), product(price="free"), product(price="dear")]
    for name, rows in (("products", goods), ("customers", [customer()])):
        (data / f"{name}_{merchant.tenant}_chunk_0000.ndjson").write_bytes(ndjson(*rows))
    written = out / f"products_{merchant.tenant}_chunk_0000.rejects.ndjson"
    code, account = ingest(merchant, data, "--rejects-out", str(out))
    assert (code, account["rejects_files"], [*out.iterdir()]) == (1, [str(written)], [written])
    assert written.read_text().count('"_code":"bad_number"') == 2
    written.write_text(written.read_text().replace('"free"', "1"))
    assert ingest(merchant, data, "--rejects-out", str(out))[0] == 1
    assert '"price": 1' in written.read_text()  # what is being mended is not written over
    code, account = ingest(merchant, out, "--rejects-out", str(last))
    assert (code, account["totals"]["outcomes"]["inserted"]) == (1, 1)
    rest = last / written.name
    assert account["rejects_files"] == [str(rest)]
    rest.write_text(rest.read_text().replace('"dear"', "2"))
    code, account = ingest(merchant, last, "--rejects-out", str(tmp_path / "fix_3"))
    assert (code, account["rejects_files"], account["status"]) == (0, [], "completed")
    assert len(tables.rows(merchant.service, merchant.tenant, "products")) == 3


def test_the_command_refuses_to_write_rejects_among_the_data(tmp_path):
    (tmp_path / f"orders_{uuid4()}.ndjson").write_text("{}")
    command = [sys.executable, "-m", "headrace", "ingest", "--data-dir", str(tmp_path)]
    done = subprocess.run(
        [*command, "--rejects-out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, "another folder" in done.stderr) == (2, True)


# Downloads that break.


@pytest.fixture(scope="module")
def long_list(shop: Merchant) -> str:
    """The token of an upload whose records take some 20 MB to download."""
    lines = (b'{"name":"%s"}' % (b"x" * 900) for _ in range(20_000))
    return shop.load("customers.ndjson", ndjson(*lines))["upload_token"]


def stream(merchant: Merchant, token: str, **asked: str) -> AbstractContextManager:
    """A download as it comes, on a connection of its own."""
    url = f"{merchant.service.url}/api/v1/ingest/sessions/{token}/rejects/"
    headers = {"X-API-Key": merchant.key}
    return httpx2.stream("GET", url, params=asked, headers=headers, timeout=60)


def cut_off(merchant: Merchant, token: str, size: int, **asked: str) -> tuple[bytes, str]:
    """The first bytes of a download whose connection is then closed, and its ETag."""
    got = b""
    with stream(merchant, token, **asked) as answer:
        for block in answer.iter_raw():
            got += block
            if len(got) > size:
                break
    return got, answer.headers["ETag"]


@pytest.mark.parametrize(
    "asked",
    [{"form": "report"}, {"form": "records"}, {"form": "records", "format": "csv"}],
    ids=["report", "records", "csv"],
)
def test_a_download_that_is_cut_off_is_continued_where_it_broke(shop, long_list, asked):
    whole = rejects(shop, long_list, **asked)
    assert (whole.status_code, whole.headers["Accept-Ranges"]) == (200, "bytes")
    total = len(whole.content)
    got, tag = cut_off(shop, long_list, total // 2, **asked)
    assert total // 2 < len(got) < total
    rest = {"Range": f"bytes={len(got)}-", "If-Range": tag}
    answer = rejects(shop, long_list, rest, **asked)
    assert answer.status_code == 206
    assert answer.headers["Content-Range"] == f"bytes {len(got)}-{total - 1}/{total}"
    assert answer.headers["Content-Length"] == str(total - len(got))
    assert (answer.headers["ETag"], got + answer.content) == (tag, whole.content)


def test_ranges_have_the_bytes_that_they_name(shop):
    token = refused(shop, "customers", *({"name": str(at)} for at in range(50)))
    whole = rejects(shop, token, form="records").content
    size = len(whole)

    def part(asked: str, **headers: str) -> tuple[int, str | None, bytes]:
        answer = rejects(shop, token, {"Range": asked, **headers}, form="records")
        return answer.status_code, answer.headers.get("Content-Range"), answer.content

    assert part("bytes=0-") == (206, f"bytes 0-{size - 1}/{size}", whole)
    assert part("bytes=10-10") == (206, f"bytes 10-10/{size}", whole[10:11])
    assert part(f"bytes=5-{size * 9}") == (206, f"bytes 5-{size - 1}/{size}", whole[5:])
    assert part("bytes=0-", **{"If-Range": '"another"'}) == (200, None, whole)
    for ignored in ("bytes=9-3", "bytes=0-1,4-5", "lines=1-2", "bytes=-5", "bytes=x-"):
        assert part(ignored) == (200, None, whole)
    beyond = rejects(shop, token, {"Range": f"bytes={size}-"}, form="records")
    assert problem(beyond) == (416, "range_not_satisfiable")
    assert beyond.headers["Content-Range"] == f"bytes */{size}"


def test_a_download_is_not_continued_with_other_bytes(shop):
    token = refused(shop, "customers", {"name": "first"})
    first = rejects(shop, token, form="records")
    tags = {
        rejects(shop, token, **asked).headers["ETag"]
        for asked in (
            {"form": "report"},
            {"form": "records"},
            {"form": "records", "format": "csv"},
            {"form": "records", "code": "required"},
        )
    }
    assert len(tags) == 4
    shop.send("customers_2.ndjson", b'{"name":"second"}\n', token=token)
    shop.wait(token)
    rest = {"Range": "bytes=5-", "If-Range": first.headers["ETag"]}
    answer = rejects(shop, token, rest, form="records")
    assert (answer.status_code, answer.content[: len(first.content)]) == (200, first.content)
    assert answer.content.count(b"\n") == 2
    assert answer.headers["ETag"] != first.headers["ETag"]


# The pure part.

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
KEYS = TEXTS | st.sampled_from([*FAULTS, "_raw", "name"])
BLANKS = st.text(" \t\r", max_size=2)
FAULT = st.builds(Fault, TEXTS, TEXTS, TEXTS, TEXTS)
REJECT = st.builds(
    lambda line, faults: Reject.of(line, 0, "verify", tuple(faults)),
    st.integers(1, 10**9),
    st.lists(FAULT, min_size=1, max_size=3),
)


def spelled(key: str) -> st.SearchStrategy[str]:
    """A key as JSON, in escapes or not."""
    return st.booleans().map(lambda in_ascii: json.dumps(key, ensure_ascii=in_ascii))


@st.composite
def objects(draw: st.DrawFn) -> tuple[list[tuple[str, str]], bytes]:
    """Key and spelled value of each member, and a line that has them, spaced in any way."""
    members = draw(st.lists(st.tuples(KEYS, JSON.map(json.dumps)), max_size=5))
    parts = [
        f"{draw(BLANKS)}{draw(spelled(key))}{draw(BLANKS)}:{draw(BLANKS)}{value}{draw(BLANKS)}"
        for key, value in members
    ]
    inside = ",".join(parts) or draw(BLANKS)
    return members, f"{draw(BLANKS)}{{{inside}}}{draw(BLANKS)}".encode()


@given(objects(), REJECT)
def test_the_other_members_of_an_object_are_as_they_were(drawn, reject):
    members, line = drawn
    text = mending.mendable_json(line, reject)
    found = [(member.key, member.value) for member in mending._members(text.decode())]
    assert found[:-4] == [pair for pair in members if pair[0] not in FAULTS]
    assert [(key, json.loads(value)) for key, value in found[-4:]] == told(reject)


@given(st.binary(max_size=60) | objects().map(lambda drawn: drawn[1][:-1]), REJECT)
def test_any_bytes_become_one_line_of_json_with_the_fault(line, reject):
    line = line.replace(b"\n", b"")
    text = mending.mendable_json(line, reject)
    assert text.endswith(b"}\n")
    assert text.count(b"\n") == 1
    found = json.loads(text)
    assert [(name, found[name]) for name in FAULTS] == told(reject)
    row = next(csv.reader(io.StringIO(mending.mendable_csv(ENTITIES[0], line, reject).decode())))
    assert row[-4:] == [str(found[name]) for name in FAULTS]


def told(reject: Reject) -> list[tuple[str, Any]]:
    """The members that name all faults of a reject."""
    faults = [Fault(reject.code, reject.field, reject.value, reject.message), *reject.more]
    messages = [reject.message, *(f"{f.field or 'record'}: {f.message}" for f in reject.more)]
    joined = [[f.code for f in faults], [f.field for f in faults], messages]
    return list(zip(FAULTS, [reject.line, *map("; ".join, joined)], strict=True))


@pytest.mark.slow
def test_a_download_of_many_rejects_passes_through_small_processes(postgresql_server, tmp_path):
    padding = b"x" * 200
    blocks = (b'{"name":"%s"}\n' % padding * 1_000 for _ in range(MANY // 1_000))
    with service.running(tmp_path, postgresql_server) as running:
        merchant = running.add_tenant()
        token = merchant.send("customers.ndjson", blocks).json()["upload_token"]
        assert merchant.wait(token, 200)["reject_codes"] == {"required": MANY}
        lines = download_lines(merchant, token, form="report")
        assert (lines, download_lines(merchant, token, form="records")) == (MANY, MANY)
        found = peaks(running)
    print({name: f"{kilobytes // 1000} MB" for name, kilobytes in found.items()})
    assert max(found.values()) < LIMIT_KB


def download_lines(merchant: Merchant, token: str, **asked: str) -> int:
    """How many lines a download has, counted as they come."""
    with stream(merchant, token, **asked) as answer:
        return sum(block.count(b"\n") for block in answer.iter_raw())
