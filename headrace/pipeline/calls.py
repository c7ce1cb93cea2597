"""A request whose sender waits for the answer: all of it in memory, landed as one segment.

The road is that of a file, without its stations: checked by the same checker, promoted by the
same statements, and every line has one outcome here too.
"""

from dataclasses import dataclass, field

import numpy as np

from headrace.pipeline import owners, promotion, scratch, verify
from headrace.pipeline.dialects.base import Connection, Dialect
from headrace.pipeline.errors import FailureCode, HeadraceError, Permanent
from headrace.pipeline.formats.base import Batch
from headrace.pipeline.inspection import Row
from headrace.pipeline.load import Load
from headrace.pipeline.report import Outcome, Reject, SegmentReport
from headrace.pipeline.scratch import SegmentRows
from headrace.pipeline.validate import Checked, Checker, form_of


@dataclass
class Call:
    """The checked records of a request.

    `received` counts them as a census does, and `owners` has that of every line of which it can
    be told, refused ones included.
    """

    received: int
    rows: SegmentRows
    rejects: list[Reject]
    owners: dict[int, str]
    unknown_keys: dict[str, int]


class TooManyRecords(HeadraceError):
    """There are more than are taken at once."""


def read(load: Load, most: int | None = None) -> Call:
    """Check all records of the load's source, at most `most`.

    Where owners are whole, all records of one are refused as soon as one is. Raises Permanent
    where the source cannot be read as a whole, and TooManyRecords before it looks at one too many.
    """
    form = form_of(load)
    census, checker = form.census(), Checker(load, form)
    reading = _Reading(load)
    for batch in verify.batches(load, form, census, lambda records: None):
        if most is not None and census.records > most:
            raise TooManyRecords(f"more than {most:,} records")
        reading.add(batch, checker.check(batch))
    if load.whole_owners:
        reading.refuse_others()
    rows = scratch.ready_rows(*reading.sound)
    return Call(census.records, rows, reading.rejects, reading.owners, dict(checker.unknown_keys))


def land(connection: Connection, dialect: Dialect, load: Load, call: Call) -> SegmentReport:
    """Land a call within the caller's transaction: what became of each line.

    Raises what the driver raises, and Permanent if a line has no outcome.
    """
    report = SegmentReport()
    if call.rows.rows:
        dialect = dialect.fitting(len(call.rows.rows))
        report = promotion.promote(connection, dialect, load, call.rows)
    report.rejects += call.rejects
    refused = np.array([reject.line for reject in call.rejects], np.int64)
    report.add(Outcome.REJECTED, refused)
    if (told := sum(report.counts.values())) != call.received:
        raise Permanent(FailureCode.SUM_RULE, f"{told} outcomes of {call.received} lines")
    return report


@dataclass
class _Reading:
    load: Load
    rejects: list[Reject] = field(default_factory=list)
    owners: dict[int, str] = field(default_factory=dict)
    lines: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    @property
    def sound(self) -> tuple[list[int], list[int], list[Row]]:
        return self.lines, self.offsets, self.rows

    def add(self, batch: Batch, checked: Checked) -> None:
        self.lines += checked.lines
        self.offsets += checked.offsets
        self.rows += checked.rows
        self.owners.update(zip(checked.lines, (row.cluster for row in checked.rows), strict=True))
        self.owners.update(checked.blamed)
        self.rejects += checked.rejects

    def refuse_others(self) -> None:
        """Refuse the sound lines of the owners of whom one was refused."""
        causes = {
            self.owners[reject.line]: reject
            for reject in reversed(self.rejects)
            if reject.line in self.owners
        }
        if not causes:
            return
        places = range(len(self.lines))
        refused = [at for at in places if self.rows[at].cluster in causes]
        self.rejects += [self._refused(at, causes[self.rows[at].cluster]) for at in refused]
        kept = [at for at in places if self.rows[at].cluster not in causes]
        self.lines = [self.lines[at] for at in kept]
        self.offsets = [self.offsets[at] for at in kept]
        self.rows = [self.rows[at] for at in kept]

    def _refused(self, at: int, cause: Reject) -> Reject:
        fault = owners.refused_with(self.load.entity.segment_field, cause.line, cause.code)
        return Reject.of(self.lines[at], self.offsets[at], "verify", (fault,))
