"""What the checker says of bad input: the code, the field, the value and what was expected."""

import json
import re
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from headrace.entities import BY_NAME
from headrace.pipeline.formats import base
from headrace.pipeline.formats.ndjson import NdJson
from headrace.pipeline.load import UTC
from headrace.pipeline.report import Reject
from headrace.pipeline.validate import MAX_UNKNOWN_KEYS, OTHER_KEYS, Checked, Checker
from tests import records, road

CUSTOMER = records.example(BY_NAME["customers"], 1)
STRANGER = "22222222-2222-4222-8222-222222222222"


def checked(entity: str, *lines: bytes, zone: ZoneInfo = UTC) -> Checked:
    """What a load says of these lines; the sum of rows, rejects and blanks is theirs."""
    checker = Checker(road.load_of(entity, b"", zone=zone), NdJson())
    found = checker.check(base.Batch(1, 0, list(lines), len(lines[0])))
    assert len(found.scanned.rows) + len(found.rejects) + len(found.blanks) == len(lines)
    return found


def faults(entity: str, line: bytes, zone: ZoneInfo = UTC) -> list[tuple[str, str]]:
    """Code and field of every fault of a line, none if it is sound."""
    rejects = checked(entity, line, zone=zone).rejects
    return [(fault.code, fault.field) for reject in rejects for fault in (reject, *reject.more)]


def with_value(entity: str, field: str, value: bytes) -> bytes:
    """The first example with a field spelled like this."""
    record = records.without(records.example(BY_NAME[entity], 1), field)
    return records.line(record).replace(b"{", b'{"%s":%s,' % (field.encode(), value), 1)


NOT_NUMBERS = [
    "x",
    "",
    "1_0",
    "NaN",
    "Infinity",
    "0x10",
    "1,5",
    " 1",
    "1 ",
    "+1",
    "١٢",
    "５",
    "--1",
]


@pytest.mark.parametrize(
    ("entity", "field", "values", "code"),
    [
        (
            "order_items",
            "quantity",
            b"1.9 0 2147483648 -2147483649 1e400 1e-1 1e9999",
            "bad_number",
        ),
        ("order_items", "unit_price", b"0.00001 1e400 1e15 -1e15 1e-400 1e9999", "bad_number"),
        ("products", "price", b"-1 -0.0001 1e-5", "bad_number"),
        ("products", "active", b'0 1 "true" "t" {}', "bad_type"),
        ("products", "sku", b"1 true {} [] 1.5", "bad_type"),
        ("products", "product_id", b'1 "" "x" "00000000000040008000000000000001"', "bad_uuid"),
        ("customers", "metadata", b'1 "x" [] true "{}"', "bad_type"),
        ("orders", "kind", b'"" "SALE" "sale\\n" "sales"', "bad_choice"),
        ("orders", "currency", b'"EURO"', "too_long"),
        ("orders", "customer_name_snapshot", b'"%s"' % (b"\\ud83d\\ude42" * 256), "too_long"),
        ("customers", "name", b'"\\u0000" "\\ud800" "\\udc00\\ud800" "a\\udfff"', "bad_encoding"),
        ("customers", "metadata", b'{"\\ud800":1} {"a":["\\u0000"]}', "bad_encoding"),
        ("customers", "metadata", b'{"a":1e401} {"a":1e99999999999999999999}', "bad_number"),
        ("customers", "created_at", b"null", "required"),
        ("order_items", "quantity", b"null", "required"),
    ],
)
def test_a_bad_value_is_refused_with_its_code(entity: str, field: str, values: bytes, code: str):
    for value in values.split(b" "):
        line = with_value(entity, field, value)
        assert faults(entity, line) == [(code, field)], value


@pytest.mark.parametrize("value", [*NOT_NUMBERS, True, False, [], [1], {}, {"a": 1}])
def test_what_is_not_a_number_is_none(value):
    for field in ("quantity", "unit_price"):
        line = with_value("order_items", field, json.dumps(value).encode())
        assert faults("order_items", line) == [("bad_number", field)]


@pytest.mark.parametrize("value", [b"01", b"+1", b".5", b"1.", b"1_0", b"0x10", b"1e", b"- 1"])
def test_what_json_does_not_spell_as_a_number_is_bad_json(value: bytes):
    for field in ("quantity", "unit_price"):
        assert faults("order_items", with_value("order_items", field, value)) == [("bad_json", "")]


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity"])
def test_constants_that_json_lacks_are_refused_wherever_they_stand(value: bytes):
    for entity, field in (("order_items", "quantity"), ("orders", "total_amount")):
        assert faults(entity, with_value(entity, field, value)) == [("bad_number", field)]
    nested = with_value("customers", "metadata", b'{"a":[%s]}' % value)
    assert faults("customers", nested) == [("bad_number", "")]
    assert faults("customers", with_value("customers", "who", value)) == [("bad_number", "who")]


