"""Parquet, by the extra `parquet`: made of lines of CSV, which every database spells alike.

Operator's note: memory holds one row group, some 16 MiB of plain text, and what Arrow keeps.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from headrace.reading.documents import Block
from headrace.schema import (
    Boolean,
    Field,
    FieldType,
    Integer,
    Money,
    Timestamp,
)

PARQUET = "parquet"
GROUP_BYTES = 16 << 20


def is_there() -> bool:
    """Whether the extra is installed."""
    return find_spec("pyarrow") is not None


def document(lines: Iterable[bytes], columns: Sequence[Field], compression: str) -> Iterator[Block]:
    """The blocks of a whole file from lines of CSV without a header.

    Ids and objects are texts, money decimals of its scale, times microseconds in UTC. The pages
    are compressed by `compression`: "none", "gzip" or "zstd".
    """
    import pyarrow  # noqa: PLC0415 - an extra
    from pyarrow import parquet  # noqa: PLC0415

    sink, schema = _Sink(), pyarrow.schema([(field.name, _type(field.type)) for field in columns])
    with parquet.ParquetWriter(sink, schema, compression=compression) as writer:
        for text in _groups(lines):
            table = _table(text, schema)
            writer.write_table(table)
            yield Block(sink.taken(), table.num_rows)
    yield Block(sink.taken(), 0)


def _groups(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Whole lines, GROUP_BYTES or little more of them at once."""
    held, size = list[bytes](), 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= GROUP_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _table(text: bytes, schema: Any) -> Any:
    """The rows of a group. (A reader of the whole would read ahead in a thread of its own.)

    A row of one null is an empty line.
    """
    from pyarrow import csv  # noqa: PLC0415

    return csv.read_csv(
        io.BytesIO(text),
        read_options=csv.ReadOptions(column_names=schema.names, use_threads=False),
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types=schema,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _type(kind: FieldType) -> Any:
    import pyarrow  # noqa: PLC0415

    match kind:
        case Money(digits=digits, scale=scale):
            return pyarrow.decimal128(digits, scale)
        case Integer():
            return pyarrow.int32()
        case Boolean():
            return pyarrow.bool_()
        case Timestamp():
            return pyarrow.timestamp("us", tz="UTC")
    return pyarrow.string()


class _Sink(io.RawIOBase):
    """A file to write to, whose bytes are taken away as they come."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        self._held.append(bytes(data))
        self._size += len(self._held[-1])
        return len(self._held[-1])

    def taken(self) -> bytes:
        data = b"".join(self._held)
        self._held.clear()
        return data
