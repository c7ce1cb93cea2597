"""The loader of the textbooks: json.loads a line, `bulk_create(batch_size=1000)` a thousand.

Plain Django on the project's own tables and in their load order, as their owner (row-level
security does not apply), one transaction a file, statistics refreshed between tables while the
clock stands still. `python -m bench.textbook FOLDER` on the database of DATABASE_URL prints the
seconds of each entity as JSON. It checks nothing and accounts for nothing.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import django

from bench.dataset import ENTITIES

BATCH = 1_000
_ANALYZE = {"postgresql": "ANALYZE", "mysql": "ANALYZE TABLE"}


def load(folder: Path) -> dict[str, float]:
    """Load all entities; the seconds that each took."""
    from django.db import connection  # noqa: PLC0415 - after django.setup()

    from apps.catalog.models import MODELS  # noqa: PLC0415
    from apps.core.isolation import as_owner  # noqa: PLC0415

    seconds = {}
    with as_owner():
        for entity in ENTITIES:
            started = time.monotonic()
            for path in sorted(folder.glob(f"{entity}_[0-9a-f]*.ndjson")):
                _load_file(MODELS[entity], path)
            seconds[entity] = time.monotonic() - started
            with connection.cursor() as cursor:
                cursor.execute(f"{_ANALYZE[connection.vendor]} {entity}")
    return seconds


def _load_file(model: Any, path: Path) -> None:
    from django.db import transaction  # noqa: PLC0415

    with transaction.atomic(), path.open() as lines:
        rows = (model(source_sequence=0, **json.loads(line)) for line in lines)
        for batch in _batches(rows):
            model._base_manager.bulk_create(batch, batch_size=BATCH)


def _batches(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(rows, BATCH)):
        yield batch


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "main.settings")
    django.setup()
    print(json.dumps(load(Path(sys.argv[1]))))
