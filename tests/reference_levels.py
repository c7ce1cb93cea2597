"""Movements of levels as they are meant, one after the other: a part of the reference loader.

All new events of an owner land or none does, and what a record claims to have led to is kept and
not believed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from headrace.schema import SERVER_NOW, Entity, Integer, Levels
from tests.records import Record, meaning

Lines = dict[int, Record]


@dataclass(frozen=True)
class Move:
    line: int
    row: Record
    found: int
    led_to: int


class LevelCounter:
    """The levels of one record type: `levels` has each owner's, and how many movements led to it.

    `rows` has what is stored, by key. The flags are those of load.Load.
    """

    def __init__(self, entity: Entity, *, may_be_negative: bool, whole_owners: bool) -> None:
        assert entity.levels is not None
        self.levels: dict[str, tuple[int, int]] = {}
        self.rows: dict[str, Record] = {}
        self._entity = entity
        self._words: Levels = entity.levels
        self._may_be_negative = may_be_negative
        self._whole_owners = whole_owners

    def land(self, staged: Lines) -> dict[int, str]:
        """The outcome of each staged line; `staged` has what remains of a file's lines."""
        outcomes: dict[int, str] = {}
        left = dict(staged)
        stored = {
            line: self._told(row)
            for line, row in left.items()
            if row[self._entity.key] in self.rows
        }
        self._meet(stored, left, outcomes)
        self._meet(self._earlier(left), left, outcomes)
        for owner in {row[self._words.owner] for row in left.values()}:
            moves = self._moves(owner, left)
            if any(self._is_impossible(move) for move in moves):
                outcomes |= dict.fromkeys((move.line for move in moves), "rejected")
            else:
                outcomes |= {move.line: self._keep(owner, move) for move in moves}
        return outcomes

    def _told(self, row: Record) -> Record:
        """What may be said of the event that is stored under the row's key."""
        event, words = self.rows[row[self._entity.key]], self._words
        found = event[words.level] - event[words.change]
        return event | {words.target: event[words.level], words.expected: found}

    def _earlier(self, left: Lines) -> dict[int, Record]:
        """Of lines that repeat the key of an earlier one: what that says, or leaves to defaults."""
        firsts: dict[str, Record] = {}
        found = {}
        for line, row in sorted(left.items()):
            if (key := row[self._entity.key]) in firsts:
                found[line] = firsts[key]
            else:
                given = {name: value for name, value in row.items() if value is not None}
                firsts[key] = _defaults(self._entity) | given
        return found

    def _meet(self, others: dict[int, Record], left: Lines, outcomes: dict[int, str]) -> None:
        """Settle the lines whose event is there; `others` has what is said of it already."""
        differing = {line for line, other in others.items() if not self._says(left[line], other)}
        owners = {left[line][self._words.owner] for line in differing}
        outcomes |= {line: "rejected" if line in differing else "unchanged" for line in others}
        for line, row in list(left.items()):
            if line in others:
                del left[line]
            elif self._whole_owners and row[self._words.owner] in owners:
                outcomes[line] = "rejected"
                del left[line]

    def _says(self, row: Record, other: Record) -> bool:
        told = {name: value for name, value in row.items() if name != self._words.level}
        return all(value is None or other.get(name) == value for name, value in told.items())

    def _moves(self, owner: str, left: Lines) -> list[Move]:
        level, _ = self.levels.get(owner, (0, 0))
        moves = []
        for line, row in sorted(left.items()):
            if row[self._words.owner] == owner:
                target = row.get(self._words.target)
                led_to = level + row[self._words.change] if target is None else target
                moves.append(Move(line, row, level, led_to))
                level = led_to
        return moves

    def _is_impossible(self, move: Move) -> bool:
        whole = Integer()
        goes_below = move.led_to < 0 and move.led_to < move.found
        return (
            move.row.get(self._words.expected) not in (None, move.found)
            or not whole.minimum <= move.led_to <= whole.maximum
            or (goes_below and not self._may_be_negative)
        )

    def _keep(self, owner: str, move: Move) -> str:
        words, change = self._words, move.led_to - move.found
        if move.row.get(words.change) == 0:
            return "unchanged"
        number = self.levels.get(owner, (0, 0))[1] + 1
        self.levels[owner] = (move.led_to, number)
        told = {name: move.row[name] for name in _defaults(self._entity) if name in move.row}
        ours = {words.change: change, words.level: move.led_to, words.number: number}
        claimed = {words.claimed: move.row.get(words.level)}
        self.rows[move.row[self._entity.key]] = _defaults(self._entity) | told | ours | claimed
        return "inserted" if change else "unchanged"


def _defaults(entity: Entity) -> dict[str, Any]:
    """What an event that leaves all out would say; None for what it has to say itself."""
    return {
        field.name: None if field.default is SERVER_NOW else meaning(field, field.default)
        for field in entity.as_sent
    }


def final_events(entity: Entity, lines: Iterable[Record]) -> dict[str, Record]:
    """The rows that the events of lines leave, by key, whatever the order they came in.

    All lines of an event agree as far as they go, or they would have been refused. Those that
    change nothing by what they say leave none; the change of one that says a level is None.
    """
    assert entity.levels is not None
    change = entity.levels.change
    defaults = _defaults(entity)
    rows: dict[str, Record] = {}
    for line in lines:
        if line.get(change) != 0 or line[entity.key] in rows:
            told = {name: line[name] for name in defaults if line.get(name) is not None}
            rows[line[entity.key]] = rows.get(line[entity.key], defaults) | told
    return rows
