"""Whether two databases hold the same rows, whatever order and spelling they give them in."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from headrace.pipeline import inspection, values
from headrace.schema import Entity

_UTC = ZoneInfo("UTC")
_SIZE = 1 << 256


class Digest:
    """The number of an entity's rows, and the sum of the SHA-256 of each.

    A sum, so that the order does not count: the incremental hash AdHASH of Bellare and
    Micciancio, 1997. It tells mistakes apart, not forgeries.
    """

    def __init__(self, entity: Entity) -> None:
        self.rows = 0
        self._fields = entity.kept
        self._sum = 0

    def seen(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        """The same lines of NDJSON, each of which has all columns of a record."""
        for line in lines:
            self._add(line)
            yield line

    @property
    def told(self) -> dict[str, Any]:
        return {"rows": self.rows, "digest": f"{self._sum:064x}"}

    def _add(self, line: bytes) -> None:
        record = inspection.read_object(line.decode())
        texts = [values.parse(field, record[field.name], _UTC) for field in self._fields]
        self.rows += 1
        self._sum = (self._sum + _number(msgspec.json.encode(texts))) % _SIZE


def _number(row: bytes) -> int:
    return int.from_bytes(hashlib.sha256(row).digest())
