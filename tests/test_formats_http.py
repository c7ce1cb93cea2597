"""Formats at the door: what a name, a header, an option and the bytes say must agree."""

import csv
import gzip
import io
import json
from uuid import uuid4

import pytest

from headrace.pipeline.formats.compression import zstd
from tests import test_ingestion_http as ingestion
from tests.service import Merchant
from tests.shop import customer, form, post_form, product

LINES = b'{"name": "x"}\n'
CSV = b"customer_id,name\n,x\n"
ARRAY = b'[{"name": "x"}]'
BROKEN = b'product_id,sku,name,price\nx,S,5" pipe,1\n'
# Name, bytes, headers, parameters; the format that is read, or the problem.
SIGNS = {
    "an ending": ("customers.csv", CSV, {}, {}, "csv"),
    "an ending in capitals": ("CUSTOMERS.CSV", CSV, {}, {}, "csv"),
    "a packed ending": ("customers.csv.gz", gzip.compress(CSV), {}, {}, "csv"),
    "zstd": ("customers.ndjson.zst", zstd.compress(LINES), {}, {}, "ndjson"),
    "zstd by header": (
        "customers.csv",
        zstd.compress(CSV),
        {"Content-Encoding": "zstd"},
        {},
        "csv",
    ),
    "zstd by its bytes": ("customers.ndjson", zstd.compress(LINES), {}, {}, "ndjson"),
    "tabs": ("customers.tsv", CSV.replace(b",", b"\t"), {}, {}, "csv"),
    "an array": ("customers.json", ARRAY, {}, {}, "json"),
    "lines called json": ("customers.json", LINES, {}, {}, "json"),
    "nothing but an option": ("customers", CSV, {}, {"format": "csv"}, "csv"),
    "a media type": ("customers", CSV, {"Content-Type": "text/csv; charset=utf-8"}, {}, "csv"),
    "no sign, lines": ("customers", LINES, {}, {}, "json"),
    "no sign, an array": ("customers", ARRAY, {}, {}, "json"),
    "lines sent as json": (
        "customers.ndjson",
        LINES,
        {"Content-Type": "application/json"},
        {},
        "ndjson",
    ),
    "an array by option": ("customers.ndjson", ARRAY, {}, {"format": "json"}, "json"),
    "an option beside any ending": ("customers.2024.txt", CSV, {}, {"format": "csv"}, "csv"),
    "an option that is empty": ("customers.csv", CSV, {}, {"format": "", "delimiter": ""}, "csv"),
    "semicolons": ("customers.csv", CSV.replace(b",", b";"), {}, {"delimiter": ";"}, "csv"),
    "zst that is gzip": ("customers.ndjson.zst", gzip.compress(LINES), {}, {}, 415),
    "gz that is zstd": ("customers.ndjson.gz", zstd.compress(LINES), {}, {}, 415),
    "zst that is plain": ("customers.csv.zst", CSV, {}, {}, 415),
    "encoding against ending": (
        "customers.ndjson.zst",
        zstd.compress(LINES),
        {"Content-Encoding": "gzip"},
        {},
        415,
    ),
    "media type against bytes": ("customers", LINES, {"Content-Type": "application/gzip"}, {}, 415),
    "media type against ending": ("customers.ndjson", LINES, {"Content-Type": "text/csv"}, {}, 415),
    "option against ending": ("customers.csv", CSV, {}, {"format": "ndjson"}, 415),
    "an unknown format": ("customers", CSV, {}, {"format": "xml"}, 415),
    "a delimiter of lines": ("customers.ndjson", LINES, {}, {"delimiter": ";"}, 400),
    "a delimiter of two": ("customers.csv", CSV, {}, {"delimiter": "::"}, 400),
}


def test_signs_agree_or_are_refused(merchant: Merchant):
    found = {name: _answered(merchant, *signs) for name, (*signs, _) in SIGNS.items()}
    assert found == {name: expected for name, (*_, expected) in SIGNS.items()}


def _answered(merchant: Merchant, name: str, data: bytes, headers: dict, asked: dict) -> str | int:
    """The format that was read, one line of it; or the status of a refusal."""
    named = {"X-Filename": name, "Idempotency-Key": uuid4().hex, **headers}
    answer = merchant.request(
        "POST", "/ingest/comprehensive/", params=asked, content=data, headers=named
    )
    if answer.status_code != 201:
        assert answer.json()["code"] in ("unsupported_format", "invalid_request")
        return answer.status_code
    status = ingestion.landed(merchant, answer)
    assert status["outcomes"] == ingestion.outcomes(rejected=1), name
    assert status["reject_codes"] == {"required": 1}, name
    return str(status["chunks"][0]["format"])