@pytest.mark.parametrize("value", [b"5", b'"5"', b"5.0", b"50e-1", b"0.5e1"])
def test_one_number_has_many_spellings(value: bytes):
    for field in ("quantity", "unit_price"):
        assert faults("order_items", with_value("order_items", field, value)) == []


@pytest.mark.parametrize("value", [b"-5", b"-5.00", b'"-5"'])
def test_a_check_quotes_the_value_as_it_was_sent(value: bytes):
    line = with_value("orders", "total_amount", value)
    (reject,) = checked("orders", line.replace(b'"return"', b'"sale"')).rejects
    assert (reject.field, reject.value) == ("total_amount", value.decode())


def test_a_field_that_needs_another_one_is_told_by_its_name():
    line = with_value("stock_events", "expected", b"1")
    (reject,) = checked("stock_events", line).rejects
    assert reject.message == "line 1, expected: expected no 'expected' without 'set'"


# Times.

SOUND = {
    "1970-01-01T00:00:00Z": "1970-01-01 00:00:00",
    "2200-12-31T23:59:59.999999Z": "2200-12-31 23:59:59.999999",
    "2024-02-29": "2024-02-29 00:00:00",
    "2024-02-29T12:30": "2024-02-29 12:30:00",
    "2024-02-29 12:30:15.5": "2024-02-29 12:30:15.500000",
    "2024-02-29T12:30:15.1234560000Z": "2024-02-29 12:30:15.123456",
    "2000-02-29T00:00:00Z": "2000-02-29 00:00:00",
    "2024-01-01T00:00:00+14:00": "2023-12-31 10:00:00",
    "2024-01-01T00:00:00-1130": "2024-01-01 11:30:00",
    "1969-12-31T23:00:00-01:00": "1970-01-01 00:00:00",
    "2025-01-01 10:00:00+00": "2025-01-01 10:00:00",  # as PostgreSQL writes it
    "2025-01-01 10:00:00.5-03": "2025-01-01 13:00:00.500000",
    "2024-02-29+02:00": "2024-02-28 22:00:00",
}
UNSOUND = [
    *("1969-12-31T23:59:59Z", "1970-01-01T00:00:00+01:00", "2201-01-01T00:00:00Z"),
    *("2023-02-29", "2100-02-29T00:00:00Z", "2024-04-31", "2024-13-01", "2024-00-10", "2024-1-1"),
    *("2024-01-01T24:00:00Z", "2024-01-01T12:60:00Z", "2024-01-01T12:00:60Z", "2024-01-01T1:00"),
    *("2024-01-01T12:00:00.1234567Z", "2024-01-01T12:00:00+19:00", "2024-01-01T12:00:00+25:00"),
    *("20240101T120000Z", "2024-W01-1", "2024-001", "01/02/2024", "1704067200", "", "now"),
    *("2024-01-01T12:00:00z", "2024-01-01t12:00:00", "٢٠٢٤-01-01", "2024-01-01T12:00:00 Z"),
    *("2025-01-01-05", "2025-01-01+05", "2024-01-01T12:00:00+5", "2024-01-01T12:00:00 00"),
    *("2024-01-01T12:00:00+19", "2024-01-01T12:00:00+", "2024-01-01T12+00"),
]


def read_time(text: str, zone: ZoneInfo = UTC) -> str:
    line = with_value("customers", "created_at", json.dumps(text).encode())
    (row,) = checked("customers", line, zone=zone).scanned.rows.rows
    return row.decode().split("\t")[-1].removesuffix("Z").replace("T", " ")


@pytest.mark.parametrize("text", SOUND)
def test_a_time_is_read_to_utc(text: str):
    assert read_time(text) == SOUND[text]


@pytest.mark.parametrize("text", UNSOUND)
def test_what_is_no_time_of_iso_8601_between_1970_and_2200_is_refused(text: str):
    line = with_value("customers", "created_at", json.dumps(text).encode())
    assert faults("customers", line) == [("bad_timestamp", "created_at")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2024-01-15T12:00:00", "2024-01-15 11:00:00"),
        ("2024-07-15T12:00:00", "2024-07-15 10:00:00"),
        ("2024-07-15", "2024-07-14 22:00:00"),
        ("2024-10-27T02:30:00", "2024-10-27 00:30:00"),  # comes twice: the first
        ("2024-03-31T01:59:59.999999", "2024-03-31 00:59:59.999999"),
        ("2024-03-31T03:00:00", "2024-03-31 01:00:00"),
        ("2024-03-31T02:30:00+01", "2024-03-31 01:30:00"),
        ("2024-07-15T12:00:00Z", "2024-07-15 12:00:00"),
    ],
)
def test_a_naive_time_is_in_the_tenants_zone(text: str, wanted: str):
    assert read_time(text, ZoneInfo("Europe/Berlin")) == wanted


