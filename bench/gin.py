"""What the optional index orders_raw_payload_gin_idx costs: `python -m bench.gin [--share 0.5]`.

Loads the pinned customers and orders into two fresh databases in turn, without and with the GIN
index on `orders.raw_payload`, through the engine's promotion over one connection. Prints orders a
second (promotion only; pass A is the same for both) and the sizes of the index and of its table.
The shop's payloads here are small: three keys out of a few values. Richer ones cost more.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import databases, dataset
from bench.dataset import Dataset
from headrace.entities.orders import ORDERS
from headrace.pipeline import promotion
from headrace.pipeline.verify import verify
from tests import road

INDEX = "orders_raw_payload_gin_idx"


class Cost(NamedTuple):
    """Orders a second, and bytes of the index and of the table without its indexes."""

    rate: float
    index: int
    table: int


def main() -> None:
    options = _options()
    data = dataset.pinned(options.share)
    with databases.server() as url:
        rounds = [(_cost(url, data, False), _cost(url, data, True)) for _ in range(options.rounds)]
    without, having = (median(one.rate for one in costs) for costs in zip(*rounds, strict=True))
    last = rounds[-1][1]
    print(f"{data.counts['orders']:,} orders, medians of {options.rounds} interleaved rounds")
    print(f"without the index {without:>10,.0f} rows/s")
    print(f"with the index    {having:>10,.0f} rows/s ({having / without - 1:+.0%})")
    print(f"index {last.index / 2**20:,.1f} MiB beside a table of {last.table / 2**20:,.1f} MiB")


def _cost(url: str, data: Dataset, indexed: bool) -> Cost:
    with road.postgresql_database(url) as database:
        database.tenant = data.tenant
        if indexed:
            database.connection.execute(database.dialect.index_statement(ORDERS, INDEX))
        databases.checkpoint(url)
        land(database, data, "customers")
        seconds = land(database, data, "orders")
        size = "SELECT COALESCE(pg_relation_size(to_regclass(%s)), 0)"
        index, table = (
            database.connection.execute(size, [name]).fetchone()[0] for name in (INDEX, "orders")
        )
    return Cost(data.counts["orders"] / seconds, index, table)


def land(database: road.Database, data: Dataset, entity: str) -> float:
    """The seconds in which an entity's rows were promoted, a file a transaction."""
    seconds = 0.0
    for number, path in enumerate(data.files(entity), 1):
        load = dataset.load_of(path, data.tenant, number)
        with tempfile.TemporaryDirectory() as folder:
            rows = verify(load, Path(folder), lambda _: None).rows.read()
        started = time.perf_counter()
        with database.transaction() as connection:
            promotion.promote(connection, database.dialect, load, rows)
        seconds += time.perf_counter() - started
        with database.transaction() as connection:
            connection.cursor().execute(f"ANALYZE {entity}")
    return seconds


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.gin", description=__doc__)
    parser.add_argument("--share", type=float, default=0.5, help="of the pinned rows (0.5)")
    parser.add_argument("--rounds", type=int, default=3, help="of both (default 3)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
