"""A JSON object → a row: msgspec reads clean ones, all others are the inspector's."""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from msgspec import UNSET, UnsetType

from headrace.pipeline import clean, values
from headrace.pipeline.inspection import NULL, Inspection, Inspector
from headrace.pipeline.load import Load
from headrace.pipeline.ready import Row
from headrace.schema import Boolean, Entity, Field, FieldType, Integer, JsonObject, Money

_SPOIL_COUNT = (b" :", b"\t:", b"\r:", b"\n:", rb"\u003a", rb"\u003A")


class JsonRecords:
    """validate.Records of one load."""

    def __init__(self, load: Load) -> None:
        self.clean = _clean_reader(load.entity, load.tenant, load.zone)
        self._inspector = Inspector(load.entity, load.tenant, load.zone)

    def inspect(self, raw: bytes) -> Inspection:
        return self._inspector.inspect(raw)


@lru_cache(256)
def _clean_reader(entity: Entity, tenant: UUID, zone: ZoneInfo) -> Callable[[bytes], Row | None]:
    """A function that reads a clean line to its row, and gives None for any other line."""
    decode = msgspec.json.Decoder(_record_type(entity), float_hook=values.number_of).decode
    matches = clean.pattern(entity, zone).fullmatch
    convert = _converters(entity)
    keeps_checks = clean.checks_test(entity)
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
        if has_objects and line.count(b"{") + line.count(b"[") > values.MAX_DEPTH:
            return None
        return Row(text, mask, cells[cluster])

    return read


def _mask(cells: list[Any]) -> int:
    return sum([1 << bit for bit, cell in enumerate(cells) if cell is not UNSET])


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
    return clean.object_text(value) if type(value) is dict else value
