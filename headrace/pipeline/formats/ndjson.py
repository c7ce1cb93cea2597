"""A JSON object a line. Blank lines are no records."""

import re
from collections.abc import Iterable, Iterator

from headrace.pipeline.formats.base import BLANKS, Batch, Carry


class NdJson:
    """base.Format of newline-delimited JSON."""

    blanks = BLANKS

    def census(self) -> "Census":
        return Census()

    def batches(self, blocks: Iterable[bytes], offset: int = 0) -> Iterator[Batch]:
        for batch in _by_block(blocks, offset):
            yield from batch.in_parts()


def _by_block(blocks: Iterable[bytes], offset: int) -> Iterator[Batch]:
    line, carry = 1, Carry()
    for block in blocks:
        head, newline, rest = block.partition(b"\n")
        carry.add(head)
        if not newline:
            continue
        length, first = carry.length, carry.take()
        lines = [first, *rest.split(b"\n")]
        tail = lines.pop()
        yield Batch(line, offset, lines, length)
        line += len(lines)
        offset += length + 1 + len(rest) - len(tail)
        carry.add(tail)
    if carry.length:
        length = carry.length
        yield Batch(line, offset, [carry.take()], length)


class Census:
    """base.Census by newlines and blank stretches, never looking at single lines."""

    # A newline and the first byte after it that is neither blank nor newline. It begins with a
    # literal, for which `re` leaps from newline to newline: 0.3 µs a line instead of 4.
    _STARTS = re.compile(rb"\n[ \t\r]*[^ \t\r\n]")

    def __init__(self) -> None:
        self.records = 0
        self._in_record = False

    def feed(self, block: bytes) -> None:
        """Count the records that begin in `block`, the next part of the plain bytes."""
        if self._in_record and b"\n" not in block:
            return
        unseen = block[block.find(b"\n") :] if self._in_record else b"\n" + block
        self.records += len(self._STARTS.findall(unseen))
        last_line = unseen[unseen.rfind(b"\n") + 1 :]
        self._in_record = bool(last_line.strip(BLANKS))
