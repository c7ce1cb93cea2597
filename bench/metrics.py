"""Sales metrics of a tenant with two million order lines: `python -m bench.metrics`.

PostgreSQL, a fresh database with the project's migrations. Times are the clock's, beside the
processor time of our process and of the server's that answered it (its parallel workers are not
seen): on a machine with other work that tells more. Queries are those of a 90-day range by day,
each range new, so none is remembered.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import psutil

from bench import databases, measure, sales
from tests import service

QUERIES = 200
BATCHES = (1, 7, 30, 90)


class Cost(NamedTuple):
    seconds: float
    cpu: float


def main() -> None:
    options = _options()
    with (
        databases.server() as server,
        tempfile.TemporaryDirectory() as home,
        service.running(Path(home), server, workers=0) as running,
    ):
        url = running.environment["DATABASE_URL"]
        tenant = running.add_tenant().tenant
        sales.fill(url, tenant, options.lines)
        environment = {**running.environment, "DJANGO_SETTINGS_MODULE": "main.settings"}
        command = ["-m", "bench.metrics_inside", str(tenant), str(options.lines)]
        print(measure.run(command, environment).output, end="")
        print(_over_http(running, tenant))


def _over_http(running: service.Service, tenant: UUID) -> str:
    merchant = service.Merchant(running, tenant, f"api_key_{tenant}")
    path = f"/tenants/{tenant}/metrics/sales"
    taken = []
    for number in range(QUERIES):
        first = date.fromisoformat(sales.FIRST_DAY) + timedelta(days=number)
        asked = {"start_date": str(first), "end_date": str(first + timedelta(days=89))}
        began = time.perf_counter()
        response = merchant.request("GET", path, params=asked)
        taken.append(time.perf_counter() - began)
        if response.status_code != 200 or not json.loads(response.content)["data"]:
            raise RuntimeError(response.text)
    return told("90 days by day over HTTP, each range new", taken)


def told(name: str, taken: list[float]) -> str:
    """Median and 95th percentile in milliseconds."""
    ordered = sorted(taken)
    median, high = statistics.median(ordered), ordered[int(len(ordered) * 0.95)]
    return f"{name}: median {median * 1e3:.1f} ms, p95 {high * 1e3:.1f} ms"


def timed(backend: int, step: Callable[[], Any]) -> Cost:
    """The clock's seconds, and the processor's of this process and of its backend."""
    server, own, began = _cpu(backend), time.process_time(), time.perf_counter()
    step()
    taken = time.perf_counter() - began
    return Cost(taken, _cpu(backend) - server + time.process_time() - own)


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.metrics", description=__doc__)
    parser.add_argument("--lines", type=int, default=2_000_000, help="order lines")
    return parser.parse_args()


if __name__ == "__main__":
    main()
