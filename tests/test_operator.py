"""The operator's view: metrics that add up, logs without keys, doctor and jobs."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headrace.pipeline.report import Outcome
from tests import documents, service
from tests.conftest import HTTP_DIALECTS, on_every_database, server_of
from tests.servers import free_port
from tests.service import ROOT, Merchant, Service
from tests.shop import customer, order, product

CATALOGUE = """
import json
from prometheus_client import Counter, Histogram
from apps.core import metrics
found = {}
for metric in vars(metrics).values():
    if isinstance(metric, Counter | Histogram):
        [family] = metric.describe()
        name = family.name + "_total" * (family.type == "counter")
        found[name] = [list(metric._labelnames), family.documentation]
    elif isinstance(metric, metrics.Reading):
        found[metric.name] = [list(metric.labels), metric.about]
print(json.dumps(found))
"""
CLAIM = """
from itertools import islice
from apps.core.jobs import Claims
leases = iter(Claims("a worker that died").next, None)
print([[lease.job, lease.epoch] for lease in islice(leases, NUMBER)])
"""
SHOUT = """
import logging, sys, django
django.setup()
for number in range(100):
    logging.getLogger("shout").warning("%s %s", sys.argv[1], sys.argv[1] * 20_000)
"""
TOKEN = "a-token-of-the-test"


@pytest.fixture(params=HTTP_DIALECTS, scope="module")
def idle(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A server without a worker: what is sent to it waits."""
    home = tmp_path_factory.mktemp(f"idle_{request.param}")
    server = server_of(request, request.param)
    settings = {"HEADRACE_LEASE_SECONDS": "600"}  # commands come between a claim and its end
    with service.running(home, server, workers=0, **settings) as opened:
        yield opened


Figures = dict[tuple[str, frozenset], float]


def scrape(running: Service) -> Figures:
    response = running.request("GET", "/metrics")
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def rise(before: Figures, after: Figures, name: str, **labels: str) -> float:
    key = name, frozenset(labels.items())
    return after.get(key, 0.0) - before.get(key, 0.0)


def rows_counted(before: Figures, after: Figures, entity: str) -> dict[str, int]:
    found = {
        outcome.value: rise(
            before, after, "headrace_rows_total", entity=entity, outcome=outcome.value
        )
        for outcome in Outcome
    }
    return {outcome: int(lines) for outcome, lines in found.items()}


def once_equal(expected: object, look) -> None:
    """A count follows its commit, so a reader of the status may be a moment earlier."""
    end = time.monotonic() + 60
    while (found := look()) != expected and time.monotonic() < end:
        time.sleep(0.1)
    assert found == expected


def customers(sound: int, bad: int = 0) -> bytes:
    return lines_of(*(customer() for _ in range(sound)), *[{}] * bad)


def lines_of(*records: dict) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def test_metrics_add_up_to_the_status_of_every_upload(running_service, merchant):
    before = scrape(running_service)
    sku = uuid4().hex
    first = product(sku=sku)
    files = {
        "customers.ndjson": customers(sound=20, bad=3),
        "products.ndjson": lines_of(first, product(sku=sku), product(price="abc"), product()),
        "products_again.ndjson": lines_of(first, {**first, "name": "A mug"}, {**first, "price": 3}),
    }
    total: dict[str, dict[str, int]] = {}
    for name, data in files.items():
        for entity, part in merchant.load(name, data)["entities"].items():
            sums = total.setdefault(entity, dict.fromkeys(part["outcomes"], 0))
            total[entity] = {one: sums[one] + part["outcomes"][one] for one in sums}
    assert {entity: sum(outcomes.values()) for entity, outcomes in total.items()} == {
        "customers": 23,
        "products": 7,
    }
    assert total["products"]["rejected"] == 2
    once_equal(
        total,
        lambda: {entity: rows_counted(before, scrape(running_service), entity) for entity in total},
    )
    after = scrape(running_service)
    received = {
        entity: (
            rise(before, after, "headrace_received_files_total", entity=entity),
            rise(before, after, "headrace_received_bytes_total", entity=entity),
        )
        for entity in total
    }
    sizes = [len(data) for data in files.values()]
    assert received == {"customers": (1, sizes[0]), "products": (2, sizes[1] + sizes[2])}
    ended = {"entity": "customers", "state": "completed_with_rejects"}
    assert rise(before, after, "headrace_chunk_seconds_count", **ended) == 1
    assert rise(before, after, "headrace_segment_seconds_count", entity="customers") == 1
    assert rise(before, after, "headrace_claims_total", kind="ingest") == 3


