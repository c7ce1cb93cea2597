"""What is asked of record types in an address, as a selection of rows.

A column's name chooses by value: `order_status=paid`. Behind it `_from`, `_to` and `_before` are
the ends of a range, `_contains` is a part of a text, and `_missing=true` asks for rows without a
value. A search of orders has words of its own for the same. Whoever continues names no tenant.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from django.conf import settings
from django.http import QueryDict

from apps.core import pages
from apps.core.problems import Problem
from apps.tenants.doors import zone_of
from headrace.entities.orders import ORDERS
from headrace.reading import filters
from headrace.reading.selection import (
    BadSelection,
    Condition,
    Operator,
    Selection,
    columns_of,
    enters_index,
    is_comparable,
    key_order,
    quick_columns,
)
from headrace.schema import Boolean, Entity, Field, Text, Timestamp

AFTER, LIMIT = "after", "limit"
IS, ANY_OF, MISSING, TO_THE_DAY = "is", "any of", "missing", "to the day"
MOST_LINES = 10**9
#: By name: the column, and how it is compared: by a word of these, or by one of filters.words().
Parameters = Mapping[str, tuple[Field, str]]
SEARCH_ORDER = (ORDERS.field("order_date"), ORDERS.field("order_id"))
SEARCH: Parameters = {
    "start_date": (ORDERS.field("order_date"), "from"),
    "end_date": (ORDERS.field("order_date"), TO_THE_DAY),
    "status": (ORDERS.field("order_status"), ANY_OF),
    "customer_id": (ORDERS.field("customer_id"), IS),
    "min_amount": (ORDERS.field("total_amount"), "from"),
    "max_amount": (ORDERS.field("total_amount"), "to"),
    "currency": (ORDERS.field("currency"), IS),
    "kind": (ORDERS.field("kind"), IS),
    "q": (ORDERS.field("external_order_id"), "contains"),
}
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_FLAGS = {"true": True, "false": False}


def parameters(entity: Entity) -> Parameters:
    """What a list of the entity can be asked by."""
    return dict(_parameters(entity))


def _parameters(entity: Entity) -> Iterator[tuple[str, tuple[Field, str]]]:
    for field in filter(is_comparable, entity.columns):
        yield field.name, (field, ANY_OF)
        for word in filters.words(field):
            yield f"{field.name}_{word}", (field, word)
        if field.null:
            yield f"{field.name}_{MISSING}", (field, MISSING)


def page(tenant: UUID, entity: Entity, asked: QueryDict) -> Selection:
    """The rows of a page by their keys, and one more to know whether it is the last.

    Raises Problem.
    """
    known = parameters(entity)
    pages.check(asked, *known, pages.FIELDS, repeatable=(*known, pages.FIELDS))
    mark = pages.mark_of(asked)
    after = pages.cursor(asked, _name_of(entity), *key_order(entity), mark=mark)
    conditions = _conditions(tenant, entity, known, asked)
    return Selection(
        entity,
        _columns(entity, asked, key_order(entity)),
        conditions,
        key_order(entity),
        after=tuple(after[1:]) if after else (),
        limit=pages.limit(asked) + 1,
        # Where no index helps to choose, a page is looked for in the order of keys. All pages
        # together then cost one look at each row; sorting what is chosen, as a database would
        # rather do that thinks a tenant small, costs that for each page.
        prompt=not enters_index(entity, conditions),
    )


def too_broad(selection: Selection) -> Problem:
    """What is said of a page whose rows were looked for too long."""
    entity = selection.entity
    named = dict.fromkeys(one.field.name for one in selection.conditions)
    quick = [field.name for field in entity.columns if field.name in quick_columns(entity)]
    told = f"Rows by {', '.join(named)} were looked" if named else "The page was waited"
    seconds = f"{settings.HEADRACE_LIST_SECONDS:g} s"
    return Problem(
        "too_broad",
        f"{told} for longer than {seconds}. Name a value of an indexed column ({', '.join(quick)}),"
        " ask for fewer rows a page, or export them.",
    )


def one(entity: Entity, key: UUID, asked: QueryDict) -> Selection:
    """The row of a key. Raises Problem."""
    pages.check(asked, pages.FIELDS, paging=())
    wanted = Condition(entity.field(entity.key), Operator.ONE_OF, (str(key),))
    return Selection(entity, _columns(entity, asked, key_order(entity)), (wanted,))


def search(tenant: UUID, asked: QueryDict) -> Selection:
    """Orders, the newest first; one more than the limit, where there is one. Raises Problem."""
    names = (*SEARCH, pages.FIELDS)
    pages.check(asked, *names, paging=(AFTER, LIMIT), repeatable=names)
    limit = pages.number(asked, LIMIT, MOST_LINES)
    conditions = _conditions(tenant, ORDERS, SEARCH, asked)
    _check_dates(conditions, asked)
    return Selection(
        ORDERS,
        _columns(ORDERS, asked, SEARCH_ORDER),
        conditions,
        SEARCH_ORDER,
        descending=True,
        after=tuple(pages.cursor(asked, *SEARCH_ORDER, name=AFTER) or ()),
        limit=None if limit is None else limit + 1,
        prompt=True,
    )


def _check_dates(conditions: tuple[Condition, ...], asked: QueryDict) -> None:
    """Raises Problem for a time to begin at that is behind the one to end at."""
    ends = {one.operator: one.values[0] for one in conditions if one.field == SEARCH_ORDER[0]}
    start, end = ends.get(Operator.FROM), ends.get(Operator.BEFORE)
    if start and end and start >= end:
        told = f"start_date ({asked['start_date']}) not after end_date ({asked['end_date']})"
        raise Problem("invalid_request", f"Send {told}.")


def cursor_of_page(entity: Entity, line: bytes, mark: str) -> str:
    """Where the page behind a row of a list begins; `mark` is the list's (pages.mark_of)."""
    return pages.cursor_behind(entity.name, *_values(line, key_order(entity)), mark=mark)


