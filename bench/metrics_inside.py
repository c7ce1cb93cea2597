"""The part of bench.metrics that runs where Django is set up."""

import sys
import time
from datetime import date, timedelta
from uuid import UUID

import django

django.setup()

from django.db import connection  # noqa: E402

from apps.core.isolation import tenant_transaction  # noqa: E402
from apps.metrics import requests, selectors, services  # noqa: E402
from apps.metrics.models import DirtyDay  # noqa: E402
from bench import metrics, sales  # noqa: E402

FIRST = date.fromisoformat(sales.FIRST_DAY)


def main() -> None:
    tenant, lines = UUID(sys.argv[1]), int(sys.argv[2])
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (backend,) = cursor.fetchone()
    for name in ("first", "again", "by one process of the server"):
        if name.startswith("by one"):  # else their processor time is not seen
            with connection.cursor() as cursor:
                cursor.execute("SET max_parallel_workers_per_gather = 0")
        services.list_all(tenant)
        cost = metrics.timed(backend, lambda: services.roll_up(tenant))
        print(
            f"full rebuild ({name}): {cost.seconds:.1f} s, {lines / cost.seconds:,.0f} lines/s;"
            f" {cost.cpu:.1f} s of processor time, {lines / cost.cpu:,.0f} lines/s of it"
        )
    for number in metrics.BATCHES:
        _list(tenant, number)
        cost = metrics.timed(backend, lambda: services.roll_up(tenant))
        print(
            f"{number} days of 365: {cost.seconds * 1e3:.0f} ms, {cost.cpu * 1e3:.0f} ms of"
            f" processor time, {cost.seconds * 1e3 / number:.1f} ms a day"
        )
    costs: list[str] = []
    cost = metrics.timed(backend, lambda: costs.append(_queries(tenant)))
    print(f"{costs[0]}; {cost.cpu * 1e3 / metrics.QUERIES:.1f} ms of processor time each")


def _list(tenant: UUID, number: int) -> None:
    with tenant_transaction(tenant), connection.cursor() as cursor:
        for at in range(number):
            day = FIRST + timedelta(days=at * 365 // number)
            cursor.execute(
                f"INSERT INTO {DirtyDay._meta.db_table} (tenant_id, day) VALUES (%s, %s)",
                [tenant, day],
            )


def _queries(tenant: UUID) -> str:
    taken = []
    for number in range(metrics.QUERIES):
        first = FIRST + timedelta(days=number)
        end = first + timedelta(days=89)
        asked = requests.Asked("day", first, end, "exact", "", 1_000, 0, "")
        began = time.perf_counter()
        selectors.sales(tenant, asked)
        taken.append(time.perf_counter() - began)
    return metrics.told("90 days by day in the process, each range new", taken)


if __name__ == "__main__":
    main()
