"""Strews faults over the records of a dataset, and follows what they lead to.

Children of a row that does not land are parked: the truth calls them `orphan`. They get no fault
of their own, and rows that very many others refer to get none at all.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from headrace.entities import ENTITIES
from headrace.schema import Entity
from headrace.synth.cells import Cells, text_of
from headrace.synth.faults import pairs, prices, spelling, values
from headrace.synth.faults.kinds import Answer, Kind, Line, Target
from headrace.synth.faults.truth import Truth
from headrace.synth.files import Written
from headrace.synth.formats import Format
from headrace.synth.plan import Plan
from headrace.synth.records import Record, Records

KINDS: tuple[Kind, ...] = values.KINDS + spelling.KINDS + pairs.KINDS + prices.KINDS
ORPHAN = "orphan"
_PARENTS = frozenset(reference.entity for entity in ENTITIES for reference in entity.references)

Lost = dict[str, set[bytes]]  #: by entity the ids of rows that do not land


class Faults:
    """The faults of a whole dataset: they hit a share `rate` of its records."""

    def __init__(
        self, rate: float, format: Format, truth: Truth, kinds: Sequence[Kind] = KINDS
    ) -> None:
        self.rate = rate
        self.format = format
        self.truth = truth
        self._kinds = kinds
        self._spent: set[str] = set()

    def of_tenant(self, plan: Plan) -> "TenantFaults":
        """Those of one tenant."""
        return TenantFaults(self, plan)

    def spoilt(self, target: Target) -> tuple[Kind, list[Line]] | None:
        """The target's record spoilt by a kind of fault drawn by chance; None if none can."""
        found = [(kind, kind.places(target.entity)) for kind in self._kinds]
        found = [(kind, places) for kind, places in found if places]
        if not found:
            return None
        start = int(target.rng.integers(len(found)))
        for kind, places in found[start:] + found[:start]:
            place = places[int(target.rng.integers(len(places)))]
            lines = None if kind.name in self._spent else kind.lines(replace(target, place=place))
            if lines is not None:
                self._spent |= {kind.name} if kind.rare else set()
                return kind, lines
        return None


class TenantFaults:
    """One tenant's faults: its entities share what is lost."""

    def __init__(self, faults: Faults, plan: Plan) -> None:
        self._faults = faults
        self._plan = plan
        self._lost: Lost = defaultdict(set)

    def pen(self, entity: Entity) -> "FaultyPen":
        """The pen for the entity's files; parents must be written before their children."""
        rng = self._plan.stream(f"faults in {entity.name}")
        return FaultyPen(self._faults, rng, self._lost)


class FaultyPen:
    """Writes records with some of them spoilt, and keeps in the truth what must become of them."""

    def __init__(self, faults: Faults, rng: np.random.Generator, lost: Lost) -> None:
        self._faults = faults
        self._rng = rng
        self._lost = lost
        self._file = ""
        self._line = 0  # the last physical line of the file

    def write(self, file: str, records: Records, lines: Cells, rows: slice) -> Written:
        """The text of these rows for the end of a file; `lines` has all records' sound lines."""
        if file != self._file:
            self._file = file
            self._line = self._faults.format.header(records.entity).count(b"\n")
        piece = _Piece(records, rows, self._rng, self._faults.rate, self._lost)
        parts = list(self._parts(piece, lines[rows]))
        return Written(b"".join(part.text for part in parts), sum(part.records for part in parts))

    def _parts(self, piece: "_Piece", lines: Cells) -> Iterator[Written]:
        done = 0
        for row in sorted((*piece.orphans, *piece.seeds)):
            yield self._sound(lines[done:row])
            yield self._special(piece, row, lines[row : row + 1])
            done = row + 1
        yield self._sound(lines[done:])

    def _sound(self, lines: Cells) -> Written:
        self._line += len(lines)
        return Written(text_of(lines), len(lines))

    def _special(self, piece: "_Piece", row: int, line: Cells) -> Written:
        orphan = piece.orphans.get(row)
        if orphan is not None:
            return self._written(ORPHAN, piece, row, [Line(text_of(line), orphan)])
        found = self._faults.spoilt(piece.target(row, self._faults.format))
        if found is None:
            return self._sound(line)
        kind, lines = found
        return self._written(kind.name, piece, row, lines)

    def _written(self, fault: str, piece: "_Piece", row: int, lines: list[Line]) -> Written:
        for line in lines:
            self._line += 1
            if line.answer is not None:
                self._faults.truth.note(self._file, self._line, fault, line.answer)
        entity = piece.entity
        if entity.name in _PARENTS and not any(line.lands for line in lines):
            self._lost[entity.name].add(piece.key(row))
        return Written(b"".join(line.text for line in lines), sum(line.is_record for line in lines))


class _Piece:
    """Rows that go to one file. They are numbered from 0.

    `orphans` has the answer to those that refer to a lost row, `seeds` a random number for each
    one to be spoilt: a number of its own, because formats draw differently.
    """

    def __init__(
        self, records: Records, rows: slice, rng: np.random.Generator, rate: float, lost: Lost
    ) -> None:
        self.entity = records.entity
        self._records = records
        self._rows = rows
        self.orphans = self._orphans(lost)
        chosen = rng.random(rows.stop - rows.start) < rate
        seeds = rng.integers(2**63, size=len(chosen))
        if records.spared is not None:
            chosen &= ~records.spared[rows]
        self.seeds = {
            row: int(seeds[row])
            for row in np.flatnonzero(chosen).tolist()
            if row not in self.orphans
        }

    def target(self, row: int, format: Format) -> Target:
        """The row as something to spoil."""
        rng = np.random.default_rng(self.seeds[row])
        above = partial(self._sound_above, row)
        return Target(self.entity, format, rng, self._record(row), row, above)

    def key(self, row: int) -> bytes:
        """The row's id."""
        at = self._rows.start + row
        return self._records.keys(self.entity.key, slice(at, at + 1))[0]

    def _sound_above(self, row: int, distance: int) -> Record | None:
        above = row - distance
        is_sound = above >= 0 and above not in self.orphans and above not in self.seeds
        return self._record(above) if is_sound else None

    def _record(self, row: int) -> Record:
        return self._records.record(self._rows.start + row)

    def _orphans(self, lost: Lost) -> dict[int, Answer]:
        """By the first reference in the order of the declaration, as the road looks at them."""
        found: dict[int, Answer] = {}
        for reference in self.entity.references:
            missing = lost[reference.entity]
            keys = self._records.keys(reference.field, self._rows) if missing else ()
            for row, key in enumerate(keys):
                if key in missing:
                    found.setdefault(row, Answer.parked(reference, key.decode()))
        return found
