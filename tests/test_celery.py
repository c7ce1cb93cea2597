"""Celery as the doorbell: real brokers, workers and a beat, started as the documents start them."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from celery import Celery
from kombu import Connection

from tests import brokers, service
from tests.brokers import Broker
from tests.celery_nodes import Nodes
from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import ask, customer, order
from tests.test_metrics import wait_for_figures

pytestmark = pytest.mark.slow

QUICK = {"HEADRACE_LEASE_SECONDS": "2", "HEADRACE_SWEEP_SECONDS": "1"}


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def broker(request, tmp_path_factory) -> Iterator[Broker]:
    with brokers.broker(request.param, tmp_path_factory.mktemp(request.param)) as opened:
        yield opened


@pytest.fixture(scope="module")
def bare(broker, postgresql_server, tmp_path_factory) -> Iterator[Service]:
    """A service that has a broker; nobody listens at it."""
    home = tmp_path_factory.mktemp("home")
    with service.running(home, postgresql_server, CELERY_BROKER_URL=broker.url, **QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def nodes(bare) -> Iterator[Nodes]:
    """Two worker nodes and a beat; tests that ask for it stand behind those that do not."""
    with Nodes(bare) as started:
        yield started


@pytest.fixture
def shop(bare) -> Merchant:
    return bare.add_tenant()


def sent(merchant: Merchant) -> str:
    response = merchant.send("customers.ndjson", ndjson(customer()))
    assert response.status_code == 201, response.text
    return response.json()["upload_token"]


def test_with_a_broker_no_embedded_worker_runs_unless_it_is_asked_for(bare, shop):
    assert bare.worker_pids() == []
    token = sent(shop)
    time.sleep(1)
    assert shop.status(token)["status"] == "processing"
    with embedded_worker(bare):
        assert shop.wait(token)["status"] == "completed"


def test_a_message_carries_an_id_and_nothing_else(bare, broker, shop):
    broker.flush()
    token = sent(shop)
    with Connection(broker.url) as connection, connection.SimpleQueue(brokers.QUEUE) as queue:
        message = queue.get(timeout=60)
        message.ack()
    job = ask(bare, "SELECT MAX(id) FROM jobs")[0][0]
    assert message.content_type == "application/json"
    assert message.payload[:2] == [[job], {}]
    with embedded_worker(bare):
        assert shop.wait(token)["status"] == "completed"


def test_without_a_beat_a_worker_sweeps_for_itself(bare, broker, shop):
    token = sent(shop)
    broker.flush()
    with Nodes(bare, ("alone",), beat=False):
        assert shop.wait(token)["status"] == "completed"


def test_a_stopped_worker_finishes_the_job_at_hand(bare, shop):
    with Nodes(bare, ("stopped",), beat=False) as alone:
        assert shop.wait(sent(shop))["status"] == "completed"
        data = ndjson(*(customer() for _ in range(20_000)))
        token = shop.send("customers.ndjson", data).json()["upload_token"]
        while shop.status(token)["chunks"][0]["status"] == "received":
            time.sleep(0.02)
        assert alone.stop("stopped") == 0
        assert shop.status(token)["status"] == "completed"


def test_messages_lost_doubled_or_forged_change_nothing(bare, broker, nodes, shop):
    lost = sent(shop)
    broker.flush()
    assert shop.wait(lost)["status"] == "completed"  # the sweep rang again
    job = ask(bare, "SELECT MAX(id) FROM jobs WHERE kind = 'ingest'")[0][0]
    for forged in (job, job, 10**15, -1, "a", None, [1], {"job": 1}):
        _ring(broker, [forged])
    _ring(broker, [1, 2, 3])
    assert shop.wait(sent(shop))["status"] == "completed"
    assert ask(bare, f"SELECT state, epoch FROM jobs WHERE id = {job}") == [("done", 1)]


def _ring(broker: Broker, arguments: list) -> None:
    Celery(broker=broker.url).send_task("headrace.work", arguments, queue=brokers.QUEUE)


def test_beat_runs_the_schedule_and_workers_hear_it(nodes):
    sent, end = "Sending due task sweep (headrace.sweep)", time.monotonic() + 120
    while sent not in nodes.log("beat") and time.monotonic() < end:
        time.sleep(0.2)
    assert sent in nodes.log("beat")
    heard = "Task headrace.sweep"
    while heard not in nodes.log("one") + nodes.log("two") and time.monotonic() < end:
        time.sleep(0.2)
    assert heard in nodes.log("one") + nodes.log("two")


def test_status_and_events_answer_as_documented(nodes, shop):
    assert shop.wait(sent(shop))["status"] == "completed"
    end = time.monotonic() + 90  # celery itself waits a second for those that answer
    while not both_answer(status := nodes.celery("status")):
        assert time.monotonic() < end, status
    with nodes.events() as lines:
        assert any("task received: headrace." in line for line in lines)


def both_answer(status: subprocess.CompletedProcess) -> bool:
    return (status.returncode, status.stdout.count(": OK")) == (0, 2)


def test_the_embedded_worker_and_celery_share_one_table(bare, nodes, shop):
    token = shop.open_upload()
    with embedded_worker(bare):
        for _ in range(30):
            response = shop.send("customers.ndjson", ndjson(customer()), token=token)
            assert response.status_code == 201
        status = shop.wait(token)
    assert status["outcomes"]["inserted"] == status["lines_received"] == 30
    epochs = ask(bare, f"SELECT DISTINCT epoch FROM jobs WHERE tenant_id = '{shop.tenant}'")
    assert epochs == [(1,)]


def ended_jobs(service: Service, kind: str) -> int:
    [(number,)] = ask(
        service, f"SELECT COUNT(*) FROM jobs WHERE kind = '{kind}' AND state = 'done'"
    )
    return number


@pytest.mark.parametrize("task", ["generate_daily_metrics", "generate_hourly_metrics"])
def test_metrics_are_generated_by_their_named_tasks(bare, broker, nodes, shop, task):
    assert task in {entry["task"] for entry in schedule(bare)}
    bought = order(order_status="delivered")
    assert shop.load("orders.ndjson", ndjson(bought))["status"] == "completed"
    wait_for_figures(shop)
    # As if the load had told nobody.
    tenant = f"'{shop.tenant}'"
    ask(bare, f"UPDATE orders SET total_amount = 77 WHERE tenant_id = {tenant}")
    ask(bare, f"INSERT INTO dirty_days (tenant_id, day) VALUES ({tenant}, '2025-03-01')")
    Celery(broker=broker.url).send_task(task, queue=brokers.QUEUE)
    wait_for_figures(shop)
    revenue = f"SELECT total_revenue FROM tenant_daily_metrics WHERE tenant_id = {tenant}"
    assert ask(bare, revenue) == [(77,)]
    end = time.monotonic() + 60
    while f"Task {task}" not in nodes.log("one") + nodes.log("two") and time.monotonic() < end:
        time.sleep(0.2)
    assert f"Task {task}" in nodes.log("one") + nodes.log("two")


def test_expired_data_is_cleaned_up_by_its_named_task(bare, broker, nodes):
    assert "cleanup_expired_data" in {entry["task"] for entry in schedule(bare)}
    before = ended_jobs(bare, "cleanup")
    Celery(broker=broker.url).send_task("cleanup_expired_data", queue=brokers.QUEUE)
    end = time.monotonic() + 120
    while ended_jobs(bare, "cleanup") == before and time.monotonic() < end:
        time.sleep(0.2)
    assert ended_jobs(bare, "cleanup") > before


def schedule(service: Service) -> list[dict]:
    """The beat schedule that the settings give."""
    told = (
        "import json; from django.conf import settings;"
        "print(json.dumps([{'task': entry['task']}"
        " for entry in settings.CELERY_BEAT_SCHEDULE.values()]))"
    )
    return json.loads(service.manage("shell", "-v", "0", "-c", told).stdout)


def test_14_a_broker_that_is_away_costs_time_and_nothing_else(broker, nodes, shop):
    assert shop.wait(sent(shop))["status"] == "completed"
    broker.kill()
    started = time.monotonic()
    tokens = [sent(shop) for _ in range(5)]
    print(f"five files accepted in {time.monotonic() - started:.2f} s without a broker")
    assert time.monotonic() - started < 10
    broker.start()
    for token in tokens:
        assert shop.wait(token)["status"] == "completed"


def test_15_a_job_whose_worker_is_killed_is_taken_up_again(bare, nodes, shop):
    data = ndjson(*(customer() for _ in range(20_000)))
    token = shop.send("customers.ndjson", data).json()["upload_token"]
    while shop.status(token)["chunks"][0]["status"] == "received":
        time.sleep(0.02)
    nodes.kill_workers()
    nodes.revive()
    status = shop.wait(token)
    assert status["outcomes"]["inserted"] == status["lines_received"] == 20_000
    chunk = status["chunks"][0]["chunk_id"]
    assert ask(bare, f"SELECT state, epoch > 1 FROM jobs WHERE subject = '{chunk}'") == [
        ("done", True)
    ]


@contextmanager
def embedded_worker(service: Service) -> Iterator[None]:
    command = [sys.executable, "manage.py", "worker"]
    process = subprocess.Popen(command, cwd=service.root, env=service.environment)
    try:
        yield
    finally:
        process.terminate()
        process.wait(90)
