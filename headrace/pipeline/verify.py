"""Pass A: read a source to its end and check every line, with no business effect.

Whatever is wrong with the file as a whole (cut short, damaged, a bomb) is known before the
first row is promoted.
"""

import hashlib
import heapq
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from headrace.pipeline import owners, report
from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.formats import compression
from headrace.pipeline.formats.base import Batch, Census, Format, without_bom
from headrace.pipeline.load import Load
from headrace.pipeline.report import LineOutcomes, Lines, Outcome, Reject, RejectPage
from headrace.pipeline.scratch import RowFile
from headrace.pipeline.ties import Ties
from headrace.pipeline.validate import Checked, Checker, form_of
from headrace.schema import Entity

MAX_LINES = 200_000_000  # physical ones: each takes a byte of memory for its outcome
#: What is wrong with a file as it was sent, and no news where more is wrong with it.
OF_THE_FILE = (FailureCode.CORRUPT, FailureCode.BOMB, FailureCode.TOO_MANY_LINES)
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Reject)


class Verified:
    """What pass A found: rows in `rows`, rejects as pages, an outcome a line, and the sums.

    `received` counts the records a second way (formats.base.Census).
    """

    def __init__(self, folder: Path, entity: Entity) -> None:
        self._folder = folder
        self._entity = entity
        self._causes: dict[str, Reject] = {}
        self.rows = RowFile(folder, "rows", Ties.of(entity, folder))
        self.outcomes = LineOutcomes()
        self.received = 0
        self.unknown_keys: dict[str, int] = {}
        self._rejects = folder / "rejects"
        self._refused_others = folder / "rejects_of_owners"

    def add(self, checked: Checked) -> None:
        """Take in the next batch."""
        if len(checked.scanned.rows):
            self.rows.append(checked.scanned)
        self.outcomes.append_lines(checked.height, checked.blanks, checked.gaps)
        if checked.rejects:
            refused = np.array([reject.line for reject in checked.rejects], np.int64)
            self.outcomes.mark(refused, Outcome.REJECTED)
            with self._rejects.open("ab") as file:
                file.write(_ENCODER.encode_lines(checked.rejects))

    def blame(self, checked: Checked) -> None:
        """Remember the owners of the records that were refused."""
        for reject in checked.rejects:
            if owner := checked.blamed.get(reject.line):
                self._causes.setdefault(owner, reject)

    def refuse_others(self) -> None:
        """Refuse the sound rows of the owners that are to blame."""
        if not self._causes:
            return
        sound = RowFile(self._folder, "sound_rows")
        for block in self.rows.blocks():
            owners_of = block.cells(self._entity, self._entity.segment_field)
            causes = [self._causes.get(owner.decode()) for owner in owners_of]
            sound.append_ready(block.chosen([at for at, cause in enumerate(causes) if not cause]))
            self._refuse(
                [self._refused(block.index[at], cause) for at, cause in enumerate(causes) if cause]
            )
        self.rows = sound

    def _refused(self, entry: np.void, cause: Reject) -> Reject:
        fault = owners.refused_with(self._entity.segment_field, cause.line, cause.code)
        return Reject.of(int(entry["line"]), int(entry["offset"]), "verify", (fault,))

    def _refuse(self, rejects: list[Reject]) -> None:
        self.outcomes.mark(np.array([one.line for one in rejects], np.int64), Outcome.REJECTED)
        with self._refused_others.open("ab") as file:
            file.write(_ENCODER.encode_lines(rejects))

    def reject_pages(self) -> Iterator[RejectPage]:
        """The rejects by ascending line."""
        found = map(_kept_rejects, (self._rejects, self._refused_others))
        yield from report.pages(heapq.merge(*found, key=lambda reject: reject.line))


def _kept_rejects(path: Path) -> Iterator[Reject]:
    if path.exists():
        with path.open("rb") as file:
            yield from map(_DECODER.decode, file)


