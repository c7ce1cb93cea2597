"""Two workers, or a worker and a sender, meet at the worst of places: the accounts stay true."""

from collections.abc import Iterator

import pytest

from tests import inside
from tests.conftest import DIALECTS, server_of
from tests.inside import Inside


@pytest.fixture(params=DIALECTS)
def database(request, tmp_path) -> Iterator[Inside]:
    server = server_of(request, request.param)
    with inside.database(tmp_path, server) as service:
        service.migrate()
        yield Inside(service, "races_inside")


ALL_LANDED = {
    "status": "completed",
    "by counter": {"inserted": 30},
    "by line": {"inserted": 30},
}


def test_a_resume_while_a_wake_runs_leaves_one_outcome_a_line(database):
    assert database.do("resume_while_a_wake_runs", HEADRACE_LEASE_SECONDS="60") == ALL_LANDED


def test_a_wake_that_lands_while_its_file_ends_is_not_forgotten(database):
    assert database.do("wake_while_a_file_sums_up", HEADRACE_LEASE_SECONDS="60") == ALL_LANDED


def test_a_holder_who_stood_still_shows_nothing_any_more(database):
    assert database.do("a_stalled_worker_begins_late") == {
        "status": "cancelled",
        "by counter": {"unprocessed": 1},
    }


def test_a_resume_while_a_cancel_ends_goes_on(database):
    assert database.do("resume_while_a_cancel_ends") == {
        "resumed": [0],
        "status": "completed",
        "by counter": {"parked": 1},
    }


def test_the_slower_of_two_equal_requests_gets_the_answer_of_the_other(database):
    assert database.do("the_slower_of_two_equal_requests") == [201, True, 1]


def test_equal_rows_are_renewed_only_where_an_older_file_at_work_may_have_their_key(database):
    assert database.do("an_equal_file_comes_while_an_older_one_is_at_work") == {
        "outcomes": [{"inserted": 20}, {"superseded": 10}, {"unchanged": 20}],
        "names": ["as it was"],
        "written by": [2] * 10 + [0] * 10,
    }


def test_lines_that_an_older_file_parks_while_ours_looks_do_not_win(database):
    if "DATABASE_URL" not in database.service.environment:
        pytest.skip("one writer at a time: nobody parks while ours looks")
    assert set(database.do("an_older_file_parks_its_lines_between_two_looks")) == {"1.0000"}


def test_a_broken_file_that_is_resumed_without_its_details_does_not_win(database):
    assert database.do("a_broken_file_is_resumed_whose_details_are_gone") == {
        "are gone": True,
        "names": ["as it was"],
    }


def test_errors_that_pass_are_tried_again_after_ever_longer_waits(database):
    waits = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert database.do("troubles_wait_longer_and_longer", HEADRACE_LEASE_SECONDS="60") == [
        waits,
        1,
        9,
    ]


def test_a_process_that_is_never_idle_sweeps_all_the_same(database):
    assert database.do("sweeps_while_there_is_work", HEADRACE_SWEEP_SECONDS="0") == 12
