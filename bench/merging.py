"""What dlt is told about our files, and where it is: see dlt_loader.py, which it runs in.

dlt lives in a virtual environment of its own, which `make bench` makes from requirements-bench.txt;
its packages are not ours. Where that was not possible the bench goes on without it.
"""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

from bench import dataset
from bench.dataset import Dataset
from headrace.entities import BY_NAME
from headrace.pipeline import dialects
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

SCHEMA = "dlt"
LOADER = "bench/dlt_loader.py"
RECORDS = "dictionaries, INSERT of many values"
WAYS = (
    RECORDS,
    "pyarrow tables, CSV by COPY",
    "pyarrow tables, Parquet by ADBC",
)
_TYPES: dict[type, dict[str, Any]] = {
    Uuid: {"data_type": "text"},
    Text: {"data_type": "text"},
    Money: {"data_type": "decimal", "precision": 19, "scale": 4},
    JsonObject: {"data_type": "json"},
    Timestamp: {"data_type": "timestamp"},
    Boolean: {"data_type": "bool"},
    Integer: {"data_type": "bigint"},
}


def python() -> Path | None:
    """The interpreter that has dlt, or None; the Makefile marks what it has installed."""
    home = dataset.home() / "dlt"
    return home / "bin" / "python" if (home / ".done").exists() else None


def version() -> str:
    """The release of dlt that is installed there."""
    [packages] = (dataset.home() / "dlt" / "lib").glob("python*/site-packages")
    [found] = importlib.metadata.distributions(name="dlt", path=[str(packages)])
    return found.version


def order(data: Dataset, way: str, url: str, home: Path, *, indexed: bool = True) -> Path:
    """The file that tells dlt_loader.py what to load, and how; `indexed` as our own tables are."""
    statements = [one for name in dataset.ENTITIES for one in _indexes(BY_NAME[name])]
    told = {
        "way": way,
        "url": url,
        "home": str(home / "pipelines"),
        "schema": SCHEMA,
        "indexes": [f"SET search_path TO {SCHEMA}", *statements] if indexed else [],
        "tables": [_table(data, entity) for entity in dataset.ENTITIES],
    }
    path = home / "order.json"
    path.write_text(json.dumps(told))
    return path


def environment(home: str) -> dict[str, str]:
    """What dlt reads before it begins: it keeps its things there, and tells nobody about them.

    An id of itself goes to its user's HOME all the same; root has none for it, and gets it in /var.
    """
    return {"DLT_DATA_DIR": home, "HOME": home, "RUNTIME__DLTHUB_TELEMETRY": "false"}


def _table(data: Dataset, name: str) -> dict[str, Any]:
    entity = BY_NAME[name]
    tenant = {"data_type": "text", "nullable": False}
    return {
        "name": name,
        "key": ["tenant_id", entity.key],
        "columns": {"tenant_id": tenant, **{one.name: _hint(one) for one in entity.fields}},
        "files": [str(path) for path in data.files(name)],
    }


def _indexes(entity: Entity) -> list[str]:
    """Unique keys, and the other indexes that the project gives this table."""
    unique = [
        f"CREATE UNIQUE INDEX ON {entity.name} (tenant_id, {column})"
        for column in (entity.key, *entity.natural_keys)
    ]
    made = dialects.dialect("postgresql", 0).table_statements(entity)
    return [*unique, *(one for one in made if one.startswith("CREATE INDEX"))]


def _hint(field: Field) -> dict[str, Any]:
    return {**_TYPES[type(field.type)], "nullable": not field.required}
