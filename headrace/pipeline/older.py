"""Which rows an older file may still bring, told by digests of its segment keys.

A row that is found equal is not written. But as long as an older file is at work that holds a row
of the same key, the stored row must take the newer sequence, or the older value would win when it
comes. So a plan keeps 64 bits of each segment key until its segment has landed. A key that only
seems to be among them is written in vain. Where rows of one key may have another segment key in
another file, nothing is kept, and nothing is known.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from headrace.pipeline.ready import Index
from headrace.pipeline.ties import GROUPED
from headrace.schema import Entity

Keys = npt.NDArray[np.bytes_]  #: segment keys, as an index has them
Mask = npt.NDArray[np.bool_]
Digests = npt.NDArray[np.uint64]
Older = Callable[[Keys], Mask]  #: of which keys an older file may still bring a row
MOST_BYTES = 8 << 20  # of digests that are compared with a segment's
MOST_KEPT = 2 << 20  # and that are kept of one
# Written out: they must be the same in every process, whatever makes its random numbers.
_WEIGHTS = np.array(
    [
        0x6FA4623718539011,
        0x1AD68F02CD6DFE9F,
        0x16F46BD131D43DF1,
        0x64D6A6577E466AC9,
        0x709F6D7D118FA9DD,
        0x4A06FAF96A5CECDB,
        0x6C6A4A4946EDF157,
        0x035329E831810415,
        0x72A6A08471A1FDD1,
    ],
    np.uint64,
)


def nothing(keys: Keys) -> Mask:
    """No older file is at work."""
    return np.zeros(len(keys), bool)


def anything(keys: Keys) -> Mask:
    """Older files are at work of which nothing is known."""
    return np.ones(len(keys), bool)


def among(packed: Sequence[bytes]) -> Older:
    """Older segments are at work with the keys that `pack` has packed."""
    if sum(map(len, packed)) > MOST_BYTES:
        return anything
    known = np.frombuffer(b"".join(packed), "<u8")

    def may_come(keys: Keys) -> Mask:
        return _is_among(_digests(keys), known) | (_is_grouped(keys) & bool(len(known)))

    return may_come


def pack(index: Index, entity: Entity) -> bytes | None:
    """The digests of a segment's keys; None where they could not tell what it may bring."""
    keys = index["key"]
    if entity.segment_field != entity.key or _is_grouped(keys).any():
        return None
    packed = np.unique(_digests(keys)).astype("<u8").tobytes()
    return packed if len(packed) <= MOST_KEPT else None


def _is_among(ours: Digests, known: Digests) -> Mask:
    """Ours are few, the known may be many: these are looked up in those."""
    if not len(ours):
        return np.zeros(0, bool)
    in_order = np.sort(ours)
    places = np.minimum(np.searchsorted(in_order, known), len(ours) - 1)
    return np.isin(ours, known[in_order[places] == known])


def _is_grouped(keys: Keys) -> Mask:
    """Rows that are tied have a key of their group instead of their own."""
    signs = np.ascontiguousarray(keys).view("S1").reshape(len(keys), keys.dtype.itemsize)
    first: Keys = signs[:, 0]
    return np.asarray(first == GROUPED, bool)


def _digests(keys: Keys) -> Digests:
    """Weighted sums of each key's words."""
    words = np.ascontiguousarray(keys).view("<u4").reshape(len(keys), len(_WEIGHTS))
    return words.astype(np.uint64) @ _WEIGHTS
