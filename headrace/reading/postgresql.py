"""PostgreSQL: whole lines made by the database, taken by COPY.

Operator's notes:
- A row is one message of COPY, in either form. As NDJSON it is one column of CSV whose quote and
  delimiter are characters that JSON never has unescaped, so that nothing is quoted again.
- Times are told in UTC whatever the session's zone is, money with all digits of its column.
- COPY is planned for its last row. A prompt selection forbids what gives no row before all are
  read: sorting and compiling. Of 2,000,000 orders the first came after 1 ms instead of 7 s.
- Row-level security lets no condition by a function that might tell what it sees, and those that
  compare numbers are such, choose within an index before the row itself is read. An index alone
  may be read first, though: where nothing matched, 0.7 s instead of 14 s.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import tuple_row

from headrace.pipeline.dialects.base import Connection
from headrace.pipeline.errors import TookTooLong
from headrace.reading import statements
from headrace.reading.forms import FORMULA_STARTS, Form
from headrace.reading.selection import Selection
from headrace.reading.statements import Spelling, Statement
from headrace.schema import (
    Boolean,
    Field,
    FieldType,
    Integer,
    JsonObject,
    Money,
    Text,
    Timestamp,
    Uuid,
)

_KINDS: dict[type, str] = {
    Uuid: "uuid",
    Text: "text",
    Money: "numeric",
    Integer: "integer",
    Boolean: "boolean",
    Timestamp: "timestamp",
    JsonObject: "jsonb",
}
_STARTS = "E'" + FORMULA_STARTS.translate({9: r"\t", 13: r"\r", 39: "''"}) + "'"
PROMPT = "SET LOCAL enable_sort = off; SET LOCAL jit = off"
_WHOLE_LINES = r"FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02'"


def _kind(kind: FieldType) -> str:
    return _KINDS[type(kind)]


SPELLING = Spelling(
    parameter="CAST(%({name})s AS {kind})",
    contains="strpos({column}, {value}) > 0",
    kind=lambda kind: "timestamptz" if isinstance(kind, Timestamp) else _kind(kind),
    stored=lambda kind, text: f"{text}Z" if isinstance(kind, Timestamp) else text,
)


class PostgreSQL:
    """The reader."""

    name = "postgresql"
    closes_when_left = False

    def begin(self, connection: Connection) -> None:
        with _cursor(connection) as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    @contextmanager
    def within(self, connection: Connection, seconds: float) -> Iterator[None]:
        with _cursor(connection) as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1e3)):d}")
        try:
            yield
        except psycopg.errors.QueryCanceled as error:
            raise TookTooLong(f"given up after {seconds:g} s") from error

    def lines(
        self, connection: Connection, tenant: UUID, selection: Selection, form: Form
    ) -> Generator[bytes, None, None]:
        statement = Statement(SPELLING, tenant, selection)
        with _cursor(connection) as cursor:
            if selection.prompt:
                cursor.execute(PROMPT)
            text = cursor.mogrify(copy(statement, selection, form), statement.parameters)
            with cursor.copy(text) as rows:
                yield from map(bytes, rows)

    def count(self, connection: Connection, tenant: UUID, selection: Selection) -> int:
        statement = Statement(SPELLING, tenant, selection)
        with _cursor(connection) as cursor:
            row = cursor.execute(statement.count(), statement.parameters).fetchone()
        assert row is not None
        return int(row[0])


def copy(statement: Statement, selection: Selection, form: Form) -> str:
    """The COPY of a selection's rows in a form."""
    rows = select(statement, selection, form)
    if form is Form.NDJSON:
        return f"COPY (SELECT row_to_json(r) FROM ({rows}) r) TO STDOUT ({_WHOLE_LINES})"
    return f"COPY ({rows}) TO STDOUT (FORMAT csv)"


def select(statement: Statement, selection: Selection, form: Form) -> str:
    """What the COPY copies."""
    cells = statements.listed(selection.columns, _cell(form))
    return statement.select_found(cells) if _is_index_first(selection) else statement.select(cells)


def _is_index_first(selection: Selection) -> bool:
    index = selection.index if selection.prompt else None
    return index is not None and selection.is_chosen_within(index)


def _cell(form: Form) -> Callable[[Field], str]:
    def cell(field: Field) -> str:
        match field.type:
            case Timestamp():
                return f"replace(CAST({field.name} AT TIME ZONE 'UTC' AS text), ' ', 'T') || 'Z'"
            case Boolean() if form is not Form.NDJSON:
                return f"CAST({field.name} AS text)"
            case Text() if form is Form.SAFE_CSV:
                return _safe(field.name)
        return field.name

    return cell


def _safe(name: str) -> str:
    starts = "".join(
        {"\t": "\\t", "\r": "\\r", "'": "''"}.get(mark, mark) for mark in FORMULA_STARTS
    )
    is_formula = f"strpos(E'{starts}', left({name}, 1)) > 0 AND {name} <> ''"
    return f"CASE WHEN {is_formula} THEN '''' || {name} ELSE {name} END"


def _cursor(connection: Connection) -> psycopg.ClientCursor[Any]:
    """COPY takes no parameters of its own: they become literals here."""
    return psycopg.ClientCursor(connection, row_factory=tuple_row)
