"""The object store in local folders: objects are whole, and nothing is left of those that went."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.storage.base import ObjectMissing
from headrace.storage.local import LocalStore

KEY = "exports/tenant/export/1/00000"


def folders(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir())


def test_folders_go_with_their_last_object(tmp_path):
    store = LocalStore(tmp_path)
    store.put(KEY, [b"one"])
    store.put("exports/tenant/another/1/00000", [b"two"])
    store.delete(KEY)
    assert folders(tmp_path) == [
        *("exports", "exports/tenant", "exports/tenant/another", "exports/tenant/another/1")
    ]
    store.delete("exports/tenant/another/1/00000")
    assert folders(tmp_path) == ["exports"]
    store.delete(KEY)  # one that is not there is fine


def test_an_object_of_the_root_and_a_folder_that_holds_more_stay(tmp_path):
    store = LocalStore(tmp_path)
    store.put("owner", [b"us"])
    store.put("sources/tenant/one", [b"1"])
    store.put("sources/tenant/two", [b"2"])
    store.delete("sources/tenant/one")
    assert store.open("sources/tenant/two").read() == b"2"
    store.delete("owner")
    assert tmp_path.is_dir()
    with pytest.raises(ObjectMissing):
        store.open("owner")


def test_an_object_that_fails_to_come_leaves_no_part(tmp_path):
    def broken():
        yield b"half"
        raise OSError("the sender went away")

    with pytest.raises(OSError, match="went away"):
        LocalStore(tmp_path).put(KEY, broken())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_objects_are_stored_while_others_of_their_folder_go(tmp_path):
    """Folders are made and removed by several at once; no object is lost, and no folder left."""
    store = LocalStore(tmp_path)

    def come_and_go(number: int) -> int:
        lost = 0
        for turn in range(60):
            key = f"exports/tenant/export/1/{number}-{turn}"
            store.put(key, [b"whole"])
            lost += store.open(key).read() != b"whole"
            store.delete(key)
            list(store.aged("exports", 0))
        return lost

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(come_and_go, range(6))) == 0
    assert folders(tmp_path) == ["exports"]
