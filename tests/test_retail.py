"""Eleven days of a real shop: returns, lines without customer, repeated lines."""

import random
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from tests import service, sizes, tables
from tests.conftest import DIALECTS, server_of
from tests.service import Merchant, Service

pytestmark = pytest.mark.slow

COUNTS = {"customers": 528, "products": 3489, "orders": 834, "order_items": 21098}
LINE_TOTAL = Decimal("299102.391")


@pytest.fixture(params=DIALECTS)
def empty_service(request, tmp_path):
    """A service of its own: the data's tenant ids are fixed."""
    with service.running(tmp_path, server_of(request, request.param)) as opened:
        yield opened


@pytest.fixture
def retail(shared_data, tmp_path) -> Path:
    """A copy: the client keeps its journal beside the data."""
    return Path(shutil.copytree(shared_data / "retail", tmp_path / "retail"))


def load_tenants(running: Service, retail: Path) -> dict[UUID, Merchant]:
    running.manage("load_tenants", "--file", retail / "tenants.csv")
    lines = (retail / "tenants.csv").read_text().splitlines()[1:]
    tenants = [UUID(line.split(",")[0]) for line in lines]
    return {tenant: Merchant(running, tenant, f"api_key_{tenant}") for tenant in tenants}


def ingest(running: Service, folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "headrace", "ingest", "--data-dir", str(folder)]
    return subprocess.run(
        [*command, "--api-url", running.url, "--wait-for-completion", "--json"],
        cwd=service.ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )


def counts(running: Service, tenants) -> dict[str, int]:
    return {
        entity: sum(len(tables.rows(running, tenant, entity)) for tenant in tenants)
        for entity in COUNTS
    }


def send_in_any_order(merchant: Merchant, files: list[Path]) -> None:
    """Two files at a time, each an upload of its own, so that nothing orders them."""

    def send(path: Path) -> str:
        response = merchant.send(path.name, path.read_bytes())
        assert response.status_code == 201, response.text
        return response.json()["upload_token"]

    with ThreadPoolExecutor(2) as pool:
        tokens = list(pool.map(send, files))
    for token in tokens:
        status = merchant.wait(token)
        assert status["outcomes"]["rejected"] == 0


def wait_until_nothing_is_parked(merchant: Merchant, files: int) -> None:
    """At once, or after the sweep that catches a line which parked as its row landed."""
    listed = merchant.request("GET", "/ingest/sessions/").json()["data"]
    assert len(listed) == files
    end = time.monotonic() + 200  # the sweep rests 20 times as long as it took
    for upload in listed:
        while (status := merchant.wait(upload["upload_token"]))["outcomes"]["parked"]:
            assert time.monotonic() < end, status
            time.sleep(0.2)


def test_a_real_shop_lands_whole_and_a_second_time_unchanged(empty_service, retail):
    tenants = load_tenants(empty_service, retail)
    first = ingest(empty_service, retail)
    assert first.returncode == 0, first.stderr
    assert counts(empty_service, tenants) == COUNTS
    totals = [tables.total(empty_service, one, "order_items", "line_total") for one in tenants]
    assert sum(totals) == LINE_TOTAL
    before = {tenant: tables.contents(empty_service, tenant) for tenant in tenants}
    second = ingest(empty_service, retail)
    assert second.returncode == 0, second.stderr
    assert f'"unchanged":{sum(COUNTS.values())}' in second.stdout.replace(" ", "")
    assert {tenant: tables.contents(empty_service, tenant) for tenant in tenants} == before


def test_the_order_of_the_files_does_not_matter(empty_service, retail, tmp_path):
    tenants = load_tenants(empty_service, retail)
    assert ingest(empty_service, retail).returncode == 0
    expected = {tenant: tables.contents(empty_service, tenant) for tenant in tenants}
    forwards = sorted(retail.glob("*.ndjson"))
    shuffled = random.Random(7).sample(forwards, len(forwards))
    orders = (forwards[::-1], shuffled)  # children first, which is the worst; any
    for number, files in enumerate(orders[: sizes.of(2, 1)]):
        server = empty_service.environment.get("DATABASE_URL")
        home = tmp_path / f"again{number}"
        home.mkdir()
        with service.running(home, server) as other:
            for tenant, merchant in load_tenants(other, retail).items():
                own = [path for path in files if str(tenant) in path.name]
                send_in_any_order(merchant, own)
                wait_until_nothing_is_parked(merchant, len(own))
                assert tables.contents(other, tenant) == expected[tenant]
