"""What fails is undone, tried again where that helps, and never takes a photo that a row names."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from datetime import timedelta
from uuid import uuid4

import psycopg_pool
import pytest

from headrace import databases
from headrace.recognitions import assembly, layout, photos, postgresql, progress, settings
from headrace.recognitions.annotating import Annotating
from headrace.recognitions.database import Unavailable
from headrace.recognitions.sqlite import SQLite
from headrace.recognitions.sweeping import Sweeper
from headrace.recognitions.transaction import Swept, Transactions
from headrace.storage import local
from headrace.storage.base import StoreUnavailable
from headrace.storage.local import LocalStore
from tests import recognition_sets, recognitions, servers, stores, supabase_storage
from tests.recognition_sets import FIRST_ID, make
from tests.recognitions import DEFAULT_TENANT, SPELLINGS, World, outcomes
from tests.service import ROOT


@pytest.fixture
def dataset(tmp_path):
    return make(tmp_path / "dataset", 4)


@pytest.fixture(params=SPELLINGS)
def world(request, tmp_path):
    server = None if request.param == "sqlite" else request.getfixturevalue("postgresql_server")
    with recognitions.world(tmp_path, request.param, server) as made:
        yield made


@pytest.fixture
def embedded(tmp_path):
    with recognitions.world(tmp_path, "sqlite", None) as made:
        yield made


@pytest.fixture
def supabase(tmp_path, postgresql_server):
    """A project of Supabase, whose storage is the double."""
    with (
        supabase_storage.Double().serving() as double,
        recognitions.world(tmp_path, "supabase", postgresql_server, **double.environment) as made,
    ):
        yield made, double


def test_a_store_that_fails_twice_is_tried_a_third_time(supabase, dataset):
    made, double = supabase
    double.failing = 2
    told = made.load(dataset)
    assert outcomes(told) == {"loaded": 4}
    assert len(made.objects()) == 8


def test_a_store_that_fails_while_it_is_looked_through_is_tried_again(supabase, dataset):
    made, double = supabase
    made.load(dataset)
    made.store.put(f"recognitions/{DEFAULT_TENANT}/ab/orphan", [b"left"])
    double.patience, double.failing = 2, 2  # once it has said whose it is
    told = made.tell("sweep", HEADRACE_RECOGNITIONS_GRACE_SECONDS="0")
    assert (told["objects"], told["exit_code"]) == ({"settled": 0, "orphans": 1}, 0)


def test_a_database_that_drops_its_connections_once_gets_all(
    tmp_path, dataset, postgresql_server, monkeypatch
):
    """In the middle of a transaction, and of those that wait in the pool."""
    put, dropped = LocalStore.put, []

    def drop_first(store, key, blocks):
        if not dropped and not key.endswith("/owner"):
            dropped.extend(made.ask(DROPPED))
        return put(store, key, blocks)

    with recognitions.world(tmp_path, "supabase", postgresql_server) as made:
        monkeypatch.setattr(LocalStore, "put", drop_first)
        told = made.load(dataset, HEADRACE_RECOGNITIONS_THREADS="1")
        assert outcomes(told) == {"loaded": 4}
        assert (len(made.objects()), dropped[0]) == (8, (True,))
        assert "recognition_intents" not in made.counts()


DROPPED = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.mark.parametrize("command", ["load", "load-qwen"])
def test_what_a_database_that_goes_twice_has_lost_is_brought_again(
    embedded, dataset, monkeypatch, command
):
    kind, name = {"load": (Transactions, "_commit"), "load-qwen": (Annotating, "_bring")}[command]
    more = ("--source", dataset.path) if command == "load" else ("--file", dataset.annotations)
    work, left = getattr(kind, name), [Unavailable("away"), Unavailable("away")]

    def twice_away(*given):
        if left:
            raise left.pop()
        return work(*given)

    if command == "load-qwen":
        embedded.load(dataset)
    monkeypatch.setattr(kind, name, twice_away)
    told = embedded.tell(command, *more)
    assert (outcomes(told).keys(), left, told["exit_code"]) == ({"loaded"}, [], 0)
    assert (len(embedded.objects()), "recognition_intents" in embedded.counts()) == (8, False)


def test_a_store_that_goes_on_failing_ends_the_load_and_the_next_one_brings_all(supabase, dataset):
    made, double = supabase
    made.load(dataset, "--limit", 1)
    before = made.rows()
    double.patience, double.failing = 4, 10**6  # it fails in the middle of the group
    told = made.load(dataset)
    assert (outcomes(told), told["exit_code"]) == ({"skipped": 1, "unprocessed": 3}, 3)
    assert told["error"]["code"] == "storage_unavailable"
    double.failing = 0
    left = made.rows()
    assert len(left.pop("recognition_intents")) == 6  # nothing could be removed: they remember
    assert {**left, "recognition_intents": []} == before
    assert outcomes(made.load(dataset)) == {"skipped": 1, "loaded": 3}
    assert made.tell("sweep", HEADRACE_RECOGNITIONS_GRACE_SECONDS="0")["objects"]["orphans"] == 0
    assert (len(made.objects()), "recognition_intents" in made.counts()) == (8, False)


def test_a_database_that_goes_in_the_middle_leaves_an_account(embedded, dataset, monkeypatch):
    """Also what the load would settle at its end cannot be settled then."""
    left = iter(range(10))

    def transaction(database, tenant):
        if next(left, None) is None:
            raise Unavailable("away")
        return answering(database, tenant)

    answering = SQLite.transaction
    monkeypatch.setattr(SQLite, "transaction", transaction)
    monkeypatch.setattr(progress, "_LINE_EVERY", 0.0)
    one = {"HEADRACE_RECOGNITIONS_BATCH_SIZE": "1", "HEADRACE_RECOGNITIONS_ATTEMPTS": "1"}
    done = embedded.invoke("load", "--source", dataset.path, "--json", **one)
    told = json.loads(done.stdout)
    assert (told["found"], told["error"]["code"]) == (4, "database_unavailable")
    assert outcomes(told).keys() == {"loaded", "unprocessed"}
    assert done.exit_code == 3
    assert "goes on where this one stopped" in done.stderr
    assert [word for word in ("100%", "completed") if word in done.stderr] == []


def test_a_disk_that_is_full_is_told_with_its_place(embedded, dataset, monkeypatch):
    def written(file, blocks):
        raise OSError(errno.ENOSPC, "No space left on device")

    with parts_of(embedded) as parts:
        assembly.check(parts)
    monkeypatch.setattr(local, "_written", written)
    told = embedded.load(dataset)
    assert (outcomes(told), told["exit_code"]) == ({"unprocessed": 4}, 3)
    assert told["error"]["code"] == "storage_full"
    place = embedded.home / "objects"
    assert f"no room is left on the disk of {place}: make room" in told["error"]["message"]
    assert (embedded.counts(), embedded.objects()) == ({}, {})


def test_a_load_that_cannot_settle_at_its_end_says_so_and_what_it_has_done(
    embedded, dataset, monkeypatch
):
    def settle(sweeper):
        raise StoreUnavailable("away")

    monkeypatch.setattr(Sweeper, "tidy", lambda sweeper: None)
    monkeypatch.setattr(Sweeper, "settle", settle)
    told = embedded.load(dataset)
    assert (outcomes(told), told["exit_code"]) == ({"loaded": 4}, 3)
    assert told["error"]["code"] == "storage_unavailable"


def test_photos_of_a_transaction_that_fails_are_removed(world, dataset):
    """The database refuses two of the recognitions, and takes the others."""
    if world.shape == "sqlite":
        world.ask(
            "CREATE TRIGGER picky BEFORE INSERT ON recognition_checks"
            f" WHEN NEW.recognition_id % 2 = {FIRST_ID % 2}"
            " BEGIN SELECT RAISE(ABORT, 'not that one'); END"
        )
    else:
        check = f"CHECK (recognition_id %% 2 <> {FIRST_ID % 2})".replace("%%", "%")
        world.ask(f"ALTER TABLE {{recognition_checks}} ADD CONSTRAINT picky {check}")
    told = world.load(dataset)
    assert (outcomes(told), told["exit_code"]) == ({"loaded": 2, "rejected": 2}, 1)
    assert {(one["path"], one["code"]) for one in told["rejects"]} == {
        (f"RRS/export_1/recognition_{number}", "row_refused") for number in (FIRST_ID, FIRST_ID + 2)
    }
    assert "not that one" not in json.dumps(told)  # a database's own words are its own
    counts = {name: one["total"] for name, one in told["metrics"]["throughput"].items()}
    stored = [world.home / "objects" / key for key in world.objects()]
    assert counts == {
        "recognitions_processed": 2,
        "images_processed": 4,  # and not those that were stored in vain
        "bytes_uploaded": sum(path.stat().st_size for path in stored),
    }
    assert len(world.objects()) == 4
    assert "recognition_intents" not in world.counts()


def test_a_photo_that_changes_while_it_is_loaded_is_a_reject(embedded, dataset):
    """Its second reading finds other bytes than the first."""
    photo = dataset.photo(FIRST_ID, "Main")
    photo.write_bytes(recognition_sets.jpeg("large", 3200, 2400))
    assert photo.stat().st_size > photos.KEPT_BYTES
    with parts_of(embedded) as parts:
        read = [layout.read(folder) for folder in layout.folders(dataset.path)]
        photo.write_bytes(recognition_sets.jpeg("changed"))
        with pytest.raises(layout.Refused, match="photo_changed"):
            parts.transactions("one").load(read)
    assert (embedded.counts(), embedded.objects()) == ({}, {})


def test_a_group_is_read_while_another_is_being_stored(embedded, dataset, monkeypatch):
    """One thread stores: behind what it waits for, the third group would never be read."""
    for number in range(FIRST_ID, FIRST_ID + 4):  # one object each
        shutil.copy(dataset.photo(number, "Main"), dataset.photo(number, "Qualifying"))
    read, put = layout.read, LocalStore.put
    others_are_read = threading.Semaphore(0)
    first = threading.Lock()

    def watched(folder):
        others_are_read.release()
        return read(folder)

    def waiting(store, key, blocks):
        if not key.endswith("/owner") and not first.acquire(blocking=False):
            assert all(others_are_read.acquire(timeout=20) for _ in range(3))
            others_are_read.release(3)
        return put(store, key, blocks)

    monkeypatch.setattr(layout, "read", watched)
    monkeypatch.setattr(LocalStore, "put", waiting)
    one = {"HEADRACE_RECOGNITIONS_BATCH_SIZE": "1", "HEADRACE_RECOGNITIONS_THREADS": "1"}
    assert outcomes(embedded.load(dataset, **one)) == {"loaded": 4}


def parts_of(made: World, **environment: str):
    """What the command is made of."""
    found = settings.read({**made.environment, **environment}, made.home, production=False)
    return assembly.assembled(found)


def test_an_object_that_another_transaction_awaits_is_not_removed(world):
    key = f"recognitions/{DEFAULT_TENANT}/ab/shared"
    first, second = uuid4(), uuid4()
    with parts_of(world) as parts:
        for attempt in (first, second):
            intend(world, attempt, key)
        parts.storing.store.put(key, [b"a photo"])
        assert parts.sweeper.undo(first, [key]) == 0
        assert world.objects().keys() == {key}
        assert parts.sweeper.undo(second, [key]) == 1
    assert (world.objects(), world.counts()) == ({}, {})


def intend(made_in: World, attempt, key: str, age: timedelta = timedelta()) -> None:
    tenant, spelled = made_in.tenant, str
    if made_in.shape == "sqlite":
        made = f"strftime('%Y-%m-%d %H:%M:%f', 'now', '-{age.total_seconds()} seconds')"
        tenant, spelled = made_in.tenant.hex, lambda one: one.hex
    else:
        made = f"CURRENT_TIMESTAMP - interval '{age.total_seconds()} seconds'"
    made_in.ask(
        "INSERT INTO {recognition_intents}"
        " (tenant_id, attempt_id, object_key, state, batch_id, created_at)"
        f" VALUES ('{tenant}', '{spelled(attempt)}', '{key}', 'put', 'a', {made})"
    )


def test_what_a_kill_left_goes_after_the_grace_and_not_before(world, dataset):
    world.load(dataset)
    whole = world.state()
    folder = f"recognitions/{DEFAULT_TENANT}/ab"
    named = next(iter(world.objects()))
    intend(world, uuid4(), f"{folder}/old", timedelta(hours=2))
    intend(world, uuid4(), named, timedelta(hours=2))  # a row names it by now
    intend(world, uuid4(), f"{folder}/young", timedelta(minutes=30))
    store = LocalStore(world.home / "objects")
    for name in ("old", "young", "half.part"):  # the last as of a writer that died
        store.put(f"{folder}/{name}", [b"left"])
    os.utime(world.home / "objects" / folder / "half.part", (0, 0))
    assert outcomes(world.load(dataset)) == {"skipped": 4}
    assert world.objects().keys() - whole[1].keys() == {f"{folder}/young"}
    assert world.counts()["recognition_intents"] == 1
    assert world.tell("sweep")["objects"] == {"settled": 0, "orphans": 0}
    told = world.tell("sweep", HEADRACE_RECOGNITIONS_GRACE_SECONDS="60")
    assert told["objects"] == {"settled": 1, "orphans": 0}
    assert world.state() == whole


def test_objects_that_nothing_names_are_found_by_looking(world, dataset):
    """As after a database was set back to an older state."""
    world.load(dataset)
    whole = world.state()
    place = world.home / "objects" / "recognitions" / str(DEFAULT_TENANT) / "ab" / "orphan"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"left")
    os.utime(place, (0, 0))
    assert world.tell("sweep")["objects"] == {"settled": 0, "orphans": 1}
    assert world.state() == whole


class SweptMeanwhile(LocalStore):
    """A local store; when the last photo is put, a sweeper with no patience comes by."""

    def __init__(self, root, sweep, last: int) -> None:
        super().__init__(root)
        self._sweep = sweep
        self._left = last

    def put(self, key, blocks):
        size = super().put(key, blocks)
        self._left -= 1
        if not self._left:
            self._sweep()
        return size


def test_a_transaction_that_was_taken_for_dead_commits_nothing(world, dataset):
    with (
        parts_of(world) as parts,
        parts_of(world, HEADRACE_RECOGNITIONS_GRACE_SECONDS="0") as hasty,
    ):
        slow = SweptMeanwhile(world.home / "objects", hasty.sweeper.settle, 8)
        parts.storing.store = slow
        read = [layout.read(folder) for folder in layout.folders(dataset.path)]
        with pytest.raises(Swept):
            parts.transactions("one").load(read)
    assert (world.counts(), world.objects()) == ({}, {})


def test_a_transaction_whose_intents_an_erasure_took_leaves_no_photo(world, dataset):
    def erase() -> None:
        world.ask("DELETE FROM {recognition_intents}")

    with parts_of(world) as parts:
        parts.storing.store = SweptMeanwhile(world.home / "objects", erase, 8)
        read = [layout.read(folder) for folder in layout.folders(dataset.path)]
        with pytest.raises(Swept):
            parts.transactions("one").load(read)
    assert (world.counts(), world.objects()) == ({}, {})


def test_what_a_killed_load_was_writing_goes_with_its_batch(world, dataset):
    """Young as it is: nobody is at work on it. A photo that a row names has such leftovers too."""
    world.load(dataset, "--batch-id", "whole")
    whole = world.state()
    named = next(iter(world.objects()))
    for key in (f"recognitions/{DEFAULT_TENANT}/ab/{'ab' * 32}", named):
        intend(world, uuid4(), key)
        place = world.home / "objects" / f"{key}.{uuid4().hex}.part"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"half")
    world.tell("reset", "--batch-id", "a", "--confirm")
    assert world.state() == whole


def test_a_batch_that_is_reset_while_it_is_mended_leaves_no_photo(world, dataset, monkeypatch):
    world.load(dataset, "--batch-id", "mine")
    for key in world.objects():
        (world.home / "objects" / key).unlink()
    put, seen = LocalStore.put, []

    def reset_first(store, key, blocks):
        if not seen:
            seen.append(world.counts()["recognition_intents"])
            world.tell("reset", "--batch-id", "mine", "--confirm")
        return put(store, key, blocks)

    monkeypatch.setattr(LocalStore, "put", reset_first)
    told = world.load(dataset, "--batch-id", "mends", HEADRACE_RECOGNITIONS_THREADS="1")
    assert outcomes(told) == {"rejected": 4}
    assert {one["code"] for one in told["rejects"]} == {"row_changed"}
    assert seen == [8]  # so a kill is swept up after
    assert (world.counts(), world.objects()) == ({}, {})


class Breaking(LocalStore):
    """A local store that is away from one put on."""

    def __init__(self, root, left: int) -> None:
        super().__init__(root)
        self.left = left

    def put(self, key, blocks):
        self.left -= 1
        if self.left < 0:
            raise StoreUnavailable("away")
        return super().put(key, blocks)


def test_what_was_stored_before_the_store_went_is_removed(world, dataset):
    with parts_of(world) as parts:
        parts.storing.store = Breaking(world.home / "objects", 5)
        read = [layout.read(folder) for folder in layout.folders(dataset.path)]
        with pytest.raises(StoreUnavailable):
            parts.transactions("one").load(read)
    assert (world.counts(), world.objects()) == ({}, {})


def wrong_ones(status: dict) -> dict[str, str]:
    """What `status` finds wrong; each has its remedy."""
    wrong = [one for one in status["checks"] if not one["is_fine"]]
    assert all(one["remedy"] for one in wrong)
    return {one["name"]: one["text"] for one in wrong}


def test_status_says_what_to_do_with_a_database_that_is_empty(tmp_path, postgresql_server):
    with servers.new_database(postgresql_server) as url:
        (tmp_path / "empty.sqlite3").touch()
        for one in (url, f"sqlite:///{tmp_path / 'empty.sqlite3'}"):
            told = World(tmp_path, "sqlite", one, {}).tell("status")
            assert (wrong_ones(told).keys(), told["exit_code"]) == ({"schema", "migrations"}, 1)


def test_status_looks_at_the_store_also_where_the_database_is_away(tmp_path):
    away = f"postgresql://nobody@127.0.0.1:{stores.free_port()}/none"
    told = World(tmp_path, "sqlite", away, {}).tell("status")
    assert (told["error"]["code"], told["exit_code"]) == ("database_unavailable", 3)
    assert [(one["name"], one["is_fine"]) for one in told["checks"]] == [
        *(("database", False), ("storage", True), ("bucket", True))
    ]
    project = {
        "NEXT_PUBLIC_SUPABASE_URL": f"http://127.0.0.1:{stores.free_port()}",
        "SUPABASE_SERVICE_ROLE_KEY": "x",
        "HEADRACE_RECOGNITIONS_ATTEMPTS": "1",
    }
    told = World(tmp_path, "sqlite", away, project).tell("status")
    assert (wrong_ones(told).keys(), told["exit_code"]) == ({"database", "storage"}, 3)


def test_two_databases_do_not_share_a_folder(tmp_path, dataset, postgresql_server):
    """Photos of one would look like orphans to the other."""
    with (
        recognitions.world(tmp_path, "supabase", postgresql_server) as mine,
        recognitions.world(tmp_path, "supabase", postgresql_server) as theirs,
    ):
        mine.load(dataset)
        before = mine.state()
        told = theirs.load(dataset)
        assert (told["error"]["code"], told["exit_code"]) == ("store_of_another", 2)
        told = theirs.tell("status")
        assert (wrong_ones(told), told["exit_code"]) == ({"bucket": "store_of_another"}, 1)
        assert wrong_ones(mine.tell("status")) == {}
        told = theirs.load(dataset, HEADRACE_RECOGNITIONS_FOLDER="theirs")
        assert outcomes(told) == {"loaded": 4}
        assert mine.state() == before


A_PROJECT = {
    "NEXT_PUBLIC_SUPABASE_URL": "http://x",
    "SUPABASE_SERVICE_ROLE_KEY": "x",
    "DATABASE_URL": "postgresql://x/y",
}
A_BUCKET = {
    "HEADRACE_RECOGNITIONS_STORE": "s3",
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "DATABASE_URL": "postgresql://x/y",
}


@pytest.mark.parametrize(
    ("environment", "code", "named"),
    [
        (
            {"NEXT_PUBLIC_SUPABASE_URL": "http://x"},
            "setting_missing",
            ["SUPABASE_SERVICE_ROLE_KEY and DATABASE_URL", ".env.local"],
        ),
        (
            {"SUPABASE_SERVICE_ROLE_KEY": "x"},
            "setting_missing",
            ["NEXT_PUBLIC_SUPABASE_URL and DATABASE_URL"],
        ),
        (
            {"HEADRACE_RECOGNITIONS_ENDPOINT": "http://x"},
            "setting_missing",
            ["HEADRACE_RECOGNITIONS_STORE"],
        ),
        ({"HEADRACE_RECOGNITIONS_STORE": "s3"}, "setting_missing", ["AWS_ACCESS_KEY_ID"]),
        ({"HEADRACE_RECOGNITIONS_STORE": "ftp"}, "bad_setting", ["local, s3, supabase"]),
        ({"HEADRACE_RECOGNITIONS_THREADS": "0"}, "bad_setting", ["THREADS", "from 1"]),
        ({"HEADRACE_RECOGNITIONS_TENANT": "me"}, "bad_setting", ["'me'", "UUID"]),
        ({"DATABASE_URL": "mysql://root@x/y"}, "database_unsupported", ["postgresql://"]),
        ({"DATABASE_URL": "postgresql://x/y?z=1"}, "bad_setting", ["DATABASE_URL"]),
        ({"DATABASE_URL": "postgresql://x:port/y"}, "bad_setting", ["DATABASE_URL", "host:port"]),
        ({"DATABASE_URL": "postgresql://[::1/y"}, "bad_setting", ["DATABASE_URL", "IPv6"]),
        ({"DATABASE_URL": "postgresql://x/y?port=z"}, "bad_setting", ["'z'", "a number"]),
        (
            {"DB_ENGINE": "postgresql", "DB_HOST": "127.0.0.1", "DB_PORT": "z"},
            "bad_setting",
            ["'z'", "a number"],
        ),
        ({"DATABASE_URL": f"sqlite:///{__file__}"}, "bad_setting", ["a file of SQLite"]),
        (
            {**A_PROJECT, "NEXT_PUBLIC_SUPABASE_URL": "http://x:port"},
            "bad_setting",
            ["NEXT_PUBLIC_SUPABASE_URL", "https://host"],
        ),
        (
            {**A_PROJECT, "SUPABASE_SERVICE_ROLE_KEY": "ключ"},
            "bad_setting",
            ["SUPABASE_SERVICE_ROLE_KEY", "ASCII"],
        ),
        (
            {**A_BUCKET, "HEADRACE_RECOGNITIONS_ENDPOINT": "foo"},
            "bad_setting",
            ["HEADRACE_RECOGNITIONS_ENDPOINT", "'foo'", "http://host:9000"],
        ),
        ({**A_BUCKET, "AWS_ACCESS_KEY_ID": "ключ"}, "bad_setting", ["AWS_ACCESS_KEY_ID", "ASCII"]),
        *(
            ({"HEADRACE_RECOGNITIONS_FOLDER": folder}, "bad_setting", ["names with / between"])
            for folder in ("/photos", "a//b", "../a", "a/..", "/", "a" * 200)
        ),
    ],
)
def test_a_setting_that_is_missing_or_wrong_is_named(
    tmp_path, dataset, monkeypatch, environment, code, named
):
    monkeypatch.chdir(tmp_path)
    made = World(tmp_path, "sqlite", "", environment)
    told = made.load(dataset)
    assert (told["error"]["code"], told["exit_code"]) == (code, 2)
    assert [text for text in named if text not in told["error"]["message"]] == []


def test_a_file_of_settings_that_is_no_text_is_told(embedded, dataset, monkeypatch):
    monkeypatch.chdir(embedded.home)
    (embedded.home / ".env.local").write_bytes(b"A=\xff\n")
    told = embedded.load(dataset)
    assert (told["error"]["code"], told["exit_code"]) == ("bad_setting", 2)
    assert ".env.local, byte 2: expected UTF-8" in told["error"]["message"]


def test_a_pool_that_has_no_connection_to_give_is_exit_code_3(
    tmp_path, dataset, postgresql_server, monkeypatch
):
    """As where a database that has answered once does not any more."""
    with recognitions.world(tmp_path, "supabase", postgresql_server) as made:
        monkeypatch.setattr(postgresql, "ConnectionPool", Dry)
        told = made.load(dataset)
    assert (told["error"]["code"], told["exit_code"]) == ("database_unavailable", 3)


class Dry(psycopg_pool.ConnectionPool):
    def connection(self, timeout=None):
        raise psycopg_pool.PoolTimeout


def test_production_is_not_this_machine_unless_that_is_said(embedded, dataset, monkeypatch):
    monkeypatch.chdir(embedded.home)
    told = embedded.load(dataset, "--production")
    assert (told["error"]["code"], told["exit_code"]) == ("setting_missing", 2)
    named = "NEXT_PUBLIC_SUPABASE_URL and SUPABASE_SERVICE_ROLE_KEY"
    assert f"set {named} in .env.production" in told["error"]["message"]
    local = {"HEADRACE_RECOGNITIONS_STORE": "local"}
    assert outcomes(embedded.load(dataset, "--production", **local)) == {"loaded": 4}
    (embedded.home / ".env.production").touch()
    assert outcomes(embedded.load(dataset, "--production")) == {"skipped": 4}


def test_a_database_that_is_not_there_is_exit_code_3(tmp_path, dataset):
    address = f"postgresql://nobody@127.0.0.1:{stores.free_port()}/none"
    for url in (address, f"sqlite:///{tmp_path}/none.sqlite3"):
        told = World(tmp_path, "sqlite", url, {}).load(dataset)
        assert (told["error"]["code"], told["exit_code"]) == ("database_unavailable", 3)


def test_a_role_that_is_not_there_is_named(tmp_path, dataset, postgresql_server):
    with recognitions.world(tmp_path, "postgresql", postgresql_server) as made:
        told = made.load(dataset, HEADRACE_DB_ROLE="nobody_of_ours")
    assert (told["error"]["code"], told["exit_code"]) == ("role_missing", 2)
    assert "HEADRACE_DB_ROLE" in told["error"]["message"]


def test_the_file_that_is_asked_for_says_where_to(tmp_path):
    """`.env.production` wins over the environment, the environment over `.env.local`."""
    (tmp_path / ".env.production").write_text('DATABASE_URL="postgresql://production/x"\n')
    (tmp_path / ".env.local").write_text("DATABASE_URL=postgresql://file/x\n")
    around = {"DATABASE_URL": "postgresql://me:secret@around/x"}
    parts = {"DB_ENGINE": "postgresql", "DB_NAME": "x", "DB_HOST": "parts"}
    for environ, production, host in (
        (around, True, "production"),
        (parts, True, "production"),
        (around, False, "around"),
        (parts, False, "parts"),
        ({}, False, "file"),
    ):
        found = settings.read(environ, tmp_path, production=production)
        assert (found.database.host, found.database.name) == (host, "x")
        assert "secret" not in repr(found)
    (tmp_path / ".env.production").write_text("DB_ENGINE=postgresql\nDB_HOST=production\n")
    assert settings.read(around, tmp_path, production=True).database.host == "production"


def test_the_database_is_named_as_the_service_is_told(tmp_path, dataset, postgresql_server):
    """By the DB_* variables, or by a URL whose password holds characters that are not escaped."""
    with recognitions.world(tmp_path, "postgresql", postgresql_server) as made:
        named = databases.of_url(made.url)
        parts = {
            "DATABASE_URL": "",
            "DB_ENGINE": "django.db.backends.postgresql",
            "DB_NAME": named.name,
            "DB_USER": named.user,
            "DB_PASSWORD": "any p@ss",  # which nobody asks for here
            "DB_HOST": named.host,
            "DB_PORT": named.port,
        }
        assert outcomes(made.load(dataset, **parts)) == {"loaded": 4}
        place = f"{named.host}:{named.port}/{named.name}"
        unescaped = {"DATABASE_URL": f"postgresql://{named.user}:p@ss/w:rd@{place}"}
        assert outcomes(made.load(dataset, **unescaped)) == {"skipped": 4}


def test_the_documented_scripts_do_the_same(embedded, dataset):
    def run(script: str, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, ROOT / "scripts" / "ingest" / script, *arguments],
            cwd=embedded.home,
            env={**os.environ, **embedded.environment},
            capture_output=True,
            text=True,
        )

    moved = dataset.path.rename(embedded.home / "RRS_Dataset")
    old = run("ingest_recognitions.py", "--limit", "1")
    assert old.returncode == 0, old.stderr
    assert "Deprecated" in old.stderr
    new = run("cli.py", "load", "--limit", "2", "--verbose")
    assert (new.returncode, "loaded 1, skipped 1" in new.stderr) == (0, True), new.stderr
    assert run("cli.py", "load-qwen").returncode == 1  # two of the four are not loaded
    assert run("cli.py", "status").returncode == 0
    assert moved.is_dir()
    for text in DOCUMENTED:
        assert text in new.stderr


DOCUMENTED = [
    "[SUCCESS] Load completed successfully",
    "[INFO] Loading dataset from",
    "[INFO] Environment: LOCAL",
    "[INFO] Config: threads=16, batch_size=100, retry=3",
    "Performance Metrics:",
    "Total execution time:",
    "  recognitions_processed: 1 (",
    "  images_processed: 2 (",
    "  bytes_uploaded: ",
    "  storage_upload: 2 ops, avg ",
    "  db_bulk_copy: 1 ops, avg ",
]
