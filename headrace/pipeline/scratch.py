"""Checked rows on their way from pass A to pass B, in files that nobody misses after a crash.

Pass A appends rows in the order of their lines. A plan cuts the range of their segment keys
into segments, and `scatter` deals the rows out: rows of one segment key meet in one segment.
Rows of different segment keys that decide about each other are gathered first (ties.py).

Each file of rows stands beside one of their index entries (ready.py), so that planning and refusing
never parse a row.
"""

import json
from collections.abc import Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.pipeline import older
from headrace.pipeline.load import Load
from headrace.pipeline.ready import INDEX, NO_ROWS, Index, ReadyRows
from headrace.pipeline.report import Lines
from headrace.pipeline.scanning import Scanned
from headrace.pipeline.ties import GROUPED, Ties
from headrace.schema import Entity

BLOCK_ROWS = 100_000
SAMPLE_ROWS = 200_000
SEGMENT_BYTES = 32 << 20  # a segment is in memory as a whole, and a row may have a mebibyte
READY = "ready"


class Bounds(NamedTuple):
    """Keys from `low`, included, to `high`, excluded; an empty `high` has no end."""

    low: str
    high: str


class RowFile:
    """Rows and their index, appended to files of a folder that must exist.

    `ties` keeps what may tie rows together, for files that will be planned.
    """

    def __init__(
        self, folder: Path, name: str, ties: Ties | None = None, *, count: int = 0
    ) -> None:
        self.name = name
        self._rows = folder / f"{name}.rows"
        self._index = folder / f"{name}.index"
        self._ties = ties
        self.count = count
        self.bytes = 0

    def append(self, scanned: Scanned) -> None:
        """Add checked rows."""
        self.append_ready(scanned.rows)
        if self._ties:
            self._ties.append(scanned.digests)

    def gather(self) -> None:
        """Give tied rows one segment key, so that they meet. Once, before planning."""
        if self._ties and (groups := self._ties.groups()):
            index = np.memmap(self._index, INDEX, "r+")
            for place, group in groups:
                index["key"][place] = GROUPED + b"%016x" % group

    def append_ready(self, rows: ReadyRows) -> None:
        with self._rows.open("ab") as file:
            file.write(rows.text)
        with self._index.open("ab") as file:
            file.write(rows.index.tobytes())
        self.count += len(rows)
        self.bytes += len(rows.text)

    def read(self) -> ReadyRows:
        """All rows at once; meant for the files of segments.

        Raises FileNotFoundError if they have been taken away.
        """
        if not self.count:
            return NO_ROWS
        return ReadyRows(np.fromfile(self._index, INDEX), self._rows.read_bytes())

    def digests(self, entity: Entity) -> bytes | None:
        """What older.py keeps of the segment keys; meant for the files of segments."""
        return older.pack(self._all_of_index(), entity)

    def lines(self) -> Lines:
        """The lines that the rows came from; meant for the files of segments."""
        lines: Lines = self._all_of_index()["line"].astype(np.int64)
        return lines

    def _all_of_index(self) -> Index:
        return np.fromfile(self._index, INDEX) if self.count else NO_ROWS.index

    def blocks(self) -> Iterator[ReadyRows]:
        """The rows, some 100,000 at a time, fewer of long ones."""
        if not self._rows.exists():
            return
        with self._rows.open("rb") as rows, self._index.open("rb") as index:
            for part in chain.from_iterable(map(_by_size, _index_blocks(index))):
                yield ReadyRows(part, rows.read(int(part["length"].sum())))

    def sample(self) -> tuple[npt.NDArray[np.bytes_], npt.NDArray[np.int64]]:
        """At most some SAMPLE_ROWS segment keys, evenly spread over the file, sorted, and how many
        bytes their rows have.
        """
        step = max(1, self.count // SAMPLE_ROWS)
        with self._index.open("rb") as file:
            parts = [part[["key", "length"]][::step].copy() for part in _index_blocks(file)]
        found = np.concatenate(parts)
        found = found[np.argsort(found["key"], kind="stable")]
        return found["key"], found["length"].astype(np.int64)


def _index_blocks(file: BinaryIO) -> Iterator[Index]:
    while len(part := np.fromfile(file, INDEX, BLOCK_ROWS)):
        yield part


def _by_size(part: Index) -> list[Index]:
    ends = np.cumsum(part["length"], dtype=np.int64)
    return np.split(part, np.flatnonzero(np.diff(ends // SEGMENT_BYTES)) + 1)


def plan(rows: RowFile, segment_rows: int) -> list[Bounds]:
    """Key ranges of about `segment_rows` rows each, fewer of long ones; none for no rows."""
    if rows.count <= segment_rows and rows.bytes <= SEGMENT_BYTES:
        return [Bounds("", "")] if rows.count else []
    keys, lengths = rows.sample()
    # Of a segment a row takes the part that it has of the rows, or of the bytes if that is more.
    taken = np.cumsum(np.maximum(lengths * segment_rows, SEGMENT_BYTES))
    total, full = int(taken[-1]), segment_rows * SEGMENT_BYTES
    wanted = -(-total * rows.count // (len(keys) * full))
    ends = [total * cut // wanted for cut in range(1, wanted)]
    cuts = np.unique(keys[np.searchsorted(taken, ends, side="right")])
    edges = ["", *(cut.decode() for cut in cuts.tolist()), ""]
    return [Bounds(low, high) for low, high in pairwise(edges)]


def keep(folder: Path, load: Load, segments: list[RowFile]) -> None:
    """Note that the folder's segments are complete, for another claim on this machine."""
    note = {
        "boot": _boot(),
        "of": _identity(load),
        "segments": [(segment.name, segment.count) for segment in segments],
    }
    (folder / READY).write_text(json.dumps(note))


def kept(folder: Path, load: Load) -> list[RowFile] | None:
    """The complete segments of this load that an earlier claim left in the folder, or None.

    They were never flushed to the disk: those of before the machine's last start do not count.
    """
    try:
        note = json.loads((folder / READY).read_text())
    except (FileNotFoundError, ValueError):
        return None
    if note["boot"] is None or (note["boot"], note["of"]) != (_boot(), _identity(load)):
        return None
    return [RowFile(folder, name, count=count) for name, count in note["segments"]]


def clear(folder: Path) -> None:
    """Remove the files of another boot or load, to which ours would be added."""
    for path in folder.iterdir():
        path.unlink()


def _identity(load: Load) -> list[str]:
    """A job's number may come again, in another database: what the rows were made of may not.

    Nor may it be by another version of the program, or in another zone.
    """
    fields = [f"{field.name} {field.type} {field.null}" for field in load.entity.fields]
    read = [load.sha256, load.format, load.delimiter, load.zone.key]
    return [str(load.tenant), load.entity.name, *read, *fields]


def _boot() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:  # not Linux: nothing is ever taken over
        return None


def scatter(rows: RowFile, bounds: list[Bounds], folder: Path) -> list[RowFile]:
    """The rows dealt out to one file a segment, in the order of `bounds`."""
    if len(bounds) <= 1:
        return [rows][: len(bounds)]
    files = [RowFile(folder, f"segment_{number:05d}") for number in range(len(bounds))]
    edges = np.array([bound.low.encode() for bound in bounds[1:]], "S36")
    for block in rows.blocks():
        segments = np.searchsorted(edges, block.index["key"], side="right")
        for segment in np.unique(segments).tolist():
            files[segment].append_ready(block.chosen(np.flatnonzero(segments == segment)))
    return files
