"""Every object store keeps the same promises; that in local folders leaves no folders behind."""

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from headrace.recognitions import assembly, settings
from headrace.storage import local
from headrace.storage.base import ObjectMissing, StoreRefused, StoreUnavailable
from headrace.storage.local import LocalStore
from tests import recognition_sets, stores, supabase_storage

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


@pytest.mark.parametrize("key", ["../out", "a/../../out", "/out", "a//b", "a/./b", "", "a/.."])
def test_a_key_never_leads_out_of_its_store(tmp_path, key):
    store = LocalStore(tmp_path / "store")
    with pytest.raises(ValueError, match="inside the store"):
        store.put(key, [b"escaped"])
    with pytest.raises(ValueError, match="inside the store"):
        store.open(key)
    assert not list(tmp_path.rglob("*"))


def test_an_object_that_fails_to_come_leaves_no_part(tmp_path):
    def broken():
        yield b"half"
        raise OSError("the sender went away")

    with pytest.raises(OSError, match="went away"):
        LocalStore(tmp_path).put(KEY, broken())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_a_writer_that_died_has_left_goes_and_one_at_work_is_not_hurt(tmp_path):
    store = LocalStore(tmp_path)
    dead = tmp_path / f"{KEY}.{uuid4().hex}.part"
    another = tmp_path / f"{KEY}.more.{uuid4().hex}.part"
    dead.parent.mkdir(parents=True)
    for path in (dead, another):
        path.write_bytes(b"half")

    def interrupted():
        yield b"one, "
        store.delete_left(KEY)
        assert not dead.exists()
        yield b"two"

    store.put(KEY, interrupted())
    assert store.open(KEY).read() == b"one, two"
    assert sorted(store.sizes("exports")) == [(KEY, 8), (str(another.relative_to(tmp_path)), 4)]
    store.delete_left("exports/none/at/all")


def test_where_files_cannot_be_locked_nothing_is_taken_for_left(tmp_path, monkeypatch):
    def refuse(file, *, waits):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(local, "_lock", refuse)
    store, part = LocalStore(tmp_path), f"{KEY}.{uuid4().hex}.part"
    store.put(KEY, [b"whole"])
    (tmp_path / part).write_bytes(b"half")
    store.delete_left(KEY)
    assert sorted(store.sizes("exports")) == [(KEY, 5), (part, 4)]


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
            store.delete_left("exports/tenant/export/1/shared")
            store.put("exports/tenant/export/1/shared", [b"whole"])
        return lost

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(come_and_go, range(6))) == 0
    store.delete("exports/tenant/export/1/shared")
    assert folders(tmp_path) == ["exports"]


@pytest.fixture(scope="module")
def s3_server():
    with stores.s3() as environment:
        yield environment


@pytest.fixture(params=["local", "s3", *supabase_storage.KINDS])
def store(request, tmp_path):
    """A store of each kind, as the settings choose it."""
    if request.param in supabase_storage.KINDS:
        with supabase_storage.environment_of(request.param) as environment:
            yield opened(tmp_path, environment)
    else:
        more = request.getfixturevalue("s3_server") if request.param == "s3" else {}
        yield opened(tmp_path, {"HEADRACE_HOME": str(tmp_path), **more})


def opened(working: Path, environment: dict[str, str]):
    environment = {"DATABASE_URL": "sqlite:///nothing", **environment}
    return assembly.store_of(settings.read(environment, working, production=False).place)


def test_an_object_is_there_as_it_was_put_until_it_goes(store, tmp_path):
    key = f"photos/{tmp_path.name}/ab/one"
    assert store.size(key) is None
    with pytest.raises(ObjectMissing):
        store.open(key)
    assert store.put(key, [b"first ", b"half"]) == 10
    assert (store.size(key), store.open(key).read()) == (10, b"first half")
    assert store.put(key, iter([b"again"])) == 5
    assert (store.size(key), store.open(key).read()) == (5, b"again")
    store.delete(key)
    assert store.size(key) is None
    store.delete(key)  # one that is not there is fine


def test_objects_are_listed_by_folder_with_their_sizes_and_ages(store, tmp_path):
    folder = f"photos/{tmp_path.name}"
    keys = {f"{folder}/{number % 3}/{number}": b"x" * (number + 1) for number in range(12)}
    for key, data in keys.items():
        store.put(key, [data])
    store.put(f"photos/{tmp_path.name}-other/0/0", [b"another's"])
    assert dict(store.sizes(folder)) == {key: len(data) for key, data in keys.items()}
    assert set(store.aged(folder, -60)) == set(keys)
    assert set(store.aged(folder, 3600)) == set()
    for key in store.aged(folder, -60):
        store.delete(key)  # while more are asked for
    assert dict(store.sizes(folder)) == {}
    store.prune(folder)
    assert dict(store.sizes(f"{folder}-other")) == {f"{folder}-other/0/0": 9}


