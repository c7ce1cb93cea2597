"""The target tables, for reading: one line a record type."""

from typing import Any

from apps.core.entity_models import model_for
from headrace.entities import TABLES

MODELS: dict[str, Any] = {entity.name: model_for(entity) for entity in TABLES.values()}
