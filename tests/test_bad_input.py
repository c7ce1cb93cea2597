"""Bad input gets a clear answer and nothing is lost: the whole road, through HTTP.

ANSWERS lists every kind of bad input that ingestion meets with the tests that show its answer.
Requests as such are in test_bad_requests.py; what any bytes do to the engine, in test_any_bytes.py.
"""

import ast
import gzip
import json
import random
import time
import zlib
from uuid import uuid4

import pytest

from tests import service, sizes, tables
from tests import test_ingestion_http as ingestion
from tests.road import ndjson
from tests.service import ROOT, Merchant, Service
from tests.shop import ask, customer, order, product, stored_objects
from tests.test_memory import LIMIT_KB, peaks

MIB = 1 << 20
ANSWERS = {
    "unknown or missing key": [
        "test_tenants_http::test_every_operation_that_is_not_open_needs_a_key",
        "test_tenants_http::test_a_text_that_is_no_key_of_ours_is_refused",
    ],
    "another tenant's token or id": [
        "test_tenants_http::test_anothers_upload_is_as_absent_as_one_that_never_was",
        "test_tenants_http::test_another_may_neither_join_an_upload_nor_continue_its_list",
        "test_bad_requests::test_awkward_texts_as_upload_tokens_name_no_upload",
    ],
    "no Idempotency-Key, or a bad one": [
        "test_idempotency::test_a_file_without_a_key_is_refused",
        "test_idempotency::test_a_key_that_is_not_1_to_255_printable_characters_is_refused",
        "test_bad_requests::test_every_printable_character_is_its_own_idempotency_key",
    ],
    "the same Idempotency-Key again": [
        "test_idempotency::test_the_same_request_again_is_answered_with_the_same_bytes",
        "test_idempotency::test_another_request_with_the_same_key_is_refused_and_keeps_nothing",
        "test_idempotency::test_identical_requests_at_once_have_one_effect_and_one_answer",
        "test_idempotency::test_a_form_with_another_boundary_is_the_same_request",
    ],
    "body over the limit": [
        "test_ingestion_http::test_a_body_over_the_limit_is_refused_and_keeps_nothing"
    ],
    "empty file, unknown type, unsupported format, zip": [
        "test_ingestion_http::test_a_request_that_is_refused_keeps_nothing",
        "test_an_ending_that_is_not_accepted_is_told_what_is",
        "test_a_file_of_nothing_but_blanks_is_complete_and_has_no_lines",
    ],
    "decompression bomb": [
        "test_a_decompression_bomb_fails_its_file_and_lands_nothing",
        "test_lines::test_a_bomb_is_stopped_at_two_hundred_times_its_size",
    ],
    "a line over 1 MiB, memory flat": [
        "test_a_line_may_have_exactly_one_mebibyte",
        "test_bad_files_of_many_megabytes_pass_through_a_small_worker",
    ],
    "truncated or corrupt gzip, zstd, trailing garbage": [
        "test_ingestion_http::test_of_a_damaged_file_nothing_is_applied_and_its_lines_are_unprocessed",
        "test_lines::test_a_truncated_file_is_corrupt_wherever_it_was_cut",
        "test_lines::test_damage_anywhere_in_the_data_is_corrupt",
        "test_a_gzip_of_very_many_members_lands_in_seconds",
    ],
    "invalid UTF-8, NUL, lone surrogates, byte-order marks": [
        "test_bytes_that_are_no_utf8_are_refused_line_by_line",
        "test_a_character_that_lies_across_blocks_is_read_whole",
        "test_a_byte_order_mark_is_stripped_at_the_start_only",
        "test_every_line_of_a_utf16_file_is_refused",
    ],
    "broken JSON, non-object, nesting, duplicate keys": [
        "test_bad_json::test_json_texts_of_others_are_judged_as_a_second_opinion_does",
        "test_nesting_is_accepted_to_its_limit_and_refused_beyond",
        "test_a_line_that_repeats_very_many_keys_is_one_small_reject",
        "test_a_line_that_is_hard_to_read_takes_no_time",
    ],
    "numbers": ["test_every_kind_of_bad_line_has_its_code_and_field"],
    "dates": [
        "test_every_kind_of_bad_line_has_its_code_and_field",
        "test_inspection::test_what_is_no_time_of_iso_8601_between_1970_and_2200_is_refused",
    ],
    "another tenant's tenant_id in the record": [
        "test_every_kind_of_bad_line_has_its_code_and_field"
    ],
    "unknown parent": [
        "test_ingestion_http::test_a_line_waits_for_its_parent_and_lands_when_the_parent_comes",
        "test_ingestion_http::test_an_upload_may_refuse_lines_whose_parent_is_missing",
    ],
    "unknown keys": [
        "test_ingestion_http::test_keys_that_no_field_has_are_counted_and_kept_out",
        "test_a_million_unknown_keys_are_counted_in_little_room",
        "test_unknown_keys_that_no_database_would_keep_are_counted",
    ],
    "too long, required, bad choice": ["test_every_kind_of_bad_line_has_its_code_and_field"],
    "the same stock_event_id with other content": ["test_an_event_with_other_content_is_refused"],
    "file names with ../, NUL, CR/LF": [
        "test_ingestion_http::test_a_file_name_is_a_label_and_never_a_place",
        "test_ingestion_http::test_a_file_name_in_a_form_is_a_label_too",
        "test_bad_requests::test_awkward_texts_as_file_names_are_labels",
    ],
    "a body that ends early, or has no length": [
        "test_ingestion_http::test_a_body_whose_sender_goes_away_keeps_nothing",
        "test_bad_requests::test_a_request_whose_length_cannot_be_told_keeps_nothing",
        "test_bad_requests::test_what_follows_the_announced_length_is_not_taken",
    ],
    "CSV: ragged row, unclosed quote, duplicate, unknown or missing header": [
        "test_csv::test_each_row_has_its_own_answer_and_spoils_no_neighbour",
        "test_csv::test_a_quote_that_is_never_closed_is_one_reject_that_says_how_far_it_goes",
        "test_csv::test_a_header_that_cannot_be_used_fails_the_file_and_names_the_column",
        "test_formats_http::test_a_bad_header_fails_the_file_with_all_its_lines_and_a_mended_one_lands",
    ],
    "JSON arrays that are none": [
        "test_json_array::test_what_is_no_array_lands_nothing_and_says_where_it_breaks",
    ],
    "signs that contradict each other": ["test_formats_http::test_signs_agree_or_are_refused"],
    "a malformed form": [
        "test_ingestion_http::test_a_form_that_is_not_one_file_is_refused_and_keeps_nothing",
        "test_bad_requests::test_a_malformed_form_is_refused_and_keeps_nothing",
        "test_bad_requests::test_a_form_may_be_spelled_in_unusual_ways",
    ],
    "a stored file that is lost or altered": [
        "test_bad_requests::test_a_stored_file_that_is_gone_or_altered_fails_as_lost_and_lands_nothing"
    ],
    "more lines than are taken": [
        "test_any_bytes::test_a_file_of_more_lines_than_are_taken_fails_and_lands_nothing"
    ],
}


