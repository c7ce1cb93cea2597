"""What SQLite's columns hold of what travels as COPY spells it: cell by cell, or a whole column."""

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from headrace.pipeline.ready import FIRST_CELL, ReadyRows
from headrace.schema import (
    Boolean,
    Entity,
    FieldType,
    Integer,
    JsonObject,
    Money,
    Text,
    Timestamp,
    Uuid,
)

NULL = r"\N"
SECONDS = len("2026-11-27T08:00:00")
_ESCAPED = re.compile(r"\\(.)")
_UNESCAPED = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}


def bound_rows(entity: Entity, rows: ReadyRows) -> Iterable[tuple[Any, ...]]:
    """Travelling rows as the values that the columns of their staging table hold.

    Column by column: what a whole column allows at once would cost a call for every cell.
    """
    if not len(rows):
        return []
    cells = rows.text[:-1].decode().replace("\n", "\t").split("\t")
    width = FIRST_CELL + len(entity.fields)
    columns = (
        _column(field.type, cells[at::width]) for at, field in enumerate(entity.fields, FIRST_CELL)
    )
    return zip(rows.index["line"].tolist(), rows.index["mask"].tolist(), *columns, strict=True)


def _column(kind: FieldType, cells: list[str]) -> Iterable[Any]:
    read = stored_value(kind)
    if NULL in cells:
        return [None if cell == NULL else read(cell) for cell in cells]
    match kind:
        case Uuid():
            return "\n".join(cells).replace("-", "").split("\n")
        case Timestamp() if set(map(len, cells)) == {SECONDS}:
            return [f"{cell[:10]} {cell[11:]}" for cell in cells]
        case Money(scale=scale) if {cell[-3:-2] for cell in cells} == {"."}:  # in cents
            unit = 10 ** (scale - 2)
            return [int(cents) * unit for cents in "\n".join(cells).replace(".", "").split("\n")]
        case Text() | JsonObject() if "\\" not in "".join(cells):
            return cells
    return map(read, cells)


def stored_value(kind: FieldType) -> Callable[[str], Any]:
    """What makes of a travelling text the value that a column of the kind holds."""
    match kind:
        case Uuid():
            return lambda text: text.replace("-", "")
        case Money(scale=scale):
            return lambda text: _scaled(text, scale)
        case Integer():
            return int
        case Boolean():
            return lambda text: int(text == "t")
        case Timestamp():
            return _timestamp
        case Text() | JsonObject():
            return _unescaped


def _scaled(text: str, scale: int) -> int:
    """`12.5` with four decimals is 125000."""
    whole, _, decimals = text.partition(".")
    return int(whole + decimals.ljust(scale, "0"))


def _timestamp(text: str) -> str:
    if len(text) == SECONDS:
        return f"{text[:10]} {text[11:]}"
    return datetime.fromisoformat(text).replace(tzinfo=None).isoformat(" ")


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda escape: _UNESCAPED[escape[1]], text) if "\\" in text else text
