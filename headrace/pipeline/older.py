"""Which rows an older file may still bring, told by digests of its segment keys.

A row that is found equal is not written. But as long as an older file is at work that holds a row
of the same key, the stored row must take the newer sequence, or the older value would win when it
comes. So a plan keeps 64 bits of each segment key until its segment has landed. A key that only
seems to be among them is written in vain.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from headrace.pipeline.ready import Index
from headrace.pipeline.ties import GROUPED

Keys = npt.NDArray[np.bytes_]  #: segment keys, as an index has them
Mask = npt.NDArray[np.bool_]
Older = Callable[[Keys], Mask]  #: of which keys an older file may still bring a row
MOST_KEYS = 2_000_000  # of a segment, so that nobody keeps more than 16 MB
_WORDS = 9  # of four bytes, in a key
_WEIGHTS = np.random.default_rng(0x4EAD).integers(1, 1 << 63, _WORDS, np.uint64) | np.uint64(1)


def nothing(keys: Keys) -> Mask:
    """No older file is at work."""
    return np.zeros(len(keys), bool)


def anything(keys: Keys) -> Mask:
    """Older files are at work of which nothing is known."""
    return np.ones(len(keys), bool)


def among(packed: Sequence[bytes]) -> Older:
    """Older segments are at work with the keys that `pack` has packed."""
    if not packed:
        return nothing
    known = np.concatenate([np.frombuffer(one, "<u8") for one in packed])

    def may_come(keys: Keys) -> Mask:
        return np.isin(_digests(keys), known) | _is_grouped(keys)

    return may_come


def pack(index: Index) -> bytes | None:
    """The digests of a segment's keys; None where they could not tell what it may bring."""
    keys = index["key"]
    if len(keys) > MOST_KEYS or _is_grouped(keys).any():
        return None
    return _digests(keys).astype("<u8").tobytes()


def _is_grouped(keys: Keys) -> Mask:
    """Rows that are tied have a key of their group instead of their own."""
    first: Keys = np.ascontiguousarray(keys).view("S1").reshape(len(keys), -1)[:, 0]
    return np.asarray(first == GROUPED, bool)


def _digests(keys: Keys) -> npt.NDArray[np.uint64]:
    """Weighted sums of each key's words: the same in every process."""
    words = np.ascontiguousarray(keys).view("<u4").reshape(len(keys), _WORDS)
    return words.astype(np.uint64) @ _WEIGHTS
