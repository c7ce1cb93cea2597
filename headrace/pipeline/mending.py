"""A refused line as text that can be mended and sent again.

Members that begin with `_` are ignored on the way in, so what was wrong travels beside the data:
a mended line is sent as it is. Whatever cannot be kept as a record is quoted in `_raw`, and a
record of nothing but such members lacks its key: it is refused again until somebody mends it.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, NoReturn

import msgspec

from headrace.entities import entity_of_file
from headrace.pipeline import csv_records, formats
from headrace.pipeline.csv_records import Header, Malformed
from headrace.pipeline.formats import compression
from headrace.pipeline.formats.base import BLANKS, MAX_LINE
from headrace.pipeline.report import Reject
from headrace.schema import Boolean, Entity, Integer, JsonObject, Money

FAULT_MEMBERS = ("_line", "_code", "_field", "_message")
#: Characters. Even if each takes six bytes as JSON, the line is shorter than the longest allowed.
MAX_RAW = 100_000
MAX_NAME = 200
_PLAIN = "|".join(map(re.escape, (*formats.ENDINGS, ".txt")))
_PACKED = "|".join(map(re.escape, compression.ENDINGS.values()))
_ENDING = re.compile(rf"(\.rejects(-\d+)?)?({_PLAIN})?({_PACKED})?$", re.I)
_TABBED = re.compile(rf"\.tsv({_PACKED})?$", re.I)
_UNSAFE = re.compile(r"[^\w.-]+", re.ASCII)
_CSV_NEWLINE = "\r\n"  # RFC 4180
_NEEDS_QUOTES = re.compile(r'[",\r\n]')
_BLANKS = BLANKS.decode()


def mendable_json(raw: bytes, reject: Reject) -> bytes:
    """One line of JSON with its newline: the record that `raw` is, and what was wrong with it.

    `_line` is a number; `_code`, `_field` and `_message` name all faults, joined by "; ". Other
    members keep their order and the spelling of their values; members of these four names, left
    by an earlier round, are replaced. A line that is no JSON object of at most MAX_LINE bytes
    becomes these members and `_raw`, its text cut to MAX_RAW characters, with U+FFFD for bytes
    that are not UTF-8. Raises nothing for any input.
    """
    faults = msgspec.json.encode(_faults(reject))[1:-1]
    try:
        kept = _kept(*_object(raw))
    except (ValueError, RecursionError):
        quoted = msgspec.json.encode(raw.decode(errors="replace")[:MAX_RAW])
        return b"{" + faults + b',"_raw":' + quoted + b"}\n"
    return kept + (b"" if kept == b"{" else b",") + faults + b"}\n"


def csv_header(entity: Entity) -> bytes:
    """The first line of a CSV of refused records: the fields, then the fault's columns."""
    return _csv_line([*entity.field_names, *FAULT_MEMBERS])


def mendable_csv(entity: Entity, raw: bytes, reject: Reject) -> bytes:
    """One line of CSV below `csv_header`, in UTF-8, with its newline.

    A null or missing value is an empty cell and an empty text is `""`. Objects, numbers, true
    and false stand as they were spelled. Keys that no field has are left out; of a line that is
    no JSON object only the fault's cells are filled. Raises nothing for any input.
    """
    try:
        values = {member.key: member.value for member in _members(_object(raw)[0])}
    except (ValueError, RecursionError):
        values = {}
    cells = (_cell(values.get(name, "null")) for name in entity.field_names)
    return _csv_line([*cells, *map(str, _faults(reject).values())])


class CsvMending:
    """Refused records of a file with this header, as CSV with its delimiter and its columns.

    What was wrong stands in columns in front of them. A record whose cells cannot be told, or do
    not fit below those columns, would spoil its neighbours: its text, cut to MAX_RAW characters,
    goes to the column `_raw`, and its other cells are empty. Fault columns left by an earlier
    round are replaced, but for a `_raw` that is still there.
    """

    COLUMNS = (*FAULT_MEMBERS, "_raw")

    def __init__(self, header: Header) -> None:
        self._header = header
        self._kept = [at for at, name in enumerate(header.names) if name not in self.COLUMNS]
        self._raw = header.names.index("_raw") if "_raw" in header.names else None

    def header(self) -> bytes:
        names = (self._header.names[at] for at in self._kept)
        return _csv_line([*self.COLUMNS, *names], self._header.delimiter)

    def line(self, raw: bytes, reject: Reject) -> bytes:
        """One record with its newline, in UTF-8. Raises nothing for any input."""
        faults = map(str, _faults(reject).values())
        try:
            left, *kept = self._cells(raw)
        except (ValueError, Malformed):
            quoted = raw.decode(errors="replace")[:MAX_RAW]
            return self._line([*faults, quoted, *[None] * len(self._kept)])
        return self._line([*faults, left, *kept])

    def _cells(self, raw: bytes) -> list[str | None]:
        """The `_raw` of an earlier round, and the record's own cells."""
        if len(raw) > MAX_LINE:
            raise ValueError("the record was cut")
        text = raw.removesuffix(b"\r").decode()
        found = [cell.value for cell in csv_records.cells(text, self._header.delimiter)]
        if len(found) == len(self._header.names):
            left = None if self._raw is None else found[self._raw]
            return [left, *(found[at] for at in self._kept)]
        if len(self._kept) < len(self._header.names):
            raise ValueError("which cells are the faults' is not known")
        return [None, *found]

    def _line(self, texts: Iterable[str | None]) -> bytes:
        return _csv_line(texts, self._header.delimiter)


