"""Record types in the OpenAPI document, derived from their declarations."""

from typing import Any

from headrace.entities import ENTITIES
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
    """drf-spectacular's hook: one component a record type."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {}).update(
        {f"{entity.name}_record": _component(entity) for entity in ENTITIES}
    )
    return result


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
