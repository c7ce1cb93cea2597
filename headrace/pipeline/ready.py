"""Rows that are ready to stage, and what is known of each without parsing it.

Their text has a line a row, `<line> TAB <mask> TAB <cells>`, the cells tab-separated as COPY spells
them in PostgreSQL. Beside it stands an index entry for each row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.schema import Entity

INDEX = np.dtype(
    [("line", "<u8"), ("offset", "<u8"), ("mask", "<u4"), ("length", "<u4"), ("key", "S36")]
)
Index = npt.NDArray[np.void]  #: entries of dtype INDEX; `length` is in bytes, newline included
Places = Sequence[int] | npt.NDArray[np.int64]
FIRST_CELL = 2  #: behind line and mask
BLOCK = 1 << 18


class Row(NamedTuple):
    """A checked record: `text` has its fields tab-separated as PostgreSQL's COPY spells them.

    Bit i of `mask` says that field i was in the record; `cluster` is the segment field's value.
    """

    text: str
    mask: int
    cluster: str


@dataclass(frozen=True)
class ReadyRows:
    """Rows by ascending line, each with its index entry."""

    index: Index
    text: bytes

    def __len__(self) -> int:
        return len(self.index)

    @cached_property
    def rows(self) -> list[bytes]:
        """The line of each row, without its newline."""
        rows = self.text.split(b"\n")
        rows.pop()
        return rows

    @property
    def lines(self) -> npt.NDArray[np.int64]:
        """The number of the physical line on which each record began."""
        return self.index["line"].astype(np.int64)

    def cells(self, entity: Entity, field: str) -> list[bytes]:
        """The cell of a field in every row, as it travels."""
        place = FIRST_CELL + entity.field_names.index(field)
        return [row.split(b"\t", place + 1)[place] for row in self.rows]

    def blocks(self) -> Iterator[memoryview]:
        """The text in pieces that a connection takes one after the other."""
        text = memoryview(self.text)
        for start in range(0, len(text), BLOCK):
            yield text[start : start + BLOCK]

    def chosen(self, places: Places) -> "ReadyRows":
        """The rows at these places, which ascend."""
        return ReadyRows(self.index[places], cut(self.text, self.index, places))


NO_ROWS = ReadyRows(np.empty(0, INDEX), b"")


def cut(text: bytes, index: Index, places: Places) -> bytes:
    """The rows at these places of a text that the index describes."""
    ends = np.cumsum(index["length"], dtype=np.int64)
    starts = ends - index["length"]
    spans = zip(starts[places].tolist(), ends[places].tolist(), strict=True)
    return b"".join([text[start:end] for start, end in spans])


def joined(parts: Sequence[ReadyRows]) -> ReadyRows:
    """All rows of parts that follow each other."""
    if not parts:
        return NO_ROWS
    return ReadyRows(
        np.concatenate([part.index for part in parts]), b"".join(part.text for part in parts)
    )


def ready_rows(lines: list[int], offsets: list[int], rows: list[Row]) -> ReadyRows:
    """Checked rows with their physical lines and byte offsets, ready to be staged."""
    ready = [
        f"{line}\t{row.mask}\t{row.text}\n".encode() for line, row in zip(lines, rows, strict=True)
    ]
    index = np.empty(len(rows), INDEX)
    index["line"], index["offset"] = lines, offsets
    index["mask"] = [row.mask for row in rows]
    index["length"] = [len(row) for row in ready]
    index["key"] = [row.cluster.encode() for row in rows]
    return ReadyRows(index, b"".join(ready))
