"""What the loader needs of a database: transactions of one tenant, and rows in bulk.

Statements are written once. `{recognitions}` stands for a table under its flat name, `:tenant` for
a value; `postgresql` and `sqlite` spell both.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol
from uuid import UUID

from headrace import databases
from headrace.databases import Named
from headrace.recognitions.errors import USAGE, Stop
from headrace.recognitions.schema import Table

Rows = list[tuple[Any, ...]]


class Unavailable(Exception):
    """The database did not answer, or the connection went; what was begun may have to be swept."""


class RowsRefused(Exception):
    """The database refused what it was given; nothing of the transaction is there."""


class Session(Protocol):
    """One transaction of one tenant; `:tenant` is given by itself."""

    def run(self, statement: str, **values: object) -> int:
        """Do it; how many rows it touched."""

    def rows(self, statement: str, **values: object) -> Rows:
        """What it finds."""

    def fill(self, table: Table, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Bring rows of the tenant in bulk. One that is there under its key becomes the new one."""

    def touch(self, recognition_ids: Sequence[int]) -> None:
        """Make `recognition_touched` of this transaction hold these ids."""

    def lock(self, *, exclusive: bool) -> None:
        """Hold the tenant's objects: those who store them with others, who removes them alone."""


class Database(Protocol):
    """A database with the declared tables."""

    name: str  #: of its statements, as in `ddl.SPELLINGS`
    aged: str  #: a condition: `created_at` was more than `:grace` seconds ago
    among: str  #: a condition's end: is one of `:listed`
    place: str  #: where it is, for people: no password

    def transaction(self, tenant: UUID) -> AbstractContextManager[Session]:
        """Commits at the end, rolls back when something is raised.

        Raises Unavailable, RowsRefused.
        """

    def listed(self, values: Iterable[int] | Iterable[str]) -> object:
        """The value of `:listed`."""

    def missing_tables(self) -> list[str]:
        """Declared tables that are not there. Raises Unavailable."""

    @property
    def has_tenants(self) -> bool:
        """Whether it is Headrace's own, in which the table `tenants` says who may write."""

    def close(self) -> None:
        """Let its connections go."""


def opened(named: Named, connections: int, role: str) -> Database:
    """A database; so many connections at most, in that role where rows are walled.

    Raises Stop, Unavailable.
    """
    match named.kind:
        case databases.POSTGRESQL:
            return _postgresql(named, connections, role)
        case databases.SQLITE:
            from headrace.recognitions.sqlite import SQLite  # noqa: PLC0415

            return SQLite(named.name)
    text = (
        f"recognitions cannot be loaded into a database of {named.kind} yet: let DATABASE_URL begin"
        " with postgresql:// or sqlite:///"
    )
    raise Stop("database_unsupported", text, USAGE)


def _postgresql(named: Named, connections: int, role: str) -> Database:
    try:
        from headrace.recognitions.postgresql import PostgreSQL  # noqa: PLC0415
    except ImportError as error:
        text = "PostgreSQL needs its driver: pip install 'headrace[postgresql]'"
        raise Stop("driver_missing", text, USAGE) from error
    return PostgreSQL(named, connections, role)


def check_tenant(session: Session, database: Database, tenant: UUID) -> None:
    """Raises Stop unless the tenant may write; its row is held to the end of the transaction."""
    if not database.has_tenants:
        return
    held = " FOR KEY SHARE" if database.name == "postgresql" else ""
    found = session.rows(f"SELECT state FROM tenants WHERE tenant_id = :tenant{held}")
    if not found:
        text = (
            f"there is no tenant {tenant}: make it by"
            f" `headrace tenants create --tenant-id {tenant} --name Recognitions`, or name another"
            " by --tenant"
        )
        raise Stop("tenant_unknown", text, USAGE)
    if found[0][0] != "active":
        raise Stop("tenant_closed", f"tenant {tenant} is {found[0][0]} and takes nothing", USAGE)


def renewed(table: Table, columns: Sequence[str], now: str) -> str:
    """What a row takes from the one that replaces it, as the SET of an upsert; its time is now."""
    own = [f"{name} = excluded.{name}" for name in columns if name not in table.key]
    times = [f"loaded_at = {now}"] if "loaded_at" in table.column_names else []
    return ", ".join((*own, *times))
