"""Record types in the OpenAPI document, derived from their declarations."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter

from apps.catalog.asking import ANY_OF, IS, MISSING, Parameters
from headrace.entities import ENTITIES, TABLES
from headrace.reading import filters
from headrace.schema import (
    Boolean,
    Entity,
    Field,
    FieldType,
    Integer,
    JsonObject,
    Money,
    Text,
    Timestamp,
    Uuid,
)


def add_record_types(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook: what is sent of each record type, and what is read of each table."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {}).update(
        {f"{entity.name}_record": _component(entity) for entity in ENTITIES}
        | {f"{entity.name}_row": _row(entity) for entity in TABLES.values()}
    )
    return result


def row_of(entity: Entity) -> dict[str, Any]:
    """The schema of a row that is read."""
    return {"$ref": f"#/components/schemas/{entity.name}_row"}


def page_of(entity: Entity) -> dict[str, Any]:
    """The schema of a page of rows."""
    return {
        "type": "object",
        "properties": {
            "data": {"type": "array", "items": row_of(entity)},
            "next_cursor": {"type": ["string", "null"], "description": "null on the last page"},
        },
        "required": ["data", "next_cursor"],
    }


def parameters(known: Parameters) -> list[OpenApiParameter]:
    """What rows can be chosen by, as parameters of the address."""
    return [_parameter(name, field, word) for name, (field, word) in known.items()]


def columns(entity: Entity) -> list[str]:
    """The names of what a row can have."""
    return [field.name for field in entity.columns]


def _parameter(name: str, field: Field, word: str) -> OpenApiParameter:
    schema: dict[str, Any]
    if word == ANY_OF:
        schema = {"type": "array", "items": _schema(field.type), "minItems": 1}
    elif word == MISSING:
        schema = {"type": "boolean", "enum": [True]}
    else:
        schema = _schema((field if word == IS else filters.loose(field)).type)
    return OpenApiParameter(name, schema, description=f"`{field.name}` {word}: {field.about}")


def _row(entity: Entity) -> dict[str, Any]:
    return {
        "type": "object",
        "description": f"{entity.about} Without `fields`: {_listed(entity)}.",
        "properties": {field.name: _property(field) for field in entity.columns},
        "required": [entity.key],
    }


def _listed(entity: Entity) -> str:
    return ", ".join(field.name for field in entity.kept)


def _component(entity: Entity) -> dict[str, Any]:
    return {
        "type": "object",
        "description": entity.about,
        "properties": {field.name: _property(field) for field in entity.fields},
        "required": [field.name for field in entity.fields if field.required],
    }


def _property(field: Field) -> dict[str, Any]:
    schema = _schema(field.type)
    if field.null:
        schema["type"] = [schema["type"], "null"]
    if isinstance(field.default, str | int | bool) and not isinstance(field.type, JsonObject):
        schema["default"] = field.default
    return {**schema, "description": field.about}


def _schema(kind: FieldType) -> dict[str, Any]:
    match kind:
        case Uuid():
            return {"type": "string", "format": "uuid"}
        case Text(choices=choices) if choices:
            return {"type": "string", "enum": list(choices)}
        case Text(max_length=length):
            return {"type": "string", "maxLength": length}
        case Money(minimum=minimum):
            return {"type": "number"} | ({} if minimum is None else {"minimum": minimum})
        case Integer(minimum=minimum, maximum=maximum):
            return {"type": "integer", "minimum": minimum, "maximum": maximum}
        case Boolean():
            return {"type": "boolean"}
        case Timestamp():
            return {"type": "string", "format": "date-time"}
        case JsonObject():
            return {"type": "object"}
