"""Entity → a fast checker that passes clean records and hands all others to the inspector.

The scanner takes what it knows at once (scanning.py). Each format reads other clean records its
own way, to the text that the row will travel in (clean.py): whatever that finds clean needs no
conversion and has no fault. Everything else, from a number in a text to a line of rubbish, is
inspection.py's.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple, Protocol

import numpy as np

from headrace.pipeline import formats, owners, scanning, values
from headrace.pipeline.csv_records import CsvRecords
from headrace.pipeline.errors import RejectCode
from headrace.pipeline.formats.base import MAX_LINE, Batch, Format
from headrace.pipeline.inspection import NULL, Inspection
from headrace.pipeline.json_records import JsonRecords
from headrace.pipeline.load import Load
from headrace.pipeline.ready import NO_ROWS, Row
from headrace.pipeline.report import Fault, Reject
from headrace.pipeline.scanning import Scanned
from headrace.schema import Entity

MAX_UNKNOWN_KEYS = 100
OTHER_KEYS = "…"  #: counts for all keys beyond the first MAX_UNKNOWN_KEYS


class Records(Protocol):
    """How the records of one load are read; `clean` gives None for one to be inspected."""

    clean: Callable[[bytes], Row | None]

    def inspect(self, raw: bytes) -> Inspection:
        """Never raises for any input."""


class Checked(NamedTuple):
    """What the lines of a batch are: rows and rejects by ascending line.

    The batch has `height` physical lines; on those of `blanks` and `gaps` no record begins.
    `blamed` has the owners of refused records, by line, as far as they can be told.
    """

    height: int
    scanned: Scanned
    rejects: list[Reject]
    blanks: list[int]
    gaps: list[range]
    blamed: dict[int, str]


class _Found(NamedTuple):
    """What the lines are on which there is no row."""

    rejects: list[Reject]
    blanks: list[int]
    blamed: dict[int, str]


NOTHING = Scanned(NO_ROWS, np.empty((0, 1), np.uint64))


class Checker:
    """Checks the batches of one load, in order; `unknown_keys` counts keys that no field has."""

    def __init__(self, load: Load, form: Format) -> None:
        self.unknown_keys: Counter[str] = Counter()
        self._load = load
        self._form = form
        self._reads = load if load.name_event is None else _without_key(load)
        self._records: Records = JsonRecords(self._reads)
        self._scan = scanning.scan_of(self._reads)

    def check(self, batch: Batch) -> Checked:
        """What the lines of `batch` are. Raises Permanent for a header that cannot be used."""
        found = _Found([], [], {})
        gaps = _continued(batch)
        scanned = NOTHING
        if batch.is_header:
            self._take_header(batch)
            gaps = [range(batch.first_line, batch.first_line + batch.height)]
        elif not any(batch.lines):
            found.blanks.extend(batch.numbers())
        elif batch.is_open:
            found.rejects.append(_never_closed(batch))
        else:
            closer = partial(self._look_closer, found)
            lines, offsets = list(batch.numbers()), list(batch.offsets())
            scanned = self._scan(batch.lines, lines, offsets, closer)
        return Checked(batch.height, scanned, found.rejects, found.blanks, gaps, found.blamed)

    def _take_header(self, batch: Batch) -> None:
        records = CsvRecords(self._reads, batch.lines[0], batch.first_line)
        self._records = records
        self._scan = scanning.scan_of(self._reads, records.names, records.delimiter)

    def _look_closer(self, found: _Found, line: bytes, number: int, offset: int) -> Row | None:
        row = self._records.clean(line) if 1 < len(line) <= MAX_LINE else None
        if row is None:
            row = self._read_any(found, line, number, offset)
        return row and self._named(row, number)

    def _read_any(self, found: _Found, line: bytes, number: int, offset: int) -> Row | None:
        """The row of any line; one that has none is noted among what was found."""
        if not line.strip(self._form.blanks):
            found.blanks.append(number)
            return None
        row, faults, owner = self._inspected(line)
        if row is None:
            found.rejects.append(Reject.of(number, offset, "verify", faults))
            if owner := owner or owners.told_owner(self._load.entity.segment_field, line):
                found.blamed[number] = owner
        return row

    def _named(self, row: Row, number: int) -> Row:
        """The row with a key; a record may be without one where the load gives it."""
        name = self._load.name_event
        if name is None or row.mask & 1:
            return row
        return row._replace(text=f"{name(number)}{row.text.removeprefix(NULL)}", mask=row.mask | 1)

    def _inspected(self, line: bytes) -> tuple[Row | None, tuple[Fault, ...], str | None]:
        if len(line) > MAX_LINE:
            fault = Fault(RejectCode.LINE_TOO_LONG, "", "", "expected at most 1 MiB")
            return None, (fault,), None
        row, faults, unknown, owner = self._records.inspect(line)
        for key in map(values.shown_key, unknown):
            has_room = key in self.unknown_keys or len(self.unknown_keys) < MAX_UNKNOWN_KEYS
            self.unknown_keys[key if has_room else OTHER_KEYS] += 1
        return row, faults, owner


def _without_key(load: Load) -> Load:
    """The load as one whose records may leave out their key, which is their first field."""
    return replace(load, entity=_keyless(load.entity))


@cache
def _keyless(entity: Entity) -> Entity:
    key, *others = entity.fields
    return replace(entity, fields=(replace(key, required=False), *others))


def _never_closed(batch: Batch) -> Reject:
    """The one record of a batch, too long to be looked at: how far it goes is what helps."""
    message = (
        "expected the quote that opens a cell of this record to be closed; it is not, and the"
        f" record goes on to the end of the file, {batch.height:,} lines"
    )
    fault = Fault(RejectCode.BAD_CSV, "", "", message)
    return Reject.of(batch.first_line, batch.offset, "verify", (fault,))


def form_of(load: Load) -> Format:
    """The load's format, for one reading."""
    return formats.format_of(load.format, load.delimiter)


def _continued(batch: Batch) -> list[range]:
    """The lines on which records of several lines go on."""
    if batch.heights is None:
        return []
    places = zip(batch.numbers(), batch.heights, strict=True)
    return [range(line + 1, line + height) for line, height in places if height > 1]