def test_a_form_says_format_and_delimiter_beside_the_file(merchant: Merchant):
    goods = product(name="Tea; green")
    data = _csv([goods], delimiter=";")
    parts = (("format", None, b"csv"), ("delimiter", None, b";"), ("entity", None, b"products"))
    answer = post_form(merchant, *parts, ("file", "export.csv", data))
    assert ingestion.landed(merchant, answer)["outcomes"] == ingestion.outcomes(inserted=1)


SAID_TWICE = {
    "a field against the address": ("?entity=customers", [b"products"], 400),
    "the address against itself": ("?entity=customers&entity=products", [], 400),
    "two fields": ("", [b"customers", b"products"], 400),
    "two fields that agree": ("", [b"customers", b"customers"], 400),
    "a field and the address that agree": ("?entity=customers", [b"customers"], 201),
    "an empty field": ("?entity=customers", [b""], 201),
    "the address that agrees with itself": ("?entity=customers&entity=customers", [], 201),
}


@pytest.mark.parametrize("how", SAID_TWICE)
def test_what_is_said_twice_of_a_file_must_agree(merchant: Merchant, how: str):
    query, fields, expected = SAID_TWICE[how]
    request = form(*[("entity", None, value) for value in fields], ("file", "export", LINES))
    answer = merchant.request("POST", f"/ingest/comprehensive/{query}", **request)
    assert answer.status_code == expected, answer.text
    if expected == 400:
        assert answer.json()["code"] == "invalid_request"
        assert "entity" in answer.json()["detail"]
        ingestion.assert_nothing_was_kept(merchant)


def test_a_raw_body_whose_address_says_two_types_is_refused(merchant: Merchant):
    headers = {"Idempotency-Key": uuid4().hex}
    path = "/ingest/comprehensive/?entity=customers&entity=products"
    answer = merchant.request("POST", path, content=LINES, headers=headers)
    assert ingestion.problem(answer) == (400, "invalid_request")
    ingestion.assert_nothing_was_kept(merchant)


def test_the_same_key_with_another_delimiter_is_another_request(merchant: Merchant):
    headers = {"X-Filename": "customers.csv", "Idempotency-Key": "k"}
    answers = [
        merchant.request(
            "POST",
            "/ingest/comprehensive/",
            params={"delimiter": delimiter},
            content=CSV,
            headers=headers,
        )
        for delimiter in (",", ";", ",")
    ]
    assert [answer.status_code for answer in answers] == [201, 422, 201]


def test_the_same_key_under_another_ending_is_another_request(merchant: Merchant):
    data, key = CSV.replace(b",", b"\t"), uuid4().hex
    sent = [merchant.send(f"customers.{ending}", data, key=key) for ending in ("tsv", "csv", "tsv")]
    assert [answer.status_code for answer in sent] == [201, 422, 201]


def test_a_bad_header_fails_the_file_with_all_its_lines_and_a_mended_one_lands(merchant: Merchant):
    rows = [customer(), customer()]
    token = merchant.open_upload()
    bad = _csv(rows).replace(b"name", b"nome")
    assert merchant.send("customers.csv", bad, token=token).status_code == 201
    status = merchant.wait(token)
    [chunk] = status["chunks"]
    assert (chunk["status"], chunk["code"]) == ("failed", "bad_header")
    assert "line 1, header: column 2 is named 'nome'" in chunk["message"]
    assert status["outcomes"] == ingestion.outcomes(unprocessed=2)
    assert merchant.send("customers.csv", _csv(rows), token=token).status_code == 201
    assert merchant.wait(token)["outcomes"] == ingestion.outcomes(unprocessed=2, inserted=2)


@pytest.mark.parametrize("delimiter", [",", ";"])
def test_rejects_of_csv_come_back_as_csv_to_be_mended_and_sent_again(merchant, delimiter):
    good, cheap, plain, short = (product(name=name) for name in ("a", "b", 'c "d"', "e"))
    data = _csv([good, {**cheap, "price": "x"}, plain, short], delimiter)
    data = data.replace(b'"c ""d"""', b'c "d"').replace(b"e%b2.50" % delimiter.encode(), b"e")
    asked = {"delimiter": delimiter}
    token = _sent(merchant, data, asked)
    text = _records(merchant, token)
    lines = list(csv.reader(io.StringIO(text), delimiter=delimiter))
    assert lines[0] == ["_line", "_code", "_field", "_message", "_raw", *good]
    assert [line[:3] for line in lines[1:]] == [
        ["3", "bad_number", "price"],
        ["4", "bad_csv", ""],
        ["5", "ragged_row", ""],
    ]
    assert lines[1][5:] == [*[*cheap.values()][:3], "x"]
    assert lines[2][4].endswith(delimiter.join(["", 'c "d"', "2.50"]))
    assert lines[3][5:] == [*short.values()][:3]
    # Sent as it is, it is refused alike; a second round has no second set of columns.
    again = _records(merchant, _sent(merchant, text.encode(), asked))
    assert again.splitlines()[0] == text.splitlines()[0]
    lines[1][8] = "2.50"
    lines[2][5:] = plain.values()
    lines[3].append("2.50")
    mended = io.StringIO()
    csv.writer(mended, delimiter=delimiter).writerows(lines)
    status = merchant.wait(_sent(merchant, mended.getvalue().encode(), asked))
    assert status["outcomes"] == ingestion.outcomes(inserted=3)


