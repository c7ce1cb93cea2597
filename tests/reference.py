"""A loader so slow and simple that it can be read: dicts, one row after the other.

It is the second opinion on winners and outcomes: promotion as it is meant, without SQL. Natural
keys are the one exception to "row after row": who holds one is decided before any row of the
file is written (docs/discussions.md), by the table first, then by the line.

Movements of levels are counted by tests/reference_levels.py.

`final_rows` looks at an end instead of a road: what must be there, in whatever order the files
were processed.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from headrace.pipeline.dialects.base import Span
from headrace.schema import SERVER_NOW, Entity, Promotion
from tests.records import Record, meaning
from tests.reference_intervals import refused_lines
from tests.reference_levels import LevelCounter, final_events


@dataclass
class Stored:
    sequence: tuple[int, int] | int
    values: Record


@dataclass
class Table:
    rows: dict[str, Stored] = field(default_factory=dict)


class ReferenceLoader:
    """The tables of one tenant. `load` gives a file's outcomes by line.

    `counters` has the levels of the record types that have some, and `flags` those of load.Load
    that they need.
    """

    def __init__(self, entities: tuple[Entity, ...], **flags: bool) -> None:
        self.tables = {entity.name: Table() for entity in entities}
        self.counters = {
            entity.name: LevelCounter(entity, **flags) for entity in entities if entity.levels
        }

    def rows(self, entity: Entity) -> list[Record]:
        """The rows of a table by key, all columns that have a value without the server's time."""
        counter = self.counters.get(entity.name)
        table = self.tables[entity.name].rows
        found = counter.rows if counter else {key: row.values for key, row in table.items()}
        return [found[key] for key in sorted(found)]

    def load(self, entity: Entity, number: int, records: list[Record]) -> list[str]:
        rows = self.tables[entity.name].rows
        staged = {
            line: {name: meaning(entity.field(name), value) for name, value in record.items()}
            for line, record in enumerate(records, 1)
        }
        outcomes = dict.fromkeys(staged, "")
        keys = {line: row[entity.key] for line, row in staged.items()}
        self._park(entity, staged, outcomes)
        if entity.levels is not None:
            return list((outcomes | self.counters[entity.name].land(staged)).values())
        waiting = {keys[line] for line, outcome in outcomes.items() if outcome == "parked"}
        self._refuse_taken(entity, rows, staged, outcomes)
        if entity.promotion is Promotion.INTERVAL:
            self._refuse_overlaps(entity, rows, number, staged, outcomes)
        if entity.promotion is not Promotion.APPEND:
            last = {row[entity.key]: line for line, row in staged.items()}
            _settle(staged, outcomes, "superseded", set(staged) - set(last.values()))
        for line, row in staged.items():
            outcomes[line] = _write(entity, rows, (number, line), row)
            if outcomes[line] == "unchanged" and row[entity.key] in waiting:
                stored = rows[row[entity.key]]  # a parked line of its key may wake, and is older
                stored.sequence = max(stored.sequence, (number, line))
        return list(outcomes.values())

    def _park(self, entity: Entity, staged: dict[int, Record], outcomes: dict[int, str]) -> None:
        orphans = {
            line
            for line, row in staged.items()
            for reference in entity.references
            if row.get(reference.field) is not None
            and row[reference.field] not in self.tables[reference.entity].rows
        }
        _settle(staged, outcomes, "parked", orphans)

    def _refuse_taken(self, entity: Entity, rows, staged, outcomes) -> None:
        for name in entity.natural_keys:
            held = {row.values[name]: id_ for id_, row in rows.items()}
            self._refuse_held_by_others(entity, name, held, staged, outcomes)
            holders: dict[Any, Any] = {}
            for line in sorted(staged):
                holders.setdefault(staged[line][name], staged[line][entity.key])
            self._refuse_held_by_others(entity, name, holders, staged, outcomes)

    def _refuse_held_by_others(self, entity: Entity, name, holders, staged, outcomes) -> None:
        taken = {
            line
            for line, row in staged.items()
            if holders.get(row[name], row[entity.key]) != row[entity.key]
        }
        _settle(staged, outcomes, "rejected", taken)

    def _refuse_overlaps(self, entity: Entity, rows, number, staged, outcomes) -> None:
        key, interval = entity.key, entity.interval
        assert interval is not None
        newer = {
            line
            for line, row in staged.items()
            if row[key] in rows and rows[row[key]].sequence > (number, line)
        }
        _settle(staged, outcomes, "superseded", newer)
        spans = [_span(entity, 0, row.values) for row in rows.values()]
        for line, row in staged.items():
            stored = rows[row[key]].values if row[key] in rows else {}
            spans.append(_span(entity, line, {interval.end: None} | stored | row))
        _settle(staged, outcomes, "rejected", refused_lines(spans))


@dataclass(frozen=True)
class SentLine:
    """A line that landed or was superseded; `sequence` orders it among all of its tenant."""

    sequence: int
    outcome: str
    values: Record


def final_rows(entity: Entity, lines: Collection[SentLine]) -> dict[str, Record]:
    """The rows that a type's lines leave, by key, whatever the order they were processed in.

    The newest line of a key has the last word on the fields that it brings; that needs no
    outcome. For the other fields the outcomes say which line made the row, and which changed it:
    an older line that came late was superseded whole, one that came in time was not.
    """
    ordered = sorted(lines, key=lambda line: line.sequence)
    if entity.levels is not None:
        return final_events(entity, [line.values for line in ordered])
    rows: dict[str, Stored] = {}
    for outcome in ("inserted", "updated"):
        for line in ordered:
            if line.outcome == outcome:
                _write(entity, rows, line.sequence, line.values)
    newest = {line.values[entity.key]: line for line in ordered}
    for key, line in newest.items():
        if key in rows:
            rows[key].values |= line.values
        else:
            _write(entity, rows, line.sequence, line.values)
    return {key: row.values for key, row in rows.items()}


def _span(entity: Entity, line: int, row: Record) -> Span:
    interval = entity.interval
    assert interval is not None
    return Span(line, row[entity.key], row[interval.owner], row[interval.start], row[interval.end])


def _settle(staged: dict[int, Record], outcomes: dict[int, str], outcome: str, lines) -> None:
    for line in lines:
        del staged[line]
        outcomes[line] = outcome


def _write(entity: Entity, rows: dict[str, Stored], sequence, row: Record) -> str:
    stored = rows.get(row[entity.key])
    if stored is None:
        values = {
            name.name: meaning(name, row[name.name] if name.name in row else _default(name))
            for name in entity.as_sent
        }
        rows[row[entity.key]] = Stored(sequence, values)
        return "inserted"
    if all(stored.values[name] == value for name, value in row.items()):
        return "unchanged"
    if entity.promotion is Promotion.APPEND:
        return "rejected"
    if stored.sequence > sequence:
        return "superseded"
    rows[row[entity.key]] = Stored(sequence, stored.values | row)
    return "updated"


def _default(name) -> Any:
    return None if name.default is SERVER_NOW else name.default