def test_parked_lines_are_shown_while_they_wait_and_counted_again_when_they_land(
    running_service, merchant
):
    before = scrape(running_service)
    parent = str(uuid4())
    status = merchant.load("orders.ndjson", lines_of(order(customer_id=parent)))
    assert status["outcomes"]["parked"] == 1
    after = scrape(running_service)
    assert rise(before, after, "headrace_parked_lines") == 1
    merchant.load("customers.ndjson", lines_of(customer(customer_id=parent)))
    expected = dict.fromkeys((outcome.value for outcome in Outcome), 0)
    once_equal(
        {**expected, "parked": 1, "inserted": 1},
        lambda: rows_counted(before, scrape(running_service), "orders"),
    )
    assert rise(before, scrape(running_service), "headrace_parked_lines") == 0


def test_depth_lag_and_bytes_are_those_of_the_waiting_files(idle):
    before, data = scrape(idle), customers(sound=5)
    began = time.monotonic()
    for _ in range(2):
        assert idle.add_tenant().send("customers.ndjson", data).status_code == 201
    time.sleep(0.5)
    after = scrape(idle)
    assert rise(before, after, "headrace_jobs", kind="ingest", state="queued") == 2
    assert rise(before, after, "headrace_jobs", kind="ingest", state="running") == 0
    assert rise(before, after, "headrace_queued_bytes") == 2 * len(data)
    assert after["headrace_queue_lag_seconds", frozenset()] >= 0.5
    if not before["headrace_queue_lag_seconds", frozenset()]:
        assert after["headrace_queue_lag_seconds", frozenset()] <= time.monotonic() - began + 1


def test_no_label_names_a_tenant(running_service, merchant):
    merchant.load("customers.ndjson", customers(sound=1, bad=1))
    text = running_service.request("GET", "/metrics").text
    assert str(merchant.tenant) not in text
    labels = {name for _, pairs in scrape(running_service) for name, _ in pairs}
    assert labels <= {"entity", "outcome", "kind", "state", "reason", "result", "le"}


def test_counters_outlive_the_processes_that_counted_and_files_do_not_pile_up(tmp_path):
    with service.running(tmp_path) as running:
        before = scrape(running)
        for _ in range(3):
            running.add_tenant().load("customers.ndjson", customers(sound=4))
            running.stop()
            running.start()
        assert rows_counted(before, scrape(running), "customers")["inserted"] == 12
        alive = os.cpu_count() + 1
        assert len(list((tmp_path / "metrics").glob("counter_*.db"))) <= alive + 1


def test_metrics_need_their_token_in_production(tmp_path):
    environment = {"HEADRACE_ENV": "production", "DJANGO_SECRET_KEY": uuid4().hex * 2}
    environment["ALLOWED_HOSTS"] = "127.0.0.1"
    with service.running(tmp_path, **environment) as running:
        absent = running.request("GET", "/metrics")
        assert (absent.status_code, absent.json()["code"]) == (404, "not_found")
        running.stop()
        running.environment["HEADRACE_METRICS_TOKEN"] = TOKEN
        running.start()
        for given in ({}, {"Authorization": "Bearer x"}, {"Authorization": TOKEN}):
            refused = running.request("GET", "/metrics", headers=given)
            assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
            assert refused.headers["Content-Type"] == "application/problem+json"
        allowed = running.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        assert allowed.status_code == 200
        assert "headrace_queue_lag_seconds 0.0" in allowed.text
        assert TOKEN not in running.log()


def test_the_document_has_every_metric_with_its_labels_and_its_sentence(running_service):
    declared = json.loads(running_service.manage("shell", "-v", "0", "-c", CATALOGUE).stdout)
    named = {
        name + (f"{{{','.join(labels)}}}" if labels else ""): about
        for name, (labels, about) in declared.items()
    }
    assert documents.table(documents.sections("docs/operations.md")["Metrics"]) == named


def log_lines(running: Service) -> list[dict]:
    return [json.loads(line) for line in running.log().splitlines()]


