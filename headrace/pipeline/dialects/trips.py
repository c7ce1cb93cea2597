"""Prepared statements to PostgreSQL that travel together and are answered together: a trip.

Past psycopg's cursors and pipelines, on its own binding of libpq. The six statements that begin,
look and commit in a price call took 565 µs of our processor by theirs, and 147 µs as two trips.

Operator's notes:
- A trip is not a transaction: BEGIN and COMMIT are statements of it, or of two of them.
- Each statement is prepared once a connection, and its plan is soon one for any values. So a trip
  is for statements that find rows by their keys, whatever the tables hold.
"""

import re
import select
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Any, TypeAlias

import psycopg
from psycopg import errors, pq
from psycopg.adapt import Transformer

Row: TypeAlias = tuple[Any, ...]
Connection: TypeAlias = "psycopg.Connection[Any]"
_BAD = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED)
_PLACE = re.compile(r"%\((\w+)\)s")
_SPELLINGS: Mapping[type, Callable[[Any], str]] = {datetime: datetime.isoformat}
_numbers = count()


class Statement:
    """SQL with named values, as `%(name)s`, and each of its own percent signs twice.

    The server tells a value's type from its place; where it could not, there is a cast.
    """

    def __init__(self, text: str) -> None:
        self.names = list(dict.fromkeys(_PLACE.findall(text)))
        numbered = _PLACE.sub(lambda found: f"${self.names.index(found[1]) + 1}", text)
        self.text = numbered.replace("%%", "%").encode()
        self.name = b"headrace_%d" % next(_numbers)


BEGIN, COMMIT = Statement("BEGIN"), Statement("COMMIT")
Asked: TypeAlias = "Statement | str | tuple[Statement, Mapping[str, Any]]"


def trip(connection: Connection, *asked: Asked) -> list[list[Row]]:
    """The rows of each statement. One that is a text is not prepared and has no values.

    Raises what the server said of the first that failed; it ran none after that. The connection is
    closed if the trip broke off on the way.
    """
    return _line(connection).go(asked)


class _Line:
    """What is known of a connection: what the server prepared there, how its values are read."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._server = connection.pgconn
        self._prepared: set[Statement] = set()
        self._values = Transformer(connection)
        self._poll = select.poll()
        self._poll.register(self._server.socket, select.POLLIN)

    def go(self, asked: Sequence[Asked]) -> list[list[Row]]:
        packed = [_packed(one) for one in asked]
        fresh = {one for one, _ in packed if type(one) is Statement and one not in self._prepared}
        if fresh:
            self._prepare(fresh)
        return [self._rows(result) for result in self._send([self._call(*one) for one in packed])]

    def _prepare(self, fresh: set[Statement]) -> None:
        try:
            self._send([(self._server.send_prepare, one.name, one.text) for one in fresh])
        except BaseException:  # the server has some of them, and would refuse those another time
            self.connection.close()
            raise
        self._prepared |= fresh

    def _call(self, statement: Statement | bytes, values: list[bytes | None] | None) -> Any:
        if isinstance(statement, bytes):
            return self._server.send_query_params, statement, None
        return self._server.send_query_prepared, statement.name, values

    def _send(self, calls: Sequence[Any]) -> list[Any]:
        """The results of what is sent by these calls. Raises what the server said of the first
        that failed."""
        try:
            self._server.enter_pipeline_mode()
            for send, *arguments in calls:
                send(*arguments)
            self._server.pipeline_sync()
            results = self._answers()
            self._server.exit_pipeline_mode()
        except BaseException:  # what would be read next is the answer to this
            self.connection.close()
            raise
        for result in results:
            if result.status in _BAD:
                raise errors.error_from_result(result)
        return results

    def _answers(self) -> list[Any]:
        while self._server.flush():
            self._poll.modify(self._server.socket, select.POLLIN | select.POLLOUT)
            self._poll.poll()
            self._poll.modify(self._server.socket, select.POLLIN)
            self._server.consume_input()
        results: list[Any] = []
        while True:
            while self._server.is_busy():
                self._poll.poll()
                self._server.consume_input()
            result = self._server.get_result()
            if result is not None:  # else it ends the results of a statement
                if result.status == pq.ExecStatus.PIPELINE_SYNC:
                    return results
                results.append(result)

    def _rows(self, result: Any) -> list[Row]:
        if not result.ntuples:
            return []
        self._values.set_pgresult(result)
        return self._values.load_rows(0, result.ntuples, tuple)


class _Lines(threading.local):
    """The connection that a thread used last: it has one."""

    last: _Line | None = None


_lines = _Lines()


def _line(connection: Connection) -> _Line:
    if _lines.last is None or _lines.last.connection is not connection:
        _lines.last = _Line(connection)
    return _lines.last


def _packed(one: Asked) -> tuple[Statement | bytes, list[bytes | None] | None]:
    if isinstance(one, str):
        return one.encode(), None
    if isinstance(one, Statement):
        return one, None
    statement, values = one
    return statement, [_text(values[name]) for name in statement.names]


def _text(value: Any) -> bytes | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else _SPELLINGS.get(type(value), str)(value)
    if "\0" in text:  # libpq would take it for the end
        raise psycopg.DataError("a text of PostgreSQL cannot hold the character 0")
    return text.encode()
