"""Migrated databases, made once in a run of the tests and then copied: a migration takes seconds.

A copy differs from a database that was migrated in the instant of its first migration only, which
is what the object store of each database knows its own by.
"""

import atexit
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psycopg
import pymysql

from tests import servers

SHAPES = ("HEADRACE_PARTITIONS", "HEADRACE_DB_ROLE")  #: what a migration asks the environment for
SQLITE = "headrace.sqlite3"
FOLDER = "TEST_TEMPLATES"  #: the variable by which the processes of a run know its templates


def begin() -> Path:
    """A folder for the templates of this process and of those that it starts; both end with it."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-templates-"))
    os.environ[FOLDER] = str(folder)
    atexit.register(_end, folder)
    return folder


def _end(folder: Path) -> None:
    for record in folder.glob("*.json"):
        url, kept = json.loads(record.read_text())
        if url.startswith("postgresql:"):
            _drop_postgresql(url, kept)
    shutil.rmtree(folder, ignore_errors=True)


def fill(home: Path, environment: dict[str, str], migrate: Callable[[], object]) -> bool:
    """Bring the empty database of a service to where `migrate` would; whether it was copied."""
    url = environment.get("DATABASE_URL", "")
    scheme, server = url.partition(":")[0], url.rpartition("/")[0]
    copy, keep = _WAYS.get(scheme, (_copy_sqlite, _keep_sqlite))
    with _alone(server, *(environment.get(name, "") for name in SHAPES)) as record:
        if not record.exists():
            migrate()
            if (kept := keep(url, home)) is not None:
                record.write_text(json.dumps([url, kept]))
            return False
    _, known = json.loads(record.read_text())
    copy(known, url, home)
    return True


@contextmanager
def _alone(*key: str) -> Iterator[Path]:
    """Where the template of this key is noted, while no other process makes it."""
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()
    with (_folder() / f"{digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield _folder() / f"{digest}.json"


def _folder() -> Path:
    return Path(os.environ[FOLDER]) if FOLDER in os.environ else begin()


def _keep_sqlite(url: str, home: Path) -> str:
    kept = _folder() / uuid4().hex
    shutil.copy(home / SQLITE, kept)
    return str(kept)


def _copy_sqlite(kept: str, url: str, home: Path) -> None:
    home.mkdir(parents=True, exist_ok=True)  # as a migration would
    shutil.copy(kept, home / SQLITE)


def _administering(url: str) -> psycopg.Connection:
    return psycopg.connect(f"{url.rpartition('/')[0]}/postgres", autocommit=True)


def copy_postgresql(administrator: psycopg.Connection, template: str, name: str) -> None:
    """Make the database `name` of a template, and of the settings that the server keeps of it."""
    administrator.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    settings = administrator.execute(
        "SELECT unnest(setconfig) FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase"
        " WHERE datname = %s AND setrole = 0",
        [template],
    )
    for (setting,) in settings.fetchall():
        parameter, _, value = setting.partition("=")
        administrator.execute(f"ALTER DATABASE {name} SET {parameter} = '{value}'")


def _keep_postgresql(url: str, home: Path) -> str:
    kept = f"headrace_test_template_{uuid4().hex[:12]}"
    with _administering(url) as administrator:
        copy_postgresql(administrator, url.rpartition("/")[2], kept)
    return kept


def _drop_postgresql(url: str, kept: str) -> None:
    # A server of the tests' own is gone by now.
    with suppress(psycopg.OperationalError), _administering(url) as administrator:
        administrator.execute(f"DROP DATABASE IF EXISTS {kept}")


def _copy_postgresql(kept: str, url: str, home: Path) -> None:
    name = url.rpartition("/")[2]
    with _administering(url) as administrator:
        administrator.execute(f"DROP DATABASE {name}")
        copy_postgresql(administrator, kept, name)


def _keep_mariadb(url: str, home: Path) -> str | None:
    """A dump, where there is the program for one."""
    if not (shutil.which("mariadb-dump") and shutil.which("mariadb")):
        return None
    kept = _folder() / uuid4().hex
    with kept.open("wb") as file:
        command = ["mariadb-dump", *_mariadb_options(url), "--skip-lock-tables"]
        subprocess.run([*command, url.rpartition("/")[2]], stdout=file, check=True)
    return f"{_collation(url)} {kept}"


def _copy_mariadb(kept: str, url: str, home: Path) -> None:
    collation, path = kept.split(" ", 1)
    name = url.rpartition("/")[2]
    with closing(pymysql.connect(**servers.mysql_parts(url))) as connection:
        connection.cursor().execute(f"ALTER DATABASE {name} COLLATE {collation}")
    with Path(path).open("rb") as file:
        subprocess.run(["mariadb", *_mariadb_options(url), name], stdin=file, check=True)


def _collation(url: str) -> str:
    with closing(pymysql.connect(**servers.mysql_parts(url))) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT @@collation_database")
        return cursor.fetchone()[0]


def _mariadb_options(url: str) -> list[str]:
    parts = servers.mysql_parts(url)
    password = [f"--password={parts['password']}"] if parts["password"] else []
    return ["-h", parts["host"], "-P", str(parts["port"]), "-u", parts["user"], *password]


_WAYS = {
    "postgresql": (_copy_postgresql, _keep_postgresql),
    "mysql": (_copy_mariadb, _keep_mariadb),
}
