"""Which database an environment names: DATABASE_URL, the documents' DB_* variables, or SQLite.

The service and the loader of recognitions read it here, so that both find the same one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

POSTGRESQL, SQLITE, MYSQL = "postgresql", "sqlite", "mysql"
KINDS = {
    "postgresql": POSTGRESQL,
    "postgres": POSTGRESQL,
    "sqlite": SQLITE,
    "sqlite3": SQLITE,
    "mysql": MYSQL,
    "mariadb": MYSQL,
}
NOT_YET = {"mssql": "SQL Server", "sqlserver": "SQL Server", "oracle": "Oracle"}
#: The privilege that PostgreSQL's `pg_has_role` is asked for: whether one may SET ROLE. From 16 on
#: a member may not always, above all who has made the role.
MAY_BECOME = (
    "CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END"
)
FILE = "headrace.sqlite3"  #: in HEADRACE_HOME, where nothing else is named


class UnusableDatabase(Exception):
    """The environment names a database that Headrace cannot use; the message says what to do."""


class MalformedUrl(UnusableDatabase):
    """DATABASE_URL is none."""


@dataclass(frozen=True, slots=True)
class Named:
    """A database by its parts; those that nobody names are empty. `name` of SQLite is its path.

    `options` is what follows a URL's `?`, for the driver.
    """

    kind: str
    name: str
    user: str = ""
    password: str = field(default="", repr=False)
    host: str = ""
    port: str = ""
    options: dict[str, str] = field(default_factory=dict, repr=False)


def from_environment(environment: Mapping[str, str], home: Path) -> Named:
    """The database, which is SQLite in the folder `home` by default. Raises UnusableDatabase."""
    if url := environment.get("DATABASE_URL"):
        return of_url(url)
    if engine := environment.get("DB_ENGINE"):
        return _of_parts(engine, environment, home)
    return Named(SQLITE, str(home / FILE))


def of_url(url: str) -> Named:
    """The URL's parts. A password may hold any character, `@` included, escaped or not.

    Raises UnusableDatabase.
    """
    scheme, _, rest = url.partition("://")
    kind = _kind(scheme.partition("+")[0])
    if kind == SQLITE:
        return Named(kind, unquote(rest.removeprefix("/")) or ":memory:")
    credentials, _, place = rest.rpartition("@")
    user, _, password = credentials.partition(":")
    try:
        parts = urlsplit(f"//{place}")
        options = dict(parse_qsl(parts.query))
        host, port = parts.hostname or "", str(parts.port or "")
    except ValueError as error:
        text = f"DATABASE_URL: expected {scheme}://user:password@host:port/name; {error}"
        raise MalformedUrl(text) from error
    return Named(
        kind,
        name=unquote(parts.path.removeprefix("/")),
        user=unquote(user),
        password=unquote(password),
        host=options.pop("host", host),
        port=options.pop("port", port),
        options=options,
    )


def _of_parts(engine: str, environment: Mapping[str, str], home: Path) -> Named:
    """Values are taken as they are."""
    return Named(
        _kind(engine.rpartition(".")[2]),
        name=environment.get("DB_NAME") or str(home / FILE),
        user=environment.get("DB_USER", ""),
        password=environment.get("DB_PASSWORD", ""),
        host=environment.get("DB_HOST", ""),
        port=environment.get("DB_PORT", ""),
    )


def _kind(name: str) -> str:
    try:
        return KINDS[name]
    except KeyError:
        raise UnusableDatabase(
            f"Headrace has no dialect for {NOT_YET.get(name, repr(name))} yet: set DATABASE_URL to"
            " postgresql://…, mysql://… or sqlite:///…, or leave it out for SQLite under"
            " HEADRACE_HOME (docs/databases.md)"
        ) from None
