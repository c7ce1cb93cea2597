"""JSON texts that others wrote to try parsers, down the whole road and judged by a second opinion.

Each text stands as the value of three fields: a JSON object's member, a text and a number.
"""

import json
import re
from decimal import Decimal, InvalidOperation

from tests import test_bad_input as bad_input
from tests.shop import order

FIELDS = ("raw_payload", "customer_name_snapshot", "total_amount")


def second_opinion(line: bytes, field: str) -> str | None:
    """The code that Python's own parser and the documented rules give a line; None if sound."""
    try:
        record = parsed(line)
    except Refusal as refusal:
        return str(refusal)
    value = record.get(field)
    if field == "total_amount":
        return amount_opinion(value)
    if field == "customer_name_snapshot":
        is_text = value is None or (isinstance(value, str) and not isinstance(value, Spelled))
        return (text_opinion(value or "") if is_text else "bad_type") or too_long(value)
    return "bad_type" if not isinstance(value, dict) else json_opinion(value)


class Refusal(Exception):
    """The line is no record; the message is the code."""


class Spelled(str):
    """A JSON number as it was written."""


def parsed(line: bytes) -> dict:
    found: set[str] = set()

    def unique(pairs: list) -> dict:
        if len(dict(pairs)) < len(pairs):
            found.add("duplicate_key")
        return dict(pairs)

    def constant(name: str) -> str:
        found.add("bad_number")
        return name

    if b"\x00" in line or not is_utf8(line):
        raise Refusal("bad_encoding")
    try:
        text = line.decode()
        hooks = {"parse_int": Spelled, "parse_float": Spelled, "parse_constant": constant}
        record = json.loads(text, object_pairs_hook=unique, **hooks)
    except (ValueError, RecursionError):
        raise Refusal("bad_json") from None
    if not isinstance(record, dict) or depth(record) > 64:
        raise Refusal("bad_json")
    for code in ("duplicate_key", "bad_number"):
        if code in found:
            raise Refusal(code)
    return record


def is_utf8(line: bytes) -> bool:
    return line.decode(errors="ignore").encode() == line


def depth(value: object) -> int:
    level, found = [value], 0
    while level := [inner for inner in level if isinstance(inner, dict | list)]:
        found += 1
        members = [inner.values() if isinstance(inner, dict) else inner for inner in level]
        level = [member for inner in members for member in inner]
    return found


def text_opinion(text: str) -> str | None:
    unkept = "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text)
    return "bad_encoding" if unkept else None


def too_long(text: str | None) -> str | None:
    return "too_long" if len(text or "") > 255 else None


def amount_opinion(value: object) -> str | None:
    if value is None:
        return "required"
    try:
        number = Decimal(value) if isinstance(value, str) else None
    except InvalidOperation:
        number = None
    is_spelled = isinstance(value, str) and re.fullmatch(r"-?[0-9.]+([eE][+-]?[0-9]+)?", value)
    if number is None or not is_spelled or not 0 <= number < Decimal("922337203685477.5808"):
        return "bad_number"
    return "bad_number" if number % Decimal("0.0001") else None


def json_opinion(value: object) -> str | None:
    if isinstance(value, Spelled):
        far = len(value) > 1_000 or abs(exponent_of(value)) > 400
        return "bad_number" if far else None
    if isinstance(value, str):
        return text_opinion(value)
    members = [*value, *value.values()] if isinstance(value, dict) else value
    inner = members if isinstance(value, dict | list) else []
    return next(filter(None, map(json_opinion, inner)), None)


def exponent_of(spelling: str) -> int:
    """That of the leading digit; beyond all bounds if even Decimal cannot hold it."""
    try:
        number = Decimal(spelling)
    except InvalidOperation:
        return 10**9
    return number.adjusted() if number else 0


# The y_ texts that are not accepted, by reason.
NO_Y = {
    "y_array_with_1_and_newline.json": "a newline ends the record",
    "y_object_with_newlines.json": "a newline ends the record",
    "y_object_duplicated_key.json": "a key twice",
    "y_object_duplicated_key_and_value.json": "a key twice",
    "y_object_escaped_null_in_key.json": "no database keeps a NUL",
    "y_string_null_escape.json": "no database keeps a NUL",
}


def test_json_texts_of_others_are_judged_as_a_second_opinion_does(merchant, shared_data):
    texts = {
        path.name: path.read_bytes().strip(b"\n")
        for path in sorted((shared_data / "json" / "test_parsing").glob("*.json"))
    }
    assert len(texts) > 300
    places = [(name, field) for name in texts for field in FIELDS]
    records = [
        bad_input.spelled(
            order(), field, b'{"value":%s}' % texts[name] if field == FIELDS[0] else texts[name]
        )
        for name, field in places
    ]
    status = merchant.load("orders.ndjson", b"\n".join(records))
    lines, field_of, name_of = [], [], []
    for (name, field), record in zip(places, records, strict=True):
        for line in record.split(b"\n"):
            lines.append(line)
            field_of.append(field)
            name_of.append(name)
    bad_input.assert_accounted(status, len(lines))
    found = {line: code for line, code, _ in bad_input.refused(merchant, status)}
    judged = {
        (at, name_of[at - 1], field_of[at - 1]): second_opinion(line, field_of[at - 1])
        for at, line in enumerate(lines, 1)
    }
    assert {place: found.get(place[0]) for place in judged} == judged
    landed = {name for (_, name, field), code in judged.items() if field == FIELDS[0] and not code}
    assert not [name for name in landed if name.startswith("n_")]
    assert {name for name in texts if name.startswith("y_")} - landed == NO_Y.keys()
    assert status["outcomes"]["inserted"] == sum(code is None for code in judged.values()) > 90
