"""A loader that is killed at any instant, and run again, ends where an undisturbed one does."""

import random
import time
from contextlib import nullcontext

import pytest

from tests import recognitions, sizes, stores, supabase_storage
from tests.recognition_sets import make
from tests.recognitions import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(sizes.of(5400, 300))]
COUNT, KILLS = sizes.of(2000, 60), sizes.of(20, 5)
SMALL = {"HEADRACE_RECOGNITIONS_BATCH_SIZE": str(sizes.of(50, 4))}  # many transactions to kill
PLACES = [("sqlite", "local"), ("postgresql", "s3")]
PLACES += [("supabase", kind) for kind in (supabase_storage.KINDS if sizes.IS_FULL else ["real"])]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make(tmp_path_factory.mktemp("kills") / "dataset", COUNT)


@pytest.fixture(params=PLACES, ids="+".join)
def worlds(request, tmp_path):
    """Two worlds of one kind: one for the undisturbed run, one for the killed."""
    shape, kind = request.param
    server = None if shape == "sqlite" else request.getfixturevalue("postgresql_server")
    (tmp_path / "calm").mkdir()
    (tmp_path / "killed").mkdir()
    with (
        _place(kind) as calm_place,
        _place(kind) as killed_place,
        recognitions.world(tmp_path / "calm", shape, server, **SMALL, **calm_place) as calm,
        recognitions.world(tmp_path / "killed", shape, server, **SMALL, **killed_place) as killed,
    ):
        yield calm, killed


def _place(kind: str):
    if kind in supabase_storage.KINDS:
        return supabase_storage.environment_of(kind)
    return stores.s3() if kind == "s3" else nullcontext({})


def test_a_load_that_is_killed_ends_as_an_undisturbed_one(worlds, dataset, record_property):
    calm, killed = worlds
    began = time.monotonic()
    assert calm.load(dataset)["outcomes"]["loaded"] == COUNT
    work = time.monotonic() - began
    chance = random.Random(time.time_ns())
    kills = 0
    while kills < KILLS:
        left = 1 - killed.counts().get("recognitions", 0) / COUNT
        more = () if left else ("--force",)  # once all is there it is loaded anew, and killed
        load = "load", "--source", dataset.path, *more
        kills += _kill(killed, chance.uniform(0, work * (left or 1)), *load)
        _check_nothing_dangles(killed)
    told = killed.load(dataset)
    assert told["exit_code"] == 0
    assert sum(told["outcomes"].values()) == COUNT
    killed.tell("sweep", HEADRACE_RECOGNITIONS_GRACE_SECONDS="0")
    assert killed.state() == calm.state()
    record_property("figure", f"recognitions: {kills} kills of {COUNT} on {killed.shape}")


def test_annotations_and_a_reset_that_are_killed_end_as_undisturbed_ones(worlds, dataset):
    calm, killed = worlds
    for one in worlds:
        assert one.load(dataset, "--batch-id", "photos")["outcomes"]["loaded"] == COUNT
    annotate = "load-qwen", "--file", dataset.annotations, "--batch-id", "boxes"
    reset = "reset", "--batch-id", "photos", "--confirm"
    for command in (annotate, reset):
        began = time.monotonic()
        assert calm.tell(*command)["exit_code"] == 0
        kills = _kill_often(killed, time.monotonic() - began, *command)
        killed.tell(*command)  # a batch that is gone already is told of as unknown
        killed.tell("sweep", HEADRACE_RECOGNITIONS_GRACE_SECONDS="0")
        assert killed.state() == calm.state()
        print(f"{command[0]}: killed {kills} times before its end")
        assert kills
    assert killed.counts().keys() <= {"raw_qwen_annotations"}
    assert not killed.objects()


def _kill_often(world: World, seconds: float, *command: object) -> int:
    """Kill a command later and later while it may be at work; how often it was alive then."""
    return sum(_kill(world, seconds * turn / KILLS, *command) for turn in range(KILLS))


def _kill(world: World, after: float, *command: object) -> bool:
    """Start it and kill it so many seconds after it has begun; whether it was still alive."""
    process = world.start(*command)
    assert process.stdout is not None
    for line in process.stdout:
        if b"Config:" in line or b"Deleting batch" in line:
            break
    time.sleep(after)
    process.kill()
    process.communicate(timeout=60)
    return process.returncode == -9


def _check_nothing_dangles(world: World) -> None:
    """Every row has its photo, every recognition all that belongs to it."""
    named = {key for (key,) in world.ask("SELECT object_key FROM {recognition_photos}")}
    assert named <= set(world.objects())
    counts = world.counts()
    whole = counts.get("recognitions", 0)
    assert [
        counts.get(table, 0)
        for table in ("recognition_photos", "recognition_checks", "raw_dish_catalog")
    ] == [2 * whole, whole, whole]
