"""Entity → a fast checker that passes clean lines and hands all others to the inspector.

A clean line is decoded by msgspec, joined to the text that it will travel in and compared
with one regular expression made from the entity: whatever matches needs no conversion and has
no fault. Everything else, from a text with a quote to a line of rubbish, is inspection.py's.
"""

import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, UnsetType

from headrace.pipeline import values
from headrace.pipeline.errors import RejectCode
from headrace.pipeline.formats.ndjson import BLANKS, MAX_LINE, Batch
from headrace.pipeline.inspection import NULL, Inspector, Row
from headrace.pipeline.load import Load
from headrace.pipeline.report import Fault, Reject
from headrace.schema import (
    Before,
    Boolean,
    Check,
    Entity,
    Field,
    FieldType,
    Integer,
    JsonObject,
    MinimumWhen,
    Money,
)

MAX_UNKNOWN_KEYS = 100
OTHER_KEYS = "…"  #: counts for all keys beyond the first MAX_UNKNOWN_KEYS
_MANY_DIGITS = re.compile(rf"\d{{{values.MAX_ZEROS + 1}}}", re.ASCII)
_FOUR_DIGITS = re.compile(r"\d{4}", re.ASCII)
_SPOIL_COUNT = (b" :", b"\t:", b"\r:", rb"\u003a", rb"\u003A")


class Checked(NamedTuple):
    """What the lines of a batch are: rows and rejects by ascending line, and the blank lines."""

    lines: list[int]
    offsets: list[int]
    rows: list[Row]
    rejects: list[Reject]
    blanks: list[int]


class Checker:
    """Checks the lines of one load; `unknown_keys` counts keys that no field has."""

    def __init__(self, load: Load) -> None:
        self.unknown_keys: Counter[str] = Counter()
        self._inspector = Inspector(load.entity, load.tenant, load.zone)
        self._clean = _clean_reader(load.entity, load.tenant, load.zone)

    def check(self, batch: Batch) -> Checked:
        """What the lines of `batch` are."""
        checked = Checked([], [], [], [], [])
        if not any(batch.lines):
            checked.blanks.extend(range(batch.first_line, batch.first_line + len(batch.lines)))
            return checked
        offset = batch.offset
        lengths = map(len, batch.lines)
        next(lengths, None)
        length = batch.first_length
        for number, line in enumerate(batch.lines, batch.first_line):
            row = self._clean(line) if 1 < len(line) <= MAX_LINE else None
            if row is None:
                self._look_closer(line, number, offset, checked)
            else:
                checked.lines.append(number)
                checked.offsets.append(offset)
                checked.rows.append(row)
            offset += length + 1
            length = next(lengths, 0)
        return checked

    def _look_closer(self, line: bytes, number: int, offset: int, checked: Checked) -> None:
        if not line.strip(BLANKS):
            checked.blanks.append(number)
            return
        row, faults = self._inspected(line)
        if row is None:
            checked.rejects.append(Reject.of(number, offset, "verify", faults))
        else:
            checked.lines.append(number)
            checked.offsets.append(offset)
            checked.rows.append(row)

    def _inspected(self, line: bytes) -> tuple[Row | None, tuple[Fault, ...]]:
        if len(line) > MAX_LINE:
            return None, (Fault(RejectCode.LINE_TOO_LONG, "", "", "expected at most 1 MiB"),)
        row, faults, unknown = self._inspector.inspect(line)
        for key in map(values.shown_key, unknown):
            has_room = key in self.unknown_keys or len(self.unknown_keys) < MAX_UNKNOWN_KEYS
            self.unknown_keys[key if has_room else OTHER_KEYS] += 1
        return row, faults


def _clean_reader(entity: Entity, tenant: UUID, zone: ZoneInfo) -> Callable[[bytes], Row | None]:
    """A function that reads a clean line to its row, and gives None for any other line."""
    decode = msgspec.json.Decoder(_record_type(entity), float_hook=values.number_of).decode
    matches = _clean_row(entity, zone).fullmatch
    convert = _converters(entity)
    keeps_checks = _checks_test(entity)
    has_objects = any(isinstance(field.type, JsonObject) for field in entity.fields)
    width, cluster = len(entity.fields), entity.field_names.index(entity.segment_field)
    full, own_tenant = (1 << width) - 1, str(tenant)
    as_tuple = msgspec.structs.astuple

    def read(line: bytes) -> Row | None:
        try:
            cells: list[Any] = list(as_tuple(decode(line)))
            keys, mask = width, full
            tenant_id = cells.pop()
            if tenant_id is not UNSET:
                if tenant_id != own_tenant:
                    return None
                keys += 1
            for position, spell in convert:
                cells[position] = spell(cells[position])
            if b"\\" in line and NULL in cells:  # the very text that will stand for null
                return None
            if UNSET in cells:
                mask = _mask(cells)
                keys -= width - mask.bit_count()
            text = "\t".join([NULL if c is None or c is UNSET else c for c in cells])
        except (ValueError, RecursionError, values.Refused):
            return None
        if matches(text) is None or _hides_keys(line, text, keys) or not keeps_checks(cells):
            return None
        if has_objects and _brackets(line) > values.MAX_DEPTH:
            return None
        return Row(text, mask, cells[cluster])

    return read


