"""A segment on its way into its table: what every kind of promotion does with its lines."""

from collections.abc import Iterable
from contextlib import AbstractContextManager

import numpy as np

from headrace.pipeline.dialects.base import Connection, Dialect
from headrace.pipeline.errors import RejectCode
from headrace.pipeline.load import Load
from headrace.pipeline.ready import ReadyRows
from headrace.pipeline.report import (
    Fault,
    Lines,
    Outcome,
    Parked,
    Reject,
    SegmentReport,
    without,
)


class Segment:
    """Rows that are staged, and a report that is filled until each line has its outcome.

    Subclasses say in `land` how rows get into the table once all that they refer to is there.
    """

    _writing: AbstractContextManager[None]  #: what rows with references are written in

    def __init__(
        self, connection: Connection, dialect: Dialect, load: Load, rows: ReadyRows
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._load = load
        self._entity = load.entity
        self._rows = rows
        self._report = SegmentReport()
        self._lines = rows.lines
        self._left = self._lines

    def promote(self) -> SegmentReport:
        """What became of each line. Raises what the driver raises."""
        self._dialect.stage(self._connection, self._entity, self._rows)
        self._writing = self._dialect.hold_parents(self._connection, self._load)
        self._hold_back_orphans()
        self.land()
        return self._report

    def land(self) -> None:
        """Write the staged rows and settle every line that is left."""
        raise NotImplementedError

    def _cells(self, field: str) -> list[bytes]:
        """The cell of a field in every row, as it travels."""
        return self._rows.cells(self._entity, field)

    def _hold_back_orphans(self) -> None:
        held: set[int] = set()
        for reference in self._entity.references:
            found = self._dialect.unresolved(self._connection, self._load, reference)
            fresh = [(line, key) for line, key in found if line not in held]
            held.update(line for line, _ in fresh)
            if self._load.parks:
                self._park(reference.field, reference.entity, fresh)
            else:
                expected = f"expected the id of one of your {reference.entity}"
                self._refuse(RejectCode.REFERENCE_MISSING, reference.field, fresh, expected)

    def _park(self, field: str, entity: str, found: list[tuple[int, str]]) -> None:
        self._report.parked += [
            Parked(line, self._offset(line), field, entity, key) for line, key in found
        ]
        self._settle(Outcome.PARKED, [line for line, _ in found])

    def _refuse(
        self, code: RejectCode, field: str, found: list[tuple[int, str]], expected: str
    ) -> None:
        self._report.rejects += [
            self._reject(code, field, line, value, expected) for line, value in found
        ]
        self._settle(Outcome.REJECTED, [line for line, _ in found])

    def _reject(self, code: RejectCode, field: str, line: int, value: str, expected: str) -> Reject:
        fault = Fault(code, field, value, expected)
        return Reject.of(line, self._offset(line), "promote", (fault,))

    def _settle(self, outcome: Outcome, lines: Iterable[int]) -> None:
        """Record lines that do not land and take them out of staging."""
        settled = np.array(sorted(lines), np.int64)
        self._take_out(settled)
        self._report.add(outcome, settled)

    def _take_out(self, lines: Lines) -> None:
        """Take lines out of staging whose outcome is known elsewhere."""
        if len(lines):
            self._dialect.drop(self._connection, self._entity, lines)
            self._left = without(self._left, lines)

    def _offset(self, line: int) -> int:
        at = np.searchsorted(self._lines, line)
        return int(self._rows.index["offset"][at])
