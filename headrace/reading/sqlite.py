"""SQLite: rows by a cursor, made into lines here. Its money is an integer of smallest units."""

import sqlite3
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from uuid import UUID

from headrace.pipeline.dialects.base import Connection
from headrace.pipeline.dialects.sqlite_values import stored_value
from headrace.pipeline.errors import TookTooLong
from headrace.pipeline.values import dashed
from headrace.reading import statements
from headrace.reading.forms import Form, Spell, line_writer
from headrace.reading.selection import Selection
from headrace.reading.statements import Spelling, Statement
from headrace.schema import Boolean, FieldType, Money, Text, Timestamp, Uuid

SPELLING = Spelling(
    parameter=":{name}",
    contains="instr({column}, {value}) > 0",
    kind=lambda kind: "",
    # Texts travel escaped in files of rows only.
    stored=lambda kind, text: text if isinstance(kind, Text) else stored_value(kind)(text),
)


LOOK_STEPS = 20_000  # of its virtual machine between two looks at the clock: about a millisecond


class SQLite:
    """The reader."""

    name = "sqlite"
    closes_when_left = False

    def begin(self, connection: Connection) -> None:
        """The state is that of the first row that is read."""
        connection.execute("BEGIN DEFERRED")

    @contextmanager
    def within(self, connection: Connection, seconds: float) -> Iterator[None]:
        end = time.monotonic() + seconds
        connection.set_progress_handler(lambda: time.monotonic() > end, LOOK_STEPS)
        try:
            yield
        except sqlite3.OperationalError as error:
            if time.monotonic() > end and str(error) == "interrupted":
                raise TookTooLong(f"given up after {seconds:g} s") from error
            raise
        finally:
            connection.set_progress_handler(None, 0)

    def lines(
        self, connection: Connection, tenant: UUID, selection: Selection, form: Form
    ) -> Generator[bytes, None, None]:
        statement = Statement(SPELLING, tenant, selection)
        write = line_writer(form, selection.columns, _spell)
        text = statement.select(statements.listed(selection.columns, lambda field: field.name))
        cursor = connection.execute(text, statement.parameters)
        try:
            yield from map(write, cursor)
        finally:
            cursor.close()  # or a statement that was left half-way would go on reading

    def count(self, connection: Connection, tenant: UUID, selection: Selection) -> int:
        statement = Statement(SPELLING, tenant, selection)
        (number,) = connection.execute(statement.count(), statement.parameters).fetchone()
        return int(number)


def _spell(kind: FieldType) -> Spell:
    match kind:
        case Uuid():
            return dashed
        case Money(scale=scale):
            return lambda units: _unscaled(units, scale)
        case Boolean():
            return lambda flag: "true" if flag else "false"
        case Timestamp():
            return lambda text: f"{text[:10]}T{text[11:]}Z"
    return str


def _unscaled(units: int, scale: int) -> str:
    """125000 with four decimals is `12.5000`."""
    whole, decimals = divmod(abs(units), 10**scale)
    return f"{'-' if units < 0 else ''}{whole}.{decimals:0{scale}}"
