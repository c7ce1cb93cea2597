"""Django's settings of the database that the environment names (`headrace.databases`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headrace import databases
from headrace.databases import Named, UnusableDatabase

ENGINES = {
    databases.POSTGRESQL: "apps.core.backends.postgresql",
    databases.SQLITE: "django.db.backends.sqlite3",
    databases.MYSQL: "apps.core.backends.mariadb",
}


def from_environment(environment: Mapping[str, str], home: Path) -> dict[str, Any]:
    """Django's settings of the default database. Raises UnusableDatabase."""
    return _completed(_settings(databases.from_environment(environment, home)))


def _settings(named: Named) -> dict[str, Any]:
    found: dict[str, Any] = {"ENGINE": ENGINES[named.kind], "NAME": named.name}
    if named.kind == databases.SQLITE:
        return found
    return {
        **found,
        "USER": named.user,
        "PASSWORD": named.password,
        "HOST": named.host,
        "PORT": named.port,
        "OPTIONS": dict(named.options),
    }


def _completed(database: dict[str, Any]) -> dict[str, Any]:
    if database["ENGINE"] == ENGINES[databases.SQLITE]:
        # A checkpoint waits for the disk, and writes a page once that several segments changed: at
        # 32 MiB of log a load waits a quarter less than at the usual 4, or more.
        options = {
            "timeout": 20,
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            " PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;"
            " PRAGMA wal_autocheckpoint = 8192;",
            "transaction_mode": "IMMEDIATE",
        }
        return {**database, "OPTIONS": options}
    if database["ENGINE"] == ENGINES[databases.MYSQL]:
        database = _for_pymysql(database)
    return {**database, "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}


def _for_pymysql(database: dict[str, Any]) -> dict[str, Any]:
    """Django asks for MySQLdb; PyMySQL stands in for it, with what follows the URL's `?`."""
    try:
        import pymysql  # noqa: PLC0415 - needed where this database is chosen only

        from headrace.pipeline.dialects.mysql import SESSION  # noqa: PLC0415
    except ImportError:
        raise UnusableDatabase(
            "MariaDB and MySQL need the driver PyMySQL: pip install 'headrace[mysql]'"
        ) from None
    pymysql.install_as_MySQLdb()
    given = database.get("OPTIONS", {})
    options = {name: _typed(text) for name, text in given.items()}
    return {
        **database,
        "HOST": database["HOST"] or "127.0.0.1",
        "OPTIONS": {"init_command": SESSION, "local_infile": True, **options},
    }


def _typed(text: str) -> str | int | bool:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdigit() else text