def test_every_log_line_is_json_with_the_ids_of_its_request_and_its_job(running_service, merchant):
    sent = merchant.send(
        "customers.ndjson", customers(sound=2), **{"X-Request-Id": (named := uuid4().hex)}
    )
    merchant.wait(sent.json()["upload_token"])
    chunk = sent.json()["chunk_id"]

    def accesses() -> list[dict]:
        return [line for line in log_lines(running_service) if line.get("request_id") == named]

    def job_ends() -> list[dict]:
        lines = log_lines(running_service)
        ends = [line for line in lines if line["event"] == "job has left this worker"]
        return [line for line in ends if line["subject"] == chunk]

    once_equal((1, 1), lambda: (len(accesses()), len(job_ends())))
    found = log_lines(running_service)
    always = {"timestamp", "level", "logger", "event"}
    assert [line for line in found if not always <= line.keys()] == []
    [access] = [line for line in found if line.get("request_id") == named]
    upload = access["upload"]
    assert (access["event"], access["method"], access["path"], access["status"]) == (
        "request",
        "POST",
        "/api/v1/ingest/comprehensive/",
        201,
    )
    assert (access["tenant"], access["chunk"]) == (str(merchant.tenant), chunk)
    assert access["bytes_in"] == sent.json()["bytes"]
    assert access["duration_ms"] > 0
    [job] = [line for line in found if line.get("kind") == "ingest" and line["subject"] == chunk]
    assert (job["tenant"], job["upload"], job["chunk"]) == (str(merchant.tenant), upload, chunk)
    assert job["job"].isdecimal()
    assert "request_id" not in job
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", job["timestamp"])


def test_a_key_never_appears_in_a_log_line(running_service, merchant):
    minted = f"hr_{uuid4().hex[:12]}_{'Ab1' * 13}x_0123abcd"
    token = merchant.load("customers.ndjson", customers(sound=1))["upload_token"]
    for key in (merchant.key, minted):
        for path in (f"/{key}", f"/api/v1/ingest/sessions/{key}/status/", f"/?key={key}"):
            running_service.request("GET", path, headers={"X-Request-Id": key})
            running_service.request("GET", path, headers={"Authorization": f"Bearer {key}"})
    merchant.request("GET", f"/ingest/sessions/{token}/status/")
    time.sleep(0.3)
    texts = [path.read_text() for path in (running_service.home / "logs").iterdir()]
    assert [secret for secret in (merchant.key, minted, token) if secret in "".join(texts)] == []
    assert any('"path": "/[key]"' in text for text in texts)


def test_lines_of_several_processes_stay_whole(tmp_path):
    environment = {**documents.service_environment(), "HEADRACE_HOME": str(tmp_path)}
    environment["DJANGO_SETTINGS_MODULE"] = "main.settings"
    command = [sys.executable, "-c", SHOUT]
    crowd = [subprocess.Popen([*command, letter], cwd=ROOT, env=environment) for letter in "abcd"]
    assert [one.wait(60) for one in crowd] == [0] * 4
    lines = (tmp_path / "logs" / "django.log").read_text().splitlines()
    shouted = [json.loads(line)["event"] for line in lines]
    assert sorted(shouted) == sorted(f"{one} {one * 20_000}" for one in "abcd" for _ in range(100))


def examined(running: Service, **environment: str) -> tuple[int, dict[str, dict]]:
    """doctor's exit code and findings, in the service's environment with these changes."""
    done = operate(running, "doctor", "--json", **environment)
    findings = json.loads(done.stdout)["findings"]
    return done.returncode, {finding["name"]: finding for finding in findings}


def operate(
    running: Service, *arguments: object, **environment: str
) -> subprocess.CompletedProcess:
    """manage.py with changes to the environment; it starts twice as fast as `headrace`."""
    return _run(running, "manage.py", *arguments, **environment)


def headrace(running: Service, *arguments: object) -> subprocess.CompletedProcess:
    return _run(running, "-m", "headrace", *arguments)


