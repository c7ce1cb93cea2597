"""Faults of spelling: each format has its own, with its own answer, on the same rows.

Quotes that do not belong come in pairs, so that every reader of CSV agrees on where the record
ends.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headrace.pipeline.errors import RejectCode
from headrace.schema import JsonObject
from headrace.synth.faults.kinds import (
    WHOLE_LINE,
    Answer,
    Kind,
    Line,
    Places,
    Target,
    every_field,
    fields_of,
    fields_where,
    is_free_text,
    whole_line,
)
from headrace.synth.formats import Csv, csv_cell
from headrace.synth.records import TENANT, types_of

RAGGED_ROW, BAD_CSV = RejectCode.RAGGED_ROW, RejectCode.BAD_CSV
TOO_DEEP = 70
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Spelt:
    """How a format spells a fault, and the code for it. `field` "": of the whole line; None: of
    the place that was hit."""

    code: str
    text: Callable[[Target], bytes]
    field: str | None = WHOLE_LINE


def _kind(
    name: str,
    about: str,
    places: Places,
    ndjson: Spelt,
    csv: Spelt | None = None,
    rare: bool = False,
) -> Kind:
    """A kind that CSV spells in its own way, if that is not JSON's."""
    csv = csv or ndjson
    spelt: Mapping[str, Spelt] = {"ndjson": ndjson, "csv": csv, "tsv": csv}

    def lines(target: Target) -> list[Line]:
        ours = spelt[target.format.name]
        field = target.place if ours.field is None else ours.field
        return [Line(ours.text(target), Answer.rejected(ours.code, field))]

    codes = tuple(dict.fromkeys((ndjson.code, csv.code)))
    return Kind(name, about, places, lines, codes, rare)


def _put(value: bytes) -> Callable[[Target], bytes]:
    """The record with this JSON spelling at the place."""
    return lambda target: target.line({target.place: value}).text


def _cut_short(target: Target) -> bytes:
    """NDJSON that ends behind one of its quotes, the last of which is not the last byte."""
    line = target.line({}).text
    quotes = [at for at, byte in enumerate(line) if byte == ord('"')]
    return line[: quotes[int(target.rng.integers(len(quotes)))] + 1] + b"\n"


def _key_twice(target: Target) -> bytes:
    again = b'"%s":%s' % (target.place.encode(), target.value)
    return target.line({}).text[:-2] + b"," + again + b"}\n"


def _in_an_array(target: Target) -> bytes:
    return b"[" + target.line({}).text[:-1] + b"]\n"


def _cells(target: Target) -> dict[str, bytes]:
    types = types_of(target.entity)
    return {name: csv_cell(kind, target.record.get(name)) for name, kind in types.items()}


def _row(cells: Mapping[str, bytes], target: Target) -> bytes:
    assert isinstance(target.format, Csv)
    return target.format.row(cells.values())


def _cell_left_out(target: Target) -> bytes:
    cells = _cells(target)
    del cells[target.place]
    return _row(cells, target)


def _cell_twice(target: Target) -> bytes:
    cells = _cells(target)
    return _row({**cells, "again": cells[target.place]}, target)


def _quotes_inside(target: Target) -> bytes:
    """Quotes within the unquoted cell of the id."""
    cells, key = _cells(target), target.entity.key
    return _row(
        {**cells, key: cells[key][:4] + b'"' + cells[key][4:8] + b'"' + cells[key][8:]}, target
    )


def _text_behind_quotes(target: Target) -> bytes:
    cells = _cells(target)
    return _row({**cells, target.place: b'"quoted"' + b"plain"}, target)


def _with_byte(byte: bytes) -> Callable[[Target], bytes]:
    """The line with a byte more, in its first id."""

    def text(target: Target) -> bytes:
        line, key = target.line({}).text, target.record[target.entity.key].strip(b'"')
        return line.replace(key, key[:8] + byte + key[8:], 1)

    return text


def _operation(target: Target) -> bytes:
    return target.line({"_op": b'"delete"'}).text


