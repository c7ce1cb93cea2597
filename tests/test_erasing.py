"""The job that erases a tenant, seen from inside: what it removes beside rows, and who may not."""

import subprocess
from collections.abc import Iterator

import pytest

from tests import brokers, inside
from tests.conftest import HTTP_DIALECTS, server_of
from tests.inside import Inside

AT_ONCE = {"HEADRACE_ERASE_QUIET_SECONDS": "0"}
#: A bucket is there until it is full again: of these, for a minute after the one call.
ONE_A_MINUTE = {"HEADRACE_TENANT_PER_MINUTE": "1", "HEADRACE_PRODUCT_PER_MINUTE": "1"}


@pytest.fixture(params=HTTP_DIALECTS, scope="module")
def database(request, tmp_path_factory) -> Iterator[Inside]:
    home = tmp_path_factory.mktemp(f"erasing_{request.param}")
    with inside.database(home, server_of(request, request.param)) as service:
        service.migrate()
        yield Inside(service, "lifecycle_inside")


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory) -> Iterator[Inside]:
    """For what asks the database nothing of its own."""
    with inside.database(tmp_path_factory.mktemp("erasing"), None) as service:
        service.migrate()
        yield Inside(service, "lifecycle_inside")


def test_buckets_in_redis_go_and_those_of_others_stay(sqlite, tmp_path):
    with brokers.broker("redis", tmp_path) as broker:
        told = sqlite.do("buckets", HEADRACE_REDIS_URL=broker.url, **AT_ONCE, **ONE_A_MINUTE)
    assert told == ["done", 2, 0, 2]


def test_what_the_administration_wrote_of_its_rows_goes(database):
    told = database.do("history", **AT_ONCE)
    assert told["counted"] == ["3"]
    assert [text.split()[0] for text in told["gone"]] == ["Leaver", "customers", "ingest"]
    assert [text.split()[0] for text in told["kept"]] == ["Neighbour", "customers", "ingest"]


def test_scratch_of_its_jobs_goes_and_that_of_others_stays(sqlite):
    assert sqlite.do("scratch", **AT_ONCE) == [1, 0, [False, True]]


def test_a_neighbours_job_goes_on_and_its_order_frees_nothing(database):
    assert database.do("beside_a_neighbour", **AT_ONCE) == ["done", ["queued"]]


def test_a_neighbours_keys_files_and_erasure_are_none_of_a_tenants(sqlite):
    assert sqlite.do("told_beside_a_neighbour", **AT_ONCE) == [True, True, True, True]


def test_a_scratch_folder_that_cannot_be_removed_is_named_and_tried_again(sqlite):
    assert sqlite.do("resisting_scratch", HEADRACE_CLAIM_SECONDS="0", **AT_ONCE) == [
        "running",
        "It will be tried again: scratch folder JOB cannot be removed.",
        "done",
        None,
    ]


def test_a_worker_that_lost_the_erasure_removes_nothing(database):
    assert database.do("old_holder", **AT_ONCE) == [True, [1, 1], 0]


def test_a_worker_that_holds_a_job_of_the_tenant_has_no_effect_any_more(database):
    assert database.do("a_job_of_before", **AT_ONCE) == ["done", "lost", 0]


def test_an_erasure_that_was_taken_out_is_taken_up_by_the_same_request_or_a_retry(sqlite):
    assert sqlite.do("failed", **AT_ONCE) == ["failed", "being_erased", "True", "done", "True"]


def test_nothing_is_erased_where_the_files_are_another_databases(sqlite):
    assert sqlite.do("another_database", **AT_ONCE) == ["unavailable", 1]


def test_an_object_that_cannot_be_removed_is_named_and_tried_again(sqlite, tmp_path):
    probe = tmp_path / "probe"
    probe.touch()
    for flag in ("+i", "-i"):
        if subprocess.run(["chattr", flag, probe], check=False, capture_output=True).returncode:
            pytest.skip("NO CHATTR: nothing here resists to be removed")
    state, told, end, rest, is_there = sqlite.do("resisting", **AT_ONCE)
    assert state == "running"
    assert "sources/" in told
    assert "cannot be removed" in told
    assert (end, rest, is_there) == ("done", None, False)