def test_rejects_of_csv_come_as_lines_of_json_too(merchant: Merchant):
    rows = [{**product(), "active": "yes"}, {**product(), "active": "true", "price": ""}]
    token = _sent(merchant, _csv(rows), {})
    records = [json.loads(line) for line in _records(merchant, token, "ndjson").splitlines()]
    assert records[0]["active"] == "yes"
    assert (records[0]["price"], records[0]["_code"]) == (2.5, "bad_type")
    assert (records[1]["price"], records[1]["_code"]) == (None, "required")


def test_newlines_within_a_cell_do_not_break_the_lines_of_json(merchant: Merchant):
    data = b'customer_id,name,metadata,_op\nbad,n,"{\n ""a"": 1\n}",\n'
    token = merchant.load("customers.csv", data)["upload_token"]
    [record] = map(json.loads, _records(merchant, token, "ndjson").splitlines())
    assert record["metadata"] == {"a": 1}
    assert "_op" not in record


def test_elements_of_several_lines_come_as_csv_too(merchant: Merchant):
    data = json.dumps([{**product(), "product_id": "bad"}], indent=2).encode()
    token = merchant.load("products.json", data)["upload_token"]
    [row] = csv.DictReader(io.StringIO(_records(merchant, token)))
    assert (row["product_id"], row["price"], row["_code"]) == ("bad", "2.50", "bad_uuid")


def test_the_text_of_a_row_is_kept_until_it_has_been_mended(merchant: Merchant):
    [broken] = csv.DictReader(io.StringIO(_records(merchant, _sent(merchant, BROKEN, {}))))
    again = _records(merchant, _sent(merchant, _csv([broken]), {}))
    [row] = csv.DictReader(io.StringIO(again))
    assert (row["_raw"], row["_code"]) == (broken["_raw"], "; ".join(["required"] * 4))
    short = ",".join(broken) + "\nx,S,n,1\n"
    [row] = csv.DictReader(io.StringIO(_records(merchant, _sent(merchant, short.encode(), {}))))
    assert (row["_raw"], row["_code"]) == ("x,S,n,1", "ragged_row")


def test_a_tsv_comes_back_as_one(merchant: Merchant):
    data = _csv([{**product(), "price": "x"}], delimiter="\t")
    token = merchant.load("products_a.tsv", data)["upload_token"]
    answer = merchant.request(
        "GET",
        f"/ingest/sessions/{token}/rejects/",
        params={"form": "records", "format": "csv"},
    )
    assert 'filename="products_a.rejects.tsv"' in answer.headers["Content-Disposition"]
    assert merchant.load("products_a.rejects.tsv", answer.content)["reject_codes"] == {
        "bad_number": 1
    }


def test_rejects_of_an_array_come_as_one_line_each(merchant: Merchant):
    data = json.dumps([{**product(), "price": "x"}, 7], indent=1).encode()
    token = merchant.load("products.json", data)["upload_token"]
    first, second = _records(merchant, token, "ndjson").splitlines()
    assert json.loads(first)["_line"] == 1
    assert json.loads(second) | {"_message": ""} == {
        "_line": 2,
        "_code": "bad_json",
        "_field": "",
        "_message": "",
        "_raw": "7",
    }


def test_files_of_two_headers_do_not_go_into_one_csv(merchant: Merchant):
    token = merchant.open_upload()
    for names in ("customer_id,name", "name,customer_id"):
        data = f"{names}\nx,y\n".encode()
        assert merchant.send("customers.csv", data, token=token).status_code == 201
    chunks = merchant.wait(token)["chunks"]
    answer = merchant.request(
        "GET",
        f"/ingest/sessions/{token}/rejects/",
        params={"form": "records", "format": "csv"},
    )
    assert ingestion.problem(answer) == (400, "invalid_request")
    assert len(_records(merchant, token, chunk=chunks[1]["chunk_id"]).splitlines()) == 2


def _csv(rows: list[dict], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _sent(merchant: Merchant, data: bytes, asked: dict) -> str:
    answer = merchant.request(
        "POST",
        "/ingest/comprehensive/",
        params=asked,
        content=data,
        headers={"X-Filename": "products.csv", "Idempotency-Key": uuid4().hex},
    )
    return str(ingestion.landed(merchant, answer)["upload_token"])


def _records(merchant: Merchant, token: str, form: str = "csv", **asked: str) -> str:
    answer = merchant.request(
        "GET",
        f"/ingest/sessions/{token}/rejects/",
        params={"form": "records", "format": form, **asked},
    )
    assert answer.status_code == 200, answer.text
    return answer.text
