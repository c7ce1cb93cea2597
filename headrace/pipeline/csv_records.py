"""A delimited record → a row, by the header of its file.

An empty cell is null, `""` the empty text; true and false are spelled so, and objects are JSON.
Columns whose names begin with `_` are ignored, but for `_op`, as are such members of an object.
"""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from headrace.pipeline import clean, inspection, values
from headrace.pipeline.errors import FailureCode, Permanent, RejectCode
from headrace.pipeline.formats import DELIMITERS
from headrace.pipeline.formats.base import MAX_LINE
from headrace.pipeline.inspection import NULL, Inspection, Inspector
from headrace.pipeline.load import Load
from headrace.pipeline.ready import Row
from headrace.pipeline.report import Fault
from headrace.pipeline.values import JsonNumber
from headrace.schema import Boolean, Entity, FieldType, Integer, JsonObject, Money

RESERVED = ("tenant_id", "_op")
_SPELLED = {"true": "t", "false": "f"}
_TRUTH = {"true": True, "false": False}


class Cell(NamedTuple):
    """The text of a cell, and whether it was quoted: an empty one is null if it was not."""

    text: str
    is_quoted: bool

    @property
    def value(self) -> str | None:
        return self.text if self.text or self.is_quoted else None


class Malformed(Exception):
    """The record's quotes are wrong; its text says where and how."""


class Header(NamedTuple):
    """The names of the columns of a file; `line` is where it says them."""

    names: tuple[str, ...]
    delimiter: str
    line: int = 1

    @classmethod
    def read(cls, raw: bytes, delimiter: str, line: int = 1) -> "Header":
        """Raises Permanent BAD_HEADER if it cannot be read."""
        if len(raw) > MAX_LINE:
            raise _bad_header(line, "expected at most 1 MiB")
        try:
            found = cells(inspection.decoded(raw.removesuffix(b"\r")), delimiter)
        except inspection.Unreadable as unreadable:
            doubt = "; is this UTF-16?" if _has_wide_letters(raw) else ""
            raise _bad_header(line, unreadable.faults[0].message + doubt) from None
        except Malformed as malformed:
            raise _bad_header(line, f"expected the names of the columns: {malformed}") from None
        return cls(tuple(cell.text for cell in found), delimiter, line)

    def check(self, entity: Entity) -> None:
        """Raises Permanent BAD_HEADER, with the column's name, if it is not one of the entity's."""
        known, seen = {*entity.field_names, *RESERVED}, set[str]()
        for place, name in enumerate(self.names, 1):
            fault = ""
            if name in seen:
                fault = "as an earlier one is"
            elif name not in known and not name.startswith("_"):
                fault = self._hint(name, entity)
            if fault:
                shown = values.shown_key(name)
                raise _bad_header(self.line, f"column {place} is named '{shown}', {fault}")
            seen.add(name)
        for field in entity.fields:
            if field.required and field.name not in seen:
                doubt = f"; {self._doubt}" if any(map(self._is_split, self.names)) else ""
                raise _bad_header(self.line, f"there is no column '{field.name}'{doubt}")

    def _hint(self, name: str, entity: Entity) -> str:
        """What may be wrong with a name that no column has."""
        known = (*entity.field_names, "tenant_id")
        if "\r" in name:
            return "with a CR in it; do lines end in CR alone? send LF or CRLF"
        if name.strip() in known:
            return "with blanks around it"
        if similar := get_close_matches(name[: values.SHOWN].lower(), known, 1):
            return f"which {entity.name} do not have; did you mean '{similar[0]}'?"
        if self._is_split(name):
            return f"which {entity.name} do not have; {self._doubt}"
        return f"which {entity.name} do not have; known are {', '.join(known)}"

    def _is_split(self, name: str) -> bool:
        """Whether a name has in it what may be the delimiter."""
        return any(other in name for other in DELIMITERS.values() if other != self.delimiter)

    @property
    def _doubt(self) -> str:
        return f"is {self.delimiter!r} the delimiter?"


