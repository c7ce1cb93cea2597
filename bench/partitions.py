"""What partitions by tenant cost: `python -m bench.partitions [--share 0.3] [--rounds 3]`.

Loads the pinned files into fresh databases in turn, one whose target tables are whole and one with
8 partitions, through the engine's promotion over one connection: a first load, and the same files
again. Prints microseconds of CPU a row, of this process and of the server's (promotion only; pass A
is the same for both), because neighbours on the machine disturb those least; and how little of a
table a BRIN index on `order_date` would let a query skip.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from bench import databases, dataset
from bench.dataset import Dataset
from headrace.pipeline import promotion
from headrace.pipeline.verify import verify
from tests import road

PARTITIONS = 8
BRIN_PAGES = 16
Costs = dict[str, float]  #: microseconds of CPU a row by table and kind of load


def main() -> None:
    options = _options()
    data = dataset.pinned(options.share)
    found: dict[int, list[Costs]] = {0: [], PARTITIONS: []}
    brin = ""
    with databases.server() as url:
        for number in range(options.rounds):
            for partitions in sorted(found, reverse=number % 2 == 1):  # nobody is always first
                costs, brin = _costs(url, data, partitions)
                found[partitions].append(costs)
    print(f"{data.rows:,} rows, medians of {options.rounds} interleaved rounds, µs of CPU a row")
    for name in found[0][0]:
        whole, cut = (median(costs[name] for costs in found[kind]) for kind in (0, PARTITIONS))
        print(f"{name:<24} whole {whole:>5.1f}, {PARTITIONS} partitions {cut:>5.1f}", end="")
        print(f" ({cut / whole - 1:+.0%})")
    print(brin)


def _costs(url: str, data: Dataset, partitions: int) -> tuple[Costs, str]:
    with road.postgresql_database(url, partitions) as database:
        database.tenant = data.tenant
        databases.checkpoint(url)
        costs = {}
        for kind, first_number in (("first load", 1), ("unchanged", 1_000)):
            spent = {name: _land(database, data, name, first_number) for name in dataset.ENTITIES}
            for name, seconds in spent.items():
                costs[f"{name}, {kind}"] = seconds / data.counts[name] * 1e6
            costs[f"all, {kind}"] = sum(spent.values()) / data.rows * 1e6
        return costs, _brin(database)


def _land(database: road.Database, data: Dataset, entity: str, first_number: int) -> float:
    """The seconds of CPU in which an entity's rows were promoted, a segment a transaction."""
    seconds, size = 0.0, database.dialect.segment_rows
    for number, path in enumerate(data.files(entity), first_number):
        load = dataset.load_of(path, data.tenant, number)
        with tempfile.TemporaryDirectory() as folder:
            rows = verify(load, Path(folder), lambda _: None).rows.read()
        for start in range(0, len(rows.rows), size):
            part = type(rows)(rows.index[start : start + size], rows.rows[start : start + size])
            started = _cpu(database)
            with database.transaction() as connection:
                promotion.promote(connection, database.dialect, load, part)
            seconds += _cpu(database) - started
    with database.transaction() as connection:
        connection.cursor().execute(f"ANALYZE {entity}")
    return seconds


def _cpu(database: road.Database) -> float:
    """Seconds of CPU that this process and its backend have used; the server is on this host."""
    backend = Path(f"/proc/{database.connection.info.backend_pid}/schedstat")
    return time.process_time() + int(backend.read_text().split()[0]) / 1e9


def _brin(database: road.Database) -> str:
    """How many ranges of pages hold some date of a tenth of the time: BRIN would read them all."""
    with database.transaction() as connection:
        execute = connection.execute
        [low, high] = execute("SELECT min(order_date), max(order_date) FROM orders").fetchone()
        [hit, ranges] = execute(
            "SELECT count(*) FILTER (WHERE first < %s), count(*) FROM (SELECT min(order_date)"
            " AS first FROM orders GROUP BY (ctid::text::point)[0]::int / %s) ranges",
            [low + (high - low) / 10, BRIN_PAGES],
        ).fetchone()
    pages = f"ranges of {BRIN_PAGES} pages"
    return f"BRIN on order_date: the first tenth of the time is in {hit:,} of {ranges:,} {pages}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.partitions", description=__doc__)
    parser.add_argument("--share", type=float, default=0.3, help="of the pinned rows (0.3)")
    parser.add_argument("--rounds", type=int, default=3, help="of both (default 3)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
