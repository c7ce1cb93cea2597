"""Lines put together to what a file has: a header, or the brackets of an array."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from headrace.pipeline.formats import CSV, JSON, NDJSON
from headrace.reading.forms import Form, header
from headrace.schema import Field

ROWS = 1_000  # of a block


class Block(NamedTuple):
    """Bytes of a document, and how many rows they have."""

    data: bytes
    rows: int


def form_of(format: str, *, is_safe: bool = False) -> Form:
    """The form of a format's lines. Raises KeyError for an unknown format."""
    if format == CSV and is_safe:
        return Form.SAFE_CSV
    return {CSV: Form.CSV, JSON: Form.NDJSON, NDJSON: Form.NDJSON}[format]


def document(lines: Iterable[bytes], format: str, columns: Sequence[Field]) -> Iterator[Block]:
    """The blocks of a whole document; `lines` are in the form of its format, each with its end."""
    if format == CSV:
        yield Block(header(columns), 0)
    if format == JSON:
        yield from _array(iter(lines))
    else:
        for some in _batches(iter(lines)):
            yield Block(b"".join(some), len(some))


def _array(lines: Iterator[bytes]) -> Iterator[Block]:
    yield Block(b"[", 0)
    between = b"\n"
    for some in _batches(lines):
        yield Block(between + b",\n".join(line[:-1] for line in some), len(some))
        between = b",\n"
    yield Block(b"\n]\n", 0)


def _batches(lines: Iterator[bytes]) -> Iterator[list[bytes]]:
    while some := list(islice(lines, ROWS)):
        yield some
