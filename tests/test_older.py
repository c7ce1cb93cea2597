"""What is kept of the keys of a segment, and what is said by it of others."""

from uuid import uuid4

import numpy as np

from headrace.pipeline import older
from headrace.pipeline.ready import INDEX


def index_of(*keys: str) -> np.ndarray:
    index = np.zeros(len(keys), INDEX)
    index["key"] = [key.encode() for key in keys]
    return index


def test_what_was_packed_is_known_and_nothing_else():
    keys = [str(uuid4()) for _ in range(5_000)]
    first, second = older.pack(index_of(*keys[:1_000])), older.pack(index_of(*keys[1_000:2_000]))
    found = older.among([first, second])(index_of(*keys)["key"])
    assert found.tolist() == [True] * 2_000 + [False] * 3_000


def test_keys_that_differ_in_one_digit_are_told_apart():
    key = "00000000-0000-4000-8000-000000000000"
    others = [key[:at] + "1" + key[at + 1 :] for at in range(36) if key[at] not in "-4"]
    found = older.among([older.pack(index_of(key))])(index_of(*others, key)["key"])
    assert found.tolist() == [False] * len(others) + [True]


def test_no_older_files_bring_nothing_and_unknown_ones_anything():
    keys = index_of(str(uuid4()), "#0123456789abcdef")["key"]
    assert older.nothing(keys).tolist() == older.among([])(keys).tolist() == [False, False]
    assert older.anything(keys).tolist() == [True, True]


def test_of_tied_rows_whose_own_key_is_not_told_anything_may_come():
    group, key = "#0123456789abcdef", str(uuid4())
    assert older.pack(index_of(key, group)) is None
    assert older.among([older.pack(index_of(key))])(index_of(group)["key"]).tolist() == [True]


def test_the_digests_of_more_keys_than_are_kept_are_not(monkeypatch):
    monkeypatch.setattr(older, "MOST_KEYS", 2)
    assert older.pack(index_of("a", "b")) is not None
    assert older.pack(index_of("a", "b", "c")) is None
