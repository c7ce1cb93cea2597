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
from headrace.pipeline.formats.ndjson import BLANKS, MAX_LINE
from headrace.pipeline.report import Reject
from headrace.schema import Entity

FAULT_MEMBERS = ("_line", "_code", "_field", "_message")
#: Characters. Even if each takes six bytes as JSON, the line is shorter than the longest allowed.
MAX_RAW = 100_000
MAX_NAME = 200
_ENDING = re.compile(r"(\.rejects(-\d+)?)?(\.(ndjson|jsonl|json|csv|txt))?(\.(gz|zst))?$", re.I)
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


def download_name(label: str, entity: Entity, ending: str) -> str:
    """The name for the refused records of a file called `label`, which may be any text.

    `orders_x.ndjson.gz` becomes `orders_x.rejects.ndjson`; `ending` is "ndjson" or "csv". The
    result is plain ASCII without separators, and begins with the entity's name.
    """
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


def _csv_line(cells: Iterable[str | None]) -> bytes:
    # A lone surrogate, which only an escape can bring, has no UTF-8.
    return (",".join(map(_csv_text, cells)) + _CSV_NEWLINE).encode(errors="backslashreplace")


def _csv_text(cell: str | None) -> str:
    if cell is None:
        return ""
    if cell and not _NEEDS_QUOTES.search(cell):
        return cell
    return '"' + cell.replace('"', '""') + '"'