def _of_another_tenant(target: Target) -> bytes:
    return target.line({TENANT: target.new_id()}).text


def _blank(target: Target) -> list[Line]:
    blanks = (b"\n", b" \t\n", b"\r\n") if target.format.name == "ndjson" else (b"\n",)
    return [Line(target.pick(*blanks), Answer(None)), target.line({})]


ENCODING = RejectCode.BAD_ENCODING
JSON = RejectCode.BAD_JSON
FREE_TEXT = fields_where(is_free_text)
OBJECTS = fields_of(JsonObject)
_HALF = rb'"\ud800"'
_NUL = rb'"a\u0000b"'
_ARRAY = b"[1,2]"
_OPEN = b'{"open":'
_DEEP = b'{"a":' * TOO_DEEP + b"1" + b"}" * TOO_DEEP
_LONG = b'"%s"' % (b"x" * MEBIBYTE)

KINDS = (
    _kind(
        "cut_short",
        "a line that ends early; a cell is left out",
        every_field,
        Spelt(JSON, _cut_short),
        Spelt(RAGGED_ROW, _cell_left_out),
    ),
    _kind(
        "twice_in_a_line",
        "a key or a cell stands twice",
        every_field,
        Spelt(RejectCode.DUPLICATE_KEY, _key_twice, field=None),
        Spelt(RAGGED_ROW, _cell_twice),
    ),
    _kind(
        "not_a_record",
        "an array around the record; quotes inside an unquoted cell",
        whole_line,
        Spelt(JSON, _in_an_array),
        Spelt(BAD_CSV, _quotes_inside),
    ),
    _kind(
        "number_for_text",
        "a number for a text; text behind closing quotes",
        FREE_TEXT,
        Spelt(RejectCode.BAD_TYPE, _put(b"5"), field=None),
        Spelt(BAD_CSV, _text_behind_quotes),
    ),
    _kind(
        "not_an_object",
        "an array for an object",
        OBJECTS,
        Spelt(RejectCode.BAD_TYPE, _put(_ARRAY), field=None),
    ),
    _kind(
        "broken_object",
        "an object that is not closed",
        OBJECTS,
        Spelt(JSON, _put(_OPEN)),
        Spelt(JSON, _put(_OPEN), field=None),
    ),
    _kind(
        "too_deep",
        "an object nested deeper than is allowed",
        OBJECTS,
        Spelt(JSON, _put(_DEEP)),
        Spelt(JSON, _put(_DEEP), field=None),
    ),
    _kind(
        "not_utf8",
        "a byte that UTF-8 does not have",
        whole_line,
        Spelt(ENCODING, _with_byte(b"\xff")),
    ),
    _kind(
        "nul",
        "a NUL between the others",
        whole_line,
        Spelt(ENCODING, _with_byte(b"\0")),
    ),
    _kind(
        "nul_in_text",
        "a NUL in a text, escaped where there are escapes",
        FREE_TEXT,
        Spelt(ENCODING, _put(_NUL), field=None),
        Spelt(ENCODING, _put(_NUL)),
    ),
    _kind(
        "surrogate_in_text",
        "half a surrogate pair in a text",
        FREE_TEXT,
        Spelt(ENCODING, _put(_HALF), field=None),
        Spelt(ENCODING, _put(_HALF)),
    ),
    _kind(
        "delete",
        "the operation delete; in CSV, another tenant's id",
        whole_line,
        Spelt(RejectCode.BAD_OPERATION, _operation, field="_op"),
        Spelt(RejectCode.FOREIGN_TENANT, _of_another_tenant, field=TENANT),
    ),
    _kind(
        "over_a_mebibyte",
        "a line over 1 MiB, once in a dataset",
        FREE_TEXT,
        Spelt(RejectCode.LINE_TOO_LONG, _put(_LONG)),
        rare=True,
    ),
    Kind("blank_line", "a blank line, which is no line", whole_line, _blank, ()),
)
