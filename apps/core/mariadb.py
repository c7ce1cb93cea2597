"""MariaDB's and MySQL's side of setting a database up, and of looking at it.

Its DDL commits by itself: a migration that is killed leaves what it had made. While one is under
way a table says so; where it is found, what is there already counts as made.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.db import Error, connection

from apps.core import dialect
from apps.core.entity_models import TenantManager
from apps.core.findings import Finding, budget

log = logging.getLogger(__name__)
MARK = "headrace_migrating"
# There already: a table, a column, an index, a trigger, a foreign key. Gone already: a table, a
# column or an index.
_MADE = frozenset((1050, 1060, 1061, 1359, 1826, 1051, 1091))
_NOT_MADE, _BECAUSE_THERE = 1005, "errno: 121"
MIGRATION_SECONDS = 600
OLDEST = {"mariadb": (10, 7), "mysql": (8, 0, 17)}
PACKET = 16 << 20


@contextmanager
def migration() -> Iterator[None]:
    """Give new tables the collation that we need, and let a migration that was killed go on."""
    try:
        with connection.cursor() as cursor:
            _begin(cursor)
        yield
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {MARK}")
    except Error as error:
        if reason := _REFUSALS.get(error.args[0] if error.args else 0):
            raise CommandError(reason) from None
        raise


_NOT_ALLOWED = (
    "This database user may not do what a migration needs. Let an administrator GRANT ALL"
    " PRIVILEGES on the database to it and, where the server keeps a binary log, SET GLOBAL"
    " log_bin_trust_function_creators = 1 (for the triggers that guard tenants); then migrate"
    " again. docs/databases.md has the statements."
)
_BY_STATEMENT = (
    "SET GLOBAL binlog_format = 'ROW', then migrate again: READ COMMITTED cannot be logged by"
    " statement."
)
_REFUSALS = {**dict.fromkeys((1044, 1142, 1227, 1419), _NOT_ALLOWED), 1665: _BY_STATEMENT}


def _begin(cursor: Any) -> None:
    if not (version := _version()).is_well:
        raise CommandError(f"This server is {version.found}. {version.advice}")
    # Two that start at once: the second waits, and finds nothing to do.
    cursor.execute("SELECT GET_LOCK(LEFT(DATABASE(), 64), %s)", [MIGRATION_SECONDS])
    if cursor.fetchone() != (1,):
        raise CommandError("Another `migrate` is at work on this database; try again after it.")
    _set_collation(cursor)
    if MARK in connection.introspection.table_names(cursor):
        log.warning("the last migration did not end: what it made is kept")
        connection.SchemaEditorClass = _resuming(connection.SchemaEditorClass)
    cursor.execute(f"CREATE TABLE IF NOT EXISTS {MARK} (id integer PRIMARY KEY)")


def _set_collation(cursor: Any) -> None:
    ours = dialect.current().collation
    cursor.execute("SELECT @@collation_database")
    if cursor.fetchone() != (ours,):
        cursor.execute(f"ALTER DATABASE CHARACTER SET utf8mb4 COLLATE {ours}")


def _is_made(error: Error) -> bool:
    code, *texts = error.args or (0,)
    return code in _MADE or (code == _NOT_MADE and _BECAUSE_THERE in str(texts))


def _resuming(editor: Any) -> Any:
    class Resuming(editor):  # type: ignore[misc]  # whichever the backend has
        """Runs a statement unless it has been run, as the server says."""

        def execute(self, sql: Any, params: Any = ()) -> None:
            try:
                super().execute(sql, params)
            except Error as error:
                if not _is_made(error):
                    raise
                log.info("already there: %s", sql)

    return Resuming


def findings(cursor: Any) -> Iterator[Finding]:
    """What doctor says about the server and our tables, asked by their owner."""
    yield _version()
    yield _collations(cursor)
    yield guards(cursor)
    yield _loading(cursor)
    yield _binary_log(cursor)
    yield _packets(cursor)
    yield budget(_variable(cursor, "max_connections"))


def _variable(cursor: Any, name: str) -> Any:
    cursor.execute(f"SELECT @@{name}")
    return cursor.fetchone()[0]


def _version() -> Finding:
    version, oldest = connection.get_database_version(), OLDEST[dialect.current().name]
    advice = f"Move to {connection.display_name} {'.'.join(map(str, oldest))} or later."
    found = ".".join(map(str, version))
    return Finding("server version", version >= oldest, found, advice)


def _collations(cursor: Any) -> Finding:
    """Of whole tables: the columns of JSON have one of their own, which harms nothing."""
    ours = dialect.current().collation
    cursor.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"
        " AND table_collation <> %s AND table_type = 'BASE TABLE' ORDER BY table_name",
        [ours],
    )
    others = [name for (name,) in cursor.fetchall()]
    advice = (
        f"Tables with another take `A` and `a`, or blanks at the end, for the same: migrate a new"
        f" database, or ALTER TABLE … CONVERT TO CHARACTER SET utf8mb4 COLLATE {ours} while"
        " nothing runs."
    )
    found = f"not that of {', '.join(others)}" if others else "of all tables"
    return Finding("collation", not others, f"{ours}, {found}", advice)


def guards(cursor: Any) -> Finding:
    """Whether triggers bind the rows of every tenant's table."""
    cursor.execute(
        "SELECT event_object_table, COUNT(*) FROM information_schema.triggers"
        " WHERE trigger_schema = DATABASE() AND trigger_name LIKE '%%\\_tenant\\_%%'"
        " GROUP BY event_object_table",
        [],
    )
    advice = "Give the database's user the privilege TRIGGER and run `manage.py migrate` again."
    found = dict(cursor.fetchall())
    return guarding({table: found.get(table, 0) for table in guarded()}, advice)


def guarding(found: dict[str, int], advice: str) -> Finding:
    """What triggers by table say: three on each, for inserts, updates and deletes."""
    bare = sorted(table for table, number in found.items() if number != 3)
    shown = f"none on {', '.join(bare)}" if bare else f"on {len(found)} tables"
    return Finding("tenant triggers", not bare, shown, advice)


def guarded() -> list[str]:
    """The tables whose rows are a tenant's."""
    return [
        model._meta.db_table
        for model in apps.get_models()
        if isinstance(model._meta.default_manager, TenantManager)
    ]


def _loading(cursor: Any) -> Finding:
    if _variable(cursor, "local_infile"):
        return Finding("loading", True, "by LOAD DATA LOCAL")
    slow = "by INSERT, which is slower; SET GLOBAL local_infile = 1 lets LOAD DATA do it"
    return Finding("loading", True, slow)


def _binary_log(cursor: Any) -> Finding:
    kept = _variable(cursor, "log_bin")
    form = str(_variable(cursor, "binlog_format")) if kept else "none"
    advice = "SET GLOBAL binlog_format = 'ROW': READ COMMITTED cannot be logged by statement."
    return Finding("binary log", form != "STATEMENT", form.lower(), advice)


def _packets(cursor: Any) -> Finding:
    size = _variable(cursor, "max_allowed_packet")
    advice = f"SET GLOBAL max_allowed_packet = {PACKET}: a row may have a mebibyte and more."
    return Finding("packets", size >= PACKET, f"up to {size >> 20} MiB", advice)