def json_of(entity: Entity, header: Header, raw: bytes) -> bytes:
    """A delimited record as an object a line; the record itself if it cannot be one."""
    try:
        found = csv_records.cells(raw.removesuffix(b"\r").decode(), header.delimiter)
        named = zip(header.names, found, strict=True)
        cells = {name: cell.value for name, cell in named if cell.value or name != "_op"}
        members = {name: _json_value(entity, name, text) for name, text in cells.items()}
    except (ValueError, Malformed):
        return raw
    return msgspec.json.encode(members)


def _json_value(entity: Entity, name: str, text: str | None) -> Any:
    """Raw JSON where a cell spells any, its text elsewhere."""
    kind = entity.field(name).type if name in entity.field_names else None
    if text is None or not isinstance(kind, Boolean | Money | Integer | JsonObject):
        return text
    try:
        _DECODER.decode(text)
    except (ValueError, RecursionError):
        return text
    return msgspec.Raw(on_one_line(text.encode()))


def on_one_line(text: bytes) -> bytes:
    """JSON without the newlines that may stand between its parts."""
    return text.translate(_NEWLINES)


_NEWLINES = bytes.maketrans(b"\r\n", b"  ")


def download_name(label: str, entity: Entity, ending: str) -> str:
    """The name for the refused records of a file called `label`, which may be any text.

    `orders_x.ndjson.gz` becomes `orders_x.rejects.ndjson`; `ending` is "ndjson" or "csv", and
    "tsv" for what was called so. The result is plain ASCII without separators, and begins with
    the entity's name.
    """
    if ending == "csv" and _TABBED.search(label):
        ending = "tsv"
    stem = _ENDING.sub("", label.replace("\\", "/").rpartition("/")[2])
    safe = _UNSAFE.sub("_", stem).strip("._")[:MAX_NAME]
    if entity_of_file(safe) != entity:
        safe = f"{entity.name}_{safe}".rstrip("_")
    return f"{safe}.rejects.{ending}"


def _faults(reject: Reject) -> dict[str, Any]:
    codes, fields, messages = [reject.code], [reject.field], [reject.message]
    for fault in reject.more:
        codes.append(fault.code)
        fields.append(fault.field)
        messages.append(f"{fault.field or 'record'}: {fault.message}")
    return dict(
        zip(FAULT_MEMBERS, (reject.line, *map("; ".join, (codes, fields, messages))), strict=True)
    )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


# Numbers stay text: an exponent beyond a float, or thousands of digits, is no error here.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)


class _Member(NamedTuple):
    """A member of an object: its key, and the texts of its value and of all of it."""

    key: str
    value: str
    text: str


def _object(raw: bytes) -> tuple[str, dict[str, Any]]:
    """The JSON object that a line is, as text and decoded. Raises ValueError if it is none."""
    if len(raw) > MAX_LINE:
        raise ValueError("the line was cut")
    text = raw.decode().strip(_BLANKS)
    record = _DECODER.decode(text)
    if not isinstance(record, dict):
        raise ValueError("not an object")
    return text, record


def _kept(text: str, record: dict[str, Any]) -> bytes:
    """An object without the fault's members, and without its closing brace."""
    if record.keys().isdisjoint(FAULT_MEMBERS):
        return text[:-1].rstrip(_BLANKS).encode()
    texts = (member.text for member in _members(text) if member.key not in FAULT_MEMBERS)
    return ("{" + ",".join(texts)).encode()


def _members(text: str) -> Iterator[_Member]:
    """The members of an object whose text is sound JSON, repeated ones too."""
    at = _after_blanks(text, 1)
    while text[at] != "}":
        key, end = _DECODER.raw_decode(text, at)
        value = _after_blanks(text, _after_blanks(text, end) + len(":"))
        _, end = _DECODER.raw_decode(text, value)
        yield _Member(key, text[value:end], text[at:end])
        at = _after_blanks(text, end)
        if text[at] == ",":
            at = _after_blanks(text, at + 1)


def _after_blanks(text: str, at: int) -> int:
    while text[at] in _BLANKS:
        at += 1
    return at


def _cell(value: str) -> str | None:
    """The CSV cell of a value's JSON text; None for null."""
    if value == "null":
        return None
    text: str = _DECODER.decode(value) if value.startswith('"') else value
    return text


def _csv_line(cells: Iterable[str | None], delimiter: str = ",") -> bytes:
    # A lone surrogate, which only an escape can bring, has no UTF-8.
    line = delimiter.join(_csv_text(cell, delimiter) for cell in cells)
    return (line + _CSV_NEWLINE).encode(errors="backslashreplace")


def _csv_text(cell: str | None, delimiter: str) -> str:
    if cell is None:
        return ""
    if cell and not _NEEDS_QUOTES.search(cell) and delimiter not in cell:
        return cell
    return '"' + cell.replace('"', '""') + '"'
