"""Comma-separated values after RFC 4180, with any single-byte delimiter.

A cell is quoted if its first byte is a quote; then it goes to the next quote that is not
doubled. Quotes further on in a cell mean nothing here: csv_records.py refuses such a record,
and the next one begins on the next line. Records are cut as bytes; their cells are not.
"""

import re
from collections.abc import Iterable, Iterator

from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.formats.base import BLANKS, MAX_LINE, Batch, Carry
from headrace.pipeline.formats.ndjson import Census as LineCensus

QUOTE = b'"'
NEWLINE = b"\n"
# What stands in quotes, up to a quote that is not doubled. It never goes back. The look ahead is
# for Python before 3.11.5, which ends a possessive group behind what it has half matched.
IN_QUOTES = rb'[^"]*+(?:(?="")""[^"]*+)*+'
_PAIRED = re.compile(IN_QUOTES)


class Csv:
    """base.Format of delimited records, whose first one is the header."""

    def __init__(self, delimiter: str = ",") -> None:
        self._delimiter = delimiter.encode()
        self.blanks = BLANKS.replace(self._delimiter, b"")

    def census(self) -> "Census":
        return Census(self._delimiter)

    def batches(self, blocks: Iterable[bytes], offset: int = 0) -> Iterator[Batch]:
        has_header = False
        for batch in _by_block(blocks, offset, self._delimiter, self.blanks):
            for part in batch.in_parts():
                if has_header:
                    yield part
                elif any(line.strip(self.blanks) for line in part.lines):
                    has_header = True
                    yield from self._with_header(part)
                else:
                    yield part
        if not has_header:
            raise Permanent(FailureCode.BAD_HEADER, "there is no header")

    def _with_header(self, batch: Batch) -> Iterator[Batch]:
        """A batch cut in three: blank records before the header, the header, the others."""
        at = next(at for at, line in enumerate(batch.lines) if line.strip(self.blanks))
        yield from _sliced(batch, 0, at)
        yield from (part._replace(is_header=True) for part in _sliced(batch, at, at + 1))
        yield from _sliced(batch, at + 1, len(batch.lines))


def _sliced(batch: Batch, start: int, end: int) -> Iterator[Batch]:
    lines = batch.lines[start:end]
    if lines:
        yield Batch(
            first_line=list(batch.numbers())[start],
            offset=list(batch.offsets())[start],
            lines=lines,
            first_length=len(lines[0]) if start else batch.first_length,
            heights=batch.heights and batch.heights[start:end],
        )


def _by_block(
    blocks: Iterable[bytes], offset: int, delimiter: bytes, blanks: bytes
) -> Iterator[Batch]:
    line, carry, cut = 1, b"", _Cut(delimiter)
    long: _Long | None = None
    for block in blocks:
        rest = block
        if long is not None:
            end = long.feed(block)
            if end is None:
                continue
            yield long.batch(line, offset)
            line, offset = line + long.height, offset + long.length + 1
            rest, long = block[end:], None
        records, carry = cut.records(carry + rest)
        if records:
            batch = _batch(line, offset, records)
            yield batch
            line, offset = line + batch.height, offset + sum(map(len, records)) + len(records)
        if len(carry) > MAX_LINE:
            long = _Long(delimiter, blanks)
            long.feed(carry)
            carry = b""
    if long is not None:
        yield long.batch(line, offset)._replace(is_open=long.is_open)
    elif carry:
        yield _batch(line, offset, [carry])


def _batch(line: int, offset: int, records: list[bytes]) -> Batch:
    heights = [1 + record.count(NEWLINE) for record in records]
    is_flat = sum(heights) == len(records)
    return Batch(line, offset, records, len(records[0]), None if is_flat else heights)


class _Cut:
    """Cuts what is complete off the front of bytes that begin with a record."""

    def __init__(self, delimiter: bytes) -> None:
        record = _record(delimiter)
        self._record = re.compile(rb"(" + record + rb")\n")
        self._records = re.compile(rb"(?:" + record + rb"\n)*")

    def records(self, data: bytes) -> tuple[list[bytes], bytes]:
        """The complete records without their newlines, and the beginning of the next one."""
        if QUOTE not in data:
            *found, rest = data.split(NEWLINE)
            return found, rest
        match = self._records.match(data)
        assert match is not None  # it matches nothing, too
        return self._record.findall(match[0]), data[match.end() :]