def _brackets(line: bytes) -> int:
    """At least the depth of the line's nesting."""
    return line.count(b"{") + line.count(b"[")


def _mask(cells: list[Any]) -> int:
    return sum(1 << bit for bit, cell in enumerate(cells) if cell is not UNSET)


def _hides_keys(line: bytes, text: str, keys: int) -> bool:
    """Whether the line may have keys that decoding dropped: repeated ones, or unknown ones.

    Every key has one colon. Without escapes, all other colons stand in values, and so in the
    text as well. With escapes only `":` is counted (a clean text has no quotes outside its
    JSON), which a blank before the colon or an escaped colon would spoil.
    """
    if b"\\" not in line:
        return line.count(b":") != keys + text.count(":")
    if any(part in line for part in _SPOIL_COUNT):
        return True
    return line.count(b'":') != keys + text.count('":')


@cache
def _record_type(entity: Entity) -> type[msgspec.Struct]:
    fields = [(field.name, *_slot(field)) for field in entity.fields]
    tenant = ("tenant_id", str | UnsetType, UNSET)
    return msgspec.defstruct(f"{entity.name}_record", [*fields, tenant], kw_only=True)


def _slot(field: Field) -> tuple[Any, ...]:
    kind = _decoded_as(field.type) | (None if field.null else _decoded_as(field.type))
    return (kind,) if field.required else (kind | UnsetType, UNSET)


def _decoded_as(kind: FieldType) -> Any:
    match kind:
        case Money():
            return msgspec.Raw
        case Integer():
            return int
        case Boolean():
            return bool
        case JsonObject():
            return dict
        case _:
            return str


@cache
def _clean_row(entity: Entity, zone: ZoneInfo) -> re.Pattern[str]:
    # A minimum of 0 is _not_negative's; others leave all their values to the inspector.
    bounded = {c.field for c in entity.checks if isinstance(c, MinimumWhen) and c.minimum}
    cells = []
    for field in entity.fields:
        pattern = values.clean_pattern(field.type, zone)
        if field.name in bounded:
            pattern = values.NO_SPELLING
        optional = "" if field.required and not field.null else r"|\\N"
        cells.append(f"(?:{pattern}{optional})")
    return re.compile(r"\t".join(cells), re.ASCII)


def _converters(entity: Entity) -> list[tuple[int, Callable[[Any], Any]]]:
    """The fields that msgspec does not give as text already, and how to spell them."""
    spellings = {Money: _money, Integer: _integer, Boolean: _boolean, JsonObject: _object}
    return [
        (position, spellings[type(field.type)])
        for position, field in enumerate(entity.fields)
        if type(field.type) in spellings
    ]


def _money(value: Any) -> Any:
    if value is None or value is UNSET:
        return value
    text = str(value, "ascii")
    if text == "null":
        raise ValueError(text)
    return text[1:-1] if text[0] == '"' else text


def _integer(value: Any) -> Any:
    return str(value) if type(value) is int else value


def _boolean(value: Any) -> Any:
    return ("t" if value else "f") if type(value) is bool else value


def _object(value: Any) -> Any:
    if type(value) is not dict:
        return value
    text = values.encode_canonical(value)
    if _has_many_digits(text):  # msgspec asks no hook about whole numbers of any length
        raise ValueError(text)
    return text


def _has_many_digits(text: str) -> bool:
    # A run of 41 digits covers four of every tenth characters. That takes 0.3 µs where the
    # second search takes 7.
    return bool(_FOUR_DIGITS.search(text[9::10]) and _MANY_DIGITS.search(text))


def _checks_test(entity: Entity) -> Callable[[list[Any]], bool]:
    """Whether clean cells keep the entity's checks for certain."""
    tests = [_check_test(entity.field_names.index, check) for check in entity.checks]
    if len(tests) == 1:
        return tests[0]
    return lambda cells: all(test(cells) for test in tests)


def _check_test(place: Callable[[str], int], check: Check) -> Callable[[list[Any]], bool]:
    match check:
        case Before(earlier, later):
            start, end = place(earlier), place(later)
            return lambda cells: _in_order(cells[start], cells[end])
        case MinimumWhen(field, _, when, equals):
            value, state = place(field), place(when)
            return lambda cells: _not_negative(cells[value], cells[state], equals)


def _not_negative(value: Any, state: Any, equals: str) -> bool:
    """Whether a money is not below 0, or may be because `state` is not the one that forbids it."""
    if value is None or value is UNSET or value[0] != "-":
        return True
    return type(state) is str and state != equals


def _in_order(start: Any, end: Any) -> bool:
    if start is None or start is UNSET or end is None or end is UNSET:
        return True
    alike = (
        len(start) == len(end) and start[10] == end[10] and (start[-1] == "Z") == (end[-1] == "Z")
    )
    return alike and start < end
