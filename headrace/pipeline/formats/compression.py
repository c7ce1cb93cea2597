"""Compressed bytes in, plain blocks out, and no block beyond what is allowed.

Operator's note: a member that ends early, fails its CRC or is followed by anything that is
not another member makes the whole file corrupt. Nothing of such a file is applied.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from headrace.pipeline.errors import FailureCode, Permanent

BLOCK = 1 << 20
SLICE = 1 << 14
MAX_RATIO = 200
GZIP_MAGIC = b"\x1f\x8b"


class Source(Protocol):
    """Where bytes come from: the two methods of a binary file that are needed."""

    def read(self, size: int = -1, /) -> bytes: ...

    def tell(self) -> int: ...


def blocks(source: Source, compression: str, limit: int) -> Iterator[bytes]:
    """The plain bytes of `source` in blocks of at most 1 MiB.

    `compression` is "" or "gzip"; `limit` is the most plain bytes to give out. Raises
    Permanent CORRUPT for damaged input and BOMB beyond min(limit, 200 times the input),
    where inputs under 1 MiB may still unpack to 200 MiB.
    """
    plain = _READERS[compression](source)
    return _within(plain, source, limit) if compression else plain


def _plain(source: Source) -> Iterator[bytes]:
    while block := source.read(BLOCK):
        yield block


def _gzip(source: Source) -> Iterator[bytes]:
    return _gathered(_members(source))


def _gathered(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Blocks of 1 MiB and a last one: tiny members do not make tiny blocks."""
    gathered = bytearray()
    try:
        for plain in parts:
            gathered += plain
            if len(gathered) >= BLOCK:
                yield bytes(gathered[:BLOCK])
                del gathered[:BLOCK]
    except Permanent:
        if gathered:
            yield bytes(gathered)  # its lines are counted
        raise
    if gathered:
        yield bytes(gathered)


def _members(source: Source) -> Iterator[bytes]:
    member = None
    for data in _slices(source):
        pending = data
        while pending:
            if member is None:
                member = zlib.decompressobj(wbits=31)
            plain = _unpack(member, pending)
            pending = member.unconsumed_tail or member.unused_data
            if plain:
                yield plain
            if member.eof:
                member = None
    if member is not None:
        raise Permanent(FailureCode.CORRUPT, "the gzip data ends in the middle of a member")


def _slices(source: Source) -> Iterator[bytes]:
    # Each member's end copies what follows it: of a mebibyte 45,000 times, where members are tiny.
    while block := source.read(BLOCK):
        yield from (block[at : at + SLICE] for at in range(0, len(block), SLICE))


def _unpack(member: "zlib._Decompress", data: bytes) -> bytes:
    try:
        return member.decompress(data, BLOCK)
    except zlib.error as error:
        raise Permanent(
            FailureCode.CORRUPT, "the gzip data is damaged or followed by something else"
        ) from error


_READERS: dict[str, Callable[[Source], Iterator[bytes]]] = {"": _plain, "gzip": _gzip}


def _within(plain: Iterator[bytes], source: Source, limit: int) -> Iterator[bytes]:
    given = 0
    for block in plain:
        given += len(block)
        if given > min(limit, MAX_RATIO * max(source.tell(), BLOCK)):
            raise Permanent(FailureCode.BOMB, f"unpacking was stopped after {given:,} bytes")
        yield block
