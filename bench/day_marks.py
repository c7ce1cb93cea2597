"""What it costs promotion to list the days of what it writes: `python -m bench.day_marks`.

The same files with and without declared days, in turns, each time a new tenant, on PostgreSQL.
Figures are the processor's microseconds a row, of the server's process alone: the clock would tell
what else the machine does.
"""

import argparse
import random
import statistics
import tempfile
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from bench import databases
from headrace.entities import BY_NAME
from headrace.pipeline import run
from tests import road
from tests.shop import order, order_item, product

NAMES = ("orders", "order_items")
ROUNDS = 4


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.day_marks", description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000, help="of each type, in a file")
    rows = parser.parse_args().rows
    files = _files(rows)
    found: dict[tuple[str, str, bool], list[float]] = defaultdict(list)
    with databases.server() as server, road.postgresql_database(server) as database:
        for number in range(2 * ROUNDS):
            database.tenant = uuid4()
            _load(database, "products", files["products"], dated=True)
            for time in ("first", "unchanged"):
                for name in NAMES:
                    dated = bool(number % 2)
                    cost = _load(database, name, files[name], dated=dated)
                    found[name, time, dated].append(cost * 1e6 / rows)
    for name, time in ((name, time) for time in ("first", "unchanged") for name in NAMES):
        plain, dated = (statistics.median(found[name, time, dated]) for dated in (False, True))
        print(f"{name}, {time}: {plain:.2f} µs a row, with days {dated:.2f}")


def _files(rows: int) -> dict[str, bytes]:
    chance, start = random.Random(1), datetime(2025, 1, 1, tzinfo=UTC)
    goods = [product() for _ in range(100)]
    orders = [
        order(order_date=(start + timedelta(days=chance.random() * 365)).isoformat())
        for _ in range(rows)
    ]
    items = [
        order_item(chance.choice(orders)["order_id"], chance.choice(goods)["product_id"])
        for _ in range(rows)
    ]
    records: dict[str, list[dict[str, Any]]] = {
        "products": goods,
        "orders": orders,
        "order_items": items,
    }
    return {name: road.ndjson(*own) for name, own in records.items()}


def _load(database: road.Database, name: str, data: bytes, *, dated: bool) -> float:
    """The seconds of the server's processor that a file takes."""
    entity = BY_NAME[name] if dated else replace(BY_NAME[name], days=None)
    load = replace(road.load_of(name, data, tenant=database.tenant), entity=entity)
    server = psutil.Process(database.connection.info.backend_pid)
    with tempfile.TemporaryDirectory() as folder:
        before = sum(server.cpu_times()[:2])
        run.run(load, database.dialect, road.LocalLedger(database), Path(folder))
        return float(sum(server.cpu_times()[:2]) - before)


if __name__ == "__main__":
    main()
