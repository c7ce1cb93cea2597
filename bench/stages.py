"""Where a load's time goes, stage by stage: `python -m bench.stages [--on mariadb] [--share 0.2]`.

Takes the pinned files down the road in this process, over one connection, without HTTP, jobs or a
second worker, and times each operation of the dialect. A first load and the same files again.
Prints microseconds a row. `--explain FILE` writes the plan of every promoting statement there
(PostgreSQL's auto_explain with buffers; the timing of each node makes the figures useless then).
"""

import argparse
import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import psycopg

from bench import databases, dataset
from bench.dataset import Dataset
from headrace.pipeline import promotion
from headrace.pipeline.load import Load
from headrace.pipeline.ready import ReadyRows
from headrace.pipeline.verify import verify
from tests import road, servers

_EXPLAIN = """
LOAD 'auto_explain';
SET auto_explain.log_min_duration = 20;
SET auto_explain.log_analyze = on;
SET auto_explain.log_buffers = on;
SET auto_explain.log_triggers = on;
SET auto_explain.log_level = notice;
SET auto_explain.log_nested_statements = on;
"""
Spent = dict[str, float]


def main() -> None:
    options = _options()
    data = dataset.pinned(options.share)
    with _database(options.on) as database:
        if options.explain:
            with options.explain.open("w") as plans:
                _explain_to(database.connection, plans)
                _load_twice(database, data)
        else:
            _load_twice(database, data)


def _load_twice(database: road.Database, data: Dataset) -> None:
    database.tenant = data.tenant
    for name, first_number in (("first load", 1), ("again, unchanged", 1_000)):
        print(f"\n{name}: µs a row")
        for entity in dataset.ENTITIES:
            spent: Spent = defaultdict(float)
            for number, path in enumerate(data.files(entity), first_number):
                _load(database, data, path, number, spent)
            _analyze(database, entity)
            _show(entity, spent, data.counts[entity])


def _load(database: road.Database, data: Dataset, path: Path, number: int, spent: Spent) -> None:
    load = dataset.load_of(path, data.tenant, number)
    with tempfile.TemporaryDirectory() as folder:
        with _timed(spent, "pass A"):
            verified = verify(load, Path(folder), lambda _: None)
        with _timed(spent, "read rows"):
            rows = verified.rows.read()
    dialect = Timed(database.dialect, spent)
    size = database.dialect.segment_rows
    for start in range(0, len(rows), size):
        segment = rows.chosen(range(start, min(start + size, len(rows))))
        with _timed(spent, "promotion in all"):
            _promote(database, dialect, load, segment, spent)
    spent["commit"] = spent["promotion in all"] - spent["promote"]
    spent["promotion's Python"] = spent["promote"] - sum(spent[name] for name in dialect.called)


def _promote(
    database: road.Database, dialect: "Timed", load: Load, rows: ReadyRows, spent: Spent
) -> None:
    with database.transaction() as connection, _timed(spent, "promote"):
        promotion.promote(connection, dialect, load, rows)


class Timed:
    """A dialect whose operations are timed by name."""

    def __init__(self, dialect: Any, spent: Spent) -> None:
        self.called: set[str] = set()
        self._dialect = dialect
        self._spent = spent

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self._dialect, name)

        def timed(*arguments: Any) -> Any:
            self.called.add(name)
            with _timed(self._spent, name):
                return operation(*arguments)

        return timed


@contextmanager
def _timed(spent: Spent, name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    spent[name] += time.perf_counter() - started


def _show(entity: str, spent: Spent, rows: int) -> None:
    whole = spent["pass A"] + spent["read rows"] + spent.pop("promotion in all")
    del spent["promote"]
    parts = ", ".join(f"{name} {seconds / rows * 1e6:.1f}" for name, seconds in spent.items())
    print(f"{entity:<12}{rows:>8,} rows {rows / whole:>8,.0f} rows/s: {parts}", flush=True)


def _analyze(database: road.Database, entity: str) -> None:
    """Fresh statistics, as the service makes after a chunk (MariaDB does it by itself)."""
    if database.dialect.name == "mariadb":
        return
    with database.transaction() as connection:
        connection.cursor().execute(f"ANALYZE {entity}")


@contextmanager
def _database(dialect: str) -> Iterator[road.Database]:
    """Target tables without the service's own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _SERVERS[dialect]() as url,
        road.new_database(dialect, url, Path(folder) / "bench.sqlite3") as database,
    ):
        if dialect == "sqlite":
            database.connection.execute("PRAGMA journal_mode = WAL")
        yield database


_SERVERS = {
    "postgresql": databases.server,
    "mariadb": servers.mariadb,
    "sqlite": contextlib.nullcontext,
}


def _explain_to(connection: psycopg.Connection, plans: TextIO) -> None:
    role = connection.execute("SELECT current_user").fetchone()[0]
    connection.execute(f"RESET ROLE; {_EXPLAIN}; SET ROLE {role}")
    connection.add_notice_handler(lambda notice: plans.write(notice.message_primary + "\n\n"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.stages", description=__doc__)
    parser.add_argument("--on", choices=("postgresql", "mariadb", "sqlite"), default="postgresql")
    parser.add_argument("--share", type=float, default=0.2, help="of the pinned rows (0.2)")
    parser.add_argument("--explain", type=Path, metavar="FILE", help="write plans there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
