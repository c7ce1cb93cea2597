"""What every format gives: numbered records, cut from plain bytes, and an independent count."""

from collections.abc import Iterable, Iterator
from itertools import accumulate, chain
from typing import NamedTuple, Protocol

BOM = b"\xef\xbb\xbf"
MAX_LINE = 1 << 20
BATCH_LINES = 50_000
BLANKS = b" \t\r"


class Batch(NamedTuple):
    """Consecutive records without what separates them, blank ones included.

    `first_line` numbers the first one from 1, `offset` is its place in the plain bytes. A
    first record longer than MAX_LINE is cut to little more; `first_length` is its true length,
    and what is kept is blank only if all of it is. No other record of a batch is longer than
    two blocks. `heights` has the physical lines of each record, if any has more than one;
    `strides` the bytes from each record's start to the next one's, if that is not always its
    length and a newline. The record of a header describes the others and is none itself. A
    record that is too long is open if the file ended within its quotes.
    """

    first_line: int
    offset: int
    lines: list[bytes]
    first_length: int
    heights: list[int] | None = None
    strides: list[int] | None = None
    is_header: bool = False
    is_open: bool = False

    @property
    def height(self) -> int:
        """How many physical lines the batch has."""
        return len(self.lines) if self.heights is None else sum(self.heights)

    def numbers(self) -> Iterable[int]:
        """The line on which each record begins."""
        if self.heights is None:
            return range(self.first_line, self.first_line + len(self.lines))
        return accumulate(self.heights[:-1], initial=self.first_line)

    def offsets(self) -> Iterable[int]:
        """The byte at which each record begins."""
        return accumulate(self._strides()[:-1], initial=self.offset)

    def in_parts(self) -> Iterator["Batch"]:
        """The same records, at most BATCH_LINES at once.

        What is made of a line takes hundreds of bytes; a block has room for a million lines.
        """
        if len(self.lines) <= BATCH_LINES:
            yield self
            return
        numbers, offsets = list(self.numbers()), list(self.offsets())
        for start in range(0, len(self.lines), BATCH_LINES):
            part = slice(start, start + BATCH_LINES)
            lines = self.lines[part]
            yield self._replace(
                first_line=numbers[start],
                offset=offsets[start],
                lines=lines,
                first_length=len(lines[0]) if start else self.first_length,
                heights=self.heights and self.heights[part],
                strides=self.strides and self.strides[part],
            )

    def _strides(self) -> list[int]:
        if self.strides is not None:
            return self.strides
        strides = [len(line) + 1 for line in self.lines]
        strides[0] = self.first_length + 1
        return strides


class Census(Protocol):
    """Counts records by another algorithm than the one that cuts them, sharing no code with it.

    It is fed the same bytes: the sum rule compares the outcomes with this count.
    """

    @property
    def records(self) -> int: ...

    def feed(self, block: bytes) -> None:
        """Count the records that begin in `block`, the next part of the plain bytes."""


class Format(Protocol):
    """A format, for one reading of one file."""

    @property
    def blanks(self) -> bytes:
        """The bytes of which a line consists that is no record."""

    def census(self) -> Census: ...

    def batches(self, blocks: Iterable[bytes], offset: int = 0) -> Iterator[Batch]:
        """The records of `blocks`, whose first byte stands at `offset`.

        Memory stays at a few blocks whatever the length of a record. Raises Permanent where
        the file as a whole cannot be read.
        """


def without_bom(blocks: Iterable[bytes]) -> tuple[int, Iterator[bytes]]:
    """The length of the byte-order mark at the start (0 or 3), and the blocks without it."""
    stream = iter(blocks)
    start = b""
    while len(start) < len(BOM) and (block := next(stream, b"")):
        start += block
    plain = start.removeprefix(BOM)
    return len(start) - len(plain), chain([plain] if plain else [], stream)


class Carry:
    """The beginning of a record whose end is not here yet, kept to MAX_LINE + 1 bytes.

    A byte behind them is kept if it is the first of the record that is not blank.
    """

    def __init__(self, blanks: bytes = BLANKS) -> None:
        self._blanks = blanks
        self._parts: list[bytes] = []
        self._is_blank = True
        self.length = 0

    def add(self, part: bytes) -> None:
        room = max(0, MAX_LINE + 1 - self.length)
        kept = part[:room]
        if self._is_blank and (found := part.strip(self._blanks)):
            self._is_blank = False
            kept = kept if kept.strip(self._blanks) else kept + found[:1]
        if kept:
            self._parts.append(kept)
        self.length += len(part)

    def kept(self) -> bytes:
        return b"".join(self._parts)

    def take(self) -> bytes:
        """The kept bytes; the next record begins."""
        kept = self.kept()
        self._parts.clear()
        self._is_blank = True
        self.length = 0
        return kept
