"""What is kept how long, on real databases: nothing younger goes, and no kill changes the end."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest

from tests import inside, sizes
from tests.conftest import DIALECTS, HTTP_DIALECTS, server_of
from tests.inside import Inside
from tests.service import ROOT, Service


class Progress(NamedTuple):
    job: str | None
    without_details: int
    without_source: int

    @property
    def drops(self) -> int:
        return self.without_details + self.without_source


CROWD = (sizes.of(50, 16), 40)  # tenants and chunks of each
DROPS = 30 * CROWD[0]  # of the details of every second chunk and the source of every fourth
KILLS = sizes.of(5, 3)
ALL = "outcomes rejects segments source object counters"
WITHOUT_REJECTS = "outcomes segments source object counters"
NOTHING = "dropped counters"


@contextmanager
def migrated(dialect: str, request, folder: Path) -> Iterator[Inside]:
    server = server_of(request, dialect)
    with inside.database(folder, server) as service:
        service.migrate()
        yield Inside(service, "retention_inside")


@pytest.fixture(params=DIALECTS, scope="module")
def database(request, tmp_path_factory) -> Iterator[Inside]:
    folder = tmp_path_factory.mktemp(f"retention_{request.param}")
    with migrated(request.param, request, folder) as opened:
        yield opened


def test_what_is_kept_of_a_chunk_depends_on_its_age_and_its_lines(database):
    assert database.do("rules") == {
        "clean, young": WITHOUT_REJECTS,
        "clean, old": NOTHING,
        "rejected, young": ALL,
        "rejected, old": "dropped source object counters",
        "rejected, dropped lately": "dropped source object counters",
        "rejected, dropped long ago": NOTHING,
        "parked, old": WITHOUT_REJECTS,
        "running, old": WITHOUT_REJECTS,
        "resumed, old": WITHOUT_REJECTS,
        "failed, young": WITHOUT_REJECTS,
        "failed, old": NOTHING,
        "cancelled with rejects, old": "dropped source object counters",
    }


def test_a_clean_source_may_go_before_the_outcomes_and_one_with_rejects_waits_for_them(database):
    assert database.do("short_sources", HEADRACE_SOURCE_DAYS="2") == {
        "clean": "outcomes segments counters",
        "rejected": ALL,
    }


def test_keys_jobs_and_empty_uploads_go_at_their_age_and_not_before(database):
    assert database.do("rows_by_age") == {
        "keys": ["young"],
        "jobs": ["waits, old", "young"],
        "uploads": ["old, expired lately", "with a file", "young"],
    }


def test_old_objects_that_no_chunk_names_go_and_no_others(database):
    told = database.do("orphans")
    young = {"young", "young id", "young.0123.part"}
    assert {*told["sources"]} >= {"named", "named by another id", *young}
    assert [name for name in told["sources"] if "old" in name] == []
    assert told["others"] == ["old"]


def test_the_objects_of_another_database_are_left_alone(database):
    assert database.do("another_database") == [True, False]


def test_scratch_goes_an_hour_after_its_job(database):
    assert database.do("scratch") == ["done, young", "not ours", "queued", "running"]


def test_a_worker_who_lost_the_job_removes_nothing(database):
    assert database.do("old_holder") == {
        "ends": ["left False", "lost"],
        "kept": [ALL, WITHOUT_REJECTS, "x"],
    }


def test_one_cleanup_is_queued_an_hour_and_one_that_waited_so_long_is_urgent(database):
    assert database.do("sweeps") == {
        "none": ["queued LOW"],
        "queued": ["queued LOW"],
        "running": ["running LOW"],
        "ended now": ["done LOW"],
        "ended 59 minutes ago": ["done LOW"],
        "ended 61 minutes ago": ["done LOW", "queued LOW"],
        "queued 61 minutes ago": ["done LOW", "queued NORMAL"],
        "whose": ["00000000-0000-0000-0000-000000000000", True],
    }


def test_a_cleanup_gives_its_worker_back_and_goes_on_later(database):
    first, last, more, left = database.do("claims_of_a_tired_cleanup", HEADRACE_CLAIM_SECONDS="0")
    assert (first, last, more) == (["queued", 0, ""], "done", True)
    assert left == [NOTHING, NOTHING]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_cleanup_of_some_pages_at_a_time_says_that_it_has_begun(dialect, request, tmp_path):
    with migrated(dialect, request, tmp_path) as database:
        assert database.do("too_much_for_one_transaction") == {
            "after a batch": "source object counters",
            "rejects then": 1,
            "at the end": "dropped source object counters",
        }


@pytest.fixture(params=HTTP_DIALECTS, scope="module")
def calm_end(request, tmp_path_factory) -> list:
    """What an undisturbed cleanup leaves of the crowd, and the dialect."""
    with migrated(request.param, request, tmp_path_factory.mktemp("calm")) as calm:
        calm.do("crowd", *CROWD)
        calm.do("clean")
        end = calm.do("everything")
    tenants, chunks = CROWD
    old_clean = tenants * chunks // 4
    assert end[0] == []
    assert sum(row[1:] == [False, True, False, False] for row in end) == old_clean
    assert sum(row[1:] == [False, True, True, True] for row in end) == old_clean
    assert sum(row[1:] == [True, False, True, True] for row in end) == 2 * old_clean
    assert [row[1] for row in end if len(row) == 2] == [0] * tenants
    return [request.param, end]


@pytest.mark.slow
def test_a_cleanup_that_is_killed_ends_as_one_that_is_not(calm_end, request, tmp_path):
    dialect, end = calm_end
    with migrated(dialect, request, tmp_path) as database:
        database.do("crowd", *CROWD)
        seen = kill_workers(database, random.Random(9))
        with worker(database), database.service.owner() as connection:
            wait_until(database, lambda: progress(connection).job == "done")
        assert database.do("everything") == end
    print(f"{dialect}: the cleanup at the kills: {[tuple(one) for one in seen]}")
    assert {one.job for one in seen} == {"running"}


def kill_workers(database: Inside, chance: random.Random) -> list[Progress]:
    """kill -9 workers after random shares of all work; how far the cleanup was then."""
    seen = []
    with database.service.owner() as connection:
        for share in sorted(chance.sample(range(DROPS), KILLS)):
            with worker(database) as process:
                wait_until(database, lambda: progress(connection).drops > share)  # noqa: B023
                process.kill()
            seen.append(progress(connection))
    return seen


def progress(connection: Any) -> Progress:
    """The state of the last cleanup, the chunks without details, the chunks without source."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT (SELECT state FROM jobs ORDER BY id DESC LIMIT 1),"
        " (SELECT count(*) FROM chunks WHERE details_dropped_at IS NOT NULL),"
        " (SELECT count(*) FROM chunks WHERE source = '')"
    )
    return Progress(*cursor.fetchone())


