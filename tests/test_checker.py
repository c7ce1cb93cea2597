"""The fast paths against the inspector: they may pass only what it passes, as the same row.

The inspector is the author of rejects, so what it says of bad input is tested in
test_inspection.py, and the way from bytes to numbered lines in test_lines.py.
"""

import io
import json
import random
import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.entities import BY_NAME, ENTITIES
from headrace.pipeline.inspection import NULL, Inspection, Inspector
from headrace.pipeline.json_records import JsonRecords
from headrace.pipeline.load import UTC as UTC_ZONE
from headrace.pipeline.load import Load
from headrace.pipeline.ready import Row, ready_rows
from headrace.pipeline.scanning import Scan, native, scan_of
from headrace.schema import (
    Before,
    Boolean,
    Entity,
    Field,
    Integer,
    JsonObject,
    MinimumWhen,
    Money,
    Text,
    Timestamp,
    Uuid,
)
from tests import records, road

ZONES = (UTC_ZONE, ZoneInfo("Europe/Berlin"))
BY_ENTITY = pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.name)

# Every declaration that no entity of today uses: bounds, optional halves of a Before, no nulls.
SPECIMEN = Entity(
    name="specimens",
    about="One field of every kind with every option.",
    key="specimen_id",
    fields=(
        Field("specimen_id", Uuid(), "identity", required=True),
        Field("code", Text(3), "short text", required=True),
        Field("kind", Text(9, ("a.b", "c|d")), "choices with signs", default="a.b"),
        Field("price", Money(5, 2, minimum=10), "a minimum above 0", null=True),
        Field("cost", Money(7, 0), "no decimals", null=True),
        Field("grade", Integer(3, 7), "narrow bounds", null=True),
        Field("step", Integer(nonzero=True), "not 0", null=True),
        Field("flag", Boolean(), "a boolean", null=True),
        Field("starts", Timestamp(), "may be missing", null=True),
        Field("ends", Timestamp(), "may be missing", null=True),
        Field("extra", JsonObject(), "an object", null=True),
    ),
    checks=(Before("starts", "ends"), MinimumWhen("cost", 5, when="kind", equals="c|d")),
)
FAST_TESTED = (*ENTITIES, SPECIMEN)


def meant(entity: Entity, row: Row) -> list[Any]:
    """The values of a travelling row; two spellings of one value are equal."""
    cells = row.text.split("\t")
    return [_meant(field, cell) for field, cell in zip(entity.fields, cells, strict=True)]


def _meant(field: Field, cell: str) -> Any:
    if cell == NULL:
        return None
    match field.type:
        case Money():
            return Decimal(cell)
        case Integer():
            return int(cell)
        case Timestamp():
            moment = datetime.fromisoformat(cell)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        case JsonObject():
            return json.loads(_unescaped(cell), parse_float=Decimal)
        case _:
            return _unescaped(cell)


def _unescaped(cell: str) -> str:
    signs = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}
    return re.sub(r"\\(.)", lambda found: signs[found[1]], cell)


def load_of(entity: Entity, zone: ZoneInfo = UTC_ZONE) -> Load:
    """A load of any entity, declared or not, whose bytes nobody reads."""
    return Load(entity, road.TENANT, 1, io.BytesIO, "", zone=zone)


def scanned(scan: Scan, line: bytes) -> Row | None:
    """The row that the native scanner makes of a line, None where it wants it looked at closer."""
    rows = scan([line], [7], [11], lambda line, number, offset: None).rows
    if not len(rows):
        return None
    _, mask, text = rows.text.decode().removesuffix("\n").split("\t", 2)
    [(number, offset, index_mask, length, key)] = rows.index.tolist()
    assert (number, offset, index_mask, length) == (7, 11, int(mask), len(rows.text))
    return Row(text, int(mask), key.decode())


