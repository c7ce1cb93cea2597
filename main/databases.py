"""The database of the environment: DATABASE_URL, the documents' DB_* variables, or SQLite."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

ENGINES = {
    "postgresql": "apps.core.backends.postgresql",
    "postgres": "apps.core.backends.postgresql",
    "sqlite": "django.db.backends.sqlite3",
    "sqlite3": "django.db.backends.sqlite3",
    "mysql": "apps.core.backends.mariadb",
    "mariadb": "apps.core.backends.mariadb",
}
NOT_YET = {"mssql": "SQL Server", "sqlserver": "SQL Server", "oracle": "Oracle"}


class UnusableDatabase(Exception):
    """The environment names a database that Headrace cannot use; the message says what to do."""


def from_environment(environment: Mapping[str, str], home: Path) -> dict[str, Any]:
    """Django's settings of the default database. Raises UnusableDatabase."""
    if url := environment.get("DATABASE_URL"):
        return _completed(_from_url(url))
    if engine := environment.get("DB_ENGINE"):
        return _completed(_from_parts(engine, environment, home))
    return _completed({"ENGINE": ENGINES["sqlite"], "NAME": str(home / "headrace.sqlite3")})


def _from_url(url: str) -> dict[str, Any]:
    """The URL's parts. A password may hold any character, `@` included, escaped or not."""
    scheme, _, rest = url.partition("://")
    engine = _engine(scheme.partition("+")[0])
    if engine == ENGINES["sqlite"]:
        return {"ENGINE": engine, "NAME": unquote(rest.removeprefix("/")) or ":memory:"}
    credentials, _, place = rest.rpartition("@")
    user, _, password = credentials.partition(":")
    parts = urlsplit(f"//{place}")
    options = dict(parse_qsl(parts.query))
    return {
        "ENGINE": engine,
        "NAME": unquote(parts.path.removeprefix("/")),
        "USER": unquote(user),
        "PASSWORD": unquote(password),
        "HOST": options.pop("host", parts.hostname or ""),
        "PORT": options.pop("port", str(parts.port or "")),
        "OPTIONS": options,
    }


def _from_parts(engine: str, environment: Mapping[str, str], home: Path) -> dict[str, Any]:
    name = environment.get("DB_NAME") or str(home / "headrace.sqlite3")
    keys = {"USER": "DB_USER", "PASSWORD": "DB_PASSWORD", "HOST": "DB_HOST", "PORT": "DB_PORT"}
    found = {key: environment.get(variable, "") for key, variable in keys.items()}
    return {"ENGINE": _engine(engine.rpartition(".")[2]), "NAME": name, **found}


def _engine(name: str) -> str:
    try:
        return ENGINES[name]
    except KeyError:
        raise UnusableDatabase(
            f"Headrace has no dialect for {NOT_YET.get(name, repr(name))} yet: set DATABASE_URL to"
            " postgresql://…, mysql://… or sqlite:///…, or leave it out for SQLite under"
            " HEADRACE_HOME (docs/databases.md)"
        ) from None


def _completed(database: dict[str, Any]) -> dict[str, Any]:
    if database["ENGINE"] == ENGINES["sqlite"]:
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
    if database["ENGINE"] == ENGINES["mysql"]:
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
