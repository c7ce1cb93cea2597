"""Rows of record types as lines of JSON, put through as the database's reader makes them."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import Error, connection

from apps.catalog import asking
from apps.core import blocks, dialect
from apps.core.isolation import tenant_reading
from headrace import reading
from headrace.pipeline.errors import TookTooLong
from headrace.reading.forms import Form
from headrace.reading.selection import Selection

Lines = Generator[bytes, None, None]
MOST_BYTES = 8 << 20  # of a page, but for its last row


def page(tenant: UUID, selection: Selection, mark: str) -> bytes:
    """`{"data": […], "next_cursor": …}`; `selection` has one row more than the page may have.

    A page of large rows ends earlier. `mark` is the list's (pages.mark_of). Raises Problem
    where rows are looked for too long.
    """
    try:
        with _reading(tenant, selection, settings.HEADRACE_LIST_SECONDS) as lines:
            found, is_whole = _some(lines, (selection.limit or 1) - 1)
    except TookTooLong as error:
        raise asking.too_broad(selection) from error
    cursor = None if is_whole else asking.cursor_of_page(selection.entity, found[-1], mark)
    data = b",".join(line[:-1] for line in found)
    return b'{"data":[%b],"next_cursor":%b}' % (data, msgspec.json.encode(cursor))


def _some(lines: Lines, most: int) -> tuple[list[bytes], bool]:
    """As many lines as a page may have, and whether they are all."""
    found: list[bytes] = []
    size, is_whole = 0, True
    for line in lines:
        if len(found) == most or size >= MOST_BYTES:
            is_whole = False
            break
        found.append(line)
        size += len(line)
    return found, is_whole


def row(tenant: UUID, selection: Selection) -> bytes | None:
    """The one row of a selection, None where there is none."""
    with _reading(tenant, selection) as lines:
        found = list(lines)
    return found[0][:-1] if found else None


def search(tenant: UUID, selection: Selection) -> Lines:
    """The lines of a selection in blocks, and a last line about them, in steady memory.

    `selection` has one row more than may be told, where there is a limit. A stream without its
    last line has broken off. To close it ends the reading at once.
    """
    with closing(_search(tenant, selection)) as lines:
        yield from blocks.joined(lines)


def _search(tenant: UUID, selection: Selection) -> Lines:
    limit = None if selection.limit is None else selection.limit - 1
    count, last, is_truncated = 0, b"", False
    with _reading(tenant, selection) as lines:
        for line in lines:
            if count == limit:
                is_truncated = True
                continue  # to the end, which is here, so that nothing is left half-way
            count, last = count + 1, line
            yield line
    cursor = asking.cursor_of_search(last) if is_truncated else None
    about = {"count": count, "limit": limit, "truncated": is_truncated, "next_cursor": cursor}
    yield msgspec.json.encode({"_meta": about}) + b"\n"


@contextmanager
def _reading(tenant: UUID, selection: Selection, seconds: float | None = None) -> Iterator[Lines]:
    """The lines of a selection, in a transaction that ends with them or when they are left.

    Raises TookTooLong when `seconds` are over.
    """
    own = reading.reader(dialect.current().name)
    with tenant_reading(tenant), connection.wrap_database_errors, ExitStack() as limits:
        connection.ensure_connection()
        if seconds is not None:
            limits.enter_context(own.within(connection.connection, seconds))
        lines = own.lines(connection.connection, tenant, selection, Form.NDJSON)
        is_read = False
        try:
            yield lines
            is_read = next(lines, None) is None
        finally:
            lines.close()
            if own.closes_when_left and not is_read:
                with suppress(Error):  # the reader has closed it already, and Django forgets it
                    connection.close()
