"""The whole service as a user runs it: `serve --workers 2`, the bulk client, HTTP, a database.

The time of a load is read from the service's own rows: from the moment that its upload was
opened, the client's first request, to the commit that ended its last chunk. The service refreshes
its own statistics within that time.
"""

import os
from collections import defaultdict
from datetime import datetime
from typing import Any, NamedTuple

from bench import measure
from bench.dataset import Dataset
from bench.measure import Usage
from tests.service import Service

WORKERS = 2
OUTCOMES = ("inserted", "updated", "unchanged")
_CHUNKS = """
SELECT u.created_at, c.entity, c.started_at, c.ended_at, c.state,
    c.inserted, c.updated, c.unchanged
FROM uploads u JOIN chunks c ON c.upload_id = u.id
WHERE u.created_at = (SELECT max(created_at) FROM uploads)"""


class Loaded(NamedTuple):
    """Seconds of a load, by step too, what its client used and what became of the rows."""

    seconds: float
    steps: dict[str, float]
    client: Usage
    outcomes: dict[str, int]


def prepare(service: Service, data: Dataset, workers: int = WORKERS) -> None:
    """Restart the service with its workers and make the tenant known."""
    service.stop()
    service.start(workers=workers)
    service.manage("load_tenants", "--file", data.folder / "tenants.csv")


def load(service: Service, data: Dataset) -> Loaded:
    """Send all files with the bulk client. Raises RuntimeError unless every line landed."""
    command = ["scripts/bulk_ingest.py", "--data-dir", str(data.folder), "--api-url", service.url]
    client = measure.run([*command, "--wait-for-completion", "--json"], dict(os.environ))
    chunks = _chunks(service)
    opened = chunks[0][0]
    began, ended = {}, {}
    outcomes: dict[str, int] = defaultdict(int)
    for _, entity, started_at, ended_at, state, *counts in chunks:
        if state != "completed":
            raise RuntimeError(f"a chunk of {entity} ended {state}")
        began[entity] = min(started_at, began.get(entity, started_at))
        ended[entity] = max(ended_at, ended.get(entity, ended_at))
        for outcome, count in zip(OUTCOMES, counts, strict=True):
            outcomes[outcome] += count
    steps = {entity: (ended[entity] - began[entity]).total_seconds() for entity in began}
    seconds = (max(ended.values()) - opened).total_seconds()
    return Loaded(seconds, steps, client.usage, dict(outcomes))


def _chunks(service: Service) -> list[tuple[Any, ...]]:
    """The chunks of the latest upload, with times that can be subtracted."""
    return [tuple(map(_timed, row)) for row in service.ask(_CHUNKS)]


def _timed(value: Any) -> Any:
    """SQLite knows no times but texts."""
    is_time = isinstance(value, str) and value[:2] == "20"
    return datetime.fromisoformat(value) if is_time else value