class Paths:
    """All ways to read a line of an entity, side by side."""

    def __init__(self, entity: Entity, zone: ZoneInfo = UTC_ZONE) -> None:
        self.entity = entity
        self._records = JsonRecords(load_of(entity, zone))
        self._scan = scan_of(load_of(entity, zone))

    def agree(self, line: bytes) -> bool:
        """Whether all fast paths passed the line; fails if the inspector says otherwise."""
        slow = self._records.inspect(line)
        assert (slow.row is None) == bool(slow.faults), line
        found = [self._records.clean(line)]
        if native is not None:
            found.append(scanned(self._scan, line))
        for fast in found:
            if fast is not None:
                assert not slow.unknown, line
                assert_same(self.entity, line, fast, slow)
        return None not in found


def assert_same(entity: Entity, line: bytes, fast: Row, slow: Inspection) -> None:
    """The row of a fast path is the inspector's."""
    assert slow.row is not None, (line, slow.faults)
    assert meant(entity, fast) == meant(entity, slow.row), line
    assert (fast.mask, fast.cluster) == (slow.row.mask, slow.row.cluster), line


# Lines broken on purpose.

NASTY = [
    *(
        b"null true false 0 -0 1 -1 1.9 1e2 1E400 -1e-400 1e99999999999999999999 01 +1 .5 1."
    ).split(),
    *(
        b'NaN Infinity -Infinity [] {} [1] "" "NaN" "Infinity" "1_0" "5" "-5" "1.50" " 1" 1_0'
    ).split(),
    *(b"99999.99999 999999999999999.9999 922337203685477.5807 922337203685477.5808").split(),
    *(b"2147483647 2147483648 -2147483649 1.0 12345 9.99 3 7 8 0.0 -0.0 0.00001").split(),
    *(b'"\\ud800" "\\udc00\\ud800" "\\u0000" "\\u00e9" "\xff" "\xed\xa0\x80" "\\n" "\\t"').split(),
    *(b'"a" "a.b" "aXb" "c|d" "sale" "return" "SALE" "pending" "xxxx" "\\\\N" "\\u005cN"').split(),
    '"١٢"'.encode(),
    '"５"'.encode(),
    *(b'"2024-02-29T00:00:00Z" "2023-02-29T00:00:00Z" "2100-02-29T00:00:00Z" "2024-02-29"').split(),
    *(b'"1969-12-31T23:59:59Z" "1970-01-01T00:00:00Z" "2200-12-31T23:59:59Z"').split(),
    *(b'"2201-01-01T00:00:00Z" "2024-06-31T00:00:00Z" "2024-01-01T24:00:00Z"').split(),
    *(b'"2024-01-01T00:00:60Z" "2024-01-01T00:00:00.1234567Z" "2024-01-01T00:00:00.12"').split(),
    *(b'"2024-01-01T00:00:00.1Z" "2024-01-01T00:00:00" "2024-01-01T00:00:00.123456Z"').split(),
    *(b'"2024-01-01T00:00:00+14:00" "2024-01-01T00:00:00-0500" "2024-01-01T00:00:00+99"').split(),
    b'"2024-01-01 00:00:00"',
    b'"2024-01-01t00:00:00z"',
    b'"1970-01-01T00:00:00+01:00"',
    b'"00000000-0000-4000-8000-00000000000A"',
    b'"00000000000040008000000000000001"',
    b'"{00000000-0000-4000-8000-000000000001}"',
    b'{"a":{"b":{}}}',
    b'{"a":":","\\u003a":1}',
    b'{"a":1,"a":1}',
    b'{"a":1,"\\u0061":1}',
    b'{"a":1.50,"b":1e3,"c":123456789012345678901234567890}',
    b"[" * 70 + b"]" * 70,
    b'{"a":' * 63 + b"1" + b"}" * 63,
    b'{"a":' * 64 + b"1" + b"}" * 64,
]
SPLICES = (
    *(b': :: , " \\ \x00 \xef\xbb\xbf \xff { } [ ] 0 - . e').split(b" "),
    *(b' :|: | ,|\t:|\r:|\\u003a|\\u0022:|","_op":"upsert|"_x":1,|"who":1,|"tenant_id":"",').split(
        b"|"
    ),
    f'"tenant_id":"{road.TENANT}",'.encode(),
    b'"tenant_id":"22222222-2222-4222-8222-222222222222",',
    b'"name":":\\u003a",',
)
MEMBER = re.compile(rb'("[a-z_]+") ?: ?("(?:[^"\\]|\\.)*"|[^,{}\[\]]+|\{[^{}]*\})')


