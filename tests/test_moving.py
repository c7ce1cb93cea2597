"""A move from one database to another: everything, once, whatever interrupts it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.entities import ENTITIES
from tests import prices, servers, service, tables
from tests.conftest import DIALECTS, server_of
from tests.exports import Exporter
from tests.shop import product

pytestmark = pytest.mark.slow

ROWS = int(os.environ.get("HEADRACE_MOVE_ROWS", 2_000))  # of each record type
# What the command has told when it is killed, a moment later: once in its first half, and twice in
# its second, the last time between the files of a tenant.
KILLED_AFTER = ("rows read", "rows are equal", "customers: {rows} rows are equal")

QUOTAS = [(1,), (None,)], [(None,), (1,)]  # databases sort nulls as they like


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A service on SQLite with two tenants, whose worker has stopped."""
    home = tmp_path_factory.mktemp("source")
    # Keys are hashed with the secret: the new service must have the same one.
    with service.running(home, DJANGO_SECRET_KEY="a secret of both services" * 2) as running:
        first, second = (Exporter(running.add_tenant()) for _ in range(2))
        first.stock(range(ROWS))
        second.stock(range(10))
        # No quota of a day keeps a tenant from moving.
        running.manage("tenants", "quota", first.merchant.tenant, "--max-rows-per-day", 1)
        kettle = product(price="10.00")
        second.merchant.load("products.ndjson", json.dumps(kettle).encode())
        answer = prices.send(second.merchant, kettle["product_id"], {"new_price": "25.00"})
        assert answer.status_code == 201, answer.text
        yield running, (first.merchant, second.merchant)


def url_of(running: service.Service) -> str:
    return running.environment.get("DATABASE_URL", f"sqlite:///{running.home / 'headrace.sqlite3'}")


def kill_after(moving: subprocess.Popen, told: str, seconds: float) -> None:
    """kill -9 the command and its halves some time after it has told something."""
    wanted = told.format(rows=f"{ROWS:,}")
    assert moving.stdout is not None
    seen = []
    for line in moving.stdout:
        seen.append(line)
        if wanted in line:
            break
    else:
        raise AssertionError(f"{wanted!r} was not told: {seen}")
    time.sleep(seconds)
    os.killpg(moving.pid, signal.SIGKILL)
    moving.communicate()


def move(source_url: str, target_url: str, home: Path) -> subprocess.Popen:
    environment = os.environ | {
        "HEADRACE_HOME": str(home),
        "HEADRACE_LEASE_SECONDS": "1",
        "HEADRACE_SWEEP_SECONDS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("DATABASE_URL", None)
    command = [sys.executable, "-m", "headrace", "migrate-data", source_url, target_url]
    return subprocess.Popen(
        command,
        cwd=service.ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.timeout(900)
@pytest.mark.parametrize("dialect", [dialect for dialect in DIALECTS if dialect != "sqlite"])
def test_a_database_moves_whole_though_it_is_killed_on_the_way(dialect, source, request, tmp_path):
    old, merchants = source
    chance = random.Random(3)
    with servers.new_database(server_of(request, dialect)) as url:
        for told in KILLED_AFTER:
            kill_after(move(url_of(old), url, tmp_path), told, chance.uniform(0, 0.3))
        ended = move(url_of(old), url, tmp_path)
        output, _ = ended.communicate(timeout=240)
        assert ended.returncode == 0, output
        total = count(old, merchants)
        assert f"{total:,} rows in {2 * len(ENTITIES)} tables of tenants are equal." in output
        merchants[-1].load("products.ndjson", json.dumps(product()).encode())
        again = move(url_of(old), url, tmp_path)  # after a rehearsal: what is new comes too
        output, _ = again.communicate(timeout=240)
        assert f"{total + 1:,} rows in {2 * len(ENTITIES)} tables" in output
        with serving(old, url, tmp_path) as new:
            assert_equal(old, new, merchants)
            assert new.ask("SELECT max_rows_per_day FROM tenants ORDER BY 1") in QUOTAS
            assert new.ask("SELECT count(*) FROM tenant_days") == [(0,)]
            assert new.add_tenant().request("GET", "/whoami/").status_code == 200


def count(running: service.Service, merchants) -> int:
    return sum(
        len(tables.rows(running, merchant.tenant, entity.name))
        for merchant in merchants
        for entity in ENTITIES
    )


@contextmanager
def serving(old: service.Service, url: str, home: Path) -> Iterator[service.Service]:
    """A service on a database that has moved, with the settings of the old one."""
    new = service.Service(
        home, {**old.environment, "HEADRACE_HOME": str(home), "DATABASE_URL": url}
    )
    new.start(0)
    try:
        yield new
    finally:
        new.stop()


def test_a_folder_is_of_one_database_and_lands_once(source, tmp_path, tmp_path_factory):
    old, _ = source
    folder, home = tmp_path / "folder", tmp_path_factory.mktemp("other")
    old.manage("export_data", folder)
    with service.running(home) as other:
        refused = other.manage("export_data", folder, check=False)
        assert (refused.returncode, "of another database" in refused.stderr) == (1, True)
        other.manage("import_data", folder)
        told = json.loads(other.manage("import_data", folder, "--json").stdout)
        assert {row["rows"] for row in told} >= {ROWS, 10}
    refused = old.manage("export_data", folder, check=False)
    assert (refused.returncode, "has landed already" in refused.stderr) == (1, True)


def assert_equal(old: service.Service, new: service.Service, merchants) -> None:
    for merchant in merchants:
        moved = service.Merchant(new, merchant.tenant, merchant.key)
        assert moved.request("GET", "/whoami/").status_code == 200
        for entity in ENTITIES:
            before, after = (
                len(tables.rows(one, merchant.tenant, entity.name)) for one in (old, new)
            )
            assert before == after
    last = merchants[-1]
    before, after = (
        prices.follow(service.Merchant(one, last.tenant, last.key))["data"] for one in (old, new)
    )
    assert before == after
    assert len(before) == 1
    levels = "SELECT level, sequence FROM stock_levels ORDER BY product_id, level"
    assert sorted(old.ask(levels)) == sorted(new.ask(levels))
