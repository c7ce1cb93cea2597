"""What a row becomes: a line of CSV or of NDJSON, as files bring them in.

In CSV an empty cell is null and `""` the empty text; true and false are spelled so. A spreadsheet
takes a text that begins like a formula for one; the safe form puts an apostrophe before such a
text, and before one that begins with an apostrophe, so that taking one away gives it back.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from headrace.schema import (
    Field,
    FieldType,
    JsonObject,
    Text,
    Timestamp,
    Uuid,
)

#: What a text must not begin with in a spreadsheet, and the mark itself.
FORMULA_STARTS = "=+-@\t\r'"
Spell = Callable[[Any], str]  #: a stored value, not null, as plain text


class Form(StrEnum):
    """How rows are written, one on a line."""

    CSV = "csv"
    SAFE_CSV = "safe csv"
    NDJSON = "ndjson"


def header(columns: Sequence[Field]) -> bytes:
    """The first line of a CSV file."""
    return b",".join(field.name.encode() for field in columns) + b"\n"


def has_header(form: Form) -> bool:
    return form is not Form.NDJSON


def line_writer(
    form: Form, columns: Sequence[Field], spell: Callable[[FieldType], Spell]
) -> Callable[[Sequence[Any]], bytes]:
    """A function from a row of stored values to its line; `spell` says them as plain text."""
    cell = _object_cell if form is Form.NDJSON else _csv_cell(form)
    cells = [cell(field, spell(field.type)) for field in columns]
    if form is Form.NDJSON:
        return lambda row: f"{{{','.join(_each(cells, row))}}}\n".encode()
    return lambda row: f"{','.join(_each(cells, row))}\n".encode()


def _each(cells: list[Spell], row: Sequence[Any]) -> Iterable[str]:
    return (write(value) for write, value in zip(cells, row, strict=True))


def _object_cell(field: Field, spell: Spell) -> Spell:
    """`"name":value`, the value in JSON."""
    before, after, say = f'"{field.name}":', "", spell
    if isinstance(field.type, Uuid | Timestamp):
        before, after = f'{before}"', '"'
    elif isinstance(field.type, Text):
        say = _json_text(spell)
    nothing = f'"{field.name}":null'
    return lambda value: nothing if value is None else f"{before}{say(value)}{after}"


def _json_text(spell: Spell) -> Spell:
    return lambda value: msgspec.json.encode(spell(value)).decode()


def _csv_cell(form: Form) -> Callable[[Field, Spell], Spell]:
    def cell(field: Field, spell: Spell) -> Spell:
        say = spell
        if isinstance(field.type, Text):
            say = _text_cell(spell, is_safe=form is Form.SAFE_CSV)
        elif isinstance(field.type, JsonObject):
            say = _text_cell(spell, is_safe=False)
        return lambda value: "" if value is None else say(value)

    return cell


def _text_cell(spell: Spell, *, is_safe: bool) -> Spell:
    if is_safe:
        return lambda value: quoted(_safe(spell(value)))
    return lambda value: quoted(spell(value))


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(tuple(FORMULA_STARTS)) else text


def quoted(text: str) -> str:
    """A cell of CSV that is not null."""
    if text and not any(mark in text for mark in '",\r\n'):
        return text
    return '"' + text.replace('"', '""') + '"'
