"""The job of an export: killed, cancelled, beside writers, and what is left of it afterwards."""

import hashlib
import os
import random
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.entities import BY_NAME
from headrace.pipeline.formats import NDJSON
from tests import records, service
from tests.conftest import DIALECTS, server_of
from tests.exports import Exporter
from tests.test_idempotency import code

CUSTOMERS = BY_NAME["customers"]
ROWS = 60_000
KILLS = 4
SETTINGS = {
    "HEADRACE_LEASE_SECONDS": "1",
    "HEADRACE_SWEEP_SECONDS": "1",
    "HEADRACE_EXPORT_PART_BYTES": str(512 << 10),
    "HEADRACE_CLEANUP_SECONDS": "1",
    "HEADRACE_ORPHAN_HOURS": "0.001",  # 3.6 s: a body that is being stored must not look like one
    "HEADRACE_MAX_ACTIVE_EXPORTS": "3",
}


@pytest.fixture(scope="module")
def customers() -> bytes:
    return records.file(*(records.example(CUSTOMERS, number) for number in range(ROWS)))


@pytest.fixture(params=DIALECTS, scope="module")
def exporter(request, tmp_path_factory, customers):
    home = tmp_path_factory.mktemp("exports")
    with service.running(home, server_of(request, request.param), **SETTINGS) as running:
        found = Exporter(running.add_tenant())
        assert found.merchant.load("customers.ndjson", customers)["outcomes"]["inserted"] == ROWS
        yield found


def parts(exporter: Exporter) -> set[Path]:
    """The objects that the store keeps for exports, unfinished ones included."""
    folder = exporter.merchant.service.home / "objects" / "exports"
    # Not rglob: a folder may go between its listing and the look into it.
    return {Path(at, name) for at, _, names in os.walk(folder) for name in names}


def until(what, seconds: float = 90):
    """The first true answer."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, what
        time.sleep(0.02)
    return found


def test_an_export_whose_workers_are_killed_is_whole_and_leaves_no_halves(exporter, customers):
    running = exporter.merchant.service
    chance, before = random.Random(7), parts(exporter)
    export = exporter.order(entity="customers", format=NDJSON).json()["export_id"]
    for _ in range(KILLS):
        until(lambda known=before: parts(exporter) - known)
        time.sleep(chance.uniform(0, 0.15))
        if exporter.status(export)["status"] == "completed":
            break
        assert code(exporter.download(export)) == (409, "not_ready")
        for pid in running.worker_pids():
            os.kill(pid, signal.SIGKILL)
        before |= parts(exporter)
    status = exporter.wait(export)
    assert status["status"] == "completed"
    whole = exporter.download(export).content
    assert hashlib.sha256(whole).hexdigest() == status["sha256"]
    assert len(whole.splitlines()) == status["rows"] == ROWS
    assert len(set(whole.splitlines())) == ROWS
    assert sum(part["bytes"] for part in status["parts"]) == status["bytes"] == len(whole)
    until(lambda: len(parts(exporter)) == len(status["parts"]))
    assert exporter.download(export).content == whole


def test_no_more_exports_wait_than_may_and_a_retry_of_one_that_does_is_answered(exporter):
    running = exporter.merchant.service
    other = Exporter(running.add_tenant())
    worker = stopped_worker(running)
    try:
        headers = {"Idempotency-Key": "the first"}
        first = other.order(entity="customers", headers=headers)
        with ThreadPoolExecutor(4) as pool:
            more = list(pool.map(lambda _: other.order(entity="customers"), range(8)))
        assert sorted(answer.status_code for answer in more) == [202] * 2 + [429] * 6
        neighbour = Exporter(running.add_tenant()).order(entity="customers")
        assert neighbour.status_code == 202
        again = other.order(entity="customers", headers=headers)
        assert (again.status_code, again.content) == (202, first.content)
    finally:
        os.kill(worker, signal.SIGCONT)
    for answer in (first, *more):
        if answer.status_code == 202:
            other.wait(answer.json()["export_id"])


def test_a_takeout_has_room_where_nothing_waits_however_few_may(exporter):
    running = exporter.merchant.service
    other = running.add_tenant()
    path = f"/tenants/{other.tenant}/reports/takeouts"
    worker = stopped_worker(running)
    try:
        first, again = (other.request("POST", path, json={}) for _ in range(2))
        assert first.status_code == 202, first.text
        files = first.json()["files"]
        assert len(files) > int(SETTINGS["HEADRACE_MAX_ACTIVE_EXPORTS"])
        assert code(again) == (429, "queue_full")
        assert code(Exporter(other).order(entity="customers")) == (429, "queue_full")
    finally:
        os.kill(worker, signal.SIGCONT)
    assert {Exporter(other).wait(file["export_id"])["status"] for file in files} == {"completed"}


def stopped_worker(running: service.Service) -> int:
    """The id of the worker, stopped where it keeps nobody from writing."""
    worker = running.worker_pids()[0]
    for _ in range(1_000):
        os.kill(worker, signal.SIGSTOP)
        if running.dialect != "sqlite" or may_be_written(running):
            return worker
        os.kill(worker, signal.SIGCONT)
        time.sleep(0.05)
    raise AssertionError("the worker holds the database's lock whenever it is looked at")


def may_be_written(running: service.Service) -> bool:
    """Whether nobody holds SQLite's lock, for longer than a writer that runs does."""
    with running.owner() as connection:
        connection.execute("PRAGMA busy_timeout = 500")
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        connection.execute("ROLLBACK")
    return True


