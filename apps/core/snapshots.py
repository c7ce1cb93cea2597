"""One state of the database, read on a connection of its own while others write."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection

from apps.core import dialect
from headrace.reading import reader
from headrace.reading.base import Reader


class Snapshot(NamedTuple):
    """A tenant's rows as they are at one instant: what the reader wants to be lent."""

    reader: Reader
    connection: Any
    tenant: UUID


@contextmanager
def snapshot(tenant: UUID) -> Iterator[Snapshot]:
    """A read-only transaction of one state, bound to the tenant, on a connection that is closed
    at the end: what is left unread is nobody's any more.
    """
    database = dialect.current()
    own, ours = connection.copy(), reader(database.name)
    try:
        own.ensure_connection()
        with own.wrap_database_errors:  # a server that goes away is known by Django's error
            raw: Any = own.connection
            ours.begin(raw)
            if statement := database.bind_statement(UUID(str(tenant))):
                raw.cursor().execute(statement)
            yield Snapshot(ours, raw, UUID(str(tenant)))
    finally:
        own.close()
