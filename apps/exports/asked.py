"""What a request asks to be exported, checked against the declaration of its record type."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from apps.core import bodies
from apps.core.problems import Problem
from apps.exports.models import COMPRESSIONS, FORMATS, Export
from headrace.entities import BY_NAME
from headrace.pipeline.formats import CSV
from headrace.reading import filters, parquet
from headrace.reading.selection import BadSelection, Selection, columns_of

USUAL_ENTITY = "orders"
_MEMBERS = ("entity", "format", "columns", "filters", "compression", "spreadsheet_safe")


@dataclass(frozen=True)
class Asked:
    """A request for an export; `columns` are names, `filters` as they came."""

    entity: str
    format: str
    columns: tuple[str, ...]
    filters: Mapping[str, Any]
    compression: str
    is_safe: bool

    def export(self) -> Export:
        """The row of it, without a tenant and not saved."""
        return Export(
            entity=self.entity,
            format=self.format,
            columns=list(self.columns),
            filters=dict(self.filters),
            compression=self.compression,
            is_safe=self.is_safe,
        )


def read(body: Mapping[str, Any], zone: ZoneInfo) -> Asked:
    """The request that a JSON object makes. Raises Problem for what it cannot ask for."""
    bodies.check_names(body, _MEMBERS)
    asked = Asked(
        entity=_choice(body, "entity", tuple(BY_NAME), USUAL_ENTITY),
        format=_choice(body, "format", FORMATS, CSV),
        columns=(),
        filters=_object(body, "filters"),
        compression=_choice(body, "compression", COMPRESSIONS, "none"),
        is_safe=_flag(body, "spreadsheet_safe"),
    )
    _check_format(asked)
    return _with_columns(asked, _names(body), zone)


def everything(entity: str, format_: str, compression: str) -> Asked:
    """A request for all rows and columns of a record type. Raises Problem where it is not written
    here in that format."""
    columns = tuple(field.name for field in columns_of(BY_NAME[entity]))
    asked = Asked(entity, format_, columns, {}, compression, is_safe=False)
    _check_format(asked)
    return asked


def selection(export: Export, zone: ZoneInfo) -> Selection:
    """The rows and columns of an export. Raises BadSelection if it was never checked."""
    entity = BY_NAME[export.entity]
    conditions = filters.conditions(entity, export.filters, zone)
    return Selection(entity, columns_of(entity, export.columns), conditions)


def _with_columns(asked: Asked, names: list[str] | None, zone: ZoneInfo) -> Asked:
    entity = BY_NAME[asked.entity]
    try:
        columns = columns_of(entity, names)
        filters.conditions(entity, asked.filters, zone)
    except BadSelection as bad:
        raise Problem("invalid_request", str(bad)) from None
    return Asked(**{**vars(asked), "columns": tuple(field.name for field in columns)})


def _check_format(asked: Asked) -> None:
    if asked.is_safe and asked.format != CSV:
        raise Problem("invalid_request", "Only csv has a spreadsheet_safe form.")
    if asked.format == parquet.PARQUET and not parquet.is_there():
        raise Problem(
            "invalid_request",
            "This installation writes no parquet: it lacks the extra `parquet`. Take csv,"
            " json or ndjson.",
        )


def _choice(body: Mapping[str, Any], name: str, known: tuple[str, ...], usual: str) -> str:
    value = body.get(name, usual)
    if value not in known:
        raise Problem("invalid_request", f"Send {name} as one of {', '.join(known)}.")
    return str(value)


def _object(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Problem("invalid_request", f"Send {name} as an object of columns and values.")
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise Problem("invalid_request", f"Send {name} as true or false.")
    return value


def _names(body: Mapping[str, Any]) -> list[str] | None:
    names = body.get("columns")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Problem("invalid_request", "Send columns as a list of names.")
    return names