def test_the_list_of_answers_names_tests_that_exist():
    named = [test for tests in ANSWERS.values() for test in tests]
    files = {name.partition("::")[0] if "::" in name else "test_bad_input" for name in named}
    known = {f"{file}::{name}" for file in files for name in functions_of(file)}
    assert {name if "::" in name else f"test_bad_input::{name}" for name in named} <= known


def functions_of(file: str) -> list[str]:
    tree = ast.parse((ROOT / "tests" / f"{file}.py").read_text())
    return [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


@pytest.fixture(scope="module")
def shop(running_service: Service) -> Merchant:
    """One merchant for all tests here that bring their own ids and never list uploads."""
    return running_service.add_tenant()


def assert_accounted(status: dict, received: int) -> None:
    """The upload is finished, and the outcomes sum to so many lines."""
    assert status["finished"]
    assert status["lines_received"] == received
    ingestion.assert_sums(status)
    assert status["outcomes"]["unprocessed"] == 0 or status["status"] == "failed"


def refused(merchant: Merchant, status: dict) -> list[tuple[int, str, str]]:
    """Line, code and field of every reject."""
    found = merchant.rejects(status["upload_token"])
    return [(reject["line"], reject["code"], reject["field"]) for reject in found]


def spelled(record: dict, field: str, value: bytes) -> bytes:
    """The record's line with a field spelled like this."""
    others = {name: kept for name, kept in record.items() if name != field}
    text = json.dumps(others, ensure_ascii=False).encode()
    return text.replace(b"{", b'{"%s":%s,' % (field.encode(), value), 1)


# Lines, one by one.

STRANGER = "22222222-2222-4222-8222-222222222222"
BAD_ORDERS = [
    *[("total_amount", value, "bad_number") for value in (b"NaN", b"Infinity", b"1e400", b"true")],
    *[("total_amount", value, "bad_number") for value in (b'"1_0"', b"1.23456", b"1e15", b"-1")],
    ("total_amount", b"9" * 100_000, "bad_number"),
    ("total_amount", b"1e-99999999999999999999", "bad_number"),
    ("total_amount", b"null", "required"),
    *[("order_date", b'"%s"' % day, "bad_timestamp") for day in (b"1969-12-31", b"2201-01-01")],
    *[("order_date", day, "bad_timestamp") for day in (b'"01/02/2025"', b"1735689600")],
    ("order_date", b"null", "required"),
    ("tenant_id", b'"%s"' % STRANGER.encode(), "foreign_tenant"),
    ("_op", b'"delete"', "bad_operation"),
    ("order_id", b'"00000000000040008000000000000001"', "bad_uuid"),
    ("customer_name_snapshot", b'"%s"' % (b"x" * 256), "too_long"),
    ("customer_name_snapshot", b"7", "bad_type"),
    ("currency", b'"EURO"', "too_long"),
    ("order_status", b'"lost"', "bad_choice"),
    ("kind", b'"SALE"', "bad_choice"),
    ("raw_payload", b'"{}"', "bad_type"),
    ("raw_payload", b'{"a":1e401}', "bad_number"),
    ("raw_payload", b'{"a":%s}' % (b"9" * 500), "bad_number"),
]


def test_every_kind_of_bad_line_has_its_code_and_field(shop):
    lines = [spelled(order(), field, value) for field, value, _ in BAD_ORDERS]
    missing = [{k: v for k, v in order().items() if k != name} for name in ("order_id",)]
    status = shop.load("orders.ndjson", b"\n".join([*lines, ndjson(*missing, order())]))
    assert_accounted(status, len(lines) + 2)
    assert status["outcomes"] == ingestion.outcomes(rejected=len(lines) + 1, inserted=1)
    expected = [(at, code, field) for at, (field, _, code) in enumerate(BAD_ORDERS, 1)]
    assert refused(shop, status) == [*expected, (len(lines) + 1, "required", "order_id")]


def test_an_event_with_other_content_is_refused(shop):
    goods = product()
    shop.load("products.ndjson", ndjson(goods))
    event = {
        "stock_event_id": str(uuid4()),
        "product_id": goods["product_id"],
        "delta": 5,
        "event_time": "2025-03-01T10:00:00Z",
    }
    shop.load("stock_events.ndjson", ndjson(event))
    changed = {**event, "event_time": "2025-03-01T10:00:01Z"}
    status = shop.load("stock_events.ndjson", ndjson(event, changed))
    assert status["outcomes"] == ingestion.outcomes(unchanged=1, rejected=1)
    assert refused(shop, status) == [(2, "event_conflict", "stock_event_id")]


def test_nesting_is_accepted_to_its_limit_and_refused_beyond(shop):
    depths = (63, 64, 65, 100_000)
    nested = [b'{"a":' + b"[" * (depth - 2) + b"]" * (depth - 2) + b"}" for depth in depths]
    unclosed = b'{"a":' + b"[" * 500_000
    lines = [spelled(customer(), "metadata", value) for value in (*nested, unclosed)]
    status = shop.load("customers.ndjson", b"\n".join(lines))
    assert status["outcomes"] == ingestion.outcomes(inserted=2, rejected=3)
    assert refused(shop, status) == [(line, "bad_json", "") for line in (3, 4, 5)]


HARD = {
    "a string of escaped quotes that never ends": b'{"a":"' + b'\\"' * (MIB // 2 - 10),
    "quotes": b'"' * MIB,
    "backslashes": b'{"a":"' + b"\\" * (MIB - 10),
    "objects that never end": b'{"a":' * (MIB // 5),
    "constants": b'{"a":[' + b"NaN," * 100_000 + b"1]," + b'"b":1,' * 1_000 + b'"c":2}',
    "a long number": b'{"a":' + b"9" * (MIB - 10) + b"}",
    "a long key without a value": b'{"' + b"k" * (MIB - 10) + b'"}',
}


def test_a_line_that_is_hard_to_read_takes_no_time(shop):
    started = time.monotonic()
    status = shop.load("customers.ndjson", b"\n".join(HARD.values()))
    assert status["outcomes"] == ingestion.outcomes(rejected=len(HARD))
    assert time.monotonic() - started < 5 * ingestion.SLACK


def test_a_line_that_repeats_very_many_keys_is_one_small_reject(shop):
    many = b"{" + b",".join(b'"k%d":1,"k%d":2' % (at, at) for at in range(40_000)) + b"}"
    long = b'{"%s":1,"%s":2}' % (b"k" * 100_000, b"k" * 100_000)
    odd = b'{"\\ud800\\u0000":1,"\\ud800\\u0000":2}'
    status = shop.load("customers.ndjson", b"\n".join([many, long, odd]))
    found = shop.rejects(status["upload_token"])
    assert [reject["code"] for reject in found] == ["duplicate_key"] * 3
    assert max(len(json.dumps({**reject, "raw": ""})) for reject in found) < 10_000
    assert found[0]["field"] == "k0"


def test_a_constant_under_a_key_that_no_database_would_keep_is_refused(shop):
    keys = [b"\\ud800", b"\\u0000", b"k" * 100_000, b'\\"', b"\\\\", "ключ".encode()]
    lines = [spelled(customer(name="NaN"), "who", b"NaN").replace(b"who", key) for key in keys]
    status = shop.load("customers.ndjson", b"\n".join(lines))
    found = refused(shop, status)
    assert [(line, code) for line, code, _ in found] == [
        (line, "bad_number") for line in range(1, len(keys) + 1)
    ]
    assert [len(field) < 250 for *_, field in found] == [True] * len(keys)
    assert found[-1][2] == "ключ"


def test_a_million_unknown_keys_are_counted_in_little_room(shop):
    lines = []
    for line in range(1_000):
        extra = b",".join(b'"k%d":0' % (line * 1_000 + at) for at in range(1_000))
        lines.append(ndjson(customer()).replace(b"{", b"{" + extra + b",", 1))
    status = shop.load("customers.ndjson", b"".join(lines))
    assert status["outcomes"] == ingestion.outcomes(inserted=1_000)
    assert len(status["unknown_keys"]) == 101
    assert sum(status["unknown_keys"].values()) == 1_000_000
    assert status["unknown_keys"]["…"] == 1_000_000 - 100


def test_unknown_keys_that_no_database_would_keep_are_counted(shop):
    keys = [b"\\u0000", b"\\ud800", b"", b'\\"', b"\\\\", b"$where", b"__proto__", b"k" * 999]
    lines = [spelled(customer(), "who", b"1").replace(b"who", key) for key in keys]
    status = shop.load("customers.ndjson", b"\n".join(lines))
    assert status["outcomes"] == ingestion.outcomes(inserted=len(keys))
    counted = len([key for key in keys if not key.startswith(b"_")])
    assert list(status["unknown_keys"].values()) == [1] * counted


def test_a_file_of_which_every_line_is_refused_is_done_soon_and_kept_compactly(shop):
    lines = [b'{"customer_id": %d, "name": "Ada"}' % at for at in range(100_000)]
    started = time.monotonic()
    status = shop.load("customers.ndjson", b"\n".join(lines))
    seconds = time.monotonic() - started
    assert_accounted(status, 100_000)
    assert status["reject_codes"] == {"bad_uuid": 100_000}
    chunk = shop.service.spelled(status["chunks"][0]["chunk_id"])
    ((kept,),) = ask(
        shop.service, f"SELECT sum(length(r.blob)) FROM rejects r WHERE r.chunk_id = {chunk}"
    )
    found = shop.rejects(status["upload_token"])
    assert [reject["line"] for reject in found] == list(range(1, 100_001))
    assert found[-1]["raw"] == lines[-1].decode()
    print(f"{seconds:.1f} s, {kept:,} bytes of rejects")
    assert kept < 20 * len(lines)
    assert seconds < 10 * ingestion.SLACK


# Bytes.

NO_UTF8 = {
    "a byte that never is": b"\xff",
    "a lone continuation": b"\x80",
    "an overlong slash": b"\xc0\xaf",
    "an overlong NUL": b"\xc0\x80",
    "half a surrogate pair": b"\xed\xa0\x80",
    "a surrogate pair": b"\xed\xa0\xbd\xed\xb8\x80",
    "beyond Unicode": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
    "Latin-1": b"caf\xe9",
    "cut short": b"\xe2\x82",
    "a NUL": b"\x00",
}


def test_bytes_that_are_no_utf8_are_refused_line_by_line(shop):
    good = [ndjson(customer(name="é€🙂\u2028\ufeff")) for _ in NO_UTF8]
    bad = [spelled(customer(), "name", b'"%s"' % text) + b"\n" for text in NO_UTF8.values()]
    cut_at_the_end = b'{"name": "\xf0\x9f\x99'
    data = b"".join(part for pair in zip(good, bad, strict=True) for part in pair)
    status = shop.load("customers.ndjson", data + cut_at_the_end)
    lines = [*range(2, 2 * len(bad) + 1, 2), 2 * len(bad) + 1]
    assert_accounted(status, lines[-1])
    assert refused(shop, status) == [(line, "bad_encoding", "") for line in lines]


@pytest.mark.parametrize("edge", [1 << 18, 1 << 20])
@pytest.mark.parametrize("ending", ["ndjson", "ndjson.gz"])
def test_a_character_that_lies_across_blocks_is_read_whole(shop, edge, ending):
    sound, unsound = "🙂".encode(), b"\xf0\x9f\x99"
    lines = []
    for before in (1, 2, 3):
        for text in (sound, unsound):
            head = spelled(customer(), "name", b'"%s' % text)
            at = head.index(text)
            blanks = (edge - before - at - sum(map(len, lines)) - 1) % edge
            lines.append(b" " * blanks + b"\n")
            assert (sum(map(len, lines)) + at + before) % edge == 0
            lines.append(head[: at + len(text)] + b'"' + head[at + len(text) :] + b"\n")
    data = b"".join(lines)
    status = shop.load(f"customers.{ending}", gzip.compress(data) if "gz" in ending else data)
    assert status["outcomes"] == ingestion.outcomes(inserted=3, rejected=3)
    assert refused(shop, status) == [(line, "bad_encoding", "") for line in (4, 8, 12)]


def test_a_byte_order_mark_is_stripped_at_the_start_only(shop):
    mark = b"\xef\xbb\xbf"
    line = ndjson(customer())
    status = shop.load("customers.ndjson", mark + line + mark + ndjson(customer()))
    assert status["outcomes"] == ingestion.outcomes(inserted=1, rejected=1)
    assert refused(shop, status) == [(2, "bad_json", "")]
    (reject,) = shop.rejects(status["upload_token"])
    assert reject["offset"] == len(mark + line)
    status = shop.load("customers.ndjson", mark + mark + line)
    assert refused(shop, status) == [(1, "bad_json", "")]


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-be", "utf-32"])
def test_every_line_of_a_utf16_file_is_refused(shop, coding):
    text = ndjson(customer(), customer()).decode()
    status = shop.load("customers.ndjson", text.encode(coding))
    codes = {code for _, code, _ in refused(shop, status)}
    assert status["outcomes"]["inserted"] == 0
    assert codes == {"bad_encoding"}
    assert_accounted(status, status["outcomes"]["rejected"])


LINE_ENDS = {
    "no final newline": (b"%b\n%b", ingestion.outcomes(inserted=2)),
    "Windows": (b"%b\r\n%b\r\n", ingestion.outcomes(inserted=2)),
    "empty lines": (b"\n\n%b\n\r\n \t\n%b\n\n\n", ingestion.outcomes(inserted=2)),
    "old Macintosh": (b"%b\r%b\r", ingestion.outcomes(rejected=1)),
    "a form feed": (b"%b\n\x0c\n%b\n", ingestion.outcomes(inserted=2, rejected=1)),
    "a line separator": (b"%b\xe2\x80\xa8%b\n", ingestion.outcomes(rejected=1)),
}


@pytest.mark.parametrize("name", LINE_ENDS)
def test_lines_end_with_a_newline_and_blank_ones_are_none(shop, name):
    form_, expected = LINE_ENDS[name]
    one, two = (ndjson(customer()).strip() for _ in range(2))
    status = shop.load("customers.ndjson", form_ % (one, two))
    assert status["outcomes"] == expected


BLANKS = {
    "newlines": b"\n\n\n",
    "blanks": b" \t\r\n \n",
    "one blank": b" ",
    "a byte-order mark": b"\xef\xbb\xbf",
    "a gzip of nothing": gzip.compress(b""),
    "a gzip of newlines": gzip.compress(b"\n" * 1_000_000),
}


@pytest.mark.parametrize("name", BLANKS)
def test_a_file_of_nothing_but_blanks_is_complete_and_has_no_lines(shop, name):
    status = shop.load("customers.ndjson", BLANKS[name])
    assert (status["status"], status["lines_received"]) == ("completed", 0)
    assert status["outcomes"] == ingestion.NOTHING
    assert shop.rejects(status["upload_token"]) == []


def padded(record: dict, length: int) -> bytes:
    """The record as a line of this length, by a long text in its JSON."""
    empty = json.dumps({**record, "metadata": {"a": ""}}).encode()
    return empty.replace(b'"a": ""', b'"a": "%s"' % (b"x" * (length - len(empty))))


def test_a_line_may_have_exactly_one_mebibyte(shop):
    lines = [padded(customer(), MIB + more) for more in (0, 1, 0, 1)]
    assert list(map(len, lines)) == [MIB, MIB + 1] * 2
    status = shop.load("customers.ndjson", b"\n".join(lines))
    assert status["outcomes"] == ingestion.outcomes(inserted=2, rejected=2)
    assert refused(shop, status) == [(2, "line_too_long", ""), (4, "line_too_long", "")]
    assert [len(reject["raw"]) for reject in shop.rejects(status["upload_token"])] == [10_000] * 2


# Compressed files.


def test_a_gzip_of_very_many_members_lands_in_seconds(shop):
    members = 200_000
    empty, line = gzip.compress(b"", mtime=0), gzip.compress(ndjson(customer()), mtime=0)
    blank = gzip.compress(b"\n", mtime=0)
    data = empty * (members // 2) + line + blank * (members // 2) + line
    started = time.monotonic()
    status = shop.load("customers.ndjson.gz", data)
    assert status["outcomes"] == ingestion.outcomes(superseded=1, inserted=1)
    assert time.monotonic() - started < 5 * ingestion.SLACK


def test_a_decompression_bomb_fails_its_file_and_lands_nothing(merchant):
    packer = zlib.compressobj(9, wbits=31)
    bomb = packer.compress(ndjson(customer()))
    bomb += b"".join(packer.compress(b" " * MIB) for _ in range(220)) + packer.flush()
    assert len(bomb) < MIB
    status = merchant.load("customers.ndjson.gz", bomb)
    (chunk,) = status["chunks"]
    assert (status["status"], chunk["status"]) == ("failed", "failed")
    assert chunk["code"] == "decompression_bomb"
    assert status["outcomes"] == ingestion.outcomes(unprocessed=1)
    assert tables.rows(merchant.service, merchant.tenant, "customers") == []
    assert len(stored_objects(merchant)) == 1


ENDINGS = ["zip", "tar.gz", "7z", "bz2", "xz", "json.gz.gz", "ndjson.bak", "xml", "exe"]


def test_an_ending_that_is_not_accepted_is_told_what_is(merchant):
    packed = gzip.compress(ndjson(customer()))
    for ending in ENDINGS:
        answer = merchant.send(f"customers.{ending}", packed)
        assert ingestion.problem(answer) == (415, "unsupported_format"), ending
        assert ".ndjson" in answer.json()["detail"]
    ingestion.assert_nothing_was_kept(merchant)


ENCODED = {
    "identity, packed": ("customers.ndjson", "identity", True, 201),
    "in capitals": ("customers.ndjson", "GZIP", True, 201),
    "twice": ("customers.ndjson", "gzip, gzip", True, 415),
    "deflate": ("customers.ndjson", "deflate", True, 415),
    "gzip, plain": ("customers.ndjson.gz", "gzip", False, 415),
    "identity, called gz, plain": ("customers.ndjson.gz", "identity", False, 415),
    "called gz, packed, identity": ("customers.ndjson.gz", "identity", True, 201),
}


@pytest.mark.parametrize("name", ENCODED)
def test_name_header_and_bytes_must_not_contradict_each_other(shop, name):
    filename, encoding, is_packed, expected = ENCODED[name]
    data = ndjson(customer())
    answer = shop.send(
        filename,
        gzip.compress(data) if is_packed else data,
        **{"Content-Encoding": encoding},
    )
    assert answer.status_code == expected
    if expected == 201:
        assert ingestion.landed(shop, answer)["outcomes"] == ingestion.outcomes(inserted=1)


def test_what_was_compressed_twice_is_unpacked_once_and_its_lines_are_refused(shop):
    twice = gzip.compress(gzip.compress(ndjson(customer())))
    status = shop.load("customers.ndjson.gz", twice, **{"Content-Encoding": "gzip"})
    assert_accounted(status, status["outcomes"]["rejected"])
    assert {code for _, code, _ in refused(shop, status)} == {"bad_encoding"}


# Memory.


def big_lines(count: int) -> bytes:
    """Sound lines of a mebibyte each, hardly compressible."""
    dice = random.Random(7)
    texts = (dice.randbytes(MIB // 2 - 200).hex() for _ in range(count))
    return ndjson(*(customer(metadata={"text": text}) for text in texts))


SHARE = sizes.of(4, 1)
BAD_FILES = {
    "one line": lambda: b"x" * (SHARE * 50_000_000),
    "blank lines": lambda: (b" " * 999 + b"\n") * (SHARE * 50_000),
    "empty lines": lambda: gzip.compress(b"\n" * (SHARE * 5_000_000), 1),
    "lines of two bytes": lambda: b"[\n" * 200_000,
    "lines of a mebibyte": lambda: big_lines(SHARE * 25),
    "numbers that grow when written out": lambda: b"\n".join(
        spelled(customer(), "metadata", b'{"a":[%s1]}' % (b"1e400," * 150_000)) for _ in range(5)
    ),
}


@pytest.mark.slow
def test_bad_files_of_many_megabytes_pass_through_a_small_worker(tmp_path):
    with service.running(tmp_path) as running:
        merchant = running.add_tenant()
        found = {}
        for name, made in BAD_FILES.items():
            started = time.monotonic()
            answer = merchant.send("customers.ndjson", made())
            status = merchant.wait(answer.json()["upload_token"], 200)
            assert_accounted(status, status["lines_received"])
            highest = max(peaks(running).values())
            found[name] = f"{highest // 1000} MB, {time.monotonic() - started:.0f} s"
            assert highest < LIMIT_KB, found
        print(found)
