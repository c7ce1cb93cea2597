"""MariaDB's and MySQL's side of setting a database up.

Its DDL commits by itself: a migration that is killed leaves what it had made. While one is under
way a table says so; where it is found, what is there already counts as made.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import Error, connection

from apps.core import dialect

log = logging.getLogger(__name__)
MARK = "headrace_migrating"
# There already: a table, a column, an index, a trigger, a foreign key. Gone already: a column or
# an index.
_MADE = frozenset((1050, 1060, 1061, 1359, 1826, 1005, 1091))


@contextmanager
def migration() -> Iterator[None]:
    """Give new tables the collation that we need, and let a migration that was killed go on."""
    with connection.cursor() as cursor:
        _set_collation(cursor)
        if MARK in connection.introspection.table_names(cursor):
            log.warning("the last migration did not end: what it made is kept")
            connection.SchemaEditorClass = _resuming(connection.SchemaEditorClass)
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {MARK} (since datetime DEFAULT now())")
    yield
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {MARK}")


def _set_collation(cursor: Any) -> None:
    ours = dialect.current().collation
    cursor.execute("SELECT @@collation_database")
    if cursor.fetchone() != (ours,):
        cursor.execute(f"ALTER DATABASE CHARACTER SET utf8mb4 COLLATE {ours}")


def _resuming(editor: Any) -> Any:
    class Resuming(editor):  # type: ignore[misc]  # whichever the backend has
        """Runs a statement unless it has been run, as the server says."""

        def execute(self, sql: Any, params: Any = ()) -> None:
            try:
                super().execute(sql, params)
            except Error as error:
                if not error.args or error.args[0] not in _MADE:
                    raise
                log.info("already there: %s", sql)

    return Resuming
