"""PostgreSQL for the few rows of a small call: the same statements, prepared, in fewer trips.

To plan its statements is most of what a call of ten events costs. A plan that is kept stays right
while the staged rows are few and the tables are about as large as when it was made. So the rows
have a staging table of their own, which is always small and known to be, and each statement is
prepared once for every magnitude of the tables: the number of binary digits of their pages.
"""

import threading
import time
from dataclasses import replace
from functools import cache
from typing import Any

from headrace.pipeline.dialects.base import Connection
from headrace.pipeline.dialects.level_statements import levels_of
from headrace.pipeline.dialects.postgresql import (
    SPELLING,
    TRANSACTION,
    PostgreSQL,
    cursor_of,
    parameters,
)
from headrace.pipeline.dialects.trips import Row, Statement, trip
from headrace.pipeline.load import Load
from headrace.pipeline.ready import ReadyRows
from headrace.schema import Entity

LOOK_SECONDS = 1.0
PAGE = 8192  # bytes
SMALL_BYTES = 1 << 15  # of the staging table, dead rows included
_PLANNED_ONCE = "SET LOCAL plan_cache_mode = force_generic_plan;"


class FewRows(PostgreSQL):
    """Movements of at most MOST rows. For any thread, each with a connection of its own."""

    MOST = 100

    _spelling = replace(SPELLING, staging_prefix="few_")

    def _is_large(self, connection: Connection, table: str) -> bool:
        """Whatever it is: rows are few, and plans are made for tables of this magnitude."""
        return False

    def stage(self, connection: Connection, entity: Entity, rows: ReadyRows) -> None:
        with cursor_of(connection) as cursor:
            cursor.execute(self._opening(entity))
            while cursor.nextset():
                pass
            [(is_unknown,)] = cursor.fetchall()
            is_new = self._has_grown(connection, entity) or is_unknown
            if is_new:
                cursor.execute(f"TRUNCATE {self._staging(entity)}")
            self._fill(cursor, entity, rows)
            if is_new:  # how many rows a page has; from then on the planner counts pages
                self._analyze(cursor, entity)

    def _opening(self, entity: Entity) -> str:
        """What empties the staging, and asks whether the planner would think it large."""
        staging = self._staging(entity)
        return f"""{TRANSACTION}{_PLANNED_ONCE}
{self._staging_table(entity)};
DELETE FROM {staging};
SELECT reltuples < 0 OR pg_relation_size(oid) > {SMALL_BYTES}
FROM pg_class WHERE oid = CAST('{staging}' AS regclass)"""

    def _has_grown(self, connection: Connection, entity: Entity) -> bool:
        """Whether the tables are of another magnitude than they were, or not known yet."""
        known, now = _seen.sizes.get(entity.name), time.monotonic()
        if known and known.connection is connection and now < known.until:
            return False
        [[pages]] = trip(connection, _sizes(entity))
        magnitude = tuple(int(number).bit_length() for number in pages)
        _seen.sizes[entity.name] = _Sizes(connection, magnitude, now + LOOK_SECONDS)
        return not known or (known.connection, known.magnitude) != (connection, magnitude)

    def _run(self, connection: Connection, load: Load, *asked: str) -> list[list[Row]]:
        magnitude, values = _seen.sizes[load.entity.name].magnitude, parameters(load)
        return trip(connection, *((_prepared(text, magnitude), values) for text in asked))


class _Sizes:
    """Of the tables of an entity, as one connection saw them, to be looked at again after `until`
    (seconds of the monotonic clock)."""

    def __init__(self, connection: Any, magnitude: tuple[int, ...], until: float) -> None:
        self.connection = connection
        self.magnitude = magnitude
        self.until = until


class _Seen(threading.local):
    def __init__(self) -> None:
        self.sizes: dict[str, _Sizes] = {}


_seen = _Seen()


@cache
def _prepared(text: str, magnitude: tuple[int, ...]) -> Statement:
    """A statement of its own for each magnitude, so that the server plans it anew."""
    return Statement(text)


@cache
def _sizes(entity: Entity) -> str:
    """The pages of the tables that staged movements are joined with."""
    tables = [entity.name, levels_of(entity).table, *(one.entity for one in entity.references)]
    pages = [
        f"GREATEST(pg_relation_size('{table}'), (SELECT sum(pg_relation_size(relid))"
        f" FROM pg_partition_tree('{table}'))) / {PAGE}"
        for table in tables
    ]
    return f"SELECT {', '.join(pages)}"
