"""Rows into MySQL's and MariaDB's staging: by LOAD DATA LOCAL from a pipe, or by INSERT."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql

from headrace.pipeline.errors import DataRefused, Retryable
from headrace.pipeline.ready import ReadyRows
from headrace.schema import Boolean, Entity, FieldType, Timestamp, Uuid

INSERT_BYTES = 1 << 20
#: The server, or our side, does not allow LOCAL; or there is no /dev/fd here.
_NO_LOCAL_FILES = frozenset((1148, 3948, 4166, 1017))


def load(cursor: Any, entity: Entity, rows: ReadyRows) -> None:
    """Add rows to the empty staging table.

    Raises DataRefused, Retryable, or what the driver raises.
    """
    if not _loaded(cursor, entity, rows):
        _insert_rows(cursor, entity, rows)


def statement(entity: Entity, path: str) -> str:
    """COPY's text is what LOAD DATA reads by default, but for ids, booleans and times."""
    readings = {field.staged: _reading(field.type) for field in entity.fields}
    columns = [f"@{name}" if reading else name for name, reading in readings.items()]
    changed = [
        f"{name} = {reading.format('@' + name)}" for name, reading in readings.items() if reading
    ]
    text = (
        f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE {entity.name}_staging"
        f" CHARACTER SET utf8mb4 (line, mask, {', '.join(columns)})"
    )
    return f"{text} SET {', '.join(changed)}" if changed else text


def _reading(kind: FieldType) -> str:
    """How SQL makes of a travelling text what the column holds; empty where it is that already."""
    match kind:
        case Boolean():
            return "({} = 't')"
        case Timestamp():
            return "TRIM(TRAILING 'Z' FROM {})"
        case Uuid():
            return "REPLACE({}, '-', '')"
    return ""


def _loaded(cursor: Any, entity: Entity, rows: ReadyRows) -> bool:
    """Load the rows; False where LOAD DATA LOCAL is not to be had. Raises DataRefused.

    What would be an error is a warning with LOCAL: none is passed over.
    """
    try:
        with _pipe(rows) as path:
            loaded = cursor.execute(statement(entity, path))
    except pymysql.OperationalError as error:
        if error.args[0] in _NO_LOCAL_FILES:
            return False
        raise
    except AttributeError:
        # PyMySQL ends the file on a connection that broke, and has no socket to do it with.
        if cursor.connection.open:
            raise
        raise Retryable("the connection broke while rows were sent") from None
    if cursor.warning_count:
        raise DataRefused("LOAD DATA warned of a value")
    if loaded != len(rows):
        raise Retryable(f"{loaded} of {len(rows)} rows arrived")
    return True


@contextmanager
def _pipe(rows: ReadyRows) -> Iterator[str]:
    """A path from which the rows can be read once, while a thread writes them.

    No name that could be left behind: the writer ends when either end is closed.
    """
    reading, writing = os.pipe()
    writer = threading.Thread(target=_pour, args=(rows, writing), name="headrace-load")
    writer.start()
    try:
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
        writer.join()


def _pour(rows: ReadyRows, writing: int) -> None:
    try:
        with os.fdopen(writing, "wb") as file:
            file.writelines(rows.blocks())
    except BrokenPipeError:
        pass  # the reader gave up, and says why


def _insert_rows(cursor: Any, entity: Entity, rows: ReadyRows) -> None:
    """The slow way. Within quotes, SQL's escapes are those of COPY."""
    readings = ["{}", "{}", *(_reading(field.type) or "{}" for field in entity.fields)]
    columns = ", ".join(field.staged for field in entity.fields)
    head = f"INSERT INTO {entity.name}_staging (line, mask, {columns}) VALUES"
    batch: list[str] = []
    size = 0
    for row in rows.rows:
        batch.append(_tuple(row, readings))
        size += len(row)
        if size > INSERT_BYTES:
            cursor.execute(head + ",".join(batch))
            batch, size = [], 0
    if batch:
        cursor.execute(head + ",".join(batch))


def _tuple(row: bytes, readings: list[str]) -> str:
    cells = row.decode().split("\t")
    values = (
        "NULL" if cell == r"\N" else reading.replace("{}", "'" + cell.replace("'", "''") + "'")
        for cell, reading in zip(cells, readings, strict=True)
    )
    return f"({', '.join(values)})"