def wait_until(database: Inside, is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end, database.service.log()[-2000:]
        time.sleep(0.01)


@contextmanager
def worker(database: Inside) -> Iterator[subprocess.Popen]:
    settings = {"HEADRACE_LEASE_SECONDS": "1", "HEADRACE_SWEEP_SECONDS": "1"}
    process = subprocess.Popen(
        [sys.executable, "manage.py", "worker"], cwd=ROOT, env=database.environment(**settings)
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(90)


@pytest.mark.slow
def test_two_cleanups_at_once_end_as_one(calm_end, request, tmp_path):
    dialect, end = calm_end
    with migrated(dialect, request, tmp_path) as database:
        database.do("crowd", *CROWD)
        with ThreadPoolExecutor(2) as pool:
            ends = list(pool.map(lambda number: database.do("clean_when_told", number), "ab"))
        assert {*ends} <= {"done", ""}
        assert database.do("everything") == end


@pytest.mark.parametrize("dialect", DIALECTS)
def test_data_of_the_first_migrations_is_carried_into_the_second(dialect, request, tmp_path):
    server = server_of(request, dialect)
    with inside.database(tmp_path, server) as service:
        service.manage("migrate", "ingestions", "0001", "--verbosity", "0")
        rejected, clean = (insert_old_chunk(service, codes) for codes in CODES)
        service.manage("migrate", "--verbosity", "0")
        opened = Inside(service, "retention_inside")
        assert opened.do("carried_over", rejected) == {
            "reject_groups": [
                {"code": "bad_json", "field": "", "lines": 2, "line": 0, "value": "", "message": ""}
            ],
            "settled": True,
            "dropped": None,
            "rejected": 2,
        }
        assert opened.do("carried_over", clean) == {
            "reject_groups": [],
            "settled": True,
            "dropped": None,
            "rejected": 0,
        }


CODES = ('{"bad_json": 2}', "{}")


def insert_old_chunk(service: Service, codes: str) -> str:
    """A chunk as the first release wrote it."""
    own = uuid4().hex
    values = {
        "inserted": 1,
        "updated": 0,
        "unchanged": 0,
        "superseded": 0,
        "rejected": 2 * ("bad_json" in codes),
        "parked": 0,
        "unprocessed": 0,
        "id": own,
        "upload_id": own,
        "tenant_id": own,
        "number": 1,
        "entity": "customers",
        "filename": "f",
        "compression": "",
        "source": "s",
        "bytes": 1,
        "sha256": "",
        "state": "completed",
        "code": "",
        "message": "",
        "lines_received": 1,
        "is_planned": True,
        "outcomes": b"",
        "unknown_keys": "{}",
        "reject_codes": codes,
        "ended_at": "2025-01-02 03:04:05.000000",
    }
    upload = {"id": own, "token": own, "tenant_id": own, "on_missing_parent": "park"}
    with service.owner() as connection:
        for table, row in {"uploads": upload, "chunks": values}.items():
            mark = "?" if service.dialect == "sqlite" else "%s"
            marks = ", ".join([mark] * len(row))
            statement = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})"
            connection.cursor().execute(statement, list(row.values()))
    return own
