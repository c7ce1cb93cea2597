"""Bytes compressed on their way out. What is packed in parts can be put together again: members
of gzip and frames of zstd that follow each other are one file.

Constant rows are packed to a thousandth and less, which pipeline/formats/compression.py takes for
a bomb. What we write it must read: a member that is too small is followed by padding, which every
program passes over: an empty member of gzip with a long header, a skippable frame of zstd.
"""

import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple, Protocol

from headrace.pipeline.formats.compression import BLOCK, MAX_RATIO

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_LEVEL = 5  # a tenth larger than the best, in a third of its time
ZSTD_LEVEL = 3
RATIO = MAX_RATIO // 2  #: the most plain bytes for a packed one, over each member with its padding
# Plain bytes that a member may have beyond that before it ends: a packer gives nothing out for
# long, and then much. A hundredth of it is also what padding has to make up for at most.
_SLACK = 4 * BLOCK


class _Packer(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


def packed(blocks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """The blocks as they are ("none"), or as members or frames of "gzip" or "zstd".

    There is always a member, also of nothing. Raises KeyError for any other compression.
    """
    if compression == "none":
        yield from blocks
        return
    kind, pieces = _KINDS[compression], _pieces(blocks)
    yield from _member(kind, pieces)
    for first in pieces:
        yield from _member(kind, chain([first], pieces))


class _Kind(NamedTuple):
    begin: Callable[[], _Packer]
    padding: Callable[[int], bytes]  # so many bytes or a few more, that unpack to nothing


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        yield from (block[at : at + BLOCK] for at in range(0, len(block), BLOCK))


def _member(kind: _Kind, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """All pieces, or as many as are packed too well; and what makes up for that."""
    packer, plain, given = kind.begin(), 0, 0
    for piece in pieces:
        plain += len(piece)
        if data := packer.compress(piece):
            given += len(data)
            yield data
        if plain > RATIO * given + _SLACK:
            break
    yield (last := packer.flush())
    missing = plain // RATIO - given - len(last)
    if missing > 0:
        yield kind.padding(missing)


def _gzip() -> _Packer:
    return zlib.compressobj(GZIP_LEVEL, wbits=16 + zlib.MAX_WBITS)


def _empty_member(size: int) -> bytes:
    """One of gzip whose header has a field of so many bytes, less than 64 KiB (RFC 1952, 2.3)."""
    field = b"HR" + size.to_bytes(2, "little") + bytes(size)
    length = len(field).to_bytes(2, "little")
    return b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + length + field + b"\x03\0" + bytes(8)


def _skippable_frame(size: int) -> bytes:
    """One of zstd (RFC 8878, 3.1.2)."""
    return b"\x50\x2a\x4d\x18" + size.to_bytes(4, "little") + bytes(size)


_KINDS = {
    "gzip": _Kind(_gzip, _empty_member),
    "zstd": _Kind(lambda: zstd.ZstdCompressor(level=ZSTD_LEVEL), _skippable_frame),
}
