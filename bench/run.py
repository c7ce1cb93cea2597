"""Ours beside `\\copy`, a textbook loader and dlt: `make bench`, or `python -m bench.run --help`.

One server, pinned rows in a pinned file order, a fresh database with the project's migrations for
every contestant, fresh statistics for all of them, a CHECKPOINT before each. Ours and `\\copy` take
turns, and figures are medians of the rounds. The slow ones load about a fifth of the rows, into
tables that are as much smaller. All times begin with connected, running processes. With `--rows`
ours and `\\copy` alone load so many rows, see millions.py. The result is printed and written to
docs/benchmarks.md; `--quick` only prints.
"""

import argparse
import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from bench import contests, databases, dataset, merging, millions, page, report
from bench.contests import Arena
from bench.dataset import Dataset
from bench.report import Figure, Report
from tests import servers

#: Shares of the pinned 700,000 rows: what slow contestants load, and what dlt's ways are tried on.
#: Fewer would not tell its ways apart, so a quick run tries on as many.
PART = 150 / 700
TRIAL = 30 / 700
GENERATED = 1_000_000
QUICK = "Made with `--quick`, a tenth of the rows: beginnings and ends weigh ten times too much."


def main() -> None:
    options = _options()
    started = time.monotonic()
    if options.rows:
        title, text = page.MILLIONS, millions.section(options.rows)
    else:
        found = _compared(0.1 if options.quick else 1.0, options.rounds)
        title, text = page.LOADS, page.loads(found)
        if options.json:
            options.json.write_text(json.dumps(report.plain(found), indent=2) + "\n")
    print(f"\n{text}\n\n{time.monotonic() - started:,.0f} s in all")
    if path := options.page or (None if options.quick else page.PAGE):
        page.write(path, title, text)


def _compared(size: float, rounds: int) -> Report:
    """Everybody in one run; `size` is a share of the pinned rows."""
    whole, part = dataset.pinned(size), dataset.pinned(size * PART)
    figures: list[Figure] = []
    notes = [QUICK] if size < 1 else []
    busy = report.busy()
    with databases.server() as server, databases.migrated(server) as template:
        arena = Arena(server, template)
        for number in range(rounds):
            for contest in _turns(number):
                figures += _announced(lambda contest=contest: contest(arena, whole))
        figures += _announced(lambda: contests.textbook(arena, part))
        figures += _announced(lambda: _dlt(arena, part, dataset.pinned(TRIAL), notes))
        machine = {**report.machine(server), **busy}
    figures += _announced(lambda: contests.ours_on_sqlite(part))
    figures += _announced(lambda: _mariadb(part, machine, notes))
    figures += _announced(lambda: contests.generator(GENERATED))
    machine["sqlite"] = sqlite3.sqlite_version
    return Report(machine, whole.counts, whole.digest, rounds, figures, notes)


def _dlt(arena: Arena, data: Dataset, trial: Dataset, notes: list[str]) -> list[Figure]:
    """The fastest of its ways on a small part, on the whole of `data`."""
    if merging.python() is None:
        notes.append("dlt is not installed: `make bench` does that, if the package index has it.")
        return []
    rates = {way: contests.dlt(arena, trial, way).rate for way in merging.WAYS}
    way = max(rates, key=lambda one: rates[one])
    found = contests.dlt(arena, data, way)
    records = contests.dlt(arena, data, merging.RECORDS, report.DLT_RECORDS)
    bare = contests.dlt(arena, data, way, report.DLT_BARE, indexed=False)
    tried = ", ".join(f"{one} {rate:,.0f} rows/s" for one, rate in rates.items())
    steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in found.steps.items())
    notes.append(f"dlt {merging.version()} on {trial.rows:,} rows: {tried}.")
    notes.append(f"dlt on {data.rows:,} rows by {way}: {steps}.")
    return [found, records, bare]


def _mariadb(data: Dataset, machine: dict[str, str], notes: list[str]) -> list[Figure]:
    with servers.mariadb() as server:
        if server is None:
            notes.append("No MariaDB was found: set `TEST_MYSQL_URL`.")
            return []
        machine["mariadb"] = databases.mariadb_version(server)
        return contests.both_on_mariadb(server, data)


def _turns(number: int) -> list[Callable[[Arena, Dataset], list[Figure]]]:
    """Every other round goes backwards, so that nobody is always first."""
    order = [contests.ours_thrice, contests.copy_1, contests.copy_2]
    return order[::-1] if number % 2 else order


def _announced(contest: Callable[[], list[Figure]]) -> list[Figure]:
    """Let them run and say what they did, and what their part of the run took with all around."""
    started = time.monotonic()
    figures = contest()
    rates = ", ".join(f"{figure.name}: {figure.rate:,.0f} rows/s" for figure in figures)
    print(f"[{time.monotonic() - started:5.0f} s] {rates or 'not there'}", flush=True)
    return figures


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of ours and \\copy (default 3)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--rows", type=int, help="load so many, a million at a time (10_000_000)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the page there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return parser.parse_args()


if __name__ == "__main__":
    main()
