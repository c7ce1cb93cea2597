"""Pass B for one segment: stage its rows, refuse what cannot land, write the rest.

Every outcome is taken from what the database says it wrote. Order matters: a row that is
parked or refused must not have superseded an earlier one that can land.
"""

import numpy as np

from headrace.pipeline.dialects.base import Connection, Dialect, Taken
from headrace.pipeline.errors import Race, RejectCode
from headrace.pipeline.load import Load
from headrace.pipeline.movements import Movements
from headrace.pipeline.overlaps import overlapping
from headrace.pipeline.ready import ReadyRows
from headrace.pipeline.report import Lines, Outcome, SegmentReport, among, without
from headrace.pipeline.segment import Segment
from headrace.schema import Interval, Promotion


def promote(connection: Connection, dialect: Dialect, load: Load, rows: ReadyRows) -> SegmentReport:
    """Land a segment within the caller's transaction, and say what became of each line.

    Raises what the driver raises; `dialect.translated` says what it means.
    """
    kind = Rows if load.entity.levels is None else Movements
    return kind(connection, dialect, load, rows).promote()


class Rows(Segment):
    """Rows that are inserted, or change the one that the table holds under their key."""

    _moves_intervals = False

    def land(self) -> None:
        # Before rows are looked at: who ends between would have changed what was found equal.
        self._may_be_outrun = self._load.older(self._rows.index["key"])
        self._refuse_taken_keys()
        if self._entity.interval is not None:
            self._refuse_overlaps(self._entity.interval)
        if self._entity.promotion is not Promotion.APPEND and self._may_repeat_keys():
            self._supersede_repeated()
        self._days: set[str] = set()
        with self._writing:
            aside = self._set_aside()
            unwritten = [(mask, self._write(mask)) for mask in self._masks()]
        if aside:
            self._check_none_is_aside()
        for mask, lines in unwritten:
            self._explain_unwritten(lines, mask)
        if self._days:
            self._dialect.mark_days(self._connection, self._load, sorted(self._days))
        if self._entity.promotion is not Promotion.APPEND:
            self._renew_equal_rows()

    def _renew_equal_rows(self) -> None:
        """Keep what may still come with an older sequence from winning over rows left alone."""
        contested = self._may_be_outrun
        if self._report.parked:  # which may wake, and must not win over lines further down
            parked = np.isin(self._lines, [line.line for line in self._report.parked])
            keys = np.array(self._cells(self._entity.key))
            contested = contested | (np.isin(keys, keys[parked]) & ~parked)
        if Outcome.UNCHANGED in self._report.outcomes and contested.any():
            self._take_out(self._lines[~contested])
            self._dialect.renew(self._connection, self._load)

    def _refuse_taken_keys(self) -> None:
        for field in self._entity.natural_keys:
            taken = self._dialect.taken(self._connection, self._load, field)
            self._refuse_taken(field, taken)
            # Only then: a line that is refused must not bar the rightful holder further down.
            if self._may_repeat(field):
                self._refuse_taken(field, self._dialect.rivals(self._connection, self._load, field))

    def _refuse_taken(self, field: str, found: list[Taken]) -> None:
        self._report.rejects += [
            self._reject(
                RejectCode.NATURAL_KEY_TAKEN,
                field,
                taken.line,
                taken.value,
                f"expected a value that is free; {taken.holder} has it",
            )
            for taken in found
        ]
        self._settle(Outcome.REJECTED, [taken.line for taken in found])

    def _may_repeat_keys(self) -> bool:
        """0.1 µs a row here, 0.6 in the database: rows of one key share their segment key."""
        keys = self._rows.index["key"].tolist()
        return self._entity.segment_field != self._entity.key or len(set(keys)) < len(keys)

    def _may_repeat(self, field: str) -> bool:
        cells = self._cells(field)
        return len(set(cells)) < len(cells)

    def _supersede_repeated(self) -> None:
        lines = self._dialect.repeated(self._connection, self._load)
        self._settle(Outcome.SUPERSEDED, lines.tolist())

    def _refuse_overlaps(self, interval: Interval) -> None:
        self._dialect.serialize(self._connection, self._load)
        replaced = self._dialect.replaced(self._connection, self._load)
        self._settle(Outcome.SUPERSEDED, replaced.stale.tolist())
        self._moves_intervals = replaced.moving > 0
        spans = self._dialect.spans(self._connection, self._load)
        self._refuse(
            RejectCode.INTERVAL_OVERLAP,
            interval.start,
            [(span.line, str(span.start)) for span in overlapping(spans)],
            "expected an interval that ends after it starts and overlaps no other of its owner",
        )

    def _set_aside(self) -> int:
        """Rows are written one by one, and each must find the start that it takes free."""
        if not self._moves_intervals:
            return 0
        return self._dialect.set_aside(self._connection, self._load)

    def _check_none_is_aside(self) -> None:
        """Raises Race if a row that was set aside was not written: somebody's trigger may do that,
        and nobody may see where it begins meanwhile."""
        if self._dialect.replaced(self._connection, self._load).moving:
            raise Race("intervals that were set aside were not written")

    def _masks(self) -> list[int]:
        """In the order to write them: rows that may end an interval before those that cannot."""
        masks: list[int] = sorted(set(self._rows.index["mask"].tolist()))
        if self._entity.interval is None:
            return masks
        end = 1 << self._entity.field_names.index(self._entity.interval.end)
        return sorted(masks, key=lambda mask: not mask & end)

    def _write(self, mask: int) -> Lines:
        """Write the rows of one mask; the lines that made no difference."""
        masks = self._rows.index["mask"]
        staged = among(self._lines[masks == mask], self._left)
        if not len(staged):
            return staged
        written = self._dialect.write(self._connection, self._load, mask)
        self._report.add(Outcome.INSERTED, written.inserted)
        self._report.add(Outcome.UPDATED, written.updated)
        self._report.add(Outcome.UNCHANGED, written.equal)
        self._days |= written.days
        known = np.concatenate((written.inserted, written.updated, written.equal))
        return without(staged, known)

    def _explain_unwritten(self, rest: Lines, mask: int) -> None:
        if not len(rest):
            return
        equal = self._dialect.equal(self._connection, self._load, mask)
        self._report.add(Outcome.UNCHANGED, among(rest, equal))
        others = without(rest, equal)
        if self._entity.promotion is Promotion.APPEND:
            self._refuse(
                RejectCode.EVENT_CONFLICT,
                self._entity.key,
                [(line, "") for line in others.tolist()],
                "expected an id that no different event has",
            )
        else:
            self._report.add(Outcome.SUPERSEDED, others)
