"""`make demo` and `serve` as a stranger meets them: a fresh folder, a fresh database.

That `make demo` works on PostgreSQL is shown by test_docs, with the README's own command.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import httpx2
import psycopg
import pytest

from headrace.entities import ENTITIES
from tests import documents, service
from tests.servers import free_port

HEAD = ["lines", "inserted", "updated", "unchanged", "superseded", "rejected", "parked"]
HEAD += ["unprocessed", "rows"]
pytestmark = pytest.mark.slow


@pytest.fixture
def database_url(postgresql_server: str) -> Iterator[str]:
    """The URL of a fresh database."""
    name = f"headrace_demo_{uuid4().hex[:12]}"
    with psycopg.connect(postgresql_server, autocommit=True) as administrator:
        administrator.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{postgresql_server.rpartition('/')[0]}/{name}"
        finally:
            administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")


def demo(home: Path, **environment: str) -> subprocess.CompletedProcess:
    """Run the demo with all its state under `home`."""
    own = {"HEADRACE_HOME": str(home), "PORT": str(free_port()), **environment}
    return subprocess.run(
        [sys.executable, "scripts/demo.py"],
        cwd=service.ROOT,
        env={**documents.service_environment(), "COLUMNS": "160", **own},
        capture_output=True,
        text=True,
        timeout=120,
    )


def reconciliation(run: subprocess.CompletedProcess) -> list[dict]:
    """The rows of the table that the demo prints."""
    rows = [
        re.split(r"\s*│\s*", line.strip("│ ")) for line in run.stdout.splitlines() if "│" in line
    ]
    return [
        {
            "entity": row[1],
            "equal": row[-1],
            **{
                name: int(cell.replace(",", "")) for name, cell in zip(HEAD, row[2:-1], strict=True)
            },
        }
        for row in rows
    ]


def assert_accounted(run: subprocess.CompletedProcess, outcome: str) -> None:
    """Every line of every entity of both tenants has this outcome and its row."""
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert "Every line is accounted for." in run.stdout
    table = reconciliation(run)
    assert Counter(row["entity"] for row in table) == {entity.name: 2 for entity in ENTITIES}
    assert {row["equal"] for row in table} == {"yes"}
    assert [row for row in table if not row["lines"] == row[outcome] == row["rows"]] == []


def test_the_demo_lands_every_line_and_the_second_time_finds_them_unchanged(tmp_path: Path):
    with documents.listening() as port:
        first = demo(tmp_path, PORT=str(port))
    assert_accounted(first, "inserted")
    assert f":{port}\n" not in first.stdout  # in use: the demo takes another one
    port = free_port()
    second = demo(tmp_path, PORT=str(port))
    assert_accounted(second, "unchanged")
    assert f":{port}\n" in second.stdout


def wait_until_ready(url: str, serving: subprocess.Popen) -> None:
    """The client asks for some seconds only; on a busy machine a start takes longer."""
    end = time.monotonic() + 150
    while time.monotonic() < end:
        assert serving.poll() is None
        with suppress(httpx2.TransportError):
            if httpx2.get(f"{url}/health/ready").status_code == 200:
                return
        time.sleep(0.2)
    raise AssertionError("the server was not ready within 150 s")


def test_serve_works_on_postgresql_from_an_empty_database_to_accounted_rows(
    tmp_path: Path, database_url: str
):
    port, data = free_port(), tmp_path / "data"
    environment = {
        **documents.service_environment(),
        "HEADRACE_HOME": str(tmp_path),
        "DATABASE_URL": database_url,
        "PORT": str(port),
    }

    def run(*command: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=service.ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("manage.py", "migrate", "--verbosity", "0")
    sizes = ["--tenants", "1", "--products-per-tenant", "50", "--orders-per-tenant", "100"]
    run("gen_dataset.py", *sizes, "--customers-per-tenant", "10", "--output-dir", data)
    run("manage.py", "load_tenants", "--file", data / "tenants.csv")
    with (tmp_path / "serve.log").open("wb") as log:
        serving = subprocess.Popen(
            [sys.executable, "manage.py", "serve"],
            cwd=service.ROOT,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://localhost:{port}"
        wait_until_ready(url, serving)
        run("bulk_ingest.py", "--data-dir", data, "--api-url", url, "--wait-for-completion")
    finally:
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(90) == 0, (tmp_path / "serve.log").read_text()
    lines = sum(path.read_bytes().count(b"\n") for path in data.glob("*.ndjson"))
    with psycopg.connect(database_url) as connection:
        rows = [
            connection.execute(f"SELECT count(*) FROM {one.name}").fetchone()[0] for one in ENTITIES
        ]
    assert sum(rows) == lines
    assert os.listdir(tmp_path / "objects")
