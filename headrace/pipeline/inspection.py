"""The row-wise checker: every fault of a line, or the row that it describes.

It is the only author of rejects. It takes its time (about 20 µs a line); validate.py keeps
clean lines away from it.
"""

import json
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from itertools import chain, islice, starmap
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from headrace.pipeline import values
from headrace.pipeline.errors import RejectCode
from headrace.pipeline.ready import Row
from headrace.pipeline.report import Fault
from headrace.pipeline.values import JsonNumber, Refused
from headrace.schema import Before, Check, Entity, Field, MinimumWhen, OneOf, OnlyWith

NULL = r"\N"
FAULTY = object()  #: stands for a value whose faults have been told
MAX_FAULTS = 20  # of one line: a mebibyte has room for 100,000 repeated keys
# Possessive: one that may go back keeps 100 bytes of state for every character of a string.
# A string without an end goes to the line's: else each quote in it would be tried as a start.
# The look ahead is for Python before 3.11.5, which ends a possessive group behind what it has
# half matched.
_STRINGS = re.compile(r'"[^"\\]*+(?:(?=\\.)\\.[^"\\]*+)*+"?')
_BRACKETS = re.compile(r"[\[\]{}]")
_CONSTANTS = frozenset(("NaN", "Infinity", "-Infinity"))
_SPECIAL = re.compile(r"[\\\t\n\r]")
_ESCAPES = {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"}


class Inspection(NamedTuple):
    """Either a row, or at least one fault; and the keys that no field has.

    `cluster` is the segment field's value, where the record has a sound one.
    """

    row: Row | None
    faults: tuple[Fault, ...]
    unknown: tuple[str, ...]
    cluster: str | None = None


class Inspector:
    """Inspects lines of one entity, tenant and time zone."""

    def __init__(self, entity: Entity, tenant: UUID, zone: ZoneInfo) -> None:
        self._entity = entity
        self._tenant = str(tenant)
        self._zone = zone

    def inspect(self, line: bytes) -> Inspection:
        """What a line of bytes says. Never raises for any input."""
        try:
            record = read_object(decoded(line))
        except Unreadable as unreadable:
            return Inspection(None, unreadable.faults, ())
        return self.inspect_record(record)

    def inspect_record(self, record: dict[str, Any], told: Sequence[Fault] = ()) -> Inspection:
        """What a decoded object says; its numbers are JsonNumber.

        `told` are faults found before, those of members that are FAULTY.
        """
        faults = list(told)
        texts: dict[str, str | None] = {}
        for field in self._entity.fields:
            if record.get(field.name) is FAULTY:
                continue
            if field.name in record:
                self._read(field, record[field.name], texts, faults)
            elif field.required:
                message = f"expected {values.expectation(field.type)}, found no such key"
                faults.append(Fault(RejectCode.REQUIRED, field.name, "", message))
        faults += self._reserved_faults(record)
        given = {name: value for name, value in record.items() if value is not None}
        for check in self._entity.checks:
            faults += self._broken(check, texts, given)
        return Inspection(
            None if faults else self._row(texts),
            tuple(faults),
            tuple(self._unknown(record)),
            texts.get(self._entity.segment_field),
        )

    def _read(
        self, field: Field, value: Any, texts: dict[str, str | None], faults: list[Fault]
    ) -> None:
        try:
            texts[field.name] = values.parse(field, value, self._zone)
        except Refused as refused:
            faults.append(Fault(refused.code, field.name, values.shown(value), refused.expected))

    def _reserved_faults(self, record: dict[str, Any]) -> list[Fault]:
        faults = []
        tenant = record.get("tenant_id")
        if tenant is not None and str(tenant).lower() != self._tenant:
            message = f"expected {self._tenant} or no such key"
            shown = values.shown(tenant)
            faults.append(Fault(RejectCode.FOREIGN_TENANT, "tenant_id", shown, message))
        operation = record.get("_op", "upsert")
        if operation != "upsert":
            shown = values.shown(operation)
            faults.append(Fault(RejectCode.BAD_OPERATION, "_op", shown, 'expected "upsert"'))
        return faults

    def _broken(
        self, check: Check, texts: dict[str, str | None], given: dict[str, Any]
    ) -> list[Fault]:
        """`given` has the values as they were sent, sound or not, but for null."""
        match check:
            case MinimumWhen(field, minimum, when, equals):
                actual = texts.get(when, self._entity.field(when).default)
                value = texts.get(field)
                if value is not None and actual == equals and Decimal(value) < minimum:
                    message = f"expected a number ≥ {minimum} where {when} is {equals}"
                    shown = values.shown(given[field])
                    return [Fault(RejectCode.BAD_NUMBER, field, shown, message)]
            case Before(earlier, later):
                start, end = texts.get(earlier), texts.get(later)
                if start is not None and end is not None and not start < end:
                    message = f"expected a time after {earlier} ({start})"
                    return [Fault(RejectCode.BAD_ORDER, later, end, message)]
            case OneOf(one, other):
                if (one in given) == (other in given):
                    message = f"expected either {one} or {other}"
                    return [Fault(RejectCode.ONE_OF, one, texts.get(one) or "", message)]
            case OnlyWith(name, other):
                if name in given and other not in given:
                    message = f"expected no '{name}' without '{other}'"
                    return [Fault(RejectCode.ONE_OF, name, texts.get(name) or "", message)]
        return []

    def _unknown(self, record: dict[str, Any]) -> list[str]:
        known = {"tenant_id", *self._entity.field_names}
        return [key for key in record if key not in known and not key.startswith("_")]

    def _row(self, texts: dict[str, str | None]) -> Row:
        names = self._entity.field_names
        mask = sum(1 << bit for bit, name in enumerate(names) if name in texts)
        cells = (_cell(texts.get(name)) for name in names)
        return Row("\t".join(cells), mask, texts[self._entity.segment_field] or "")


def _cell(text: str | None) -> str:
    if text is None:
        return NULL
    return _SPECIAL.sub(lambda special: _ESCAPES[special[0]], text)


class Unreadable(Exception):
    """The text is not one JSON object of ours."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__()
        self.faults = faults


def read_object(text: str) -> dict[str, Any]:
    """A JSON object, its numbers as JsonNumber. Raises Unreadable."""
    value = read_value(text)
    if not isinstance(value, dict):
        raise Unreadable(_bad_json("expected a JSON object"))
    return value


def read_value(text: str) -> Any:
    """Any JSON value, its numbers as JsonNumber. Raises Unreadable."""
    return _Reading(text).value()


class _Reading:
    """One text being decoded with nothing lost: number spellings, repeated keys, constants."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._repeated: dict[str, None] = {}
        self._constants: list[JsonNumber] = []

    def value(self) -> Any:
        if _depth(self._text) > values.MAX_DEPTH:
            raise Unreadable(_bad_json(f"expected nesting of at most {values.MAX_DEPTH}"))
        try:
            value = json.loads(
                self._text,
                parse_int=JsonNumber,
                parse_float=JsonNumber,
                parse_constant=self._constant,
                object_pairs_hook=self._object,
            )
        except ValueError as error:
            raise Unreadable(_bad_json(_syntax(error))) from None
        return self._sound(value)

    def _sound(self, value: Any) -> Any:
        if self._repeated:
            message = "expected every key once"
            raise Unreadable(
                *(Fault(RejectCode.DUPLICATE_KEY, key, "", message) for key in self._repeated)
            )
        if self._constants:
            found = {values.shown_key(key): number for key, number in self._not_finite(value)}
            raise Unreadable(*starmap(_no_number, found.items()))
        return value

    def _not_finite(self, value: Any) -> Iterator[tuple[str, JsonNumber]]:
        """The first fields that hold a constant; without a name if it stands deeper."""
        record = value if isinstance(value, dict) else {}
        numbers = ((key, value) for key, value in record.items() if isinstance(value, JsonNumber))
        own = ((key, value) for key, value in numbers if value in _CONSTANTS)
        first = next(own, ("", self._constants[0]))
        return chain([first], islice(own, MAX_FAULTS - 1))

    def _constant(self, name: str) -> JsonNumber:
        constant = JsonNumber(name)
        self._constants.append(constant)
        return constant

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found and len(self._repeated) < MAX_FAULTS:
                self._repeated[values.shown_key(key)] = None
            found[key] = value
        return found


def decoded(line: bytes) -> str:
    """The text of a line. Raises Unreadable."""
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        message = (
            f"expected UTF-8, found byte 0x{line[error.start]:02x} at column {error.start + 1}"
        )
        raise Unreadable(Fault(RejectCode.BAD_ENCODING, "", "", message)) from None
    if "\x00" in text:
        message = f"expected no NUL, found one at column {text.index(chr(0)) + 1}"
        raise Unreadable(Fault(RejectCode.BAD_ENCODING, "", "", message))
    return text


def _no_number(field: str, constant: JsonNumber) -> Fault:
    return Fault(RejectCode.BAD_NUMBER, field, str(constant), "expected a finite number")


def _bad_json(message: str) -> Fault:
    return Fault(RejectCode.BAD_JSON, "", "", message)


def _syntax(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"expected JSON: {error.msg.lower()} at {_place(error)}"
    return "expected JSON"


def _place(error: json.JSONDecodeError) -> str:
    """An element of an array may go over several lines, and a body too."""
    place = f"column {error.colno}"
    return place if error.lineno == 1 else f"line {error.lineno}, {place}"


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest
