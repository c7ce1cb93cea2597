"""Ours beside `\\copy` and a textbook loader: `make bench`, or `python -m bench.run --help`.

One server, pinned rows in a pinned file order, a fresh database with the project's migrations for
every contestant, fresh statistics for all of them, a CHECKPOINT before each. Contestants take
turns, and figures are medians of the rounds. The slow ones load a fifth of the rows, into tables
that are as much smaller. All times begin with connected, running processes.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import databases, dataset, measure, ours, report
from bench.dataset import Dataset
from bench.measure import Usage
from bench.report import Figure
from tests import service

PART = 0.2


def main() -> None:
    options = _options()
    size = 0.1 if options.quick else 1.0
    with databases.server() as server, databases.migrated(server) as template:
        arena = Arena(server, template)
        whole, part = dataset.pinned(size), dataset.pinned(size * PART)
        figures = []
        for number in range(options.rounds):
            for contest in _turns(number, [ours_twice, copy_1, copy_2]):
                figures += _announced(contest(arena, whole))
        figures += _announced(textbook(arena, part))
        figures += _announced(ours_on_sqlite(arena, part))
        found = report.Report(report.machine(server), whole, options.rounds, figures)
    print(report.text(found))
    if options.json:
        options.json.write_text(json.dumps(report.plain(found), indent=2) + "\n")


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


def ours_twice(arena: Arena, data: Dataset) -> list[Figure]:
    """A first load, and the same files again."""
    with tempfile.TemporaryDirectory() as home, service.running(Path(home), arena.server) as server:
        ours.prepare(server, data)
        return [_ours(arena, server, data, name) for name in ("ours", "ours, unchanged")]


def ours_on_sqlite(arena: Arena, data: Dataset) -> list[Figure]:
    """The embedded default: one file, one worker at a time."""
    with tempfile.TemporaryDirectory() as home, service.running(Path(home)) as server:
        ours.prepare(server, data)
        with measure.Meter(measure.service_roles) as meter:
            loaded = ours.load(server, data)
    return [_figure("ours on SQLite", data, loaded, meter.usage)]


def copy_1(arena: Arena, data: Dataset) -> list[Figure]:
    return [_copy(arena, data, "\\copy, one connection", 1)]


def copy_2(arena: Arena, data: Dataset) -> list[Figure]:
    return [_copy(arena, data, "\\copy, two connections", 2)]


def textbook(arena: Arena, data: Dataset) -> list[Figure]:
    with arena.database() as url, tempfile.TemporaryDirectory() as home:
        command = ["-m", "bench.textbook", str(data.folder)]
        environment = databases.environment(url, home)
        return [_program(arena, data, "textbook bulk_create", url, command, environment)]


def _ours(arena: Arena, server: service.Service, data: Dataset, name: str) -> Figure:
    database = databases.name_of(server.environment["DATABASE_URL"])
    roles = measure.together(measure.service_roles, measure.database_roles(database))
    databases.checkpoint(arena.server)
    before = databases.wal_position(arena.server)
    with measure.Meter(roles) as meter:
        loaded = ours.load(server, data)
    wal = databases.wal_position(arena.server) - before
    return _figure(name, data, loaded, meter.usage, wal)


def _figure(
    name: str, data: Dataset, loaded: ours.Loaded, usage: dict[str, Usage], wal: int = 0
) -> Figure:
    expected = "unchanged" if "unchanged" in name else "inserted"
    if loaded.outcomes[expected] != data.rows:
        raise RuntimeError(f"{name}: {loaded.outcomes} of {data.rows} rows")
    used = {"client": loaded.client, **usage}
    return Figure(name, data.rows, loaded.seconds, loaded.steps, used, wal)


def _copy(arena: Arena, data: Dataset, name: str, connections: int) -> Figure:
    with arena.database() as url, tempfile.TemporaryDirectory() as home:
        command = ["-m", "bench.copying", url, str(data.folder), str(connections)]
        return _program(arena, data, name, url, command, databases.environment(url, home))


def _program(
    arena: Arena,
    data: Dataset,
    name: str,
    url: str,
    command: list[str],
    environment: dict[str, str],
) -> Figure:
    """A contestant that is a program which prints the seconds of its steps."""
    before = databases.wal_position(arena.server)
    with measure.Meter(measure.database_roles(databases.name_of(url))) as meter:
        done = measure.run(command, environment)
    wal = databases.wal_position(arena.server) - before
    databases.require_rows(url, data.counts)
    steps = json.loads(done.output)
    usage = {"client": done.usage, **meter.usage}
    return Figure(name, data.rows, sum(steps.values()), steps, usage, wal)


def _turns(
    number: int, contests: list[Callable[[Arena, Dataset], list[Figure]]]
) -> list[Callable[[Arena, Dataset], list[Figure]]]:
    """Every other round goes backwards, so that nobody is always first."""
    return contests[::-1] if number % 2 else contests


def _announced(figures: list[Figure]) -> list[Figure]:
    for figure in figures:
        print(f"{figure.name}: {figure.rate:,.0f} rows/s", flush=True)
    return figures


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="of ours and \\copy (default 2)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
