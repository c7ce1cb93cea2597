"""What is asked of recognitions in an address, checked."""

from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple

from django.http import QueryDict

from apps.core import pages
from apps.core.problems import Problem
from apps.recognitions.parts import PARTS
from headrace.schema import Field, Integer, Text

MOST_NUMBER = 2**63 - 1
NUMBER = Field("recognition_id", Integer(0, MOST_NUMBER), "the number of a recognition")
BATCH = Field("batch_id", Text(64), "the load that brought it")
#: What a recognition has of its own; what belongs to it is among its members too.
OWN = ("recognition_id", "recognized_on", "batch_id", "loaded_at")
MEMBERS = (*OWN, *PARTS)
Conditions = dict[str, Any]  #: what rows are filtered by
_DAY = Field("day", Text(10), "a day")


class Asked(NamedTuple):
    """Recognitions that meet the conditions, in an order, behind the one that `after` tells."""

    members: tuple[str, ...]
    conditions: Conditions
    order: tuple[str, ...]
    after: list[str] | None
    limit: int
    mark: str


def page(asked: QueryDict) -> Asked:
    """What a list is asked: by their numbers, or by their days where a range of days is chosen,
    which is what there is an index for. Raises Problem.
    """
    pages.check(asked, *_CONDITIONS, pages.FIELDS, repeatable=("batch_id", pages.FIELDS))
    is_range = "recognized_on_from" in asked or "recognized_on_to" in asked
    order = (_DAY, NUMBER) if is_range else (NUMBER,)
    mark = pages.mark_of(asked)
    after = pages.cursor(asked, *order, mark=mark)
    if after and is_range:
        _day(after[0], "cursor")
    return Asked(
        members=members(asked) or OWN,
        conditions=dict(_CONDITIONS[name](asked, name) for name in _CONDITIONS if name in asked),
        order=("recognized_on", "recognition_id") if is_range else ("recognition_id",),
        after=after,
        limit=pages.limit(asked),
        mark=mark,
    )


def one(asked: QueryDict) -> tuple[str, ...]:
    """The members that are told of one recognition; all, if nobody chooses. Raises Problem."""
    pages.check(asked, pages.FIELDS, paging=())
    return members(asked) or MEMBERS


def members(asked: QueryDict) -> tuple[str, ...]:
    """The members that are chosen, behind the number, which is always told. Raises Problem."""
    chosen = pages.fields(asked)
    if unknown := [name for name in chosen if name not in MEMBERS]:
        shown = unknown[0][:40] if unknown[0].isprintable() else "with that name"
        told = f"Recognitions have no member {shown!r}; known are {', '.join(MEMBERS)}."
        raise Problem("invalid_request", f"{pages.FIELDS}: {told}")
    if len(set(chosen)) < len(chosen):
        raise Problem("invalid_request", f"{pages.FIELDS}: A member is named twice.")
    if not chosen:
        return ()
    return (NUMBER.name, *(name for name in chosen if name != NUMBER.name))


def _on(word: str) -> Callable[[QueryDict, str], tuple[str, Any]]:
    return lambda asked, name: (f"recognized_on{word}", _day(str(asked[name]), name))


def _missing(asked: QueryDict, name: str) -> tuple[str, Any]:
    if asked[name] != "true":
        raise Problem("invalid_request", f"Send {name}=true, or leave it out.")
    return "recognized_on__isnull", True


def _batches(asked: QueryDict, name: str) -> tuple[str, Any]:
    return "batch_id__in", [pages.read(BATCH, text, name) for text in asked.getlist(name)]


def _day(text: str, name: str) -> date:
    if (found := pages.day(text)) is None:
        told = f"Send {name} as a day from 1970 on, such as 2025-03-01."
        raise Problem("invalid_request", told)
    return found


_CONDITIONS: dict[str, Callable[[QueryDict, str], tuple[str, Any]]] = {
    "recognized_on": _on(""),
    "recognized_on_from": _on("__gte"),
    "recognized_on_to": _on("__lte"),
    "recognized_on_missing": _missing,
    "batch_id": _batches,
}
