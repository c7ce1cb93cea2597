"""The road on one page: verify → plan → promote, segment by segment → report.

The engine remembers nothing. What must survive a crash it tells the host's `Ledger`, each
step in one transaction with its effect; run again after a crash, it takes up where the ledger
ends. Pass A is deterministic: where its scratch files are not at hand they are made anew.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

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
from headrace.pipeline.load import Load, Policy
from headrace.pipeline.ready import ReadyRows
from headrace.pipeline.report import Fault, Lines, Outcome, Reject, SegmentReport
from headrace.pipeline.scratch import Bounds, RowFile
from headrace.pipeline.verify import Verified, reread, verify

ATTEMPTS = 6
MAX_REFUSED = 100
MOST_MOVEMENTS = 10_000
WHOLE = Bounds("", "")
Record = Callable[[SegmentReport], None]


class Ledger(Protocol):
    """The host's memory of one claimed chunk.

    `transaction` gives the connection of a transaction whose last statement checks that the
    claim still holds; all three may raise LeaseLost.
    """

    def bounds(self) -> list[Bounds] | None:
        """The plan that an earlier claim recorded; None if there is none."""

    def record_plan(
        self, verified: Verified, bounds: list[Bounds], digests: Iterator[bytes | None]
    ) -> None:
        """Keep what pass A found, and the plan: of each segment its bounds, and of its keys what
        older.py keeps, which are to be read once, since all together they may be large.
        """

    def check_open(self, lines: Lines) -> None:
        """Raises Permanent unless these, which pass A has just found in the segments that have not
        landed, are the lines that have no outcome yet.
        """

    def pending(self) -> list[int]:
        """The numbers of the planned segments that have not landed."""

    def transaction(self) -> AbstractContextManager[Connection]: ...

    def record_segment(self, number: int, report: SegmentReport) -> None:
        """Keep what became of a segment, in the transaction that landed it."""

    def finish(self) -> None:
        """All segments have landed: apply the sum rule and end the chunk."""

    def tick(self, records: int) -> None:
        """Pass A has seen so many records. Called every block; must be quick."""

    def rest(self) -> None:
        """A segment has landed and more are left: may raise to stop here, for now or for good."""

    def sums(self) -> tuple[int, int]:
        """How many lines are rejected so far, and how many were received."""


def run(load: Load, dialect: Dialect, ledger: Ledger, folder: Path) -> None:
    """Take a file from its stored bytes to accounted rows, using `folder` as scratch space.

    A folder that an earlier claim left complete spares pass A. Raises Permanent if the file
    cannot be landed, Retryable if the database would not have it now, LeaseLost if somebody
    else has the job.
    """
    segments = scratch.kept(folder, load)
    if segments is None:
        segments = _prepare(load, dialect, ledger, folder)
    _check_policy(load, ledger)
    pending = ledger.pending()
    for number in pending:
        _land_segment(load, dialect, ledger, number, segments[number].read())
        _check_policy(load, ledger)
        time.sleep(dialect.pause_seconds)
        if number != pending[-1]:
            ledger.rest()
    ledger.finish()


def _prepare(load: Load, dialect: Dialect, ledger: Ledger, folder: Path) -> list[RowFile]:
    """Pass A, and its rows dealt out to segments by the recorded plan."""
    scratch.clear(folder)
    verified = verify(load, folder, ledger.tick)
    _gather(verified)
    verified.refuse_others()
    recorded = ledger.bounds()
    bounds = _planned(load, dialect, verified.rows) if recorded is None else recorded
    segments = scratch.scatter(verified.rows, bounds, folder)
    if recorded is None:
        ledger.record_plan(verified, bounds, (one.digests(load.entity) for one in segments))
    else:
        ledger.check_open(_lines(segments[number] for number in ledger.pending()))
    _check_sizes(load.policy, segments)
    scratch.keep(folder, load, segments)
    return segments


def _gather(verified: Verified) -> None:
    """Raises Permanent, which tells how many lines there are: no plan does yet."""
    try:
        verified.rows.gather()
    except Permanent as failure:
        failure.received = verified.received
        raise


def _lines(segments: Iterable[RowFile]) -> Lines:
    return np.concatenate([np.zeros(0, np.int64), *(one.lines() for one in segments)])


def _planned(load: Load, dialect: Dialect, rows: RowFile) -> list[Bounds]:
    if load.policy.whole and rows.count:
        return [WHOLE]
    return scratch.plan(rows, _segment_rows(load, dialect))


def _segment_rows(load: Load, dialect: Dialect) -> int:
    """Levels are locked for as long as a segment takes, and callers wait for them."""
    rows = dialect.segment_rows
    return rows if load.entity.levels is None else min(rows, MOST_MOVEMENTS)


def _check_sizes(policy: Policy, segments: list[RowFile]) -> None:
    """Raises Permanent for a segment that is too large to be in memory: a whole file, or rows that
    have to be landed together since they share a key.
    """
    for rows in segments:
        if rows.bytes > policy.whole_bytes or (policy.whole and rows.count > policy.whole_rows):
            raise _too_large(policy, rows)


def _too_large(policy: Policy, rows: RowFile) -> Permanent:
    limits = f"{policy.whole_bytes:,} bytes at once"
    if policy.whole:
        limits = f"{policy.whole_rows:,} rows and {limits}"
    what = "the whole file has" if policy.whole else "rows that share keys are"
    found = f"{what} {rows.count:,} rows of {rows.bytes:,} bytes"
    return Permanent(FailureCode.TOO_LARGE_AT_ONCE, f"expected at most {limits}; {found}")


def _check_policy(load: Load, ledger: Ledger) -> None:
    """Raises Permanent if more was rejected than the sender allows."""
    policy = load.policy
    if not (policy.whole or policy.is_limited):
        return
    rejected, received = ledger.sums()
    if policy.whole and rejected:
        raise _refused_whole(rejected)
    if not policy.allows(rejected, received):
        found = f"{rejected:,} of {received:,} lines were rejected"
        raise Permanent(FailureCode.TOO_MANY_REJECTS, f"{found}, more than was allowed")


def _refused_whole(rejected: int, rejects: Sequence[Reject] = ()) -> Permanent:
    message = f"{rejected:,} lines were rejected, so nothing landed"
    return Permanent(FailureCode.REJECTED_WHOLE, message, rejects=rejects)


def wake(
    load: Load,
    dialect: Dialect,
    transaction: Callable[[], AbstractContextManager[Connection]],
    lines: Lines,
    folder: Path,
    settle: Callable[[Lines, SegmentReport], None],
    are_settled: Callable[[Lines], bool],
) -> None:
    """Try parked lines again: read them back from the source and land them, a segment at a time.

    `settle` is called with the lines of a segment in the transaction that lands it;
    `are_settled` says whether it has committed. Raises like `run`.
    """
    rows, rejects = reread(load, lines, folder)
    woken = rows.read()
    for start in range(0, len(lines), dialect.segment_rows):
        part = np.sort(lines)[start : start + dialect.segment_rows]
        chosen = np.flatnonzero(np.isin(woken.index["line"], part))
        sound = woken.chosen(chosen)
        refused = [reject for reject in rejects if part[0] <= reject.line <= part[-1]]
        record = _recorder(part, refused, settle)
        _land(load, dialect, transaction, sound, record, partial(are_settled, part))


def _recorder(
    part: Lines, rejects: list[Reject], settle: Callable[[Lines, SegmentReport], None]
) -> Record:
    def record(report: SegmentReport) -> None:
        report.rejects += rejects
        report.add(Outcome.REJECTED, np.array([reject.line for reject in rejects], np.int64))
        settle(part, report)

    return record


def _land_segment(
    load: Load, dialect: Dialect, ledger: Ledger, number: int, rows: ReadyRows
) -> None:
    def record(report: SegmentReport) -> None:
        if load.policy.whole and report.rejects:
            raise _refused_whole(len(report.rejects), report.rejects)
        ledger.record_segment(number, report)

    # A commit whose acknowledgement was lost may have succeeded: the ledger knows.
    _land(load, dialect, ledger.transaction, rows, record, lambda: number not in ledger.pending())


def _land(
    load: Load,
    dialect: Dialect,
    transaction: Callable[[], AbstractContextManager[Connection]],
    rows: ReadyRows,
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
            if isinstance(meaning, Race | DataRefused):
                dialect = dialect.wary
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


def _halves(load: Load, rows: ReadyRows) -> list[list[int]]:
    """The places of the rows of either half; one list if they cannot be halved.

    Movements of one owner stay together: they are landed together or not at all.
    """
    places = list(range(len(rows)))
    owner: Sequence[Any] = places
    if load.entity.levels is not None:
        owner = rows.cells(load.entity, load.entity.levels.owner)
    owners = sorted(set(owner))
    if len(owners) == 1:
        return [places]
    first = set(owners[: len(owners) // 2])
    return [[at for at in places if (owner[at] in first) is is_first] for is_first in (True, False)]


class _Bisection:
    """The last resort: halve the segment until the rows that the database refuses are alone.

    A race is run once more first: what was in the way is there to be seen by now.
    """

    def __init__(self) -> None:
        self._refused = 0

    def promote(
        self, connection: Connection, dialect: Dialect, load: Load, rows: ReadyRows
    ) -> SegmentReport:
        for _ in range(2):
            cursor = connection.cursor()
            cursor.execute("SAVEPOINT half")
            try:
                report = promotion.promote(connection, dialect, load, rows)
            except Exception as error:
                meaning = _meaning(dialect, error)
                if isinstance(meaning, Retryable):
                    raise
                cursor.execute("ROLLBACK TO SAVEPOINT half")
                if not isinstance(meaning, Race):
                    break
            else:
                cursor.execute("RELEASE SAVEPOINT half")
                return report
        return self._halved(connection, dialect, load, rows)

    def _halved(
        self, connection: Connection, dialect: Dialect, load: Load, rows: ReadyRows
    ) -> SegmentReport:
        halves = _halves(load, rows)
        if len(halves) == 1:
            return self._refuse(rows)
        report = SegmentReport()
        for places in halves:
            report.merge(self.promote(connection, dialect, load, rows.chosen(places)))
        return report

    def _refuse(self, rows: ReadyRows) -> SegmentReport:
        self._refused += 1
        if self._refused > MAX_REFUSED:
            raise Permanent(
                FailureCode.REFUSED_TOO_OFTEN, f"more than {MAX_REFUSED} rows of a segment"
            )
        fault = Fault(RejectCode.DATABASE_REFUSED, "", "", "expected a row that the table accepts")
        places = zip(rows.index["line"].tolist(), rows.index["offset"].tolist(), strict=True)
        rejects = [Reject.of(line, offset, "promote", (fault,)) for line, offset in places]
        report = SegmentReport(rejects=rejects)
        report.add(Outcome.REJECTED, rows.lines)
        return report
