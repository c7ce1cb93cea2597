"""Conditions from what a request says: `{"order_status": ["paid"], "order_date": {"from": …}}`.

A column's name goes with a value (equal), a list (one of them), null (missing), or an object
with `from` (that or more), `to` (that or less), `before` (less) and, for texts, `contains`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from headrace.pipeline import values
from headrace.pipeline.values import JsonNumber, Refused
from headrace.reading.selection import BadSelection, Condition, Operator, column, is_comparable
from headrace.schema import Boolean, Entity, Field, Integer, Money, Text, Uuid

MOST_VALUES = 1_000
_BOUNDS = {"from": Operator.FROM, "to": Operator.TO, "before": Operator.BEFORE}
_RANGES = {**_BOUNDS, "contains": Operator.CONTAINS}


def conditions(entity: Entity, asked: Mapping[str, Any], zone: ZoneInfo) -> tuple[Condition, ...]:
    """The conditions of a decoded JSON object; naive times are taken to be in `zone`.

    Numbers may be JsonNumber, int, float-free. Raises BadSelection.
    """
    return tuple(
        condition
        for name, value in asked.items()
        for condition in _conditions(_filterable(entity, name), value, zone)
    )


def value(field: Field, given: Any, zone: ZoneInfo) -> str:
    """One value as the travelling text of its field. Raises BadSelection."""
    try:
        found = values.parse(field, _as_decoded(field, given), zone)
    except Refused as refused:
        raise BadSelection(f"{field.name}: {refused.expected}.") from None
    if found is None:
        raise BadSelection(f"{field.name}: {values.expectation(field.type)} was expected.")
    return found


def _filterable(entity: Entity, name: str) -> Field:
    field = column(entity, name)
    if not is_comparable(field):
        raise BadSelection(f"{name} holds objects, which no condition compares.")
    return field


def _conditions(field: Field, asked: Any, zone: ZoneInfo) -> Iterator[Condition]:
    if isinstance(asked, Mapping):
        yield from _ranges(field, asked, zone)
    elif asked is None:
        yield Condition(field, Operator.MISSING)
    else:
        yield _one_of(field, asked if isinstance(asked, list | tuple) else [asked], zone)


def _one_of(field: Field, asked: list[Any] | tuple[Any, ...], zone: ZoneInfo) -> Condition:
    if not 1 <= len(asked) <= MOST_VALUES:
        raise BadSelection(f"{field.name}: give from 1 to {MOST_VALUES:,} values.")
    return Condition(field, Operator.ONE_OF, tuple(value(field, item, zone) for item in asked))


def _ranges(field: Field, asked: Mapping[str, Any], zone: ZoneInfo) -> Iterator[Condition]:
    if not asked:
        raise BadSelection(f"{field.name}: an object has {_known(field)}.")
    for word, given in asked.items():
        if word not in words(field):
            raise BadSelection(f"{field.name}: an object has {_known(field)}.")
        yield Condition(field, _RANGES[word], (value(loose(field), given, zone),))


def words(field: Field) -> tuple[str, ...]:
    """What an object may have that the column is compared with."""
    if isinstance(field.type, Text):
        return tuple(_RANGES)
    return () if isinstance(field.type, Uuid | Boolean) else tuple(_BOUNDS)


def _known(field: Field) -> str:
    listed = ", ".join(f"`{word}`" for word in words(field))
    return f"one or more of {listed}" if listed else "no place here: give a value or a list"


def loose(field: Field) -> Field:
    """What a word of `words` takes: a part of a text or an end of a range, which the field itself
    need not be able to have.
    """
    match field.type:
        case Text(max_length=length):
            return replace(field, type=Text(length))
        case Integer():
            return replace(field, type=Integer())
        case Money() as kind:
            return replace(field, type=replace(kind, minimum=None))
    return field


def _as_decoded(field: Field, given: Any) -> Any:
    """Numbers as their spelling, as the reader of files hands them on."""
    if isinstance(given, int) and not isinstance(given, bool):
        return JsonNumber(str(given))
    return given
