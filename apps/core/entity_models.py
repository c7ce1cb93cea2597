"""Entity → Django model: for reading through the ORM, the tables being made by our own DDL."""

from typing import Any

from django.db import models

from apps.core.isolation import current_tenant
from headrace.pipeline.dialects.statements import SEQUENCE, TENANT
from headrace.schema import (
    Boolean,
    Entity,
    Field,
    Integer,
    JsonObject,
    Money,
    Text,
    Timestamp,
    Uuid,
)


class TenantManager(models.Manager[Any]):
    """Rows of the transaction's tenant; raises NoTenant outside of one."""

    def get_queryset(self) -> models.QuerySet[Any]:
        return super().get_queryset().filter(tenant_id=current_tenant())


class ScaledDecimalField(models.DecimalField):
    """An exact decimal; on SQLite, whose decimals are floats, an integer of smallest units, or its
    digits as a blob where it is larger than integers are there.
    """

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        if value is None or connection.vendor != "sqlite":
            return value
        if isinstance(value, bytes):
            value = value.decode()
        return self.to_python(value).scaleb(-self.decimal_places)

    def get_db_converters(self, connection: Any) -> list[Any]:
        """Ours alone: Django's own would round an integer of SQLite to the field's digits."""
        return [self.from_db_value]

    def get_internal_type(self) -> str:
        return "ScaledDecimalField"

    def db_type(self, connection: Any) -> str:
        if connection.vendor == "sqlite":
            return "integer"
        return f"numeric({self.max_digits}, {self.decimal_places})"

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        value = self.to_python(value)
        if value is None or connection.vendor != "sqlite":
            return value
        return int(value.scaleb(self.decimal_places))


def model_name(entity: Entity) -> str:
    """`order_items` is OrderItems."""
    return "".join(part.capitalize() for part in entity.name.split("_"))


def model_for(entity: Entity) -> type[models.Model]:
    """The unmanaged model of an entity, for the module that calls it to keep under a name."""
    attributes: dict[str, Any] = {
        "__module__": "apps.catalog.models",
        "__doc__": entity.about,
        "pk": models.CompositePrimaryKey(TENANT, entity.key),
        TENANT: models.UUIDField(),
        **{field.name: _model_field(field) for field in entity.columns},
        SEQUENCE: models.BigIntegerField(editable=False),
        "objects": TenantManager(),
        "Meta": type("Meta", (), {"managed": False, "db_table": entity.name}),
    }
    return type(model_name(entity), (models.Model,), attributes)


def _model_field(field: Field) -> models.Field:
    options: dict[str, Any] = {"null": field.null, "help_text": field.about}
    match field.type:
        case Uuid():
            return models.UUIDField(**options)
        case Text(max_length=length, choices=choices):
            listed = [(choice, choice) for choice in choices] or None
            return models.CharField(max_length=length, choices=listed, **options)
        case Money(digits=digits, scale=scale):
            return ScaledDecimalField(max_digits=digits, decimal_places=scale, **options)
        case Integer():
            return models.IntegerField(**options)
        case Boolean():
            return models.BooleanField(**options)
        case Timestamp():
            return models.DateTimeField(**options)
        case JsonObject():
            return models.JSONField(**options)