def _has_wide_letters(raw: bytes) -> bool:
    """Whether bytes look as if each letter had two of them."""
    return raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or b"\0" in raw


def _bad_header(line: int, what: str) -> Permanent:
    return Permanent(FailureCode.BAD_HEADER, f"line {line}, header: {what}")


def cells(text: str, delimiter: str) -> list[Cell]:
    """The cells of a record without its newline. Raises Malformed."""
    if '"' not in text:
        return [Cell(part, False) for part in text.split(delimiter)]
    found: list[Cell] = []
    at = 0
    while True:
        cell, at = _cell(text, at, delimiter, len(found) + 1)
        found.append(cell)
        if at == len(text):
            return found
        at += 1


# The look ahead as in formats/csv.py.
_QUOTED_CELL = r'"[^"]*+(?:(?="")""[^"]*+)*+"'
_QUOTED = re.compile(_QUOTED_CELL)


def _cell(text: str, at: int, delimiter: str, number: int) -> tuple[Cell, int]:
    """The cell that begins at a place, and the place where it ends."""
    if not text.startswith('"', at):
        end = text.find(delimiter, at)
        end = len(text) if end < 0 else end
        if (quote := text.find('"', at, end)) >= 0:
            where = f"at character {quote + 1}, in cell {number}"
            raise Malformed(f"expected a cell with quotes to be quoted as a whole ({where})")
        return Cell(text[at:end], False), end
    match = _QUOTED.match(text, at)
    if match is None:
        lines = 1 + text.count("\n", at)
        raise Malformed(
            f"expected the quote that opens cell {number} to be closed; it is not, and the record"
            f" goes on to the end of the file, {lines:,} lines"
        )
    if match.end() < len(text) and text[match.end()] != delimiter:
        raise Malformed(
            f"expected a delimiter behind the closing quote of cell {number},"
            f" found {text[match.end()]!r} at character {match.end() + 1}"
        )
    return Cell(match[0][1:-1].replace('""', '"'), True), match.end()


class CsvRecords:
    """validate.Records of one load whose file has this header. Raises Permanent BAD_HEADER."""

    def __init__(self, load: Load, header: bytes, line: int = 1) -> None:
        self._header = Header.read(header, load.delimiter, line)
        self._header.check(load.entity)
        self.names, self.delimiter = self._header.names, self._header.delimiter
        self._kinds = {field.name: field.type for field in load.entity.fields}
        self._inspector = Inspector(load.entity, load.tenant, load.zone)
        self.clean = _clean_reader(load, self._header)

    def inspect(self, raw: bytes) -> Inspection:
        try:
            found = cells(inspection.decoded(raw.removesuffix(b"\r")), self._header.delimiter)
        except inspection.Unreadable as unreadable:
            return Inspection(None, unreadable.faults, ())
        except Malformed as malformed:
            return _refused(RejectCode.BAD_CSV, str(malformed))
        expected = len(self._header.names)
        if len(found) != expected:
            message = f"expected {expected} cells, as the header has, found {len(found)}"
            return _refused(RejectCode.RAGGED_ROW, message)
        faults: list[Fault] = []
        record = {
            name: self._value(name, cell.value, faults)
            for name, cell in zip(self._header.names, found, strict=True)
        }
        return self._inspector.inspect_record(record, faults)

    def _value(self, name: str, text: str | None, faults: list[Fault]) -> Any:
        """A cell as JSON would have it; the faults of an object's text are added."""
        kind = self._kinds.get(name)
        if text is None:
            return "upsert" if name == "_op" else None
        if isinstance(kind, JsonObject):
            try:
                return inspection.read_value(text)
            except inspection.Unreadable as unreadable:
                faults += [_within(name, fault) for fault in unreadable.faults]
                return inspection.FAULTY
        return typed(kind, text)


def typed(kind: FieldType | None, text: str) -> Any:
    """A cell's text as the value that it spells; text where it spells none of the kind."""
    match kind:
        case Boolean():
            return _TRUTH.get(text, text)
        case Money() | Integer():
            return JsonNumber(text)
        case _:
            return text


