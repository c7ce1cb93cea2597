"""Everything dies, at random: workers, brokers, database backends; the accounts stay true.

PostgreSQL, Celery and a broker of our own; two merchants whose ids are equal send children before
their parents, again and again, while processes are killed, stopped and messages lost. Then all
must come to rest with the tables of a load that nobody disturbed, and the checker finds nothing.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx2
import psycopg
import pytest

from headrace.entities import ENTITIES
from tests import brokers, servers, service, sizes, tables
from tests.brokers import Broker
from tests.celery_nodes import Nodes, kill
from tests.chaos import check
from tests.exports import Exporter
from tests.service import Service

EVENTS = {"worker": sizes.of(40, 8)} | dict.fromkeys(
    ("broker", "flush", "backend", "stall"), sizes.of(5, 1)
)
LEASE_SECONDS = 2
ENVIRONMENT = {
    "HEADRACE_LEASE_SECONDS": str(LEASE_SECONDS),
    "HEADRACE_SWEEP_SECONDS": "1",
    "HEADRACE_CLAIM_SECONDS": "1",  # claims are given back all the time
}
CHILDREN_FIRST = ("order_items", "stock", "price", "orders", "products", "customers")


@pytest.fixture(scope="module")
def hurt_server():
    with servers.postgresql_of_our_own() as url:
        if url is None:
            pytest.skip("NO POSTGRESQL PROGRAMS to start a server that may be hurt")
        yield url


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> list[Path]:
    """Some 20,000 lines of one merchant, children before their parents."""
    folder = tmp_path_factory.mktemp("data")
    sizes = ["--tenants", "1", "--products-per-tenant", "400", "--orders-per-tenant", "2500"]
    sizes += ["--customers-per-tenant", "200", "--chunk-size", "2000"]
    command = [sys.executable, "-m", "headrace", "generate", "--output-dir", str(folder)]
    subprocess.run([*command, *sizes], cwd=service.ROOT, check=True, capture_output=True)
    return [path for name in CHILDREN_FIRST for path in sorted(folder.glob(f"{name}*.ndjson"))]


class Sender:
    """A merchant who sends all files again and again, until each send has its 201."""

    def __init__(self, running: Service, paths: list[Path]) -> None:
        self.merchant = running.add_tenant()
        self.uploads: list[str] = []
        self._home = running.home
        self._files = self._own(paths)

    def send_all(self) -> None:
        token = self._until_accepted(self._open)
        for name, data in self._files.items():
            key = uuid4().hex
            self._until_accepted(lambda n=name, d=data, k=key: self._send(n, d, k, token))
        self.uploads.append(token)

    def is_finished(self) -> bool:
        return all(self.merchant.status(token)["finished"] for token in self.uploads)

    def _own(self, paths: list[Path]) -> dict[str, bytes]:
        theirs = paths[0].stem.rpartition("_chunk_")[0][-36:].encode()
        own = {path.name: path.read_bytes() for path in paths}
        mine = {
            name.replace(theirs.decode(), "shop"): data.replace(
                theirs, str(self.merchant.tenant).encode()
            )
            for name, data in own.items()
        }
        (self._home / "sent").mkdir(exist_ok=True)
        for name, data in mine.items():
            (self._home / "sent" / f"{self.merchant.tenant}_{name}").write_bytes(data)
        return mine

    def _open(self) -> httpx2.Response:
        return self.merchant.request("POST", "/ingest/sessions/", json={})

    def _send(self, name: str, data: bytes, key: str, token: str) -> httpx2.Response:
        response = self.merchant.send(name, data, key=key, token=token)
        answer = {"key": key, "status": response.status_code, "body": response.text}
        answer["tenant"] = str(self.merchant.tenant)
        with (self._home / "answers.jsonl").open("a") as journal:
            journal.write(json.dumps(answer) + "\n")
        return response

    def _until_accepted(self, request: Callable[[], httpx2.Response]) -> str:
        for _ in range(500):
            try:
                response = request()
            except httpx2.TransportError:
                time.sleep(0.2)
                continue
            if response.status_code == 201:
                return response.json()["upload_token"]
            assert response.status_code in (409, 429, 503), response.text
            time.sleep(0.2)
        raise AssertionError("never accepted")


class Chaos:
    """What can be done to a service, its workers and its broker."""

    def __init__(self, running: Service, nodes: Nodes, broker: Broker, chance: random.Random):
        self._url = running.environment["DATABASE_URL"]
        self._nodes = nodes
        self._broker = broker
        self._chance = chance

    def worker(self) -> None:
        kill(self._chance.choice(self._nodes.worker_pids()))

    def broker(self) -> None:
        self._broker.kill()
        time.sleep(self._chance.uniform(0.1, 1))
        self._broker.start()

    def flush(self) -> None:
        self._broker.flush()

    def backend(self) -> None:
        """kill -9 of a server process of the database: all of them start again."""
        with _patient(self._url) as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid()"
            ).fetchall()
        if found:
            kill(self._chance.choice(found)[0])

    def stall(self) -> None:
        """A worker that stands still beyond its lease, and goes on as if nothing had happened."""
        pid = self._chance.choice(self._nodes.pool_pids() or self._nodes.worker_pids())
        try:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(LEASE_SECONDS + 1.5)
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def _patient(url: str) -> psycopg.Connection:
    """A connection, once the server has recovered from its last kill."""
    for _ in range(900):
        try:
            return psycopg.connect(url, autocommit=True)
        except psycopg.OperationalError:
            time.sleep(0.1)
    raise AssertionError("the database server does not come back")


def expected_tables(paths: list[Path], server: str, home: Path) -> dict[str, tables.Rows]:
    """What an undisturbed load leaves, on a service that has no broker."""
    home.mkdir()
    with service.running(home, server) as calm:
        sender = Sender(calm, paths)
        sender.send_all()
        sender.merchant.wait(sender.uploads[0], 120)
        return tables.contents(calm, sender.merchant.tenant)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_a_load_in_chaos_ends_as_one_that_nobody_disturbed(kind, hurt_server, data, tmp_path):
    expected = expected_tables(data, hurt_server, tmp_path / "calm")
    chance = random.Random(60)
    events = [name for name, times in EVENTS.items() for _ in range(times)]
    chance.shuffle(events)
    home = tmp_path / "home"
    home.mkdir()
    with (
        brokers.broker(kind, tmp_path / "broker") as broker,
        service.running(home, hurt_server, CELERY_BROKER_URL=broker.url, **ENVIRONMENT) as running,
        Nodes(running) as nodes,
    ):
        senders = [Sender(running, data) for _ in range(2)]
        chaos = Chaos(running, nodes, broker, chance)
        for number, event in enumerate(events):
            if number % 20 == 0:
                for sender in senders:
                    sender.send_all()
            getattr(chaos, event)()
            nodes.revive()
            time.sleep(chance.uniform(0.05, 0.6))
        ended = time.monotonic()
        url = running.environment["DATABASE_URL"]
        _patient(url).close()
        _resume_what_was_quarantined(running, senders)
        assert check.wait_for_rest(home, url, seconds=120), running.log()[-4000:]
        print(f"{kind}: at rest {time.monotonic() - ended:.1f} s after the last of {len(events)}")
        for sender in senders:
            assert sender.is_finished()
            assert tables.contents(running, sender.merchant.tenant) == expected
            for entity in ENTITIES:
                Exporter(sender.merchant).made(entity=entity.name)
        secrets = [sender.merchant.key for sender in senders]
        journal = home / "answers.jsonl"
        assert (
            check.violations(home, url, files=home / "sent", journal=journal, secrets=secrets) == []
        )


def _resume_what_was_quarantined(running: Service, senders: list[Sender]) -> None:
    """Five kills in a row can meet one chunk: that is what resume is for."""
    for sender in senders:
        for token in sender.uploads:
            path = f"/ingest/sessions/{token}/resume/"
            resumed = sender.merchant.request("POST", path, json={}).json()["resumed"]
            if resumed:
                print(f"{resumed} quarantined chunks were resumed")
