"""Compressed bytes in, plain blocks out, and no block beyond what is allowed.

Operator's note: a member that ends early, fails its CRC or is followed by anything that is
not another member makes the whole file corrupt. Nothing of such a file is applied.
"""

import re
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from headrace.pipeline.errors import FailureCode, Permanent

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK = 1 << 20
SLICE = 1 << 14
MAX_RATIO = 200
#: The compressions that are read, with the ending of a file's name.
ENDINGS = {"gzip": ".gz", "zstd": ".zst"}
# A zstd file may begin with a frame to be skipped, as pzstd's do.
_BEGINNINGS = {
    "gzip": re.compile(rb"\x1f\x8b"),
    "zstd": re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18"),
}


class Source(Protocol):
    """Where bytes come from: the two methods of a binary file that are needed."""

    def read(self, size: int = -1, /) -> bytes: ...

    def tell(self) -> int: ...


def compression_of(beginning: bytes) -> str:
    """What a file that begins with these bytes, four or more, is compressed with; "" if nothing."""
    return next((kind for kind, first in _BEGINNINGS.items() if first.match(beginning)), "")


def blocks(source: Source, compression: str, limit: int) -> Iterator[bytes]:
    """The plain bytes of `source` in blocks of at most 1 MiB.

    `compression` is "", "gzip" or "zstd"; `limit` is the most plain bytes to give out. Raises
    Permanent CORRUPT for damaged input and BOMB beyond min(limit, 200 times the input),
    where inputs under 1 MiB may still unpack to 200 MiB.
    """
    plain = _READERS[compression](source)
    return _within(plain, source, limit) if compression else plain


def _plain(source: Source) -> Iterator[bytes]:
    while block := source.read(BLOCK):
        yield block


def _gzip(source: Source) -> Iterator[bytes]:
    return _gathered(_parts(source, "gzip", _GzipMember))


def _zstd(source: Source) -> Iterator[bytes]:
    return _gathered(_parts(source, "zstd", _ZstdFrame))


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


class _Member(Protocol):
    """A member of a compressed file, a frame in zstd's words."""

    @property
    def has_ended(self) -> bool: ...

    @property
    def rest(self) -> bytes:
        """What follows the member's end in the data that it was given last."""

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """The plain bytes of the next data, at most a block at once."""


def _parts(source: Source, kind: str, begin: Callable[[], _Member]) -> Iterator[bytes]:
    member = None
    for data in _slices(source):
        pending = data
        while pending:
            member = member or begin()
            yield from _sound(member.unpack(pending), kind)
            pending = b""
            if member.has_ended:
                pending, member = member.rest, None
    if member is not None:
        raise Permanent(FailureCode.CORRUPT, f"the {kind} data ends in the middle of a member")


def _sound(parts: Iterator[bytes], kind: str) -> Iterator[bytes]:
    try:
        yield from parts
    except (zlib.error, zstd.ZstdError) as error:
        found = next((told for sign, told in _TOLD.items() if sign in str(error)), _DAMAGED)
        raise Permanent(FailureCode.CORRUPT, f"the {kind} data {found}") from error


_DAMAGED = "is damaged or followed by something else"
# By words of the library's messages: what is not known by them is told as damaged.
_TOLD = {
    "ictionary": "was compressed with a dictionary: compress it without",
    "too much memory": "needs a window of more than 128 MiB: compress it with --long=27 or less",
}


class _GzipMember:
    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    @property
    def has_ended(self) -> bool:
        return self._member.eof

    @property
    def rest(self) -> bytes:
        return self._member.unused_data

    def unpack(self, data: bytes) -> Iterator[bytes]:
        while data and not self._member.eof:
            yield self._member.decompress(data, BLOCK)
            data = self._member.unconsumed_tail


class _ZstdFrame:
    """Its window takes at most 128 MiB, which the library refuses to exceed."""

    def __init__(self) -> None:
        self._frame = zstd.ZstdDecompressor()

    @property
    def has_ended(self) -> bool:
        return self._frame.eof

    @property
    def rest(self) -> bytes:
        return self._frame.unused_data

    def unpack(self, data: bytes) -> Iterator[bytes]:
        yield self._frame.decompress(data, BLOCK)
        while not (self._frame.eof or self._frame.needs_input):
            yield self._frame.decompress(b"", BLOCK)


def _slices(source: Source) -> Iterator[bytes]:
    # Each member's end copies what follows it: of a mebibyte 45,000 times, where members are tiny.
    while block := source.read(BLOCK):
        yield from (block[at : at + SLICE] for at in range(0, len(block), SLICE))


_READERS: dict[str, Callable[[Source], Iterator[bytes]]] = {
    "": _plain,
    "gzip": _gzip,
    "zstd": _zstd,
}


def _within(plain: Iterator[bytes], source: Source, limit: int) -> Iterator[bytes]:
    given = 0
    for block in plain:
        given += len(block)
        if given > min(limit, MAX_RATIO * max(source.tell(), BLOCK)):
            raise Permanent(FailureCode.BOMB, f"unpacking was stopped after {given:,} bytes")
        yield block
