"""A chunk's lines, read a second time: from its source, its outcomes and its reject pages.

Slow and simple on purpose, and without a line of the service: what both understand alike is
what the documents say.
"""

import gzip
import json
import zlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

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
    """The lines of a chunk's source; None if nobody has it any more. Raises Damaged."""
    data = evidence.source(chunk)
    if data is None:
        return None
    lines = _unpacked(data).removeprefix(b"\xef\xbb\xbf").split(b"\n")
    return lines if lines[-1] else lines[:-1]


def _unpacked(data: bytes) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
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
