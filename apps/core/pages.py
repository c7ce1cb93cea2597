"""What a list may be asked, checked, and where its pages begin.

A cursor says where the last page ended, in the words of its list and no more: whose rows are
listed is never read from it. Where a list is of chosen rows, a digest of the conditions is its last
part: with others the rows between the two lists would be left out and nobody told.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import date
from zoneinfo import ZoneInfo

from django.db.models import Q
from django.http import QueryDict

from apps.core.problems import Problem
from headrace.pipeline import values
from headrace.pipeline.values import JsonNumber, Refused
from headrace.schema import Field, Integer

USUAL, MOST = 100, 1_000
NUMBER = Field("number", Integer(), "a whole number")
_BETWEEN = "~"  # the parts of a cursor
_LOST_PLUS = re.compile(r"[^:]*:\d\d\S* \d\d(:?\d\d)?", re.ASCII)
_MARK = re.compile("[0-9a-f]{8}")
_UTC = ZoneInfo("UTC")


PAGING = ("cursor", "limit")
FIELDS = "fields"  #: which members of a row are told


def check(
    asked: QueryDict,
    *names: str,
    paging: Iterable[str] = PAGING,
    repeatable: Iterable[str] = (FIELDS,),
) -> None:
    """Raises Problem for a parameter that a list does not have: it would list too much; and for one
    that is sent twice, where only one would count."""
    known = [*names, *paging]
    if unknown := set(asked) - set(known):
        told = f"There is no parameter {', '.join(sorted(unknown))}"
        raise Problem("invalid_request", f"{told}; known are {', '.join(known)}.")
    for name in set(asked) - set(repeatable):
        if len(asked.getlist(name)) > 1:
            raise Problem("invalid_request", f"Send {name} once.")


def value(asked: QueryDict, name: str, field: Field, zone: ZoneInfo = _UTC) -> str | None:
    """A parameter as its field's values are written; None where it is not sent. Raises Problem.

    A time without a zone is one of `zone`.
    """
    text = asked.get(name)
    return None if text is None else read(field, text, name, zone)


def flag(asked: QueryDict, name: str) -> bool:
    """Raises Problem for anything but true and false."""
    if asked.get(name, "false") not in ("true", "false"):
        raise Problem("invalid_request", f"Send {name}=true, or leave it out.")
    return asked.get(name) == "true"


def limit(asked: QueryDict) -> int:
    """How many rows a page may have. Raises Problem."""
    return number(asked, "limit", MOST) or USUAL


def number(asked: QueryDict, name: str, most: int) -> int | None:
    """A whole number from 1; None where it is not sent. Raises Problem."""
    text = asked.get(name)
    if text is None:
        return None
    try:
        found = int(read(NUMBER, text, name))
    except Problem:
        found = 0
    if not 1 <= found <= most:
        raise Problem("invalid_request", f"Send {name} as a whole number from 1 to {most:,}.")
    return found


def mark_of(asked: QueryDict) -> str:
    """Which rows a list is asked for, in eight digits; empty for all of them."""
    others = (*PAGING, FIELDS)
    conditions = sorted((name, asked.getlist(name)) for name in asked if name not in others)
    digest = hashlib.sha256(repr(conditions).encode()).hexdigest()
    return digest[:8] if conditions else ""


def cursor(
    asked: QueryDict, *fields: Field, name: str = "cursor", mark: str = ""
) -> list[str] | None:
    """The fields of the row that the page begins behind; None for the first. Raises Problem, also
    for the cursor of a list with another mark.
    """
    text = asked.get(name)
    if text is None:
        return None
    told = f"Send {name} as next_cursor gave it, for the same list."
    *parts, last = text.split(_BETWEEN)
    is_marked = len(parts) == len(fields) and _MARK.fullmatch(last)
    parts, found = (parts, last) if is_marked else ([*parts, last], "")
    try:
        texts = [read(field, part, name) for field, part in zip(fields, parts, strict=True)]
    except (Problem, ValueError):
        raise Problem("invalid_request", told) from None
    if found != mark:
        raise Problem("cursor_outdated", told)
    return texts


def cursor_behind(*parts: object, mark: str = "") -> str:
    """The cursor of the page behind the row with these fields, of the list with that mark."""
    return _BETWEEN.join(map(str, [*parts, mark] if mark else parts))


def behind(order: Sequence[str], last: Sequence[str]) -> Q:
    """Rows that come after the one with these values, in an order by one or two columns.

    That the first column is not less follows from the rest, and is what an index is entered by.
    """
    *first, column = order
    behind = Q(**{f"{column}__gt": last[-1]})
    for name, value in zip(first, last, strict=False):
        behind = Q(**{f"{name}__gt": value}) | Q(**{name: value}) & behind
        behind &= Q(**{f"{name}__gte": value})
    return behind


def fields(asked: QueryDict) -> list[str]:
    """The members that are asked for, in that order; none where they are not chosen."""
    return [name for text in asked.getlist(FIELDS) for name in text.split(",")]


def day(text: str) -> date | None:
    """A day that is spelled as days are, from 1970 to 2200; None for any other text."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        return None
    return found if str(found) == text and 1970 <= found.year <= 2200 else None


def read(field: Field, text: str, name: str, zone: ZoneInfo = _UTC) -> str:
    """The text of a parameter as its field's values are written. Raises Problem."""
    try:
        sent = JsonNumber(text) if isinstance(field.type, Integer) else text
        return values.parse(field, sent, zone) or ""
    except Refused as refused:
        raise Problem("invalid_request", f"{name}: {refused.expected}.{hint(text)}") from None


def hint(*texts: str) -> str:
    """What is said besides of a time whose + has become a blank, as an address spells it."""
    return " Encode + as %2B." if any(map(_LOST_PLUS.fullmatch, texts)) else ""
