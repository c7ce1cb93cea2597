"""The whole service as its users meet it: real processes, a real database, HTTP."""

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx2
import psycopg
import pymysql

from tests import servers, templates
from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent


class Service:
    """A running server and its workers; `environment` is what its processes see.

    `root` is the folder of the program: ours, or a copy with something changed.
    """

    def __init__(self, home: Path, environment: dict[str, str], root: Path = ROOT) -> None:
        self.home = home
        self.root = root
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = environment
        self._process: subprocess.Popen | None = None
        self._clerk: Clerk | None = None
        self._http = self._client()

    def _client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=60)

    @property
    def dialect(self) -> str:
        """What its database is: one of conftest.DIALECTS."""
        scheme, *_ = self.environment.get("DATABASE_URL", "").split("://")
        return {"postgresql": "postgresql", "mysql": "mariadb"}.get(scheme, "sqlite")

    @property
    def is_postgresql(self) -> bool:
        return self.dialect == "postgresql"

    @contextmanager
    def owner(self) -> Iterator[Any]:
        """A connection to its database that commits each statement and may change all rows."""
        if self.dialect == "postgresql":
            with psycopg.connect(self.environment["DATABASE_URL"], autocommit=True) as connection:
                yield connection
        elif self.dialect == "mariadb":
            parts = servers.mysql_parts(self.environment["DATABASE_URL"])
            start = "SET @headrace_tenant = '*', time_zone = '+00:00'"
            with pymysql.connect(**parts, autocommit=True, init_command=start) as connection:
                yield connection
        else:
            path = self.home / "headrace.sqlite3"
            with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
                connection.create_function("headrace_tenant", 0, lambda: "*")
                yield connection

    def ask(self, statement: str) -> list[tuple]:
        """What the database says; ids are texts of 32 digits."""
        with self.owner() as connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            found = cursor.fetchall() if cursor.description else ()
        return [tuple(map(_undashed, row)) for row in found]

    def spelled(self, key: UUID | str) -> str:
        """An id as a literal of its SQL."""
        return f"'{UUID(str(key)) if self.is_postgresql else UUID(str(key)).hex}'"

    def manage(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess:
        """Run manage.py; the result has its text."""
        command = [sys.executable, "manage.py", *map(str, arguments)]
        result = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if check and result.returncode:
            raise AssertionError(f"{command} ended with {result.returncode}: {result.stderr}")
        return result

    def migrate(self) -> None:
        """Bring its empty database to where `migrate` would."""
        migrate = partial(self.manage, "migrate", "--verbosity", "0")
        if self.root != ROOT:
            migrate()
        elif templates.fill(self.home, self.environment, migrate):
            with self.owner() as connection:
                connection.cursor().execute(_OWN_INSTANT)

    def start(self, workers: int | None = None) -> None:
        command = [sys.executable, "manage.py", "serve", "--port", str(self.port)]
        command += [] if workers is None else ["--workers", str(workers)]
        with (self.home / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.root,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self._wait_until_ready()

    def stop(self) -> None:
        if self._process is not None:
            self._http.close()  # a server waits a second or two for a connection that is kept
            self._http = self._client()
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(90)
            self._process = None

    def add_tenant(
        self, tenant: UUID | None = None, name: str = "A shop", **more: object
    ) -> "Merchant":
        tenant = tenant or uuid4()
        path = self.home / f"tenants-{tenant}.csv"
        columns = {"tenant_id": tenant, "name": name, **more}
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([columns.keys(), columns.values()])
        self._load_tenants(path)
        return Merchant(self, tenant, f"api_key_{tenant}")

    def _load_tenants(self, path: Path) -> None:
        if self._clerk is None or self._clerk.environment != self.environment:
            self.dismiss()
            self._clerk = Clerk(self.root, self.home, self.environment)
        self._clerk.load(path)

    def dismiss(self) -> None:
        if self._clerk is not None:
            self._clerk.end()
            self._clerk = None

    def request(self, method: str, path: str, **options) -> httpx2.Response:
        return self._http.request(method, path, **options)

    @property
    def pid(self) -> int:
        """The process id of `manage.py serve`."""
        assert self._process is not None
        return self._process.pid

    def worker_pids(self) -> list[int]:
        """The process ids of the workers that this service started."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        pids = map(int, children.read_text().split())
        return [pid for pid in pids if is_worker(pid)]

    def log(self) -> str:
        path = self.home / "logs" / "django.log"
        return path.read_text() if path.exists() else ""

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + 150
        while time.monotonic() < end:
            with suppress(httpx2.TransportError):
                if self.request("GET", "/health/ready").status_code == 200:
                    return
            time.sleep(0.1)
        raise AssertionError((self.home / "serve.log").read_text())


CLERK = """
import io, sys
import django
django.setup()
from django.core.management import call_command
from django.db import connection
for path in map(str.strip, sys.stdin):
    call_command("load_tenants", "--file", path, stdout=io.StringIO())  # it shows keys
    connection.close()
    print("loaded", flush=True)
"""


class Clerk:
    """A process that runs `load_tenants` again and again: half of its time is to start."""

    def __init__(self, root: Path, home: Path, environment: dict[str, str]) -> None:
        self.environment = dict(environment)
        self._complaints = home / "clerk.log"
        with self._complaints.open("a") as complaints:
            self._process = subprocess.Popen(
                [sys.executable, "-c", CLERK],
                cwd=root,
                env={**environment, "DJANGO_SETTINGS_MODULE": "main.settings"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
            )

    def load(self, path: Path) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):
            print(path, file=self._process.stdin, flush=True)
        if self._process.stdout.readline() != "loaded\n":
            raise AssertionError(self._complaints.read_text())

    def end(self) -> None:
        self._process.communicate()


class Merchant:
    """A tenant with its key, calling the service."""

    def __init__(self, service: Service, tenant: UUID, key: str) -> None:
        self.service = service
        self.tenant = tenant
        self.key = key

    def request(self, method: str, path: str, **options) -> httpx2.Response:
        headers = {"X-API-Key": self.key, **options.pop("headers", {})}
        return self.service.request(method, f"/api/v1{path}", headers=headers, **options)

    def send(
        self,
        filename: str,
        data: bytes,
        *,
        key: str | None = None,
        token: str | None = None,
        **headers: str,
    ) -> httpx2.Response:
        """POST a raw body with a fresh idempotency key, unless one is given."""
        named = {"X-Filename": filename, "Idempotency-Key": key or uuid4().hex}
        if token:
            named["Upload-Token"] = token
        return self.request(
            "POST", "/ingest/comprehensive/", content=data, headers={**named, **headers}
        )

    def open_upload(self, **options) -> str:
        response = self.request("POST", "/ingest/sessions/", json=options)
        assert response.status_code == 201, response.text
        return response.json()["upload_token"]

    def status(self, token: str) -> dict:
        response = self.request("GET", f"/ingest/sessions/{token}/status/")
        assert response.status_code == 200, response.text
        return response.json()

    def rejects(self, token: str, **parameters) -> list[dict]:
        response = self.request("GET", f"/ingest/sessions/{token}/rejects/", params=parameters)
        assert response.status_code == 200, response.text
        return [json.loads(line) for line in response.text.splitlines()]

    def wait(self, token: str, seconds: float = 180) -> dict:
        """The upload's status once it is finished."""
        end = time.monotonic() + seconds
        while not (status := self.status(token))["finished"]:
            if time.monotonic() > end:
                raise AssertionError(f"not finished: {status}\n{self.service.log()[-4000:]}")
            time.sleep(0.1)
        return status

    def load(self, filename: str, data: bytes, **options) -> dict:
        """Send one file and wait for the end of its upload."""
        response = self.send(filename, data, **options)
        assert response.status_code == 201, response.text
        return self.wait(response.json()["upload_token"])


@contextmanager
def running(
    home: Path,
    server: str | None = None,
    *,
    root: Path = ROOT,
    workers: int | None = None,
    **environment: str,
) -> Iterator[Service]:
    """A service with a database of its own: SQLite under `home`, or one on this server."""
    if server is None:
        with _service(home, environment, root, workers) as service:
            yield service
        return
    with (
        servers.new_database(server) as url,
        _service(home, {"DATABASE_URL": url, **environment}, root, workers) as service,
    ):
        yield service


@contextmanager
def _service(
    home: Path, environment: dict[str, str], root: Path, workers: int | None
) -> Iterator[Service]:
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DB_", "DATABASE_", "HEADRACE_", "DJANGO_", "CELERY_"))
    }
    # Tests send bad keys by the hundred, all from one address.
    usual = {"HEADRACE_HOME": str(home), "HEADRACE_BAD_KEYS_PER_MINUTE": "off"}
    service = Service(home, {**inherited, **usual, **environment}, root)
    service.migrate()
    try:
        service.start(workers)
        yield service
    finally:
        service.stop()
        service.dismiss()


_OWN_INSTANT = "UPDATE django_migrations SET applied = CURRENT_TIMESTAMP WHERE app = 'ingestions'"


def _undashed(value: object) -> object:
    return value.hex if isinstance(value, UUID) else value


def is_worker(pid: int) -> bool:
    """Whether it is a worker that `manage.py serve` started."""
    return command_line(pid).startswith("headrace: worker")


def command_line(pid: int) -> str:
    """What the list of processes shows; nothing of one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""