def cursor_of_search(line: bytes) -> str:
    """Where a search goes on behind a line."""
    return pages.cursor_behind(*_values(line, SEARCH_ORDER))


def _values(line: bytes, columns: tuple[Field, ...]) -> list[str]:
    row = msgspec.json.decode(line)
    return [row[field.name] for field in columns]


def _name_of(entity: Entity) -> Field:
    """What a cursor of its list begins with."""
    return Field("list", Text(len(entity.name), (entity.name,)), "whose list")


def _columns(entity: Entity, asked: QueryDict, always: tuple[Field, ...]) -> tuple[Field, ...]:
    """The columns asked for, behind those by which one can go on."""
    try:
        chosen = columns_of(entity, pages.fields(asked) or None)
    except BadSelection as bad:
        raise Problem("invalid_request", f"{pages.FIELDS}: {bad}") from None
    names = {field.name for field in chosen}
    return (*(field for field in always if field.name not in names), *chosen)


def _conditions(
    tenant: UUID, entity: Entity, known: Parameters, asked: QueryDict
) -> tuple[Condition, ...]:
    given = {name: asked.getlist(name) for name in asked if name in known}
    is_timed = any(isinstance(known[name][0].type, Timestamp) for name in given)
    zone = zone_of(tenant) if is_timed else ZoneInfo("UTC")
    found: list[Condition] = []
    for name, texts in given.items():
        field, word = known[name]
        try:
            wanted = _wanted(field, word, texts)
            found += filters.conditions(entity, {field.name: wanted}, zone)
        except BadSelection as bad:
            told = f"{name}: {bad}{pages.hint(*texts)}"
            raise Problem("invalid_request", told) from None
    return tuple(found)


def _wanted(field: Field, word: str, texts: list[str]) -> Any:
    """What a column is compared with, as filters.conditions() takes it. Raises BadSelection."""
    if word == ANY_OF:
        return [_decoded(field, part) for text in texts for part in _parts(field, text)]
    if len(texts) > 1:
        raise BadSelection("send it once.")
    [text] = texts
    if word == MISSING:
        if text != "true":
            raise BadSelection("send true, or leave it out.")
        return None
    if word == IS:
        return _decoded(field, text)
    if word == TO_THE_DAY:
        return {"before": _end(text)}
    return {word: _decoded(field, text)}


def _parts(field: Field, text: str) -> list[str]:
    """Several values have commas between them, but where a value may have a comma itself."""
    is_free = isinstance(field.type, Text) and not field.type.choices
    return [text] if is_free else text.split(",")


def _decoded(field: Field, text: str) -> Any:
    return _FLAGS.get(text, text) if isinstance(field.type, Boolean) else text


def _end(text: str) -> str:
    """A day is asked for to its end, which is the next day's beginning."""
    try:
        is_day = _DAY.fullmatch(text) is not None
        return str(date.fromisoformat(text) + timedelta(days=1)) if is_day else text
    except (ValueError, OverflowError):
        return text
