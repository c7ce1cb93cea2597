"""Movements of levels: appended once each, numbered by owner, each with the level it led to.

The levels of all owners in the segment are locked in the order of their keys, so that two
segments never wait for each other in a circle, and no level is read before its lock is held.
What one event of an owner makes impossible, is refused for all events of that owner that are
new: they apply together or not at all. Events that are known already change nothing and say so.
"""

import numpy as np

from headrace.pipeline import owners
from headrace.pipeline.dialects.base import Known, Move
from headrace.pipeline.errors import RejectCode, Retryable
from headrace.pipeline.inspection import NULL
from headrace.pipeline.report import Outcome, Reject, without
from headrace.pipeline.segment import Segment
from headrace.schema import Levels

_NULL = NULL.encode()


class Movements(Segment):
    """Events of a record type that has levels."""

    _owners: dict[int, bytes]  #: the owner of every line

    def land(self) -> None:
        # Before the lock, which others wait for: what needs no level.
        repeats_keys, may_be_still = self._repeats_keys(), b"0" in self._cells(self._levels.change)
        cells = zip(self._lines.tolist(), self._cells(self._levels.owner), strict=True)
        self._owners = dict(cells)
        self._dialect.lock_levels(self._connection, self._load)
        known = self._dialect.known_events(self._connection, self._load)
        self._settle(Outcome.UNCHANGED, [event.line for event in known if event.is_equal])
        self._refuse_conflicts(known)
        echoes = self._set_echoes_aside() if repeats_keys else []
        self._refuse_impossible()
        if may_be_still:
            still = self._dialect.still_events(self._connection, self._load)
            self._settle(Outcome.UNCHANGED, still.tolist())
        if len(self._left):
            self._move()
        self._settle_echoes(echoes)

    def _set_echoes_aside(self) -> list[int]:
        """Lines that say again what an earlier line says: what becomes of that is not known yet."""
        repeated = self._dialect.repeated_events(self._connection, self._load)
        echoes = [event.line for event in repeated if event.is_equal]
        self._take_out(np.array(echoes, np.int64))
        self._refuse_conflicts(repeated)
        return echoes

    def _settle_echoes(self, echoes: list[int]) -> None:
        """An echo of an event that was refused is refused with it; any other changes nothing."""
        if not echoes:
            return
        cells = zip(self._cells(self._entity.key), self._cells(self._levels.owner), strict=True)
        event = dict(zip(self._lines.tolist(), cells, strict=True))
        first = {event[line]: line for line in reversed(self._lines.tolist())}
        refused = {reject.line: reject.code for reject in self._report.rejects}
        causes = {line: first[event[line]] for line in echoes if first[event[line]] in refused}
        self._report.rejects += [
            self._refused_with(line, cause, refused[cause]) for line, cause in causes.items()
        ]
        rejected = np.array(sorted(causes), np.int64)
        self._report.add(Outcome.REJECTED, rejected)
        self._report.add(Outcome.UNCHANGED, without(np.array(echoes, np.int64), rejected))

    def _refuse_conflicts(self, known: list[Known]) -> None:
        """Refuse lines whose event is there already, or comes earlier, and says something else."""
        others = [event.line for event in known if not event.is_equal]
        self._refuse(
            RejectCode.EVENT_CONFLICT,
            self._entity.key,
            [(line, "") for line in others],
            "expected an id that no different event has",
        )
        if self._load.whole_owners:
            self._refuse_others(dict.fromkeys(others, RejectCode.EVENT_CONFLICT))

    def _repeats_keys(self) -> bool:
        keys = self._cells(self._entity.key)
        return len(set(keys)) < len(keys)

    def _refuse_impossible(self) -> None:
        """Refuse what would lead to a forbidden level, with all new events of the same owners.

        Of an owner the first such line has the reason; those after it may be its consequences.
        """
        moves = self._dialect.impossible_moves(self._connection, self._load)
        firsts: dict[bytes, Move] = {}
        for move in moves:
            firsts.setdefault(self._owners[move.line], move)
        set_to = self._set_to() if firsts else {}
        rejects = [self._impossible(move, set_to) for move in firsts.values()]
        self._report.rejects += rejects
        self._settle(Outcome.REJECTED, [reject.line for reject in rejects])
        self._refuse_others({reject.line: reject.code for reject in rejects})

    def _set_to(self) -> dict[int, str]:
        """The levels that lines say instead of a change, by line."""
        cells = zip(self._lines.tolist(), self._cells(self._levels.target), strict=True)
        return {line: cell.decode() for line, cell in cells if cell != _NULL}

    def _impossible(self, move: Move, set_to: dict[int, str]) -> Reject:
        """Quotes what the line said, a change or a level."""
        levels, found = self._levels, move.found
        if move.expected is not None and move.expected != found:
            said, expected = str(move.expected), f"expected the level that is there, {found}"
            return self._reject(
                RejectCode.LEVEL_CHANGED, levels.expected, move.line, said, expected
            )
        is_set = move.line in set_to
        field = levels.target if is_set else levels.change
        said = set_to[move.line] if is_set else f"{move.led_to - found:+}"
        if move.led_to < 0 and not self._load.may_be_negative:
            expected = f"expected at most what is there, {found}"
            expected = "expected a level of 0 or more" if is_set else expected
            return self._reject(RejectCode.NEGATIVE_LEVEL, field, move.line, said, expected)
        expected = f"expected a change and a level that 32 bits hold, not the level {move.led_to}"
        return self._reject(RejectCode.BAD_NUMBER, field, move.line, said, expected)

    def _refuse_others(self, causes: dict[int, str]) -> None:
        """Refuse what is left of the owners of the lines that are the causes."""
        if not causes:
            return
        owner = self._owners
        because = {owner[line]: (line, code) for line, code in reversed(causes.items())}
        for line in self._left.tolist():
            if cause := because.get(owner[line]):
                self._report.rejects.append(self._refused_with(line, *cause))
        self._settle(Outcome.REJECTED, [at for at in self._left.tolist() if owner[at] in because])

    def _refused_with(self, line: int, cause: int, code: str) -> Reject:
        fault = owners.refused_with(self._levels.owner, cause, code)
        return Reject.of(line, self._offset(line), "promote", (fault,))

    def _move(self) -> None:
        moved = self._dialect.move(self._connection, self._load)
        owner = self._owners
        owners_left = len({owner[line] for line in self._left.tolist()})
        if (moved.written, moved.raised) != (len(self._left), owners_left):
            found = f"{len(self._left)} movements of {owners_left} levels were to be written"
            raise Retryable(f"{found}, {moved.written} of {moved.raised} were")
        self._report.add(Outcome.INSERTED, without(self._left, moved.still))
        self._report.add(Outcome.UNCHANGED, moved.still)
        self._report.mismatches += len(moved.mismatched)
        if self._load.watches_falls:
            self._report.falls += self._dialect.fallen(self._connection, self._load)

    @property
    def _levels(self) -> Levels:
        assert self._entity.levels is not None
        return self._entity.levels