def test_a_time_that_the_tenants_clocks_skip_is_refused():
    berlin = ZoneInfo("Europe/Berlin")
    for text in ("2024-03-31T02:00", "2024-03-31 02:30:00", "2024-03-31T02:59:59.999999"):
        line = with_value("customers", "created_at", json.dumps(text).encode())
        (reject,) = checked("customers", line, zone=berlin).rejects
        assert (reject.code, reject.field) == ("bad_timestamp", "created_at")
        assert "clocks of Europe/Berlin skip this one; say the offset" in reject.message


def test_a_day_whose_midnight_is_skipped_begins_with_what_clocks_show_next():
    assert read_time("2024-04-26", ZoneInfo("Africa/Cairo")) == "2024-04-25 22:00:00"


def test_an_interval_ends_after_it_starts_however_the_two_are_spelled():
    for start, end, wrong in [
        ("2024-01-01T00:00:00.12", "2024-01-01T00:00:00.1Z", True),
        ("2024-01-01T00:00:00.1Z", "2024-01-01T00:00:00.12", False),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z", True),
        ("2024-01-01T00:00:00Z", "2024-01-01 00:00:00.000001", False),
        ("2024-01-01T01:00:00+02:00", "2024-01-01T00:00:00Z", False),
        ("2024-01-01 00:00:01Z", "2024-01-01T00:00:00Z", True),
    ]:
        record = records.example(BY_NAME["price_history"], 1)
        line = records.line(record | {"effective_from": start, "effective_to": end})
        assert faults("price_history", line) == [("bad_order", "effective_to")] * wrong


# Records as a whole.


def test_a_record_with_several_faults_lists_them_all_in_the_order_of_the_fields():
    line = json.dumps(
        {
            "order_id": "x",
            "kind": "gift",
            "total_amount": "1_0",
            "order_date": None,
            "currency": {"a": [1, 2.50, "b"]},
            "tenant_id": STRANGER,
            "_op": ["delete", 1],
            "price": 3,
        }
    ).encode()
    (reject,) = checked("orders", line).rejects
    assert [(fault.code, fault.field, fault.value) for fault in (reject, *reject.more)] == [
        ("bad_uuid", "order_id", '"x"'),
        ("required", "external_order_id", ""),
        ("bad_choice", "kind", '"gift"'),
        ("bad_number", "total_amount", '"1_0"'),
        ("bad_type", "currency", '{"a":[1,2.5,"b"]}'),
        ("required", "order_date", "null"),
        ("foreign_tenant", "tenant_id", f'"{STRANGER}"'),
        ("bad_operation", "_op", '["delete",1]'),
    ]
    assert reject.message == "line 1, order_id: expected a dashed UUID"


def test_only_a_sale_must_not_be_negative():
    for kind, wanted in [
        (b'"sale"', [("bad_number", "total_amount")]),
        (b'"return"', []),
        (b'"adjustment"', []),
        (None, [("bad_number", "total_amount")]),
    ]:
        record = records.example(BY_NAME["orders"], 0, total_amount=-5)
        record = records.without(record, "kind") if kind is None else record
        line = records.line(record)
        line = line if kind is None else re.sub(rb'"kind":"\w+"', b'"kind":' + kind, line)
        assert faults("orders", line) == wanted


@pytest.mark.parametrize(
    ("member", "wanted"),
    [
        (f'"tenant_id":"{road.TENANT}"', []),
        (f'"tenant_id":"{str(road.TENANT).upper()}"', []),
        ('"tenant_id":null', []),
        (f'"tenant_id":"{STRANGER}"', [("foreign_tenant", "tenant_id")]),
        ('"tenant_id":""', [("foreign_tenant", "tenant_id")]),
        ('"tenant_id":7', [("foreign_tenant", "tenant_id")]),
        ('"tenant_id":{"a":1}', [("foreign_tenant", "tenant_id")]),
        ('"_op":"upsert"', []),
        ('"_op":"delete"', [("bad_operation", "_op")]),
        ('"_op":null', [("bad_operation", "_op")]),
        ('"_code":"bad_json","_anything":{"a":1}', []),
    ],
)
def test_reserved_names_are_read_or_ignored(member: str, wanted):
    line = records.line(CUSTOMER).replace(b"{", b"{%s," % member.encode(), 1)
    assert faults("customers", line) == wanted


