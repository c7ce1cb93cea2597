"""A chunk's lines, read a second time: from its source, its outcomes and its reject pages.

Slow and simple on purpose, and without a line of the service: what both understand alike is
what the documents say.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from headrace.entities import BY_NAME
from headrace.pipeline.formats.compression import zstd
from headrace.schema import Boolean, Entity, Field, Integer, JsonObject, Money, Timestamp, Uuid
from tests.chaos.evidence import Evidence, Row
from tests.records import Record

OUTCOMES = {
    "i": "inserted",
    "u": "updated",
    "n": "unchanged",
    "s": "superseded",
    "r": "rejected",
    "p": "parked",
    "x": "unprocessed",
}
BLANKS = b" \t\r"


class Damaged(Exception):
    """A source that cannot be unpacked to its end."""


def physical_lines(evidence: Evidence, chunk: Row) -> list[bytes] | None:
    """The lines of a chunk's source, as JSON where a record begins and blank where none does.

    None if nobody has it any more, or if it cannot be told apart here. Raises Damaged.
    """
    data = evidence.source(chunk)
    return None if data is None else split(data, chunk)


def split(data: bytes, chunk: Row) -> list[bytes] | None:
    """The lines of these bytes, in the format and of the record type that a row names."""
    plain = _unpacked(data).removeprefix(b"\xef\xbb\xbf")
    if chunk["format"] == "csv":
        return _rows(plain.decode(errors="replace"), chunk["delimiter"], BY_NAME[chunk["entity"]])
    if chunk["format"] == "json" and plain.lstrip().startswith(b"["):
        return _elements(plain.decode(errors="replace"))
    lines = plain.split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _elements(text: str) -> list[bytes] | None:
    """The elements of an array; None if one of them is no JSON, and the next cannot be found."""
    decoder, found, at = json.JSONDecoder(), [], text.index("[") + 1
    while (at := at + len(text[at:]) - len(text[at:].lstrip(" \t\r\n,"))) < len(text):
        if text[at] == "]":
            return found
        try:
            _, end = decoder.raw_decode(text, at)
        except ValueError:
            return None
        found.append(text[at:end].encode())
        at = end
    return None


def _rows(text: str, delimiter: str, entity: Entity) -> list[bytes]:
    """The rows of a CSV, one sign after the other, the header's line and others' ends blank."""
    lines: list[bytes] = []
    header: list[str | None] = []
    for record, height in _records(text, delimiter):
        line = b""
        if not header and record != [None]:
            header = record
        elif len(record) == len(header):
            members = zip(header, record, strict=True)
            line = json.dumps({str(k): _json(entity, k, v) for k, v in members}).encode()
        elif record != [None]:
            line = b"ragged"
        lines += [line, *[b""] * (height - 1)]
    return lines


def _records(text: str, delimiter: str) -> Iterator[tuple[list[str | None], int]]:
    cells: list[str | None] = []
    cell, state, height = "", "start", 1
    for sign in text if text.endswith("\n") else text + "\n":
        height += sign == "\n" and state == "quoted"
        if state == "quoted" or (state == "behind" and sign == '"'):
            cell += sign if sign != '"' or state == "behind" else ""
            state = "behind" if sign == '"' and state == "quoted" else "quoted"
        elif sign in (delimiter, "\n"):
            if sign == "\n":
                cell = cell.removesuffix("\r")
            cells.append(cell if cell or state == "behind" else None)
            cell, state = "", "start"
            if sign == "\n":
                yield cells, height
                cells, height = [], 1
        elif sign == '"' and state == "start":
            state = "quoted"
        else:
            cell += sign
            state = state if sign == "\r" and state == "behind" else "text"


def _json(entity: Entity, name: str | None, text: str | None) -> Any:
    """A cell as the value that JSON would have; text where that is not to be had."""
    kinds = {field.name: field.type for field in entity.fields}
    if text is not None and isinstance(kinds.get(name or ""), Boolean | JsonObject):
        with suppress(ValueError):
            return json.loads(text)
    return text


def _unpacked(data: bytes) -> bytes:
    try:
        if data.startswith(b"\x28\xb5\x2f\xfd"):
            return zstd.decompress(data)
        return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (EOFError, OSError, zlib.error, zstd.ZstdError) as error:
        raise Damaged(str(error)) from error


def is_blank(line: bytes) -> bool:
    return not line.strip(BLANKS)


def letters(chunk: Row) -> str:
    """One letter a physical line, a space for a blank one; empty if nothing was planned."""
    return zlib.decompress(chunk["outcomes"]).decode() if chunk["outcomes"] else ""


def rejects(page: Row) -> list[Row]:
    return [json.loads(line) for line in zlib.decompress(page["blob"]).splitlines()]


def record(entity: Entity, line: bytes, zone: ZoneInfo) -> Record:
    """The declared fields of a line that the service took for sound."""
    found = json.loads(line, parse_float=Decimal, parse_int=Decimal)
    return {
        field.name: sent(field, found[field.name], zone)
        for field in entity.fields
        if field.name in found
    }


def sent(field: Field, value: Any, zone: ZoneInfo) -> Any:
    """What a value of a line means, in the form of `stored`."""
    if value is None:
        return None
    match field.type:
        case Uuid():
            return value.replace("-", "").lower()
        case Money():
            return Decimal(value)
        case Integer():
            return int(Decimal(value))
        case Timestamp():
            return _instant(value, zone)
        case _:
            return value


def stored(field: Field, value: Any) -> Any:
    """What a cell of a table means, whichever database it is of."""
    if value is None:
        return None
    match field.type:
        case Money(scale=scale):
            return value if isinstance(value, Decimal) else Decimal(value).scaleb(-scale)
        case Boolean():
            return bool(value)
        case Timestamp():
            return _instant(value, UTC)
        case JsonObject():
            return json.loads(value, parse_float=Decimal, parse_int=Decimal)
        case _:
            return value


def _instant(value: Any, zone: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    return aware.astimezone(UTC).replace(tzinfo=None)


def spelled(value: Any) -> str:
    """One text for equal values, to hash and to show."""
    if isinstance(value, Decimal):
        return format(value.normalize(), "f") if value else "0"
    if isinstance(value, dict):
        members = (f"{key!r}: {spelled(value[key])}" for key in sorted(value))
        return f"{{{', '.join(members)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(spelled, value))}]"
    return str(value) if isinstance(value, datetime) else repr(value)
