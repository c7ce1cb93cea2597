"""Declared table → Django model: for reading through the ORM, the tables being made by our DDL."""

from typing import Any

from django.db import models
from django.db.models.functions import Now

from apps.core.entity_models import TenantManager
from headrace.recognitions.ddl import TENANT
from headrace.recognitions.schema import Column, Day, Document, Long, Table
from headrace.schema import Integer, ServerNow, Text, Timestamp, Uuid


def model_for(table: Table, name: str) -> Any:
    """The unmanaged model of a table, for `models` to keep under that name."""
    attributes: dict[str, Any] = {
        "__module__": "apps.recognitions.models",
        "__doc__": table.about,
        "pk": models.CompositePrimaryKey(TENANT, *table.key),
        TENANT: models.UUIDField(),
        **{column.name: _field(column) for column in table.columns},
        "objects": TenantManager(),
        "Meta": type("Meta", (), {"managed": False, "db_table": table.flat_name}),
    }
    return type(name, (models.Model,), attributes)


def _field(column: Column) -> models.Field:
    options: dict[str, Any] = {"null": column.null, "help_text": column.about}
    if isinstance(column.default, ServerNow):
        options["db_default"] = Now()
    match column.type:
        case Uuid():
            return models.UUIDField(**options)
        case Text(max_length=length, choices=choices):
            listed = [(choice, choice) for choice in map(str, choices)] or None
            return models.CharField(max_length=length, choices=listed, **options)
        case Integer():
            return models.IntegerField(**options)
        case Long():
            return models.BigIntegerField(**options)
        case Day():
            return models.DateField(**options)
        case Document():
            return models.TextField(**options)
        case Timestamp():
            return models.DateTimeField(**options)
