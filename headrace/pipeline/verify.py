"""Pass A: read a source to its end and check every line, with no business effect.

Whatever is wrong with the file as a whole (cut short, damaged, a bomb) is known before the
first row is promoted.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from headrace.pipeline import report
from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.formats import compression, ndjson
from headrace.pipeline.load import Load
from headrace.pipeline.report import LineOutcomes, Lines, Outcome, Reject, RejectPage
from headrace.pipeline.scratch import RowFile
from headrace.pipeline.ties import Ties
from headrace.pipeline.validate import Checked, Checker
from headrace.schema import Entity

MAX_LINES = 200_000_000  # physical ones: each takes a byte of memory for its outcome
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Reject)


class Verified:
    """What pass A found: rows in `rows`, rejects as pages, an outcome a line, and the sums.

    `received` counts the records a second way (formats.ndjson.Census).
    """

    def __init__(self, folder: Path, entity: Entity) -> None:
        self.rows = RowFile(folder, "rows", Ties.of(entity, folder))
        self.outcomes = LineOutcomes()
        self.received = 0
        self.unknown_keys: dict[str, int] = {}
        self._rejects = folder / "rejects"

    def add(self, checked: Checked) -> None:
        """Take in the next batch."""
        if checked.rows:
            self.rows.append(checked.lines, checked.offsets, checked.rows)
        self.outcomes.append_lines(
            len(checked.lines) + len(checked.rejects) + len(checked.blanks), checked.blanks
        )
        if checked.rejects:
            refused = np.array([reject.line for reject in checked.rejects], np.int64)
            self.outcomes.mark(refused, Outcome.REJECTED)
            with self._rejects.open("ab") as file:
                file.write(_ENCODER.encode_lines(checked.rejects))

    def reject_pages(self) -> Iterator[RejectPage]:
        """The rejects by ascending line."""
        if self._rejects.exists():
            with self._rejects.open("rb") as file:
                yield from report.pages(map(_DECODER.decode, file))


def verify(load: Load, folder: Path, tick: Callable[[int], None]) -> Verified:
    """Check all lines of the load's source; rows and rejects go to files in `folder`.

    `tick` is called with the records seen so far after every block; what it raises ends the
    reading. Raises Permanent if the source as a whole cannot be used; the exception's
    `received` has the records counted up to there.
    """
    verified = Verified(folder, load.entity)
    census = ndjson.Census()
    checker = Checker(load)
    try:
        for batch in _batches(load, census, tick):
            verified.add(checker.check(batch))
    except Permanent as failure:
        failure.received = census.records
        raise
    finally:
        verified.received = census.records
        verified.unknown_keys = dict(checker.unknown_keys)
    return verified


def count(load: Load) -> int:
    """How many records the source holds, as far as it can be read."""
    census = ndjson.Census()
    try:
        for _ in _batches(load, census, lambda records: None):
            pass
    except Permanent:
        pass
    return census.records


def reread(load: Load, wanted: Lines, folder: Path) -> tuple[RowFile, list[Reject]]:
    """Check the lines numbered in `wanted` once more: rows, and rejects of those not sound.

    What was sound may not be any more: the checker or the tenant's time zone has changed.
    """
    rows, rejects = RowFile(folder, "woken"), []
    checker = Checker(load)
    numbers = np.sort(wanted)
    for batch in _batches(load, ndjson.Census(), lambda records: None):
        first, last = np.searchsorted(
            numbers, [batch.first_line, batch.first_line + len(batch.lines)]
        )
        if first < last:
            chosen = set(numbers[first:last].tolist())
            checked = checker.check(batch)
            _append_chosen(checked, chosen, rows)
            rejects += [reject for reject in checked.rejects if reject.line in chosen]
    return rows, rejects


def _append_chosen(checked: Checked, wanted: set[int], rows: RowFile) -> None:
    chosen = [at for at, line in enumerate(checked.lines) if line in wanted]
    rows.append(
        [checked.lines[at] for at in chosen],
        [checked.offsets[at] for at in chosen],
        [checked.rows[at] for at in chosen],
    )


def _batches(
    load: Load, census: ndjson.Census, tick: Callable[[int], None]
) -> Iterator[ndjson.Batch]:
    with load.open_source() as source:
        hashed = _Hashed(source)
        plain = compression.blocks(hashed, load.compression, load.max_bytes)
        try:
            bom, blocks = ndjson.without_bom(plain)
            yield from _within_limits(ndjson.batches(_counted(blocks, census, tick), bom))
        except Permanent:
            hashed.check(load.sha256)  # what was damaged here is not the sender's to mend
            raise
        hashed.check(load.sha256)


def _within_limits(batches: Iterator[ndjson.Batch]) -> Iterator[ndjson.Batch]:
    for batch in batches:
        if batch.first_line + len(batch.lines) - 1 > MAX_LINES:
            raise Permanent(FailureCode.TOO_MANY_LINES, f"more than {MAX_LINES:,} lines")
        yield batch


def _counted(
    blocks: Iterator[bytes], census: ndjson.Census, tick: Callable[[int], None]
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
