"""kill -9 of the worker at random instants: nothing lost, nothing doubled."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID

import pytest

from tests import service, sizes, tables
from tests.conftest import DIALECTS, server_of
from tests.service import Merchant, Service

KILLS = sizes.of(20, 6)
MAX_ATTEMPTS = 5  # claims without progress; the next one is quarantine
SHORT_LEASE = {"HEADRACE_LEASE_SECONDS": "1", "HEADRACE_SWEEP_SECONDS": "1"}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """One tenant with some 80,000 lines in files of 20,000."""
    folder = tmp_path_factory.mktemp("data")
    sizes = ["--tenants", "1", "--products-per-tenant", "1500", "--orders-per-tenant", "10000"]
    sizes += ["--customers-per-tenant", "500", "--chunk-size", "20000"]
    command = [sys.executable, "-m", "headrace", "generate", "--output-dir", str(folder)]
    subprocess.run([*command, *sizes], cwd=service.ROOT, check=True, capture_output=True)
    return folder


def tenant_of(data: Path) -> UUID:
    return UUID((data / "tenants.csv").read_text().splitlines()[1].split(",")[0])


def send_all(running: Service, data: Path) -> tuple[Merchant, str]:
    tenant = tenant_of(data)
    running.manage("load_tenants", "--file", data / "tenants.csv")
    merchant = Merchant(running, tenant, f"api_key_{tenant}")
    token = merchant.open_upload()
    for path in sorted(data.glob("*.ndjson")):
        assert merchant.send(path.name, path.read_bytes(), token=token).status_code == 201
    return merchant, token


def kill_a_worker(running: Service, chance: random.Random) -> bool:
    """kill -9 the worker some time after it started; False if there is none to kill."""
    pids = running.worker_pids()
    if not pids or has_a_suspect(running):
        return False
    time.sleep(chance.uniform(0.3, 1.5))
    try:
        os.kill(pids[0], signal.SIGKILL)
    except ProcessLookupError:  # it was still dying from the kill before
        return False
    return True


def has_a_suspect(running: Service) -> bool:
    """Whether one more kill would put a job that has made no progress into quarantine.

    That is what quarantine is for; here every kill shall be survived.
    """
    suspect = f"state IN ('queued', 'running') AND attempts >= {MAX_ATTEMPTS - 1}"
    return running.ask(f"SELECT count(*) FROM jobs WHERE {suspect}") != [(0,)]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_load_with_twenty_kills_ends_as_one_without(dialect, data, request, tmp_path):
    server = server_of(request, dialect)
    for name in ("calm", "killed"):
        (tmp_path / name).mkdir()
    with service.running(tmp_path / "calm", server) as calm:
        merchant, token = send_all(calm, data)
        started = time.monotonic()
        expected_status = merchant.wait(token, 120)
        own_work = time.monotonic() - started
        expected = tables.contents(calm, merchant.tenant)
    chance, kills = random.Random(20), 0
    with service.running(tmp_path / "killed", server, **SHORT_LEASE) as running:
        merchant, token = send_all(running, data)
        while kills < KILLS:
            kills += kill_a_worker(running, chance)
            if merchant.status(token)["finished"]:  # more to do while kills are left
                merchant, token = send_all(running, data)
        last_kill = time.monotonic()
        status = merchant.wait(token, 60 + 2 * own_work)
        print(f"{dialect}: ended {time.monotonic() - last_kill:.1f} s after the last of {kills}")
        assert status["files"]["failed"] == 0
        assert status["lines_received"] == expected_status["lines_received"]
        assert sum(status["outcomes"].values()) == status["lines_received"]
        assert tables.contents(running, merchant.tenant) == expected