def _record(delimiter: bytes) -> bytes:
    """The pattern of a record without its newline: linear in any input, its cells being atoms."""
    other = rb"[^\n" + re.escape(delimiter) + rb"]*+"
    quoted = b'"' + IN_QUOTES + b'"' + other
    cell = rb"(?:" + quoted + rb'|(?!")' + other + rb")"
    # Most records have no quotes, and are not looked at cell by cell.
    return rb'(?:[^"\n]*+(?=\n)|' + cell + rb"(?:" + re.escape(delimiter) + cell + rb")*)"


class _Long:
    """A record of more than MAX_LINE bytes: its beginning is kept, its end is looked for."""

    def __init__(self, delimiter: bytes, blanks: bytes) -> None:
        self._ends_cell = re.compile(rb"[\n" + re.escape(delimiter) + rb"]")
        self._step = self._at_cell
        self._carry = Carry(blanks)
        self.height = 1

    @property
    def length(self) -> int:
        return self._carry.length

    @property
    def is_open(self) -> bool:
        """Whether the record stands in quotes that nothing has closed yet."""
        return self._step == self._in_quotes

    def feed(self, block: bytes) -> int | None:
        """Take the next bytes; the place after the record's newline, None if it goes on."""
        at = 0
        while at < len(block):
            at, has_ended = self._step(block, at)
            if has_ended:
                self._keep(block[: at - 1])
                return at
        self._keep(block)
        return None

    def batch(self, line: int, offset: int) -> Batch:
        length = self.length
        heights = None if self.height == 1 else [self.height]
        return Batch(line, offset, [self._carry.kept()], length, heights)

    def _keep(self, part: bytes) -> None:
        self._carry.add(part)
        self.height += part.count(NEWLINE)

    def _at_cell(self, block: bytes, at: int) -> tuple[int, bool]:
        if block[at : at + 1] == QUOTE:
            self._step = self._in_quotes
            return at + 1, False
        self._step = self._in_cell
        return at, False

    def _in_cell(self, block: bytes, at: int) -> tuple[int, bool]:
        match = self._ends_cell.search(block, at)
        if match is None:
            return len(block), False
        self._step = self._at_cell
        return match.end(), match[0] == NEWLINE

    def _in_quotes(self, block: bytes, at: int) -> tuple[int, bool]:
        paired = _PAIRED.match(block, at)
        end = at if paired is None else paired.end()
        if end < len(block):
            self._step = self._behind_quote
        return end + 1, False

    def _behind_quote(self, block: bytes, at: int) -> tuple[int, bool]:
        is_doubled = block[at : at + 1] == QUOTE
        self._step = self._in_quotes if is_doubled else self._in_cell
        return at + is_doubled, False


class Census:
    """base.Census that leaps from quoted cell to quoted cell and counts the lines in between."""

    def __init__(self, delimiter: bytes) -> None:
        self._lines = LineCensus()
        self._begins_cell = (NEWLINE, delimiter)
        self._before = NEWLINE  # the byte before the next one: a cell may begin behind it
        self._is_quoted = False
        self._pending = b""  # a quote at a block's end: doubled, or the cell's last
        self._has_tabs = delimiter == b"\t"

    @property
    def records(self) -> int:
        """Without the header."""
        return max(0, self._lines.records - 1)

    def feed(self, block: bytes) -> None:
        seen = self._before + self._pending + block
        self._pending = b""
        outside = b"".join(self._outside(seen))
        # A line of nothing but delimiters is a record, also where those are tabs.
        self._lines.feed(outside.replace(b"\t", b".") if self._has_tabs else outside)
        self._before = seen[-1:]

    def _outside(self, seen: bytes) -> Iterator[bytes]:
        """What stands outside of quotes behind the first byte, with a quote a quoted cell."""
        at = 1
        while at < len(seen):
            if self._is_quoted:
                at = self._after_quoted(seen, at)
                continue
            end = self._opening(seen, at)
            yield seen[at:end]
            at = end

    def _opening(self, seen: bytes, at: int) -> int:
        """The place behind the next quote that begins a cell."""
        while (at := 1 + seen.find(QUOTE, at)) > 0:
            if seen[at - 2 : at - 1] in self._begins_cell:
                self._is_quoted = True
                return at
        return len(seen)

    def _after_quoted(self, seen: bytes, at: int) -> int:
        paired = _PAIRED.match(seen, at)
        assert paired is not None  # it matches nothing, too
        at = paired.end()
        if at + 1 == len(seen):
            self._pending = QUOTE
            return len(seen)
        self._is_quoted = at == len(seen)
        return at + 1
