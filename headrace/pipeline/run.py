"""The road on one page: verify → plan → promote, segment by segment → report.

The engine remembers nothing. What must survive a crash it tells the host's `Ledger`, each
step in one transaction with its effect; run again after a crash, it takes up where the ledger
ends. Pass A is deterministic, so its scratch files are made anew and never looked for.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np

from headrace.pipeline import promotion, scratch
from headrace.pipeline.dialects.base import Connection, Dialect
from headrace.pipeline.errors import (
    DataRefused,
    FailureCode,
    HeadraceError,
    Permanent,
    Race,
    RejectCode,
    Retryable,
)
from headrace.pipeline.load import Load
from headrace.pipeline.report import Fault, Lines, Outcome, Reject, SegmentReport
from headrace.pipeline.scratch import Bounds, SegmentRows
from headrace.pipeline.verify import Verified, reread, verify

ATTEMPTS = 6
MAX_REFUSED = 100
Record = Callable[[SegmentReport], None]


class Ledger(Protocol):
    """The host's memory of one claimed chunk.

    `transaction` gives the connection of a transaction whose last statement checks that the
    claim still holds; all three may raise LeaseLost.
    """

    def bounds(self) -> list[Bounds] | None:
        """The plan that an earlier claim recorded; None if there is none."""

    def record_plan(self, verified: Verified, bounds: list[Bounds]) -> None:
        """Keep what pass A found, and the plan."""

    def pending(self) -> list[int]:
        """The numbers of the planned segments that have not landed."""

    def transaction(self) -> AbstractContextManager[Connection]: ...

    def record_segment(self, number: int, report: SegmentReport) -> None:
        """Keep what became of a segment, in the transaction that landed it."""

    def finish(self) -> None:
        """All segments have landed: apply the sum rule and end the chunk."""

    def tick(self, records: int) -> None:
        """Pass A has seen so many records. Called every block; must be quick."""


def run(load: Load, dialect: Dialect, ledger: Ledger, folder: Path) -> None:
    """Take a file from its stored bytes to accounted rows, using `folder` as scratch space.

    Raises Permanent if the file cannot be landed, Retryable if the database would not have it
    now, LeaseLost if somebody else has the job.
    """
    verified = verify(load, folder, ledger.tick)
    verified.rows.gather()
    bounds = ledger.bounds()
    if bounds is None:
        bounds = scratch.plan(verified.rows, dialect.segment_rows)
        ledger.record_plan(verified, bounds)
    segments = scratch.scatter(verified.rows, bounds, folder)
    for number in ledger.pending():
        _land_segment(load, dialect, ledger, number, segments[number].read())
        time.sleep(dialect.pause_seconds)
    ledger.finish()


def wake(
    load: Load,
    dialect: Dialect,
    transaction: Callable[[], AbstractContextManager[Connection]],
    lines: Lines,
    folder: Path,
    record: Record,
    has_landed: Callable[[], bool],
) -> None:
    """Try parked lines again: read them back from the source and land them as one segment.

    `record` is called in the landing transaction; `has_landed` says whether it has committed.
    Raises like `run`.
    """
    rows, rejects = reread(load, lines, folder)

    def record_all(report: SegmentReport) -> None:
        report.rejects += rejects
        report.add(Outcome.REJECTED, np.array([reject.line for reject in rejects], np.int64))
        record(report)

    _land(load, dialect, transaction, rows.read(), record_all, has_landed)


def _land_segment(
    load: Load, dialect: Dialect, ledger: Ledger, number: int, rows: SegmentRows
) -> None:
    def record(report: SegmentReport) -> None:
        ledger.record_segment(number, report)

    # A commit whose acknowledgement was lost may have succeeded: the ledger knows.
    _land(load, dialect, ledger.transaction, rows, record, lambda: number not in ledger.pending())


def _land(
    load: Load,
    dialect: Dialect,
    transaction: Callable[[], AbstractContextManager[Connection]],
    rows: SegmentRows,
    record: Record,
    has_landed: Callable[[], bool],
) -> None:
    promote: Callable[..., SegmentReport] = promotion.promote
    races = 0
    for _ in _attempts():
        try:
            with transaction() as connection:
                record(promote(connection, dialect, load, rows))
            return
        except Exception as error:
            meaning = _meaning(dialect, error)
            races += isinstance(meaning, Race)
            if isinstance(meaning, DataRefused) or races > 1:
                promote = _Bisection().promote
            elif isinstance(meaning, Retryable) and has_landed():
                return
    raise Retryable("the database kept refusing the transaction")


def _attempts() -> Iterator[int]:
    """Numbers of attempts with a jittered, doubling wait between them, 6 s in all at most."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(random.uniform(0.5, 1) * 0.1 * 2**attempt)
        yield attempt


def _meaning(dialect: Dialect, error: Exception) -> HeadraceError:
    """What a failed transaction means for the next step; raises what no step can mend."""
    meaning = error if isinstance(error, HeadraceError) else dialect.translated(error)
    if not isinstance(meaning, Retryable | Race | DataRefused):
        raise error
    return meaning


class _Bisection:
    """The last resort: halve the segment until the rows that the database refuses are alone."""

    def __init__(self) -> None:
        self._refused = 0

    def promote(
        self, connection: Connection, dialect: Dialect, load: Load, rows: SegmentRows
    ) -> SegmentReport:
        cursor = connection.cursor()
        cursor.execute("SAVEPOINT half")
        try:
            report = promotion.promote(connection, dialect, load, rows)
        except Exception as error:
            meaning = _meaning(dialect, error)
            if isinstance(meaning, Retryable):
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT half")
            return self._halved(connection, dialect, load, rows)
        cursor.execute("RELEASE SAVEPOINT half")
        return report

    def _halved(
        self, connection: Connection, dialect: Dialect, load: Load, rows: SegmentRows
    ) -> SegmentReport:
        if len(rows.rows) == 1:
            return self._refuse(rows)
        middle = len(rows.rows) // 2
        report = SegmentReport()
        for part in (slice(None, middle), slice(middle, None)):
            half = SegmentRows(rows.index[part], rows.rows[part])
            report.merge(self.promote(connection, dialect, load, half))
        return report

    def _refuse(self, rows: SegmentRows) -> SegmentReport:
        self._refused += 1
        if self._refused > MAX_REFUSED:
            raise Permanent(
                FailureCode.REFUSED_TOO_OFTEN, f"more than {MAX_REFUSED} rows of a segment"
            )
        line, offset = int(rows.index["line"][0]), int(rows.index["offset"][0])
        fault = Fault(RejectCode.DATABASE_REFUSED, "", "", "expected a row that the table accepts")
        report = SegmentReport(rejects=[Reject.of(line, offset, "promote", (fault,))])
        report.add(Outcome.REJECTED, rows.index["line"].astype("int64"))
        return report
