"""The loader in a project of Supabase, rows and photos: the double's, or a real server's."""

import pytest

from tests import recognition_sets, recognitions, supabase_storage
from tests.recognitions import outcomes


@pytest.fixture(params=supabase_storage.KINDS)
def world(request, tmp_path, postgresql_server):
    with (
        supabase_storage.environment_of(request.param) as place,
        recognitions.world(tmp_path, "supabase", postgresql_server, **place) as made,
    ):
        yield made


def test_the_sample_comes_once_is_mended_and_goes_without_a_trace(world, shared_data):
    sample = recognition_sets.Dataset(shared_data / "recognitions")
    assert outcomes(world.load(sample, "--batch-id", "one")) == {"loaded": 8}
    first = world.state()
    assert len(first[1]) == 16
    assert outcomes(world.load(sample)) == {"skipped": 8}
    assert world.state() == first
    world.store.delete(sorted(first[1])[0])
    assert outcomes(world.load(sample)) == {"mended": 1, "skipped": 7}
    assert world.state() == first
    told = world.tell("load-qwen", "--file", sample.annotations, "--batch-id", "two")
    assert (outcomes(told), world.counts()["recognition_detections"]) == ({"loaded": 16}, 56)
    assert world.tell("status")["is_fine"]
    for batch in ("one", "two"):
        world.tell("reset", "--batch-id", batch, "--confirm")
    assert (world.counts(), world.objects()) == ({}, {})


def test_status_tells_a_bucket_that_is_missing(world):
    told = world.tell("status", HEADRACE_RECOGNITIONS_BUCKET="there-is-no-such-bucket")
    (wrong,) = (one for one in told["checks"] if not one["is_fine"])
    assert (wrong["name"], told["exit_code"]) == ("bucket", 1)
    assert "Bucket not found" in wrong["text"]
