"""The files of a dataset: their names, and how they come into being.

A file is written under a hidden name and renamed when it is complete, so that a killed run leaves
none half-written under a name that a loader looks for. Nothing is flushed to the disk by force:
after a power cut the same command makes the same files again.
"""

import gzip
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Protocol, Self

from headrace.schema import Entity
from headrace.synth.cells import Cells, text_of
from headrace.synth.formats import Format
from headrace.synth.progress import Progress
from headrace.synth.records import Records
from headrace.synth.settings import Compression

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Level 1 takes 4.7 s a GB where gzip's usual 6 takes 11.2, and 17 % more room: 0.20 of the text.
GZIP_LEVEL = 1
ZSTD_LEVEL = 3
TENANTS = "tenants.csv"
COMPRESSED = {Compression.NONE: "", Compression.GZIP: ".gz", Compression.ZSTD: ".zst"}


@dataclass(frozen=True, slots=True)
class FileName:
    """What the names of an entity's files begin and end with."""

    entity: Entity
    tenant_id: str
    format: Format
    compression: Compression

    def of_chunk(self, chunk: int | None) -> str:
        """The name of a chunk; None where an entity has one file a tenant."""
        part = "" if chunk is None else f"_chunk_{chunk:04d}"
        ending = self.format.ending + COMPRESSED[self.compression]
        return f"{self.entity.name}_{self.tenant_id}{part}{ending}"


def unfinished(name: str) -> str:
    """The name under which a file is written."""
    return f".{name}.part"


def write_whole(path: Path, content: bytes) -> int:
    """Makes the file with this content, complete or not at all; returns its size in bytes."""
    file = GrowingFile(path)
    file.write(content)
    return file.finish()


class GrowingFile:
    """A file that gets its name when it is finished."""

    def __init__(self, path: Path, compression: Compression = Compression.NONE) -> None:
        self._path = path
        self._growing = path.with_name(unfinished(path.name))
        self._raw: BinaryIO = self._growing.open("wb")
        self._compressed = _compressed(self._raw, compression)

    @property
    def name(self) -> str:
        return self._path.name

    def write(self, content: bytes) -> None:
        (self._compressed or self._raw).write(content)

    def finish(self) -> int:
        """Gives the file its name; returns its size in bytes."""
        self._close()
        size = self._growing.stat().st_size
        os.replace(self._growing, self._path)
        return size

    def discard(self) -> None:
        self._close()
        self._growing.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._compressed:
            self._compressed.close()
        self._raw.close()


def _compressed(raw: BinaryIO, compression: Compression) -> gzip.GzipFile | zstd.ZstdFile | None:
    match compression:
        case Compression.GZIP:
            # Without time and name in its header, the same content gives the same bytes.
            return gzip.GzipFile("", "wb", GZIP_LEVEL, raw, mtime=0)
        case Compression.ZSTD:
            return zstd.ZstdFile(raw, "wb", level=ZSTD_LEVEL)
        case Compression.NONE:
            return None


class Written(NamedTuple):
    """Text for a file, and how many records it has."""

    text: bytes
    records: int


class Pen(Protocol):
    """What puts records into the text of a file."""

    def write(self, file: str, records: Records, lines: Cells, rows: slice) -> Written:
        """The text of some rows for the end of a file; `lines` has the lines of all records."""


class PlainPen:
    """Writes every record as it is."""

    def write(self, file: str, records: Records, lines: Cells, rows: slice) -> Written:
        return Written(text_of(lines[rows]), rows.stop - rows.start)


class RecordFiles:
    """Cuts the records of one entity and tenant into files of `chunk_size` records.

    A context manager: leaving it finishes the last file, leaving it by an exception discards that.
    `chunk_size` None makes one file without a chunk number.
    """

    def __init__(
        self,
        folder: Path,
        name: FileName,
        chunk_size: int | None,
        progress: Progress,
        pen: Pen,
    ) -> None:
        self._folder = folder
        self._name = name
        self._chunk_size = chunk_size
        self._progress = progress
        self._pen = pen
        self._file: GrowingFile | None = None
        self._chunks = 0
        self._rows = self._written = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()
        elif self._file:
            self._file.discard()

    def write(self, records: Records) -> None:
        """Adds records; they may go on in the next file."""
        lines = self._name.format.lines(records)
        start = 0
        while start < len(lines):
            rows = slice(start, min(len(lines), start + self._room(len(lines))))
            self._write(records, lines, rows)
            start = rows.stop
            if self._rows == self._chunk_size:
                self._finish()

    def _room(self, most: int) -> int:
        return most if self._chunk_size is None else self._chunk_size - self._rows

    def _write(self, records: Records, lines: Cells, rows: slice) -> None:
        file = self._file or self._open()
        written = self._pen.write(file.name, records, lines, rows)
        file.write(written.text)
        self._rows += rows.stop - rows.start
        self._written += written.records
        self._progress.wrote(self._name.entity.name, written.records)

    def _open(self) -> GrowingFile:
        name = self._name.of_chunk(None if self._chunk_size is None else self._chunks)
        self._file = GrowingFile(self._folder / name, self._name.compression)
        self._file.write(self._name.format.header(self._name.entity))
        return self._file

    def _finish(self) -> None:
        if self._file is None:
            return
        self._progress.finished(self._file.name, self._file.finish(), self._written)
        self._file = None
        self._chunks += 1
        self._rows = self._written = 0
