"""Faults that two lines make together, or a line and a row that is not there.

Both lines of a pair stand in one file, and the other one lands: so the answer does not depend on
the order in which files of one entity land.
"""

from collections.abc import Sequence
from decimal import Decimal

from headrace.pipeline.errors import RejectCode
from headrace.pipeline.report import Outcome
from headrace.schema import (
    Before,
    Check,
    Entity,
    Field,
    Integer,
    MinimumWhen,
    Money,
    Promotion,
    Text,
)
from headrace.synth.faults.kinds import WHOLE_LINE, Answer, Kind, Line, Target

LEAST_ROOM = 20  # characters that a text must be allowed to be another version's


def _unknown_parent(target: Target) -> list[Line]:
    stranger = target.new_id()
    reference = next(r for r in target.entity.references if r.field == target.place)
    answer = Answer.parked(reference, stranger.strip(b'"').decode())
    return [target.line({target.place: stranger}, answer)]


def _taken_key(target: Target) -> list[Line] | None:
    holder = target.sound_above(1 + int(target.rng.integers(target.row))) if target.row else None
    if holder is None:
        return None
    answer = Answer.rejected(RejectCode.NATURAL_KEY_TAKEN, target.place)
    return [target.line({target.place: holder[target.place]}, answer)]


def _earlier_version(target: Target) -> list[Line]:
    answer = Answer(Outcome.SUPERSEDED)
    return [target.line({target.place: _another(target)}, answer), target.line({})]


def _same_again(target: Target) -> list[Line]:
    return [target.line({}), target.line({}, Answer(Outcome.UNCHANGED))]


def _conflicting(target: Target) -> list[Line]:
    answer = Answer.rejected(RejectCode.EVENT_CONFLICT, target.entity.key)
    return [target.line({}), target.line({target.place: _another(target)}, answer)]


def _overlap(target: Target) -> list[Line] | None:
    interval = target.entity.interval
    above = target.sound_above(1) if target.row else None
    if interval is None or above is None:
        return None
    if above[interval.owner] != target.record[interval.owner]:
        return None
    answer = Answer.rejected(RejectCode.INTERVAL_OVERLAP, interval.start)
    return [target.line({interval.start: above[interval.start]}, answer)]


def _another(target: Target) -> bytes:
    """Another sound value for a place of `_changeable`."""
    if isinstance(target.field.type, Text):
        return b'"another version"'
    number = Decimal(target.value.decode())
    return str(number + (2 if number == -1 else 1)).encode()  # 0 is not sound everywhere


def _changeable(entity: Entity) -> list[str]:
    """Fields whose value nothing but the row itself depends on."""
    fixed = {entity.key, *entity.natural_keys, *(r.field for r in entity.references)}
    for check in entity.checks:
        fixed |= _decided_together(check)
    return [field.name for field in entity.as_sent if field.name not in fixed and _is_simple(field)]


def _decided_together(check: Check) -> set[str]:
    match check:
        case Before(earlier, later):
            return {earlier, later}
        case MinimumWhen(field):
            return {field}
    return set()


def _is_simple(field: Field) -> bool:
    match field.type:
        case Text(max_length=length, choices=choices):
            return length >= LEAST_ROOM and not choices
        case Money() | Integer():
            return True
    return False


def _references(entity: Entity) -> list[str]:
    return [reference.field for reference in entity.references]


def _is_appended(entity: Entity) -> bool:
    return entity.promotion is Promotion.APPEND


def _events(entity: Entity) -> Sequence[str]:
    return (WHOLE_LINE,) if _is_appended(entity) else ()


def _changeable_events(entity: Entity) -> Sequence[str]:
    return _changeable(entity) if _is_appended(entity) else ()


def _changeable_rows(entity: Entity) -> Sequence[str]:
    return () if _is_appended(entity) else _changeable(entity)


def _starts(entity: Entity) -> Sequence[str]:
    return (entity.interval.start,) if entity.interval else ()


KINDS = (
    Kind(
        "unknown_parent",
        "a reference to a row that is nowhere",
        _references,
        _unknown_parent,
        (Outcome.PARKED,),
    ),
    Kind(
        "natural_key_taken",
        "the natural key of a record above it, under another id",
        lambda entity: entity.natural_keys,
        _taken_key,
        (RejectCode.NATURAL_KEY_TAKEN,),
    ),
    Kind(
        "earlier_version",
        "another version of the record, just before it",
        _changeable_rows,
        _earlier_version,
        (Outcome.SUPERSEDED,),
    ),
    Kind(
        "same_event_again",
        "an event once more",
        _events,
        _same_again,
        (Outcome.UNCHANGED,),
    ),
    Kind(
        "conflicting_event",
        "an event's id again, with another value",
        _changeable_events,
        _conflicting,
        (RejectCode.EVENT_CONFLICT,),
    ),
    Kind(
        "overlap",
        "an interval that begins with the one above it",
        _starts,
        _overlap,
        (RejectCode.INTERVAL_OVERLAP,),
    ),
)