def _refused(code: RejectCode, message: str) -> Inspection:
    return Inspection(None, (Fault(code, "", "", message),), ())


def _within(name: str, fault: Fault) -> Fault:
    """A fault of an object's text as one of the field; what it named stands in the message."""
    inner = f"{fault.message} ({fault.field})" if fault.field else fault.message
    return msgspec.structs.replace(fault, field=name, message=inner)


def _clean_reader(load: Load, header: Header) -> Callable[[bytes], Row | None]:
    """A function that reads a clean record to its row, and gives None for any other."""
    entity, names, delimiter = load.entity, header.names, header.delimiter
    width, own_tenant = len(names), str(load.tenant)
    matches = clean.pattern(entity, load.zone).fullmatch
    keeps_checks = clean.checks_test(entity)
    # A cell of no column stands behind the others.
    in_order = itemgetter(*(_place(name, names) for name in entity.field_names))
    split = _clean_cells(delimiter)
    never_null = [at for at, field in enumerate(entity.fields) if not field.null]
    convert = _converters(entity, names)
    mask = sum(1 << bit for bit, name in enumerate(entity.field_names) if name in names)
    cluster = entity.field_names.index(entity.segment_field)
    tenant, operation = (_place(name, names) for name in RESERVED)

    def read(raw: bytes) -> Row | None:
        try:
            text = raw.decode()
            found = split(text[:-1] if text.endswith("\r") else text)
            if found is None or len(found) != width:
                return None
            found.append(UNSET)
            if found[tenant] not in (UNSET, None, own_tenant):
                return None
            if found[operation] not in (UNSET, None, "upsert"):
                return None
            row = list(in_order(found))
            if None in map(row.__getitem__, never_null):
                return None
            for position, spell in convert:
                row[position] = spell(row[position])
            joined = "\t".join([NULL if c is None or c is UNSET else c for c in row])
        except (ValueError, KeyError, RecursionError, values.Refused):
            return None
        if matches(joined) is None or not keeps_checks(row):
            return None
        return Row(joined, mask, row[cluster])

    return read


def _place(name: str, names: Sequence[str]) -> int:
    return names.index(name) if name in names else len(names)


def _clean_cells(delimiter: str) -> Callable[[str], list[Any] | None]:
    """A function that splits a record: None for one whose quotes or texts need a closer look."""
    other = re.escape(delimiter)
    cell = rf'{_QUOTED_CELL}|[^"{other}]*+'
    is_sound = re.compile(rf"(?:(?:{cell}){other})*").fullmatch
    all_cells = re.compile(rf"({cell}){other}").findall

    def split(text: str) -> list[Any] | None:
        if "\0" in text or ("\\" in text and NULL in text):  # NULL will stand for null
            return None
        if '"' not in text:
            return [cell or None for cell in text.split(delimiter)]
        ended = text + delimiter
        if is_sound(ended) is None:
            return None
        return [
            cell[1:-1].replace('""', '"') if cell[:1] == '"' else cell or None
            for cell in all_cells(ended)
        ]

    return split


def _converters(entity: Entity, names: Sequence[str]) -> list[tuple[int, Callable[[Any], Any]]]:
    """The fields whose cells are not the text that travels, and how to spell them."""
    spellings = {Boolean: _boolean, JsonObject: _object}
    return [
        (position, spellings[type(field.type)])
        for position, field in enumerate(entity.fields)
        if field.name in names and type(field.type) in spellings
    ]


def _boolean(value: Any) -> Any:
    return None if value is None else _SPELLED[value]


_DECODE = msgspec.json.Decoder(dict[str, Any], float_hook=values.number_of).decode


def _object(value: Any) -> Any:
    """Raises ValueError for an object to be inspected: one that may repeat a key or be too deep."""
    if value is None:
        return None
    text = clean.object_text(_DECODE(value))
    # Without escapes each key has one colon, and all others stand in texts.
    hides_keys = "\\" in value or value.count(":") != text.count(":")
    if hides_keys or value.count("{") + value.count("[") > values.MAX_DEPTH:
        raise ValueError(value)
    return text
