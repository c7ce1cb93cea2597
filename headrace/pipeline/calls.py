"""A request whose sender waits for the answer: all of it in memory, landed as one segment.

The road is that of a file, without its stations: checked by the same checker, promoted by the
same statements, and every line has one outcome here too.
"""

from dataclasses import dataclass, field

import numpy as np

from headrace.pipeline import owners, promotion, ready, verify
from headrace.pipeline.dialects.base import Connection, Dialect
from headrace.pipeline.errors import FailureCode, HeadraceError, Permanent
from headrace.pipeline.load import Load
from headrace.pipeline.ready import ReadyRows
from headrace.pipeline.report import Outcome, Reject, SegmentReport
from headrace.pipeline.validate import Checked, Checker, form_of


@dataclass
class Call:
    """The checked records of a request.

    `received` counts them as a census does, and `owners` has that of every line of which it can
    be told, refused ones included.
    """

    received: int
    rows: ReadyRows
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
        reading.add(checker.check(batch))
    rows = reading.sound()
    return Call(census.records, rows, reading.rejects, reading.owners, dict(checker.unknown_keys))


def land(connection: Connection, dialect: Dialect, load: Load, call: Call) -> SegmentReport:
    """Land a call within the caller's transaction: what became of each line.

    Raises what the driver raises, and Permanent if a line has no outcome.
    """
    report = SegmentReport()
    if len(call.rows):
        dialect = dialect.fitting(len(call.rows))
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
    parts: list[ReadyRows] = field(default_factory=list)

    def add(self, checked: Checked) -> None:
        rows = checked.scanned.rows
        if len(rows):
            self.parts.append(rows)
            keys = (key.decode() for key in rows.index["key"].tolist())
            self.owners.update(zip(rows.lines.tolist(), keys, strict=True))
        self.owners.update(checked.blamed)
        self.rejects += checked.rejects

    def sound(self) -> ReadyRows:
        """The rows that are left; of owners that are whole none where one was refused."""
        rows = ready.joined(self.parts)
        causes = self._causes() if self.load.whole_owners else {}
        if not causes:
            return rows
        owners_of = [self.owners[line] for line in rows.lines.tolist()]
        for at, owner in enumerate(owners_of):
            if owner in causes:
                self.rejects.append(self._refused(rows.index[at], causes[owner]))
        return rows.chosen([at for at, owner in enumerate(owners_of) if owner not in causes])

    def _causes(self) -> dict[str, Reject]:
        """The first refused record of each owner of whom one was refused."""
        return {
            self.owners[reject.line]: reject
            for reject in reversed(self.rejects)
            if reject.line in self.owners
        }

    def _refused(self, entry: np.void, cause: Reject) -> Reject:
        fault = owners.refused_with(self.load.entity.segment_field, cause.line, cause.code)
        return Reject.of(int(entry["line"]), int(entry["offset"]), "verify", (fault,))
