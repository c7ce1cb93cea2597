"""Exports of orders beside psql's \\copy: `python -m bench.exports`.

One PostgreSQL with the service's tables and as many orders as asked for. An export is measured
from its request to the status `completed`, its parts on the disk, flushed; \\copy writes the same
columns of the same rows to a file, as the role that the service reads as. Contestants take turns.
The worker's peak memory is that of a process that has made nothing but the named format.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import psycopg

from bench import databases, report
from headrace.entities import BY_NAME
from tests import service
from tests.exports import Exporter

ORDERS = BY_NAME["orders"]
FORMATS = ("csv", "ndjson", "json", "parquet", "csv gzip", "csv zstd")
COPY, TARGET = "psql \\copy, csv", 0.7
MOST_MIB = 100


def main() -> None:
    options = _options()
    with (
        databases.server() as server,
        tempfile.TemporaryDirectory() as home,
        service.running(Path(home), server, workers=1) as running,
    ):
        exporter = Exporter(running.add_tenant())
        fill(running, exporter, options.rows)
        seconds: dict[str, list[float]] = defaultdict(list)
        for _ in range(options.rounds):
            seconds[COPY].append(_copied(running, exporter, Path(home)))
            for name in FORMATS:
                seconds[name].append(_exported(exporter, name, options.rows))
        peaks = dict(_peaks(running, exporter, options.rows))
        machine = report.machine(server)
    medians = {name: statistics.median(some) for name, some in seconds.items()}
    print(_text(machine, options.rows, medians, peaks))
    if options.json:
        content = {"machine": machine, "seconds": dict(seconds), "peak_mib": peaks}
        options.json.write_text(json.dumps(content, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def fill(running: service.Service, exporter: Exporter, rows: int) -> None:
    """Orders as a shop has them, made by the database itself."""
    with psycopg.connect(running.environment["DATABASE_URL"]) as connection:
        connection.execute(f"SET app.tenant_id = '{exporter.merchant.tenant}'")
        connection.execute(
            """INSERT INTO orders (tenant_id, order_id, external_order_id, kind,
                   customer_name_snapshot, customer_email_snapshot, total_amount, currency,
                   order_status, order_date, raw_payload, created_at, source_sequence)
               SELECT current_setting('app.tenant_id')::uuid, gen_random_uuid(), 'ORD-' || i,
                   'sale', 'Customer ' || i, 'customer' || i || '@example.com', i * 1.37 %% 900,
                   'USD', (ARRAY['delivered', 'shipped', 'pending'])[1 + i %% 3],
                   timestamptz '2024-01-01' + i * interval '1 minute',
                   jsonb_build_object('channel', 'web', 'note', 'a "quoted" word', 'number', i),
                   timestamptz '2024-01-01' + i * interval '1 minute', i
               FROM generate_series(1, %s) i""",
            [rows],
        )
        connection.commit()
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE orders")


def _copied(running: service.Service, exporter: Exporter, folder: Path) -> float:
    """Seconds of \\copy under the same row-level security."""
    columns = ", ".join(field.name for field in ORDERS.kept)
    commands = [
        "SET ROLE headrace_app",
        f"SET app.tenant_id = '{exporter.merchant.tenant}'",
        f"\\copy (SELECT {columns} FROM orders) TO '{folder / 'copied.csv'}' CSV HEADER",
    ]
    arguments = [part for command in commands for part in ("-c", command)]
    started = time.monotonic()
    subprocess.run(
        ["psql", running.environment["DATABASE_URL"], "-qX", *arguments],
        check=True,
        capture_output=True,
    )
    return time.monotonic() - started


def _exported(exporter: Exporter, name: str, rows: int) -> float:
    format, _, compression = name.partition(" ")
    started = time.monotonic()
    status = exporter.made(format=format, compression=compression or "none")
    seconds = time.monotonic() - started
    if status["rows"] != rows:
        raise RuntimeError(f"{name}: {status['rows']} of {rows} rows")
    return seconds


def _peaks(running: service.Service, exporter: Exporter, rows: int) -> Iterator[tuple[str, float]]:
    """The peak memory in MiB of a new worker that makes one export."""
    for name in FORMATS:
        running.stop()
        running.start(1)
        (worker,) = running.worker_pids()
        yield f"{name}, before", _peak(worker)
        _exported(exporter, name, rows)
        yield name, _peak(worker)


def _peak(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _text(
    machine: dict[str, str], rows: int, medians: dict[str, float], peaks: dict[str, float]
) -> str:
    lines = ["", ", ".join(f"{name} {value}" for name, value in machine.items())]
    lines += [f"{rows:,} orders", ""]
    for name, seconds in medians.items():
        ratio, peak = medians[COPY] / seconds, peaks.get(name)
        memory = f"  worker's peak {peak:.0f} MiB" if peak else ""
        lines.append(f"{name:18}{rows / seconds:>10,.0f} rows/s  {ratio:5.2f} x \\copy{memory}")
    reached = "reached" if medians[COPY] / medians["csv"] >= TARGET else "MISSED"
    lines += ["", f"csv at least {TARGET} x \\copy: {reached}"]
    small = max(peaks["csv"], peaks["ndjson"])
    reached = "reached" if small < MOST_MIB else "MISSED"
    lines += [f"csv and ndjson under {MOST_MIB} MiB: {reached} ({small:.0f})"]
    lines += [f"(a worker that has done nothing: {peaks['csv, before']:.0f} MiB)"]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
