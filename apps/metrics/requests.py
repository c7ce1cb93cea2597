"""What a request for metrics may ask, checked before anything is looked up."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from django.http import QueryDict

from apps.core import pages
from apps.core.problems import Problem
from headrace.entities.orders import ORDERS

GROUPS = ("day", "hour", "product", "category")
PRECISIONS = ("exact", "approximate", "high", "medium", "low")
NAMES = ("group_by", "start_date", "end_date", "precision", "currency", "limit", "cursor")
USUAL_DAYS = 30
DIGITS = 10  # of a number; more than any needs
CURRENCY = ORDERS.field("currency")
_CURSOR = re.compile(r"(?P<offset>[0-9]{1,9})~(?P<mark>[0-9a-f]{16})")
USUAL_ROWS, MOST_ROWS = 1_000, 5_000


class Asked(NamedTuple):
    """Sales by `group_by` from one day to another, both included; rows from `offset` on, of the
    figures that `mark` stands for, which is empty for the first page.

    `currency` is empty for all of them, each on its own.
    """

    group_by: str
    start: date
    end: date
    precision: str
    currency: str
    limit: int
    offset: int
    mark: str


def read(asked: QueryDict) -> Asked:
    """Raises Problem for a parameter that there is not, or a value that it cannot have."""
    pages.check(asked, *NAMES, paging=())
    end = _date(asked, "end_date") or datetime.now(UTC).date()
    start = _date(asked, "start_date") or _days_before(end, USUAL_DAYS - 1)
    if start > end:
        raise Problem("invalid_value", f"Send start_date ({start}) not after end_date ({end}).")
    offset, mark = _cursor(asked)
    return Asked(
        group_by=_choice(asked, "group_by", GROUPS),
        start=start,
        end=end,
        precision=_choice(asked, "precision", PRECISIONS),
        currency=_currency(asked),
        limit=_number(asked, "limit", USUAL_ROWS, 1, MOST_ROWS),
        offset=offset,
        mark=mark,
    )


def _date(asked: QueryDict, name: str) -> date | None:
    text = asked.get(name)
    if text is None:
        return None
    if (found := pages.day(text)) is None:
        raise Problem("invalid_value", f"Send {name} as a day from 1970 on, such as 2025-03-01.")
    return found


def _days_before(day: date, number: int) -> date:
    return max(day - timedelta(days=number), date(1970, 1, 1))


def _choice(asked: QueryDict, name: str, choices: tuple[str, ...]) -> str:
    found = asked.get(name, choices[0])
    if found not in choices:
        raise Problem("invalid_value", f"Send {name} as one of {', '.join(choices)}.")
    return str(found)


def _currency(asked: QueryDict) -> str:
    found = asked.get("currency")
    if found is None:
        return ""
    try:
        text = pages.read(CURRENCY, found, "currency")
    except Problem:
        text = ""
    if not text:
        told = "Send currency as orders have it, a text of 1 to 3 characters such as EUR."
        raise Problem("invalid_value", told)
    return text


def cursor_of(offset: int, mark: str) -> str:
    """The cursor of the page from there on."""
    return f"{offset}~{mark}"


def _cursor(asked: QueryDict) -> tuple[int, str]:
    text = asked.get("cursor")
    if text is None:
        return 0, ""
    if (found := _CURSOR.fullmatch(text)) is None:
        raise Problem("invalid_value", "Send cursor as next_cursor gave it, for the same question.")
    return int(found["offset"]), found["mark"]


def _number(asked: QueryDict, name: str, usual: int, least: int, most: int) -> int:
    text = asked.get(name, str(usual))
    is_number = text.isascii() and text.isdecimal() and len(text) <= DIGITS
    if not is_number or not least <= int(text) <= most:
        raise Problem("invalid_value", f"Send {name} as a whole number from {least} to {most:,}.")
    return int(text)
