"""Entity → a fast checker that passes clean records and hands all others to the inspector.

Each format reads a clean record its own way, to the text that the row will travel in (clean.py):
whatever that finds clean needs no conversion and has no fault. Everything else, from a text
with a quote to a line of rubbish, is inspection.py's.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import NamedTuple, Protocol

from headrace.pipeline import formats, owners, values
from headrace.pipeline.csv_records import CsvRecords
from headrace.pipeline.errors import RejectCode
from headrace.pipeline.formats.base import MAX_LINE, Batch, Format
from headrace.pipeline.inspection import NULL, Inspection, Row
from headrace.pipeline.json_records import JsonRecords
from headrace.pipeline.load import Load
from headrace.pipeline.report import Fault, Reject
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
    lines: list[int]
    offsets: list[int]
    rows: list[Row]
    rejects: list[Reject]
    blanks: list[int]
    gaps: list[range]
    blamed: dict[int, str]


class Checker:
    """Checks the batches of one load, in order; `unknown_keys` counts keys that no field has."""

    def __init__(self, load: Load, form: Format) -> None:
        self.unknown_keys: Counter[str] = Counter()
        self._load = load
        self._form = form
        self._reads = load if load.name_event is None else _without_key(load)
        self._records: Records = JsonRecords(self._reads)

    def check(self, batch: Batch) -> Checked:
        """What the lines of `batch` are. Raises Permanent for a header that cannot be used."""
        checked = Checked(batch.height, [], [], [], [], [], [], {})
        if batch.is_header:
            self._records = CsvRecords(self._reads, batch.lines[0], batch.first_line)
            checked.gaps.append(range(batch.first_line, batch.first_line + batch.height))
        elif not any(batch.lines):
            checked.blanks.extend(batch.numbers())
        elif batch.is_open:
            checked.rejects.append(_never_closed(batch))
            checked.gaps.extend(_continued(batch))
        else:
            self._check_records(batch, checked)
            checked.gaps.extend(_continued(batch))
        return checked

    def _check_records(self, batch: Batch, checked: Checked) -> None:
        read = self._records.clean
        for number, offset, line in zip(batch.numbers(), batch.offsets(), batch.lines, strict=True):
            row = read(line) if 1 < len(line) <= MAX_LINE else None
            if row is None:
                self._look_closer(line, number, offset, checked)
            else:
                checked.lines.append(number)
                checked.offsets.append(offset)
                checked.rows.append(self._named(row, number))

    def _look_closer(self, line: bytes, number: int, offset: int, checked: Checked) -> None:
        if not line.strip(self._form.blanks):
            checked.blanks.append(number)
            return
        row, faults, owner = self._inspected(line)
        if row is None:
            checked.rejects.append(Reject.of(number, offset, "verify", faults))
            if owner := owner or owners.told_owner(self._load.entity.segment_field, line):
                checked.blamed[number] = owner
        else:
            checked.lines.append(number)
            checked.offsets.append(offset)
            checked.rows.append(self._named(row, number))

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