def mutated(line: bytes, dice: random.Random) -> bytes:
    """The line with one to three things done to it; about a third of them leave it valid."""
    for _ in range(dice.randrange(1, 4)):
        line = dice.choice(_MUTATIONS)(line, dice)
    return line


def _with_nasty_value(line: bytes, dice: random.Random) -> bytes:
    members = list(MEMBER.finditer(line))
    if not members:
        return line
    start, end = dice.choice(members).span(2)
    return line[:start] + dice.choice(NASTY) + line[end:]


def _with_repeated_member(line: bytes, dice: random.Random) -> bytes:
    members = MEMBER.findall(line)
    if not members:
        return line
    name, value = dice.choice(members)
    colon = dice.choice((b":", b" :", b": ", b"\t:", b"\r : "))
    return line.replace(b"{", b"{" + _escaped(name, dice) + colon + value + b",", 1)


def _escaped(name: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(1, len(name) - 1)
    escape = b"\\u%04x" % name[at]
    return name[:at] + dice.choice((name[at : at + 1], escape, escape.upper())) + name[at + 1 :]


def _with_escaped_name(line: bytes, dice: random.Random) -> bytes:
    members = list(MEMBER.finditer(line))
    if not members:
        return line
    start, end = dice.choice(members).span(1)
    return line[:start] + _escaped(line[start:end], dice) + line[end:]


def _without_member(line: bytes, dice: random.Random) -> bytes:
    members = [found[0] for found in MEMBER.finditer(line)]
    return line.replace(dice.choice(members) + b",", b"", 1) if members else line


def _spliced(line: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(line) + 1)
    return line[:at] + dice.choice(SPLICES) + line[at + dice.randrange(2) :]


def _with_first_member(line: bytes, dice: random.Random) -> bytes:
    return line.replace(b"{", b"{" + dice.choice(SPLICES), 1)


def _with_blanks(line: bytes, dice: random.Random) -> bytes:
    sign = dice.choice((b":", b",", b"{", b"}", b'"'))
    blank = dice.choice((b" ", b"\t", b"\r"))
    return line.replace(sign, dice.choice((blank + sign, sign + blank)), dice.choice((1, -1)))


def _byte_flipped(line: bytes, dice: random.Random) -> bytes:
    at = dice.randrange(len(line))
    return line[:at] + bytes([dice.randrange(256)]) + line[at + 1 :]


def _cut(line: bytes, dice: random.Random) -> bytes:
    return line[: dice.randrange(1, len(line) + 1)]


_MUTATIONS = (
    _with_nasty_value,
    _with_nasty_value,
    _with_nasty_value,
    _with_repeated_member,
    _with_escaped_name,
    _without_member,
    _without_member,
    _spliced,
    _with_first_member,
    _with_blanks,
    _with_blanks,
    _byte_flipped,
    _cut,
)


@pytest.mark.parametrize("zone", ZONES, ids=str)
@pytest.mark.parametrize("entity", FAST_TESTED, ids=lambda entity: entity.name)
def test_the_fast_path_passes_only_what_the_inspector_passes(entity: Entity, zone: ZoneInfo):
    paths, dice = Paths(entity, zone), random.Random(f"{entity.name} {zone}")
    passed = 0
    for _ in range(4_000):
        line = records.line(records.random_record(entity, dice))
        passed += paths.agree(mutated(line, dice).replace(b"\n", b" "))
    assert entity is SPECIMEN or passed > 200


@pytest.mark.parametrize("entity", FAST_TESTED, ids=lambda entity: entity.name)
@settings(max_examples=60)
@given(dice=st.randoms(use_true_random=False))
def test_generated_and_mutated_lines_mean_the_same_on_both_paths(
    entity: Entity, dice: random.Random
):
    line = records.line(records.random_record(entity, dice))
    paths = Paths(entity)
    paths.agree(line)
    paths.agree(mutated(line, dice).replace(b"\n", b" "))


@pytest.mark.parametrize("entity", FAST_TESTED, ids=lambda entity: entity.name)
def test_every_value_that_is_nasty_means_the_same_in_every_field(entity: Entity):
    paths = Paths(entity)
    whole = records.example(entity, 1)
    for field in entity.fields:
        before = records.line(records.without(whole, field.name))
        for value in NASTY:
            paths.agree(before.replace(b"{", b'{"%s":%s,' % (field.name.encode(), value), 1))


@BY_ENTITY
def test_the_fast_path_takes_the_lines_that_generators_write(entity: Entity):
    paths = Paths(entity)
    whole = records.example(entity, 1)
    assert paths.agree(records.line(whole))
    assert paths.agree(records.line(whole | {"tenant_id": str(road.TENANT)}))
    assert paths.agree(records.line(records.minimal(entity, 1)))
    assert paths.agree(records.line(whole).replace(b'":', b'": ').replace(b",", b", "))


CUSTOMER = '{"customer_id":"00000000-0000-4000-8000-000000000001",%s}'


@pytest.mark.parametrize(
    ("members", "codes"),
    [
        ('"name":"a","name":"a"', ["duplicate_key"]),
        ('"name" :"a","name" :"b"', ["duplicate_key"]),
        ('"name"\t:"a","name"\r:"b"', ["duplicate_key"]),
        ('"name":"a","na\\u006de":"b"', ["duplicate_key"]),
        ('"metadata":{"a":"\\u003ax"},"name":"a","name":"b"', ["duplicate_key"]),
        ('"metadata":{"\\u003A":1},"name":"a","name":"b"', ["duplicate_key"]),
        ('"name":"\\u0022:","email":"a","email":"b"', ["duplicate_key"]),
        ('"name":"x\\": ","email":"a","email":"b"', ["duplicate_key"]),
        ('"metadata":{"a":1,"a" :1}', ["duplicate_key"]),
        ('"metadata":{"a":1,"\\u0061":1}', ["duplicate_key"]),
        ('"metadata":{"a":[{"b":1,"b":2}]}', ["duplicate_key"]),
        ('"metadata":{"a":":"},"name":"a","name" :"b"', ["duplicate_key"]),
        ('"who":1,"who":2', ["duplicate_key"]),
        ('"_op":"upsert","_op":"delete"', ["duplicate_key"]),
        ('"metadata":{"a":"\\u003ax"},"_op":"delete"', ["bad_operation"]),
        ('"tenant_id":"x","tenant_id":"11111111-1111-4111-8111-111111111111"', ["duplicate_key"]),
    ],
)
def test_keys_that_decoding_would_drop_are_seen_however_they_are_spelled(members: str, codes):
    line = (CUSTOMER % members).encode()
    assert not Paths(BY_NAME["customers"]).agree(line)
    inspection = Inspector(BY_NAME["customers"], road.TENANT, UTC_ZONE).inspect(line)
    assert [fault.code for fault in inspection.faults] == codes


def test_all_paths_stage_the_same_row(database: road.Database):
    """As read by the database itself: rows of the fast paths beside the inspector's own."""
    dice = random.Random(11)
    for entity in ENTITIES:
        clean, scan = JsonRecords(load_of(entity)).clean, scan_of(load_of(entity))
        slow = Inspector(entity, road.TENANT, UTC_ZONE)
        lines = [records.line(records.random_record(entity, dice)) for _ in range(400)]
        for fast in (clean, partial(scanned, scan))[: 1 if native is None else 2]:
            pairs = [(fast(line), slow.inspect(line).row) for line in lines]
            pairs = [(one, other) for one, other in pairs if one is not None]
            assert len(pairs) > 40
            assert _staged(database, entity, [one for one, _ in pairs]) == _staged(
                database, entity, [other for _, other in pairs]
            )


def _staged(database: road.Database, entity: Entity, rows: list[Row]) -> list[tuple]:
    ready = ready_rows(list(range(1, len(rows) + 1)), [0] * len(rows), rows)
    with database.transaction() as connection:
        database.dialect.stage(connection, entity, ready)
        cursor = connection.cursor()
        cursor.execute(f"SELECT * FROM {entity.name}_staging ORDER BY line")
        return cursor.fetchall()