def test_whoever_has_a_signed_link_reads_the_photo_and_its_type(store, tmp_path):
    if isinstance(store, LocalStore):
        pytest.skip("a local folder has no links: the service makes them")
    key, photo = f"photos/{tmp_path.name}/signed", recognition_sets.jpeg("signed")
    store.put(key, [photo])
    answer = httpx2.get(store.signed_url(key, 60))
    assert (answer.status_code, answer.content) == (200, photo)
    assert answer.headers["content-type"] == "image/jpeg"


@pytest.fixture(params=supabase_storage.KINDS)
def supabase(request):
    """The environment of who uses Supabase Storage."""
    with supabase_storage.environment_of(request.param) as environment:
        yield environment


def test_a_bucket_or_a_right_that_is_missing_is_told(supabase, tmp_path):
    missing = {"HEADRACE_RECOGNITIONS_BUCKET": "there-is-no-such-bucket"}
    nowhere = opened(tmp_path, {**supabase, **missing})
    for request in (
        lambda: nowhere.put("a", [b"x"]),
        lambda: nowhere.open("a"),
        lambda: nowhere.size("a"),
        lambda: list(nowhere.sizes("a")),
        lambda: list(nowhere.aged("a", 0)),
    ):
        with pytest.raises(StoreRefused, match="Bucket not found"):
            request()
    stranger = opened(tmp_path, {**supabase, "SUPABASE_SERVICE_ROLE_KEY": "stale"})
    for request in (
        lambda: stranger.size("a"),
        lambda: stranger.put("a", [b"x"]),
        lambda: stranger.delete("a"),
        lambda: list(stranger.sizes("a")),
    ):
        with pytest.raises(StoreRefused):
            request()


@pytest.mark.parametrize(
    ("failure", "told"),
    [(status, StoreUnavailable) for status in (423, 429, 500, 503, 544)] + [(409, StoreRefused)],
)
def test_what_passes_is_told_from_what_does_not(tmp_path, failure, told):
    with supabase_storage.Double().serving() as double:
        store = opened(tmp_path, double.environment)
        double.failing, double.failure = 1, failure
        with pytest.raises(told):
            store.put("a", [b"x"])
        assert store.put("a", [b"x"]) == 1


def test_an_object_that_the_bucket_does_not_take_is_told(supabase, tmp_path):
    store = opened(tmp_path, supabase)
    with pytest.raises(StoreRefused, match="413"):
        store.put("a/large", [b"x" * (supabase_storage.MOST_BYTES + 1)])
    with pytest.raises(StoreRefused, match="Invalid key"):
        store.put("a/[brackets]", [b"x"])
    assert dict(store.sizes("a")) == {}


def test_a_folder_of_several_pages_is_listed_whole(supabase, tmp_path, monkeypatch):
    monkeypatch.setattr("headrace.storage.supabase._PAGE", 3)
    store = opened(tmp_path, supabase)
    keys = {f"a/{number % 2}/{number}" for number in range(13)}
    for key in keys:
        store.put(key, [b"x"])
    assert {key for key, _ in store.sizes("a")} == keys


def test_a_right_that_is_missing_on_s3_is_told(s3_server, tmp_path):
    store = opened(tmp_path, {**s3_server, "AWS_SECRET_ACCESS_KEY": "stale"})
    with pytest.raises(StoreRefused, match="may not"):
        store.put("a", [b"x"])


@pytest.mark.parametrize("kind", ["s3", "supabase"])
def test_a_server_that_is_not_there_may_come_back(tmp_path, kind):
    address = f"http://127.0.0.1:{stores.free_port()}"
    environment = {
        "HEADRACE_RECOGNITIONS_STORE": kind,
        "HEADRACE_RECOGNITIONS_ENDPOINT": address,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "NEXT_PUBLIC_SUPABASE_URL": address,
        "SUPABASE_SERVICE_ROLE_KEY": "c",
    }
    store = opened(tmp_path, environment)
    for request in (
        lambda: store.put("a", [b"x"]),
        lambda: store.size("a"),
        lambda: store.open("a"),
        lambda: store.delete("a"),
        lambda: list(store.sizes("a")),
    ):
        with pytest.raises(StoreUnavailable):
            request()
