"""What a caller may ask of its log, checked."""

from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from django.http import QueryDict

from apps.audit import numbers
from apps.audit.models import Action
from apps.core import pages
from apps.core.problems import Problem
from headrace.schema import Field, Text, Timestamp, Uuid

ID = Field("id", Uuid(), "an entry")
KEY = Field("key", Text(64), "the id of a key")
_TIME = Field("since", Timestamp(), "a time")


class Asked(NamedTuple):
    """Entries from `first` on and before `end`, of these actions and this key; the newest first,
    behind the one that `after` tells.
    """

    first: UUID | None
    end: UUID | None
    actions: tuple[str, ...]
    key: str | None
    after: UUID | None
    limit: int
    mark: str


def read(asked: QueryDict) -> Asked:
    """The parameters of a list. Raises Problem."""
    pages.check(asked, "since", "until", "action", "key", repeatable=("action",))
    mark = pages.mark_of(asked)
    after = pages.cursor(asked, ID, mark=mark)
    return Asked(
        first=_bound(asked, "since"),
        end=_bound(asked, "until"),
        actions=_actions(asked),
        key=pages.value(asked, "key", KEY),
        after=UUID(after[0]) if after else None,
        limit=pages.limit(asked),
        mark=mark,
    )


def _bound(asked: QueryDict, name: str) -> UUID | None:
    text = pages.value(asked, name, _TIME)
    if text is None:
        return None
    return numbers.first_of(datetime.fromisoformat(text).replace(tzinfo=UTC))


def _actions(asked: QueryDict) -> tuple[str, ...]:
    """Each in a parameter of its own, or several with commas between them."""
    named = [text for given in asked.getlist("action") for text in given.split(",")]
    if unknown := set(named) - set(Action.values):
        told = f"There is no action {', '.join(sorted(unknown))}; docs/audit.md has the list."
        raise Problem("invalid_request", told)
    return tuple(dict.fromkeys(named))
