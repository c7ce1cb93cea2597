"""What the indexes of orders cost a load: `python -m bench.indexes [--share 0.3]`.

Loads the pinned customers and orders into fresh databases in turn, with the indexes that there were
before searches and with those that there are now, through the engine's promotion over one
connection. Prints orders a second (promotion only) and the sizes of the indexes.
"""

import argparse
from statistics import median
from typing import NamedTuple

from bench import databases, dataset, gin
from bench.dataset import Dataset
from headrace.entities.orders import ORDERS
from tests import road

BEFORE = (
    "CREATE INDEX orders_a ON orders (tenant_id, order_date DESC, order_status)",
    "CREATE INDEX orders_b ON orders (tenant_id, order_date, order_status)"
    " INCLUDE (total_amount, currency)",
    "CREATE INDEX orders_c ON orders (tenant_id, customer_id) WHERE customer_id IS NOT NULL",
)
SIZES = "SELECT sum(pg_relation_size(indexrelid)) FROM pg_index WHERE indrelid = 'orders'::regclass"


class Cost(NamedTuple):
    """Orders a second, and bytes of all indexes of the table."""

    rate: float
    size: int


def main() -> None:
    options = _options()
    data = dataset.pinned(options.share)
    with databases.server() as url:
        rounds = [(_cost(url, data, True), _cost(url, data, False)) for _ in range(options.rounds)]
    print(f"{data.counts['orders']:,} orders, medians of {options.rounds} interleaved rounds")
    for name, costs in zip(("before", "now"), zip(*rounds, strict=True), strict=True):
        rate, size = median(one.rate for one in costs), costs[-1].size
        print(f"{name:<8} {rate:>10,.0f} rows/s, indexes of {size / 2**20:,.1f} MiB")


def _cost(url: str, data: Dataset, is_before: bool) -> Cost:
    with road.postgresql_database(url) as database:
        database.tenant = data.tenant
        if is_before:
            _set_back(database)
        databases.checkpoint(url)
        gin.land(database, data, "customers")
        seconds = gin.land(database, data, "orders")
        size = database.connection.execute(SIZES).fetchone()[0]
    return Cost(data.counts["orders"] / seconds, int(size))


def _set_back(database: road.Database) -> None:
    for index in ORDERS.indexes:
        if not index.optional:
            database.connection.execute(database.dialect.index_removal("orders", index.name))
    for statement in BEFORE:
        database.connection.execute(statement)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.indexes", description=__doc__)
    parser.add_argument("--share", type=float, default=0.3, help="of the pinned rows (0.3)")
    parser.add_argument("--rounds", type=int, default=3, help="of both (default 3)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
