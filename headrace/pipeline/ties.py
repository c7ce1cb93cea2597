"""Rows that decide about each other must meet in one segment, however a file is cut.

Rows of one segment key meet anyway. Rows of two segment keys are tied when they share a value
that only one row may have: a natural key under two ids, or an id under two owners. All rows
of segment keys that are tied, directly or through others, make a group.

Only digests are kept, 8 bytes a value. Two values of one digest would tie more rows than
needed, which does no harm.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.ready import Row
from headrace.schema import Entity

Digests = npt.NDArray[np.uint64]
GROUPED = b"#"  #: begins the segment key of tied rows, as no id can
MOST_TIED = 1_000_000  # segment keys: 150 MB
PASS_ROWS = 1_000_000  # of a million rows at a time: 50 MB


def positions(entity: Entity) -> list[int]:
    """The fields whose values can tie rows."""
    names = [*entity.natural_keys]
    if entity.segment_field != entity.key:
        names.append(entity.key)
    return [entity.field_names.index(name) for name in names]


def digests(rows: list[Row], positions: list[int]) -> Digests:
    """Of each row the digests of its segment key and of the cells at these positions.

    None at all where no field can tie rows.
    """
    cells = [row.text.split("\t", max(positions) + 1) for row in rows] if positions else []
    found = [
        [_digest(row.cluster), *(_digest(cell[at]) for at in positions)]
        for row, cell in zip(rows, cells, strict=bool(positions))
    ]
    return np.array(found, np.uint64).reshape(-1, 1 + len(positions))


class Ties:
    """The segment keys and the tying values of rows, in the order they were appended."""

    @classmethod
    def of(cls, entity: Entity, folder: Path) -> "Ties | None":
        """What can tie rows of the entity; None if nothing can."""
        tying = positions(entity)
        return cls(folder / "ties", 1 + len(tying)) if tying else None

    def __init__(self, path: Path, width: int) -> None:
        self._path = path
        self._width = width

    def append(self, found: Digests) -> None:
        """Add what `digests` gives of the next rows."""
        with self._path.open("ab") as file:
            file.write(found.astype("<u8").tobytes())

    def groups(self) -> list[tuple[int, int]]:
        """Of every row in a group its place in the file, from 0, and the group."""
        if not self._path.exists():
            return []
        union = _Union()
        for column in range(1, self._width):
            for one, other in self._pairs(column):
                union.join(one, other)
        return list(self._members(union)) if union else []

    def _pairs(self, column: int) -> Iterator[tuple[int, int]]:
        """Segment keys that share a value of the column: neighbours when sorted by value."""
        passes = 1 + self._path.stat().st_size // (8 * self._width * PASS_ROWS)
        for number in range(passes):
            keys, values = self._share(column, number, passes)
            order = np.argsort(values, kind="stable")
            keys, values = keys[order], values[order]
            tied = np.flatnonzero((values[1:] == values[:-1]) & (keys[1:] != keys[:-1]))
            yield from zip(keys[tied].tolist(), keys[tied + 1].tolist(), strict=True)

    def _share(self, column: int, number: int, passes: int) -> tuple[Digests, Digests]:
        """Segment keys and values of the rows whose value belongs to this pass."""
        parts = []
        for _, block in self._blocks():
            chosen = block[:, column] % np.uint64(passes) == number
            parts.append(block[chosen][:, [0, column]])
        found = np.concatenate(parts)
        return found[:, 0], found[:, 1]

    def _members(self, union: "_Union") -> Iterator[tuple[int, int]]:
        nodes = np.fromiter(union.nodes(), np.uint64)
        for start, block in self._blocks():
            for place in np.flatnonzero(np.isin(block[:, 0], nodes)).tolist():
                yield start + place, union.find(int(block[place, 0]))

    def _blocks(self) -> Iterator[tuple[int, npt.NDArray[np.uint64]]]:
        """The digests, a row of them each, with the place of the first."""
        place = 0
        with self._path.open("rb") as file:
            while len(part := np.fromfile(file, "<u8", self._width * 100_000)):
                yield place, part.reshape(-1, self._width)
                place += len(part) // self._width


class _Union:
    """Disjoint sets; a set is named by its smallest member. Raises Permanent for too many nodes."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._parents)

    def nodes(self) -> Iterator[int]:
        return iter(self._parents)

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.find(one), self.find(other)))
        self._parents[second] = first
        if len(self._parents) > MOST_TIED:
            text = f"expected at most {MOST_TIED:,} keys that share values, found more"
            raise Permanent(FailureCode.TOO_LARGE_AT_ONCE, text)

    def find(self, node: int) -> int:
        self._parents.setdefault(node, node)
        while (parent := self._parents[node]) != node:
            self._parents[node] = self._parents[parent]  # halve the path
            node = parent
        return node


def _digest(text: str) -> int:
    """64 bits that are the same in every process: a takeover must deal rows out alike."""
    data = text.encode()
    return zlib.crc32(data) << 32 | zlib.adler32(data)