def test_a_cancelled_export_stops_and_leaves_nothing(exporter):
    kept = parts(exporter)
    export = exporter.order(entity="customers", format=NDJSON, compression="gzip").json()
    address = f"{exporter.base}/{export['export_id']}/cancel/"
    assert exporter.merchant.request("POST", address).status_code == 200
    status = exporter.wait(export["export_id"])
    if status["status"] == "completed":  # it was faster than the cancel
        assert status["rows"] == ROWS
        return
    assert (status["status"], status["code"]) == ("cancelled", "cancelled")
    assert code(exporter.download(export["export_id"])) == (409, "not_ready")
    until(lambda: parts(exporter) <= kept)


def test_an_export_is_one_state_while_files_land(exporter):
    """A file lands in several transactions; an export has none or some of its segments, never a
    row that is changed in one place and not in another: here every row is as before or as after.
    """
    renamed = records.file(
        *(
            {"customer_id": records.example(CUSTOMERS, number)["customer_id"], "name": "renamed"}
            for number in range(ROWS)
        )
    )
    sent = exporter.merchant.send("customers_renamed.ndjson", renamed)
    made = [exporter.made(entity="customers", format=NDJSON, columns=["name"]) for _ in range(3)]
    exporter.merchant.wait(sent.json()["upload_token"])
    last = exporter.made(entity="customers", format=NDJSON, columns=["name"])
    counts = []
    for status in (*made, last):
        lines = exporter.download(status["export_id"]).content.splitlines()
        assert len(lines) == ROWS == status["rows"] == status["rows_expected"]
        counts.append(lines.count(b'{"name":"renamed"}'))
    assert counts == sorted(counts)
    assert counts[-1] == ROWS


def test_an_export_is_gone_after_its_time(exporter):
    running = exporter.merchant.service
    export = exporter.made(entity="customers", format=NDJSON)["export_id"]
    row = f"FROM exports WHERE id = {running.spelled(export)}"
    with running.owner() as connection:
        connection.cursor().execute(
            "UPDATE exports SET ended_at = '2020-01-01 00:00:00'"
            f" WHERE id = {running.spelled(export)}"
        )
    until(lambda: not running.ask(f"SELECT 1 {row} AND state = 'completed'"))
    assert code(exporter.download(export)) in ((410, "gone"), (404, "not_found"))
    until(lambda: not any(export in str(path) for path in parts(exporter)))
