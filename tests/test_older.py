"""What is kept of the keys of a segment, and what is said by it of others."""

from uuid import uuid4

import numpy as np

from headrace.entities import BY_NAME
from headrace.pipeline import older
from headrace.pipeline.ready import INDEX


def index_of(*keys: str) -> np.ndarray:
    index = np.zeros(len(keys), INDEX)
    index["key"] = [key.encode() for key in keys]
    return index


def pack(index: np.ndarray) -> bytes | None:
    return older.pack(index, BY_NAME["orders"])


def test_what_was_packed_is_known_and_nothing_else():
    keys = [str(uuid4()) for _ in range(5_000)]
    first, second = pack(index_of(*keys[:1_000])), pack(index_of(*keys[1_000:2_000]))
    found = older.among([first, second])(index_of(*keys)["key"])
    assert found.tolist() == [True] * 2_000 + [False] * 3_000


def test_keys_that_differ_in_one_digit_are_told_apart():
    key = "00000000-0000-4000-8000-000000000000"
    others = [key[:at] + "1" + key[at + 1 :] for at in range(36) if key[at] not in "-4"]
    found = older.among([pack(index_of(key))])(index_of(*others, key)["key"])
    assert found.tolist() == [False] * len(others) + [True]


def test_no_older_files_bring_nothing_and_unknown_ones_anything():
    keys = index_of(str(uuid4()), "#0123456789abcdef")["key"]
    assert older.nothing(keys).tolist() == older.among([])(keys).tolist() == [False, False]
    assert older.among([b""])(keys[:0]).tolist() == []
    assert older.anything(keys).tolist() == [True, True]


def test_of_tied_rows_whose_own_key_is_not_told_anything_may_come():
    group, key = "#0123456789abcdef", str(uuid4())
    assert pack(index_of(key, group)) is None
    assert older.among([pack(index_of(key))])(index_of(group)["key"]).tolist() == [True]


def test_more_digests_than_are_compared_say_that_anything_may_come(monkeypatch):
    monkeypatch.setattr(older, "MOST_BYTES", 16)
    monkeypatch.setattr(older, "MOST_KEPT", 16)
    one, two = pack(index_of("a", "b")), pack(index_of("c"))
    assert one is not None
    assert pack(index_of("a", "b", "c")) is None
    assert older.among([one])(index_of("a", "x")["key"]).tolist() == [True, False]
    assert older.among([one, two])(index_of("x")["key"]).tolist() == [True]


def test_an_empty_segment_has_no_digests():
    assert pack(index_of()) == b""


def test_rows_that_may_come_under_another_segment_key_are_not_told_by_it():
    """An interval of one product may become one of another's."""
    assert older.pack(index_of(str(uuid4())), BY_NAME["price_history"]) is None
