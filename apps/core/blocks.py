"""Lines of a download, joined to what is sent at once."""

import time
from collections.abc import Generator, Iterable, Iterator

BLOCK = 1 << 16  # bytes
PATIENCE = 0.02  # seconds


def joined(lines: Iterable[bytes]) -> Iterator[bytes]:
    """A system call a block, and not one a line. But the first line goes at once, and what comes
    slowly does not wait long for more.
    """
    held: list[bytes] = []
    size, due = 0, 0.0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= BLOCK or time.monotonic() >= due:
            yield b"".join(held)
            held, size, due = [], 0, time.monotonic() + PATIENCE
    yield b"".join(held)


class Begun:
    """Blocks of which the first is there already: what keeps them from coming is raised, and can
    be answered, before anything is sent.
    """

    def __init__(self, blocks: Generator[bytes, None, None]) -> None:
        self._blocks = blocks
        self._first = next(blocks, b"")

    def __iter__(self) -> Iterator[bytes]:
        yield self._first
        yield from self._blocks

    def close(self) -> None:
        self._blocks.close()
