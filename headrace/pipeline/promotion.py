"""Pass B for one segment: stage its rows, refuse what cannot land, write the rest.

Every outcome is taken from what the database says it wrote. Order matters: a row that is
parked or refused must not have superseded an earlier one that can land.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

from headrace.pipeline.dialects.base import Connection, Dialect, Span, Taken
from headrace.pipeline.errors import RejectCode
from headrace.pipeline.load import Load
from headrace.pipeline.report import Fault, Lines, Outcome, Parked, Reject, SegmentReport
from headrace.pipeline.scratch import SegmentRows
from headrace.schema import Interval, Promotion


def promote(
    connection: Connection, dialect: Dialect, load: Load, rows: SegmentRows
) -> SegmentReport:
    """Land a segment within the caller's transaction, and say what became of each line.

    Raises what the driver raises; `dialect.translated` says what it means.
    """
    return _Segment(connection, dialect, load, rows).promote()


class _Segment:
    def __init__(
        self, connection: Connection, dialect: Dialect, load: Load, rows: SegmentRows
    ) -> None:
        self._connection = connection
        self._dialect = dialect
        self._load = load
        self._entity = load.entity
        self._rows = rows
        self._report = SegmentReport()
        self._lines = rows.index["line"].astype(np.int64)
        self._left = self._lines

    def promote(self) -> SegmentReport:
        self._dialect.stage(self._connection, self._entity, self._rows.rows)
        self._hold_back_orphans()
        self._refuse_taken_keys()
        if self._entity.interval is not None:
            self._refuse_overlaps(self._entity.interval)
        if self._entity.promotion is not Promotion.APPEND and self._may_repeat_keys():
            self._supersede_repeated()
        unwritten = [(mask, self._write(mask)) for mask in self._masks()]
        for mask, lines in unwritten:
            self._explain_unwritten(lines, mask)
        if self._entity.promotion is not Promotion.APPEND:
            self._renew_equal_rows()
        return self._report

    def _renew_equal_rows(self) -> None:
        """Keep what may still come with an older sequence from winning over rows left alone."""
        if self._load.renews:
            self._dialect.renew(self._connection, self._load)
        elif self._report.parked:  # which may wake, and must not win over lines further down
            parked = {line.line for line in self._report.parked}
            keys = dict(zip(self._lines.tolist(), self._keys(), strict=True))
            waiting = {keys[line] for line in parked}
            others = [line for line, key in keys.items() if key not in waiting]
            self._dialect.drop(self._connection, self._entity, np.array(others, np.int64))
            if len(others) + len(parked) < len(keys):
                self._dialect.renew(self._connection, self._load)

    def _keys(self) -> list[bytes]:
        """The key of every row, as it travels."""
        place = 2 + self._entity.field_names.index(self._entity.key)
        return [row.split(b"\t", place + 1)[place] for row in self._rows.rows]

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

    def _refuse_taken_keys(self) -> None:
        for field in self._entity.natural_keys:
            taken = self._dialect.taken(self._connection, self._load, field)
            self._refuse_taken(field, taken)
            # Only then: a line that is refused must not bar the rightful holder further down.
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

    def _supersede_repeated(self) -> None:
        lines = self._dialect.repeated(self._connection, self._load)
        self._settle(Outcome.SUPERSEDED, lines.tolist())

    def _refuse_overlaps(self, interval: Interval) -> None:
        self._dialect.serialize(self._connection, self._load)
        stale = self._dialect.stale(self._connection, self._load)
        self._settle(Outcome.SUPERSEDED, stale.tolist())
        spans = self._dialect.spans(self._connection, self._load)
        self._refuse(
            RejectCode.INTERVAL_OVERLAP,
            interval.start,
            [(span.line, str(span.start)) for span in overlapping(spans)],
            "expected an interval that ends after it starts and overlaps no other of its owner",
        )

    def _masks(self) -> list[int]:
        """In the order to write them: rows that may end an interval before those that cannot."""
        masks: list[int] = np.unique(self._rows.index["mask"]).tolist()
        if self._entity.interval is None:
            return masks
        end = 1 << self._entity.field_names.index(self._entity.interval.end)
        return sorted(masks, key=lambda mask: not mask & end)

    def _write(self, mask: int) -> Lines:
        """Write the rows of one mask; the lines that made no difference."""
        masks = self._rows.index["mask"]
        staged = np.intersect1d(self._lines[masks == mask], self._left)
        if not len(staged):
            return staged
        written = self._dialect.write(self._connection, self._load, mask)
        self._report.add(Outcome.INSERTED, written.inserted)
        self._report.add(Outcome.UPDATED, written.updated)
        return np.setdiff1d(staged, np.concatenate(written))

    def _explain_unwritten(self, rest: Lines, mask: int) -> None:
        if not len(rest):
            return
        equal = self._dialect.equal(self._connection, self._load, mask)
        self._report.add(Outcome.UNCHANGED, np.intersect1d(rest, equal))
        others = np.setdiff1d(rest, equal)
        if self._entity.promotion is Promotion.APPEND:
            self._refuse(
                RejectCode.EVENT_CONFLICT,
                self._entity.key,
                [(line, "") for line in others.tolist()],
                "expected an id that no different event has",
            )
        else:
            self._report.add(Outcome.SUPERSEDED, others)

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
        if len(settled):
            self._dialect.drop(self._connection, self._entity, settled)
            self._left = np.setdiff1d(self._left, settled)
            self._report.add(outcome, settled)

    def _offset(self, line: int) -> int:
        at = np.searchsorted(self._lines, line)
        return int(self._rows.index["offset"][at])


def overlapping(spans: list[Span]) -> list[Span]:
    """The staged spans that must be refused so that no two of an owner overlap.

    Spans that replace a stored one go first, then by line: a file may open the next interval
    before the line that ends the last one. Of the spans of one id the last that fits is kept,
    and those before it are left to be superseded.
    """
    kept: dict[Any, dict[Any, Span]] = defaultdict(dict)
    staged: dict[Any, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.line):
        if span.line:
            staged[span.id].append(span)
        else:
            kept[span.owner][span.id] = span
    stored = {span.id for span in spans if not span.line}
    refused = []
    for versions in sorted(
        staged.values(), key=lambda found: (found[0].id not in stored, found[0].line)
    ):
        for span in reversed(versions):
            if _fits(span, kept[span.owner]):
                kept[span.owner][span.id] = span
                break
            refused.append(span)
    return sorted(refused, key=lambda span: span.line)


def _fits(span: Span, kept: dict[Any, Span]) -> bool:
    if span.end is not None and not span.start < span.end:
        return False
    return not any(_overlap(span, other) for id_, other in kept.items() if id_ != span.id)


def _overlap(one: Span, other: Span) -> bool:
    return (other.end is None or one.start < other.end) and (
        one.end is None or other.start < one.end
    )
