"""The contests of `bench.run`: each loads a dataset once, or a few times, and returns figures."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench import changed, databases, measure, merging, ours
from bench.dataset import Dataset
from bench.measure import Roles, Usage
from bench.report import (
    CHANGED,
    COPY_1,
    COPY_2,
    DLT,
    GENERATOR,
    MARIADB,
    MARIADB_TEXTBOOK,
    OURS,
    SQLITE,
    TEXTBOOK,
    UNCHANGED,
    Figure,
)
from tests import service


class Arena:
    """Where contestants meet: a server and a migrated database to copy."""

    def __init__(self, server: str, template: str) -> None:
        self.server = server
        self.template = template

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a fresh database, after a CHECKPOINT."""
        with databases.copied(self.server, self.template) as url:
            databases.checkpoint(self.server)
            yield url


def ours_thrice(arena: Arena, data: Dataset) -> list[Figure]:
    """A first load, the same files again, and the files with every tenth row changed."""
    loads = [
        (OURS, data, {"inserted": data.rows}),
        (UNCHANGED, data, {"unchanged": data.rows}),
        (CHANGED, changed.changed(data), changed.expected(data)),
    ]
    with tempfile.TemporaryDirectory() as home, service.running(Path(home), arena.server) as server:
        ours.prepare(server, data)
        return [on_postgresql(arena.server, server, *load) for load in loads]


def on_postgresql(
    url: str, server: service.Service, name: str, data: Dataset, expected: dict[str, int]
) -> Figure:
    """One load through the service; `url` is its database server's."""
    database = databases.name_of(server.environment["DATABASE_URL"])
    databases.checkpoint(url)
    before = databases.wal_position(url)
    figure = _ours(server, name, data, expected, measure.database_roles(database))
    return figure._replace(wal=databases.wal_position(url) - before)


def ours_on_sqlite(data: Dataset) -> list[Figure]:
    """The embedded default: one worker."""
    with tempfile.TemporaryDirectory() as home, service.running(Path(home)) as server:
        ours.prepare(server, data, workers=1)
        return [_ours(server, SQLITE, data, {"inserted": data.rows}, _nobody)]


def both_on_mariadb(server: str, data: Dataset) -> list[Figure]:
    """Ours and the textbook loader; a database's processor time is all that the server used."""
    roles = measure.process_roles(databases.mariadb_process(server))
    with tempfile.TemporaryDirectory() as home, service.running(Path(home), server) as running:
        ours.prepare(running, data)
        first = _ours(running, MARIADB, data, {"inserted": data.rows}, roles)
    with databases.on_mariadb(server) as url, tempfile.TemporaryDirectory() as home:
        command = ["-m", "bench.textbook", str(data.folder)]
        done = _program(MARIADB_TEXTBOOK, data, command, databases.environment(url, home), roles)
        databases.require_rows(url, data.counts)
    return [first, done]


def copy_1(arena: Arena, data: Dataset) -> list[Figure]:
    return [_copy(arena, data, COPY_1, 1)]


def copy_2(arena: Arena, data: Dataset) -> list[Figure]:
    return [_copy(arena, data, COPY_2, 2)]


def _copy(arena: Arena, data: Dataset, name: str, connections: int) -> Figure:
    with arena.database() as url:
        figure = copied(url, data, name, connections)
        databases.require_rows(url, data.counts)
        return figure


def copied(url: str, data: Dataset, name: str, connections: int) -> Figure:
    """`\\copy` into the tables of a database, in which other rows may be."""
    with tempfile.TemporaryDirectory() as home:
        command = ["-m", "bench.copying", url, str(data.folder), str(connections)]
        return _on_database(name, data, url, command, databases.environment(url, home))


def textbook(arena: Arena, data: Dataset) -> list[Figure]:
    with arena.database() as url, tempfile.TemporaryDirectory() as home:
        command = ["-m", "bench.textbook", str(data.folder)]
        figure = _on_database(TEXTBOOK, data, url, command, databases.environment(url, home))
        databases.require_rows(url, data.counts)
        return [figure]


def dlt(arena: Arena, data: Dataset, way: str, name: str = DLT, *, indexed: bool = True) -> Figure:
    """Tables that it makes in a schema of their own, with or without the indexes of ours."""
    with arena.database() as url, tempfile.TemporaryDirectory() as home:
        command = [merging.LOADER, str(merging.order(data, way, url, Path(home), indexed=indexed))]
        environment = {**databases.environment(url, home), **merging.environment(home)}
        figure = _on_database(name, data, url, command, environment, str(merging.python()))
        databases.require_rows(url, data.counts, merging.SCHEMA)
        return figure


def generator(rows: int) -> list[Figure]:
    """Seconds are those of one processor, so that other work on the machine changes nothing."""
    done = json.loads(measure.run(["-m", "bench.generating", str(rows)], dict(os.environ)).output)
    return [Figure(GENERATOR, done["rows"], done["cpu"], {}, {})]


def _ours(
    server: service.Service, name: str, data: Dataset, expected: dict[str, int], database: Roles
) -> Figure:
    with measure.Meter(measure.together(measure.service_roles, database)) as meter:
        loaded = ours.load(server, data)
    if {outcome: count for outcome, count in loaded.outcomes.items() if count} != expected:
        raise RuntimeError(f"{name}: {loaded.outcomes} where {expected} was to be")
    used: dict[str, Usage] = {"client": loaded.client, **meter.usage}
    return Figure(name, data.rows, loaded.seconds, loaded.steps, used)


def _on_database(
    name: str,
    data: Dataset,
    url: str,
    command: list[str],
    environment: dict[str, str],
    *python: str,
) -> Figure:
    before = databases.wal_position(url)
    roles = measure.database_roles(databases.name_of(url))
    figure = _program(name, data, command, environment, roles, *python)
    return figure._replace(wal=databases.wal_position(url) - before)


def _program(
    name: str,
    data: Dataset,
    command: list[str],
    environment: dict[str, str],
    roles: Roles,
    *python: str,
) -> Figure:
    """A contestant that is a program which prints the seconds of its steps."""
    with measure.Meter(roles) as meter:
        done = measure.run(command, environment, *python)
    steps = json.loads(done.output.splitlines()[-1])
    usage = {"client": done.usage, **meter.usage}
    return Figure(name, data.rows, sum(steps.values()), steps, usage)


def _nobody() -> Iterator[tuple[str, psutil.Process]]:
    """SQLite has no processes of its own."""
    yield from ()
