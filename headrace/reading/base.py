"""What is asked of a database that rows are read from: the same operations on each."""

from collections.abc import Generator
from contextlib import AbstractContextManager
from typing import Protocol
from uuid import UUID

from headrace.pipeline.dialects.base import Connection
from headrace.reading.forms import Form
from headrace.reading.selection import Selection


class Reader(Protocol):
    """One database. It works on a raw DB-API connection that the caller lends, and lets nothing
    wait: rows come as they are asked for, in memory that does not grow with them.
    """

    name: str
    #: Whether lines that are left before their end close the connection.
    closes_when_left: bool

    def begin(self, connection: Connection) -> None:
        """Begin a transaction that writes nothing and sees one state of the database to its end.

        The connection must be outside of one.
        """

    def lines(
        self, connection: Connection, tenant: UUID, selection: Selection, form: Form
    ) -> Generator[bytes, None, None]:
        """The rows, each as a line with its end; the header is left to the caller.

        The tenant must be bound to the transaction where the database asks for it. To close the
        iterator ends the reading at once; where the database would first send all that is left,
        the connection is closed with it (`closes_when_left`).
        """

    def within(self, connection: Connection, seconds: float) -> AbstractContextManager[None]:
        """Reads that end in so many seconds: at their end the database gives the statement up, and
        TookTooLong is raised. In a transaction, where the database has any.
        """

    def count(self, connection: Connection, tenant: UUID, selection: Selection) -> int:
        """How many rows the selection has, whatever its limit."""
