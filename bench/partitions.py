"""What partitions by tenant cost: `python -m bench.partitions [--share 0.3] [--rounds 3]`.

Loads the pinned files into fresh databases in turn, one whose target tables are whole and one with
8 partitions, through the engine's promotion over one connection: a first load, and the same files
again. Prints rows a second by table (promotion only; pass A is the same for both), and how little
of a table a BRIN index on `order_date` would let a query skip.
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
Rates = dict[str, float]  #: rows a second by table and kind of load


def main() -> None:
    options = _options()
    data = dataset.pinned(options.share)
    whole, cut, brin = [], [], ""
    with databases.server() as url:
        for _ in range(options.rounds):
            whole.append(_rates(url, data, 0)[0])
            rates, brin = _rates(url, data, PARTITIONS)
            cut.append(rates)
    print(f"{data.rows:,} rows, medians of {options.rounds} interleaved rounds, rows/s")
    for name in whole[0]:
        one, other = (median(rates[name] for rates in found) for found in (whole, cut))
        print(f"{name:<24} whole {one:>9,.0f}, {PARTITIONS} partitions {other:>9,.0f}", end="")
        print(f" ({other / one - 1:+.0%})")
    print(brin)


def _rates(url: str, data: Dataset, partitions: int) -> tuple[Rates, str]:
    with road.postgresql_database(url, partitions) as database:
        database.tenant = data.tenant
        databases.checkpoint(url)
        rates = {}
        for kind, first_number in (("first load", 1), ("unchanged", 1_000)):
            for entity in dataset.ENTITIES:
                seconds = _land(database, data, entity, first_number)
                rates[f"{entity}, {kind}"] = data.counts[entity] / seconds
        return rates, _brin(database) if partitions else ""


def _land(database: road.Database, data: Dataset, entity: str, first_number: int) -> float:
    """The seconds in which an entity's rows were promoted, a segment a transaction."""
    seconds, size = 0.0, database.dialect.segment_rows
    for number, path in enumerate(data.files(entity), first_number):
        load = dataset.load_of(path, data.tenant, number)
        with tempfile.TemporaryDirectory() as folder:
            rows = verify(load, Path(folder), lambda _: None).rows.read()
        for start in range(0, len(rows.rows), size):
            part = type(rows)(rows.index[start : start + size], rows.rows[start : start + size])
            started = time.perf_counter()
            with database.transaction() as connection:
                promotion.promote(connection, database.dialect, load, part)
            seconds += time.perf_counter() - started
    with database.transaction() as connection:
        connection.cursor().execute(f"ANALYZE {entity}")
    return seconds


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
