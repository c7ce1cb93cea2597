"""Sets of customer numbers as bytes, so that those of many days can be united in a moment.

The distances between ascending numbers in two bytes each, the numbers themselves in four where one
of these is too large, or a bit for each number up to the largest: what is shortest.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

LIST, DISTANCES, BITS = b"l", b"d", b"b"
FARTHEST = 0xFFFF
Numbers = np.ndarray[Any, np.dtype[np.uint32]]


def packed(numbers: Numbers) -> bytes:
    """The bytes of a set of numbers; they may repeat."""
    if not len(numbers):
        return LIST
    is_in = _marked(numbers)
    bits = BITS + np.packbits(is_in).tobytes()
    listed = _listed(np.flatnonzero(is_in))
    return min(listed, bits, key=len)


def _listed(ascending: np.ndarray[Any, Any]) -> bytes:
    distances = np.diff(ascending, prepend=0)
    if distances.max() > FARTHEST:
        return LIST + ascending.astype("<u4").tobytes()
    return DISTANCES + distances.astype("<u2").tobytes()


def unpacked(one: bytes) -> Numbers:
    """The numbers of a set."""
    kind, content = one[:1], np.frombuffer(one, np.uint8, offset=1)
    if kind == LIST:
        return content.view("<u4")
    if kind == DISTANCES:
        return np.cumsum(content.view("<u2"), dtype=np.uint32)
    return np.flatnonzero(np.unpackbits(content)).astype(np.uint32)


def size_of_union(sets: Iterable[Numbers]) -> int:
    """How many different numbers are in the sets."""
    together = np.concatenate([np.empty(0, np.uint32), *sets])
    return int(np.count_nonzero(_marked(together))) if len(together) else 0


def _marked(numbers: Numbers) -> np.ndarray[Any, np.dtype[np.bool_]]:
    is_in = np.zeros(int(numbers.max()) + 1, np.bool_)
    is_in[numbers] = True
    return is_in
