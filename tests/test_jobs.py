"""The job table on real databases: one holder at a time, fair, and never stuck."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests import servers
from tests.conftest import DIALECTS, server_of
from tests.service import ROOT, Service

INSIDE = """
import json, sys, django
django.setup()
from tests import jobs_inside
print(json.dumps(getattr(jobs_inside, sys.argv[1])(*sys.argv[2:])))
"""


class Database:
    """A migrated database that no service works on."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def do(self, function: str, *arguments: object, lease_seconds: int = 1) -> Any:
        """Call a function of jobs_inside in a process of its own."""
        environment = {
            **self._service.environment,
            "DJANGO_SETTINGS_MODULE": "main.settings",
            "HEADRACE_LEASE_SECONDS": str(lease_seconds),
        }
        result = subprocess.run(
            [sys.executable, "-c", INSIDE, function, *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)


@pytest.fixture(params=DIALECTS, scope="module")
def database(request, tmp_path_factory) -> Iterator[Database]:
    home = tmp_path_factory.mktemp(f"jobs_{request.param}")
    if request.param == "sqlite":
        yield migrated(home, {})
        return
    with servers.new_database(server_of(request, request.param)) as url:
        yield migrated(home, {"DATABASE_URL": url})


def migrated(home, environment: dict[str, str]) -> Database:
    ours = ("DB_", "DATABASE_", "HEADRACE_", "DJANGO_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    service = Service(home, {**inherited, "HEADRACE_HOME": str(home), **environment})
    service.migrate()
    return Database(service)


@pytest.mark.parametrize("ends", ["end", "hold"])
def test_sixteen_claimers_in_two_processes_never_get_one_job(database, ends):
    database.do("fill_queue", 8, 8)
    with ThreadPoolExecutor(2) as pool:
        claims = [
            pool.submit(database.do, "claim_everything", ends, lease_seconds=60) for _ in range(2)
        ]
        found = [tuple(claim) for part in claims for claim in part.result()]
    assert {epoch for _, epoch in found} == {1}
    assert len(found) == len(set(found)) == 64


def test_an_expired_lease_is_taken_over_and_its_old_holder_has_no_effect(database):
    assert database.do("retake_an_expired_lease", lease_seconds=4) == {
        "taken early": False,
        "epochs": [1, 2],
        "effects": {"old holder": "lost", "new holder": "kept"},
        "written": ["new"],
        "ends": ["lost", "ended"],
        "state": "done",
    }


def test_a_heartbeat_keeps_the_lease_and_notices_when_it_is_lost(database):
    assert database.do("keep_by_heartbeat", lease_seconds=4) == {"taken": [False, "noticed", True]}


def test_jobs_come_by_priority_and_then_tenant_by_tenant(database):
    assert database.do("claim_in_turn") == {
        "by priority": ["0", "0", "1", "1", "2", "2"],
        "by tenant": ["a", "b", "c"] * 3,
        "by kind": ["test", "whole", "test", "whole", "test", "test"],
    }


def test_a_job_that_cannot_give_its_claim_back_makes_room_for_others_in_between(database):
    told = database.do("make_room", 6, lease_seconds=60)
    assert (told["before"], told["small before"], told["last"]) == (["slow"], 5, "lazy")


def test_a_file_lands_while_the_only_worker_makes_an_export(database):
    told = database.do("export_beside_a_file", 800, lease_seconds=60)
    print(told)
    assert told["landed after"] + 1 < told["exported after"]  # without room both are one moment
    assert told["export"] == ["completed", 800]


def test_files_of_an_upload_wait_for_those_they_may_refer_to(database):
    assert database.do("wait_for_lower_ranks", lease_seconds=60) == [
        "rank 0",
        "rank 0",
        "nothing",
        "rank 9",
        "nothing",
        "rank 1",
        "nothing",
        "rank 1",
        "rank 2",
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_thousand_jobs_of_one_tenant_do_not_delay_the_single_job_of_another(database, workers):
    measured = database.do("delay_of_a_small_tenant", workers, lease_seconds=60)
    print(f"started after {measured['seconds'] * 1e3:.0f} ms", measured)
    assert measured["left"] > 500
    # What the workers had chosen when it arrived; a job takes 20 ms.
    assert measured["jobs of the crowd between"] <= workers
    assert measured["seconds"] < 15


def test_a_claim_without_progress_counts_and_progress_counts_anew(database):
    assert database.do("progress_counts_claims_anew", lease_seconds=60) == [1, 2, 0, 1]


def test_a_chunk_whose_workers_die_is_quarantined_with_its_lines_unprocessed(database):
    assert database.do("quarantine", "planned", lease_seconds=60) == {
        "attempts": [1, 2, 3, 4, 5],
        "chunk": ["failed", "quarantined", 7],
        "outcomes": {"unprocessed": 7},
        "job": ["quarantined", 6],
        "claimable": False,
        "source kept": True,
    }


def test_a_chunk_that_nobody_could_read_is_quarantined_too(database):
    told = database.do("quarantine", "unplanned", lease_seconds=60)
    assert (told["chunk"], told["job"]) == (["failed", "quarantined", 7], ["quarantined", 6])
    assert told["outcomes"] == {"unprocessed": 7}
    assert (told["claimable"], told["source kept"]) == (False, True)


def test_a_job_ends_as_its_handler_says_and_a_defect_says_no_more_than_its_kind(database):
    assert database.do("ends_of_jobs", lease_seconds=60) == {
        "ends_well": ["done", "", False],
        "cannot": ["failed", "corrupt: it is damaged", False],
        "cannot_now": ["queued", "deadlock", False],
        "is_defect": ["queued", "ValueError", False],
        "is_robbed": ["running", "", False],
        "is_robbed_and_cannot": ["running", "", False],
        "unknown": ["queued", "KeyError", False],
    }


def test_a_long_file_gives_its_claim_back_while_others_wait_and_goes_on_without_pass_a(database):
    assert database.do("take_turns", lease_seconds=60) == {
        "order": "ababab",
        "readings": 2,
        "jobs": [["done", 0]],
        "chunks": [["completed", 12]],
    }


@pytest.mark.parametrize(("boot", "readings"), [("this", 0), ("another", 1)])
def test_a_takeover_uses_the_scratch_files_of_this_boot_and_leaves_none(database, boot, readings):
    database.do("vanish_after_pass_a", lease_seconds=60)
    assert database.do("take_over", boot, lease_seconds=60) == {
        "readings": readings,
        "state": "completed",
        "rows": 12,
        "left": [],
    }


def test_a_file_is_read_again_in_the_zone_that_its_tenant_had_when_it_came(database):
    landed = ["completed_with_rejects", "", {"inserted": 1, "rejected": 1}]
    assert database.do("read_again", "tenant") == {"ends": [landed]}


def test_a_file_that_is_read_otherwise_than_it_was_planned_lands_only_from_its_beginning(database):
    refused = ["failed", "read_otherwise", {"rejected": 1, "unprocessed": 1}]
    assert database.do("read_again", "file") == {
        "ends": [refused, ["completed", "", {"inserted": 2}]]
    }


def test_the_plan_of_a_file_of_millions_is_kept_by_statements_that_a_server_takes(database):
    kept = database.do("plan_many_keys", 3_000_000, lease_seconds=60)
    assert kept == [400_000] * 60


def test_the_end_of_a_move_leaves_what_was_counted_of_others(database):
    assert database.do("end_a_move") == [0, 7]