def test_unknown_keys_are_kept_out_and_counted_in_a_form_that_every_database_keeps():
    checker = Checker(road.load_of("customers", b""), NdJson())
    members = [b'"who":1', b'"who":2', b'"\\ud800":1', b'"\\u0000":1', b'"%s":1' % (b"k" * 5000)]
    lines = [records.line(CUSTOMER).replace(b"{", b"{" + member + b",", 1) for member in members]
    found = checker.check(base.Batch(1, 0, lines, len(lines[0])))
    assert (len(found.scanned.rows), found.rejects) == (5, [])
    assert sorted(checker.unknown_keys.values()) == [1, 1, 1, 2]
    for key in checker.unknown_keys:
        assert "\x00" not in key.encode().decode()
        assert len(key) < 250


def test_the_unknown_keys_that_are_told_apart_are_bounded_and_the_others_counted_as_one():
    checker = Checker(road.load_of("customers", b""), NdJson())
    for number in range(MAX_UNKNOWN_KEYS + 50):
        line = records.line(CUSTOMER).replace(b"{", b'{"key %d":1,' % number, 1)
        checker.check(base.Batch(1, 0, [line], len(line)))
    told_apart = {f"key {number}": 1 for number in range(MAX_UNKNOWN_KEYS)}
    assert checker.unknown_keys == {**told_apart, OTHER_KEYS: 50}


def test_nesting_of_sixty_four_is_accepted_and_of_sixty_five_refused():
    for depth, wanted in ((63, []), (64, [("bad_json", "")]), (5000, [("bad_json", "")])):
        value = b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)
        assert faults("customers", with_value("customers", "metadata", value)) == wanted
        array = b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
        assert faults("customers", with_value("customers", "metadata", array)) == wanted


@pytest.mark.parametrize(
    ("line", "code"),
    [
        *[
            (line, "bad_json")
            for line in (b"x", b"[]", b'"a"', b"1", b"null", b"{", b"{}{}", b"{}x")
        ],
        *[(line, "bad_json") for line in (b"\x0b", b"{'a':1}", b'{"a":1,}', b"\xef\xbb\xbf{}")],
        *[(line, "bad_encoding") for line in (b"{}\x00", b'{"a":"\xff"}', b'"\xed\xa0\x80"')],
        (b'{"name":"a\tb"}', "bad_json"),
    ],
)
def test_a_line_that_is_no_object_is_refused_as_a_whole(line: bytes, code: str):
    assert faults("customers", line) == [(code, "")]


def test_a_reject_says_line_and_offset_of_its_own_line():
    good, bad = records.line(CUSTOMER), b'{"customer_id":1}'
    lines = [good + b"\r", bad, b"", "é".encode() * 3, good, bad + b"  "]
    found = checked("customers", *lines)
    offsets = [len(b"\n".join(lines[:at])) + bool(at) for at in range(len(lines))]
    assert [(reject.line, reject.offset) for reject in found.rejects] == [
        (2, offsets[1]),
        (4, offsets[3]),
        (6, offsets[5]),
    ]
    sound = found.scanned.rows.index[["line", "offset"]].tolist()
    assert sound == [(1, 0), (5, offsets[4])]
    assert found.blanks == [3]


# Other people's hard cases.


def test_json_texts_that_must_be_refused_are_refused_and_others_are_not(shared_data: Path):
    """Each as a value in a record's JSON field; a newline inside would make two lines of it."""
    seen = {"y": 0, "n": 0, "i": 0}
    for path in sorted((shared_data / "json" / "test_parsing").glob("*.json")):
        text = path.read_bytes()
        if b"\n" in text.strip():
            continue
        line = with_value("customers", "metadata", b'{"value":%s}' % text.strip(b"\n"))
        rejects = checked("customers", line).rejects
        expected = path.name[0]
        seen[expected] += 1
        if expected == "n":
            # A comment or an object's end can be mended by what stands around it here.
            assert rejects or _is_json(line), path.name
        elif expected == "y":
            assert not rejects or _codes(rejects) <= {"duplicate_key", "bad_encoding"}, path.name
    assert seen["y"] > 80
    assert seen["n"] > 150
    assert seen["i"] > 25


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line, parse_constant=lambda name: 1 / 0)
    except (ValueError, ZeroDivisionError, RecursionError):
        return False
    return True


def _codes(rejects: list[Reject]) -> set[str]:
    return {reject.code for reject in rejects}


def test_bytes_are_utf8_or_refused_as_python_reads_them(shared_data: Path):
    sequences = (shared_data / "text" / "utf8tests.bin").read_bytes().split(b"\n")
    counts = {True: 0, False: 0}
    for sequence in sequences:
        text = re.sub(rb'[\x00-\x1f"\\]', b"", sequence)
        line = with_value("customers", "metadata", b'{"a":"%s"}' % text)
        valid = _is_utf8(text)
        counts[valid] += 1
        assert faults("customers", line) == ([] if valid else [("bad_encoding", "")]), sequence
    assert counts[True] > 50
    assert counts[False] > 50


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
