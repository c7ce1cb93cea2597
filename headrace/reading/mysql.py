"""MariaDB and MySQL: rows by a cursor that the server keeps, made into lines here."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pymysql
from pymysql.cursors import SSCursor

from headrace.pipeline.dialects.base import Connection
from headrace.pipeline.errors import TookTooLong
from headrace.pipeline.values import dashed
from headrace.reading import statements
from headrace.reading.forms import Form, Spell, line_writer
from headrace.reading.selection import Selection
from headrace.reading.statements import Spelling, Statement
from headrace.schema import Boolean, FieldType, Integer, Money, Timestamp, Uuid


def _stored(kind: FieldType, text: str) -> Any:
    match kind:
        case Uuid():
            return text.replace("-", "")
        case Money():
            return Decimal(text)
        case Integer():
            return int(text)
        case Boolean():
            return text == "t"
    return text


SPELLING = Spelling(
    parameter="%({name})s",
    contains="LOCATE({value}, {column}) > 0",
    kind=lambda kind: "",
    stored=_stored,
)


#: How long the server keeps rows for a reader that does something else: after its usual minute it
#: would end the connection. One that has died is noticed at once.
PATIENCE_SECONDS = 3_600
#: What limits a statement, and how seconds are spelled there.
_PATIENCE: dict[str, tuple[str, Callable[[float], str]]] = {
    "mariadb": ("max_statement_time", lambda seconds: f"{seconds:.3f}"),
    "mysql": ("max_execution_time", lambda seconds: f"{seconds * 1e3:.0f}"),
}
_GIVEN_UP = (1969, 3024)


class MySQL:
    """The reader."""

    closes_when_left = True

    def __init__(self, name: str) -> None:
        self.name = name

    def begin(self, connection: Connection) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET net_write_timeout = {PATIENCE_SECONDS}")
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")

    @contextmanager
    def within(self, connection: Connection, seconds: float) -> Iterator[None]:
        """The connection has its server's own patience again at the end."""
        variable, spell = _PATIENCE[self.name]
        _set(connection, f"{variable} = {spell(seconds)}")
        try:
            yield
        except pymysql.Error as error:
            if error.args[0] in _GIVEN_UP:
                raise TookTooLong(f"given up after {seconds:g} s") from error
            raise
        finally:
            if connection.open:
                _set(connection, f"{variable} = DEFAULT")

    def lines(
        self, connection: Connection, tenant: UUID, selection: Selection, form: Form
    ) -> Generator[bytes, None, None]:
        statement = Statement(SPELLING, tenant, selection)
        write = line_writer(form, selection.columns, _spell)
        cells = statements.listed(selection.columns, lambda field: field.name)
        text = statement.select(cells, _hint(selection))
        with _left(connection, SSCursor(connection)) as cursor:
            cursor.execute(text, statement.parameters)
            yield from map(write, cursor)

    def count(self, connection: Connection, tenant: UUID, selection: Selection) -> int:
        statement = Statement(SPELLING, tenant, selection)
        with pymysql.cursors.Cursor(connection) as cursor:
            cursor.execute(statement.count(), statement.parameters)
            row = cursor.fetchone()
        assert row is not None
        return int(row[0])


def _hint(selection: Selection) -> str:
    """An index where the first rows must come soon: by itself it would rather sort all."""
    index = selection.index if selection.prompt else None
    return f" FORCE INDEX ({index.name})" if index else ""


def _set(connection: Connection, setting: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET {setting}")


@contextmanager
def _left(connection: Connection, cursor: Any) -> Iterator[Any]:
    """A cursor of the server's; left half-way it takes the connection with it.

    Otherwise all other rows would have to be read first: they are on their way already.
    """
    try:
        yield cursor
    except BaseException:
        if connection.open:
            connection.close()
        if cursor._result:  # or it would look for the other rows when it is forgotten
            cursor._result.unbuffered_active = False
        raise
    cursor.close()


def _spell(kind: FieldType) -> Spell:
    match kind:
        case Uuid():
            return dashed
        case Money():
            return lambda number: f"{number:f}"
        case Boolean():
            return lambda flag: "true" if flag else "false"
        case Timestamp():
            return _instant
    return str


def _instant(moment: datetime) -> str:
    return f"{moment.isoformat()}Z"