def verify(load: Load, folder: Path, tick: Callable[[int], None]) -> Verified:
    """Check all lines of the load's source; rows and rejects go to files in `folder`.

    `tick` is called with the records seen so far after every block; what it raises ends the
    reading. Raises Permanent if the source as a whole cannot be used; the exception's
    `received` has the records counted up to there.
    """
    verified = Verified(folder, load.entity)
    form = form_of(load)
    census, checker = form.census(), Checker(load, form)
    found = batches(load, form, census, tick)
    try:
        for batch in found:
            checked = checker.check(batch)
            verified.add(checked)
            if load.whole_owners:
                verified.blame(checked)
    except Permanent as failure:
        if failure.code is FailureCode.BAD_HEADER:
            _read_out(found, OF_THE_FILE)  # all lines are told of, though none can be read
        failure.received = census.records
        raise
    finally:
        verified.received = census.records
        verified.unknown_keys = dict(checker.unknown_keys)
    return verified


def count(load: Load) -> int:
    """How many records the source holds, as far as it can be read."""
    form = form_of(load)
    census = form.census()
    _read_out(batches(load, form, census, lambda records: None), tuple(FailureCode))
    return census.records


def _read_out(rest: Iterator[Batch], ignored: Collection[FailureCode]) -> None:
    """Let what is left of a file be counted, as far as it can be read.

    Raises Permanent of any other code than those `ignored`, such as a cancel's.
    """
    try:
        for _ in rest:
            pass
    except Permanent as failure:
        if failure.code not in ignored:
            raise


def reread(load: Load, wanted: Lines, folder: Path) -> tuple[RowFile, list[Reject]]:
    """Check the lines numbered in `wanted` once more: rows, and rejects of those not sound.

    What was sound may not be any more: the checker or the tenant's time zone has changed.
    """
    rows, rejects = RowFile(folder, "woken"), []
    form = form_of(load)
    checker = Checker(load, form)
    numbers = np.sort(wanted)
    for batch in batches(load, form, form.census(), lambda records: None):
        first, last = np.searchsorted(numbers, [batch.first_line, batch.first_line + batch.height])
        if first < last or batch.is_header:
            chosen = set(numbers[first:last].tolist())
            checked = checker.check(batch)
            _append_chosen(checked, chosen, rows)
            rejects += [reject for reject in checked.rejects if reject.line in chosen]
    return rows, rejects


def _append_chosen(checked: Checked, wanted: set[int], rows: RowFile) -> None:
    found = checked.scanned.rows
    rows.append_ready(found.chosen(np.flatnonzero(np.isin(found.lines, list(wanted)))))


def batches(
    load: Load, form: Format, census: Census, tick: Callable[[int], None]
) -> Iterator[Batch]:
    """The batches of a load's source, as `census` counts its records.

    `tick` is called with the count after every block. Raises Permanent.
    """
    with load.open_source() as source:
        hashed = _Hashed(source)
        plain = compression.blocks(hashed, load.compression, load.max_bytes)
        try:
            bom, blocks = without_bom(plain)
            yield from _within_limits(form.batches(_counted(blocks, census, tick), bom))
        except Permanent:
            hashed.check(load.sha256)  # what was damaged here is not the sender's to mend
            raise
        hashed.check(load.sha256)


def _within_limits(found: Iterator[Batch]) -> Iterator[Batch]:
    for batch in found:
        if batch.first_line + batch.height - 1 > MAX_LINES:
            raise Permanent(FailureCode.TOO_MANY_LINES, f"more than {MAX_LINES:,} lines")
        yield batch


def _counted(
    blocks: Iterator[bytes], census: Census, tick: Callable[[int], None]
) -> Iterator[bytes]:
    for block in blocks:
        census.feed(block)
        yield block
        tick(census.records)


class _Hashed:
    """A source that is hashed as it is read, so that its bytes are read once."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self._source.read(size)
        self._digest.update(block)
        return block

    def tell(self) -> int:
        return self._source.tell()

    def check(self, expected: str) -> None:
        """Read what is left. Raises Permanent SOURCE_LOST if the digest is another."""
        while self.read(compression.BLOCK):
            pass
        if self._digest.hexdigest() != expected:
            raise Permanent(
                FailureCode.SOURCE_LOST, "the stored bytes differ from those that were received"
            )
