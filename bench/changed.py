"""The pinned rows with every tenth one changed: what a shop sends the day after.

The keys are the same, so each changed row is an update and every other one is `unchanged`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from bench import dataset
from bench.dataset import Dataset
from headrace.entities.orders import STATUSES

EVERY = 10


def changed(data: Dataset) -> Dataset:
    """The same files, every tenth line of each entity with another value."""
    found = Dataset(data.folder.with_name(f"{data.folder.name}_changed"), data.counts)
    dataset.once(found.folder, lambda: _make(data, found))
    return found


def expected(data: Dataset) -> dict[str, int]:
    """What becomes of the lines when the rows of `data` are there."""
    updated = sum(rows // EVERY for rows in data.counts.values())
    return {"updated": updated, "unchanged": data.rows - updated}


def _make(data: Dataset, made: Dataset) -> None:
    made.folder.mkdir(parents=True)
    (made.folder / "tenants.csv").write_bytes((data.folder / "tenants.csv").read_bytes())
    for entity in dataset.ENTITIES:
        number = 0
        for path in data.files(entity):
            lines = path.read_bytes().splitlines(keepends=True)
            (made.folder / path.name).write_bytes(b"".join(_lines(entity, lines, number)))
            number += len(lines)


def _lines(entity: str, lines: list[bytes], before: int) -> Iterator[bytes]:
    """The lines of a file; `before` is how many the entity had in earlier files."""
    field, other = _CHANGES[entity]
    for number, line in enumerate(lines, before + 1):
        if number % EVERY:
            yield line
        else:
            row = orjson.loads(line)
            yield orjson.dumps({**row, field: other(row[field])}) + b"\n"


def _next_status(status: str) -> str:
    return STATUSES[(STATUSES.index(status) + 1) % len(STATUSES)]


def _dearer(price: float) -> float:
    return round(price + 1, 2)


#: The field of each entity that changes, and how.
_CHANGES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "customers": ("name", lambda name: f"{name} II"),
    "products": ("price", _dearer),
    "orders": ("order_status", _next_status),
    "order_items": ("unit_price", _dearer),
}