def _run(running: Service, *arguments: object, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**running.environment, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def unwell(findings: dict[str, dict]) -> dict[str, str]:
    return {name: one["advice"] for name, one in findings.items() if not one["is_well"]}


OF_DATABASES = {
    "sqlite": {"tenant triggers"},
    "postgresql": {"server version", "serving role", "row security", "references", "connections"},
    "mariadb": {
        *("server version", "collation", "tenant triggers", "loading", "binary log", "packets"),
        "connections",
    },
}


@on_every_database
def test_doctor_finds_nothing_wrong_with_a_running_service(running_service):
    code, findings = examined(running_service)
    assert (code, unwell(findings)) == (0, {})
    assert findings["broker"]["found"] == "none: embedded worker"
    special = {name for names in OF_DATABASES.values() for name in names}
    assert special & findings.keys() == OF_DATABASES[running_service.dialect]
    shown = headrace(running_service, "doctor")
    assert shown.returncode == 0
    assert [line for line in shown.stdout.splitlines() if not line.startswith("ok  ")] == []


def test_doctor_says_what_to_do_about_each_trouble(running_service):
    secret = {"HEADRACE_ENV": "production", "DJANGO_SECRET_KEY": uuid4().hex * 2}
    code, findings = examined(running_service, **secret, HEADRACE_DEMO_KEYS="on")
    assert (code, unwell(findings).keys()) == (1, {"demo keys"})
    password = uuid4().hex
    broker = f"redis://:{password}@127.0.0.1:{free_port()}/0"
    done = operate(running_service, "doctor", CELERY_BROKER_URL=broker)
    assert done.returncode == 1
    assert "mend CELERY_BROKER_URL" in done.stdout
    assert password not in done.stdout + done.stderr + running_service.log()
    code, findings = examined(running_service, HEADRACE_DISK_RESERVE_BYTES=str(1 << 60))
    assert (code, unwell(findings).keys()) == (1, {"home"})


def test_doctor_exits_with_3_when_the_database_cannot_be_reached(running_service, tmp_path):
    for url in (
        f"postgresql://someone:a_password@127.0.0.1:{free_port()}/headrace",
        f"mysql://someone:a_password@127.0.0.1:{free_port()}/headrace",
        f"sqlite:///{tmp_path}/nowhere/headrace.sqlite3",
    ):
        done = operate(running_service, "doctor", DATABASE_URL=url)
        assert done.returncode == 3, done.stdout
        assert "cannot be reached" in done.stdout
        assert "mend DATABASE_URL" in done.stdout
        assert "a_password" not in done.stdout + done.stderr + running_service.log()
        listed = operate(running_service, "jobs", "list", DATABASE_URL=url)
        assert (listed.returncode, "headrace doctor" in listed.stderr) == (3, True)


def test_doctor_misses_the_tables_of_a_new_database(running_service, tmp_path):
    url = f"sqlite:///{tmp_path}/new.sqlite3"
    code, findings = examined(running_service, DATABASE_URL=url)
    assert (code, unwell(findings)) == (1, {"migrations": "Run `manage.py migrate`."})


@pytest.mark.parametrize("role", ["mighty", "missing"])
def test_doctor_refuses_a_serving_role_that_passes_row_level_security(
    running_service, postgresql_server, role
):
    if not running_service.is_postgresql:
        pytest.skip("SQLite has no roles")
    name = f"headrace_{role}_{uuid4().hex[:8]}"
    with psycopg.connect(postgresql_server, autocommit=True) as administrator:
        if role == "mighty":
            administrator.execute(f"CREATE ROLE {name} BYPASSRLS")
        code, findings = examined(running_service, HEADRACE_DB_ROLE=name)
        administrator.execute(f"DROP ROLE IF EXISTS {name}")
    assert (code, unwell(findings).keys()) == (1, {"serving role"})


def test_the_library_alone_says_that_it_has_no_service(tmp_path):
    shutil.copytree(ROOT / "headrace", tmp_path / "headrace")
    environment = {**documents.service_environment(), "PYTHONPATH": str(tmp_path)}
    for command in ("doctor", "jobs"):
        done = subprocess.run(
            [sys.executable, "-m", "headrace", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert "manage.py" in done.stderr


def listed(running: Service, *options: str) -> list[dict]:
    done = operate(running, "jobs", "list", "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def job_of(running: Service, chunk: str) -> dict:
    """The newest job of a chunk."""
    return next(job for job in listed(running, "--kind", "ingest") if job["subject"] == chunk)


def sent(merchant: Merchant) -> dict:
    response = merchant.send("customers.ndjson", customers(sound=3, bad=1))
    assert response.status_code == 201, response.text
    return response.json()


def test_jobs_are_listed_by_state_and_kind_the_newest_first(idle):
    merchant = idle.add_tenant()
    chunks = [sent(merchant)["chunk_id"] for _ in range(3)]
    own = [
        job for job in listed(idle, "--state", "queued") if job["tenant"] == str(merchant.tenant)
    ]
    assert [job["subject"] for job in own] == chunks[::-1]
    assert [job["id"] for job in listed(idle, "--limit", "1")] == [own[0]["id"]]
    assert {**own[0], "age_seconds": 0, "id": 0} == {
        "id": 0,
        "kind": "ingest",
        "subject": chunks[-1],
        "tenant": str(merchant.tenant),
        "state": "queued",
        "epoch": 0,
        "attempts": 0,
        "lease_seconds_left": None,
        "worker": "",
        "age_seconds": 0,
        "error": "",
    }
    assert own[0]["age_seconds"] >= 0
    assert listed(idle, "--kind", "wake") == []
    assert str(own[0]["id"]) in operate(idle, "jobs", "list").stdout
    assert headrace(idle, "jobs", "list", "--state", "lost").returncode == 2


def test_a_quarantined_job_is_retried_and_its_file_lands(idle):
    merchant = idle.add_tenant()
    file = sent(merchant)
    job = job_of(idle, file["chunk_id"])
    done = operate(idle, "jobs", "quarantine", job["id"])
    assert done.returncode == 0, done.stderr
    status = merchant.status(file["upload_token"])
    assert (status["status"], status["chunks"][0]["code"]) == ("failed", "quarantined")
    assert status["outcomes"]["unprocessed"] == status["lines_received"] == 4
    after = job_of(idle, file["chunk_id"])
    assert (after["state"], after["epoch"]) == ("quarantined", job["epoch"] + 1)
    again = operate(idle, "jobs", "quarantine", job["id"])
    assert (again.returncode, "nothing changed" in again.stderr) == (1, True)
    assert headrace(idle, "jobs", "retry", job["id"]).returncode == 0
    assert job_of(idle, file["chunk_id"])["state"] == "queued"
    again = operate(idle, "jobs", "retry", job["id"])
    assert (again.returncode, "nothing changed" in again.stderr) == (1, True)
    idle.stop()
    idle.start(workers=1)
    try:
        outcomes = merchant.wait(file["upload_token"])["outcomes"]
    finally:
        idle.stop()
        idle.start(workers=0)
    assert {name: lines for name, lines in outcomes.items() if lines} == {
        "inserted": 3,
        "rejected": 1,
    }


def claim(running: Service, number: int) -> list[list[int]]:
    """Let a worker take so many jobs, as far as there are any, and die; jobs and epochs."""
    code = CLAIM.replace("NUMBER", str(number))
    return json.loads(running.manage("shell", "-v", "0", "-c", code).stdout)


def test_a_released_job_goes_to_the_next_worker(idle):
    sent(idle.add_tenant())
    [[job, epoch]] = claim(idle, 1)
    [running] = listed(idle, "--state", "running")
    assert (running["id"], running["worker"]) == (job, "a worker that died")
    assert 0 < running["lease_seconds_left"] <= 600
    assert operate(idle, "jobs", "release", job).returncode == 0
    again = operate(idle, "jobs", "release", job)
    assert (again.returncode, "nothing changed" in again.stderr) == (1, True)
    taken = claim(idle, 100)
    assert [job, epoch + 1] in taken
    assert operate(idle, "jobs", "quarantine", *(one for one, _ in taken)).returncode == 0
    assert listed(idle, "--state", "running") == []


def test_a_job_that_is_not_there_or_ended_well_is_left_alone(running_service, merchant):
    file = merchant.load("customers.ndjson", customers(sound=1))
    [done] = [
        job
        for job in listed(running_service, "--kind", "ingest")
        if job["subject"] == file["chunks"][0]["chunk_id"]
    ]
    for action in ("retry", "quarantine", "release"):
        told = operate(running_service, "jobs", action, done["id"], 10**9)
        assert told.returncode == 1
        assert f"job {done['id']}: nothing changed: it is done" in told.stderr
        assert f"job {10**9}: there is none" in told.stderr
    assert operate(running_service, "jobs", "retry").returncode == 2
