"""Recognitions and what belongs to them, told as JSON.

A recognition that is loaded anew while it is read is read again, so that nobody is told of the
photos of one load and the check of another.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from apps.catalog.selectors import MOST_BYTES
from apps.core import pages, wire
from apps.core.isolation import tenant_reading
from apps.core.problems import Problem
from apps.recognitions.asking import MOST_NUMBER, OWN, Asked
from apps.recognitions.links import Link
from apps.recognitions.models import Photo, Recognition
from apps.recognitions.parts import PARTS, Row

GROUP = 50  # recognitions whose parts are read at once
TRIES = 20
T = TypeVar("T")


def page(tenant: UUID, asked: Asked) -> bytes:
    """`{"data": […], "next_cursor": …}`. A page of large recognitions ends earlier.

    Raises Problem.
    """
    with tenant_reading(tenant):
        rows = Recognition.objects.filter(**asked.conditions).order_by(*asked.order)
        if asked.after:
            rows = rows.filter(pages.behind(asked.order, asked.after))
        found = list(rows.values_list(*asked.order)[: asked.limit + 1])
        told: list[bytes] = []
        at = 0
        while at < min(len(found), asked.limit) and sum(map(len, told)) < MOST_BYTES:
            group = found[at : min(at + GROUP, asked.limit)]
            told += _told(tenant, [row[-1] for row in group], asked.members)
            at += len(group)
    is_last = at == len(found)
    cursor = None if is_last else pages.cursor_behind(*found[at - 1], mark=asked.mark)
    return b'{"data":[%b],"next_cursor":%b}' % (b",".join(told), msgspec.json.encode(cursor))


def one(tenant: UUID, recognition_id: int, members: Sequence[str]) -> bytes:
    """The tenant's recognition. Raises Problem."""
    ids = [recognition_id] if recognition_id <= MOST_NUMBER else []
    with tenant_reading(tenant):
        found = _told(tenant, ids, members)
    if not found:
        raise Problem("not_found", "Check the address and whose it is.")
    return found[0]


def photo(link: Link) -> Any:
    """The row of the photo that a link names. Raises Problem where there is none any more."""
    with tenant_reading(link.tenant):
        rows = Photo.objects.filter(recognition_id=link.recognition_id, role=link.role)
        found = rows.filter(sha256=link.sha256).first()
    if found is None:
        raise Problem("not_found", "It was removed or replaced: ask for the recognition again.")
    return found


def _told(tenant: UUID, ids: list[int], members: Sequence[str]) -> list[bytes]:
    """Those of these recognitions that are there, in this order. Raises Problem."""
    chosen = [name for name in members if name in PARTS]
    rows, parts = settled(ids, lambda: {name: PARTS[name].of(tenant, ids) for name in chosen})
    return [_line(rows[number], parts, members) for number in ids if number in rows]


def settled(ids: list[int], read: Callable[[], T]) -> tuple[dict[int, Row], T]:
    """The rows of these recognitions by number, and what is read of what belongs to them, both of
    the same load. Raises Problem.
    """
    for _ in range(TRIES):
        rows, found = _rows(ids), read()
        if _rows(ids) == rows:
            return rows, found
    raise Problem("unavailable", "It is loaded anew again and again: ask in a moment.")


def _rows(ids: list[int]) -> dict[int, Row]:
    rows = Recognition.objects.filter(recognition_id__in=ids).values(*OWN)
    return {row["recognition_id"]: row for row in rows}


def _line(row: Row, parts: dict[str, dict[int, list[Row]]], members: Sequence[str]) -> bytes:
    whole = {
        **row,
        "loaded_at": wire.instant(row["loaded_at"]),
        **{name: rows[row["recognition_id"]] for name, rows in parts.items()},
    }
    return msgspec.json.encode({name: whole[name] for name in members})
