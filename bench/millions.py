"""`make bench ROWS=10_000_000`: the rate of the last million beside the first, and the memory.

One tenant gets so many rows in parts of about a million, each an upload of its own with the same
mixture of entities, so that parts differ in nothing but what is in the tables already. Each part
is generated under another seed and made the first one's: its tenant, and keys that nobody has.
After each part `\\copy` puts the same rows into tables of its own, which shows what the database
itself pays for being large.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import contests, databases, dataset, measure, ours, page, report
from bench.dataset import Dataset
from bench.report import (
    COPY_1,
    FIRST_COPIED,
    FIRST_MILLION,
    LAST_COPIED,
    LAST_MILLION,
    MILLIONS_TARGETS,
    Figure,
    Verdict,
)
from tests import service

MILLION = 1_000_000
#: Texts that are unique in a tenant; a part writes its number before them.
NATURAL_KEYS = (b'"sku":"', b'"external_order_id":"')


class Part(NamedTuple):
    """What was loaded, what the larger worker held afterwards in MiB, and the same by `\\copy`."""

    ours: Figure
    memory: float
    copied: Figure


def section(rows: int) -> str:
    """Load so many rows and tell about it."""
    with databases.server() as server:
        busy = report.busy()
        parts = made(rows)
        loaded = list(_loaded(server, parts))
        machine = {**report.machine(server), **busy}
    return page.millions(machine, table(loaded), _verdicts(loaded))


def _verdicts(loaded: list[Part]) -> list[Verdict]:
    first, last = loaded[0], loaded[-1]
    rates = {
        FIRST_MILLION: first.ours.rate,
        LAST_MILLION: last.ours.rate,
        FIRST_COPIED: first.copied.rate,
        LAST_COPIED: last.copied.rate,
    }
    return [
        Verdict(target, rates[target.name] / rates[str(target.other)])
        for target in MILLIONS_TARGETS
    ]


def made(rows: int) -> list[Dataset]:
    """The parts, two at least; they are kept for the next run."""
    number = max(2, round(rows / MILLION))
    counts = dataset.mixture(rows // number)
    folder = dataset.home() / f"parts_of_{rows // number}"
    found = [Dataset(folder / str(one), counts) for one in range(1, number + 1)]
    for seed, part in enumerate(found, 1):
        dataset.once(part.folder, lambda part=part, seed=seed: _make(part, seed, found[0]))
        dataset.once(part.folder / "copy", lambda part=part: dataset.write_copy_texts(part))
    return found


def _make(part: Dataset, seed: int, first: Dataset) -> None:
    own = Dataset(part.folder, part.counts)  # a dataset remembers its tenant; this one's will go
    dataset.generate(own, seed)
    if part is first:
        return
    mine, its = (str(one.tenant).encode() for one in (own, first))
    for path in sorted(part.folder.glob("*.ndjson")):
        text = path.read_bytes().replace(mine, its)
        for key in NATURAL_KEYS:
            text = text.replace(key, b"%s%d-" % (key, seed))
        path.with_name(path.name.replace(mine.decode(), its.decode())).write_bytes(text)
        path.unlink()
    shutil.copy(first.folder / "tenants.csv", part.folder)


def _loaded(server: str, parts: list[Dataset]) -> Iterator[Part]:
    with (
        tempfile.TemporaryDirectory() as home,
        service.running(Path(home), server) as running,
        databases.migrated(server) as template,
        databases.copied(server, template) as empty,
    ):
        ours.prepare(running, parts[0])
        for number, part in enumerate(parts, 1):
            expected = {"inserted": part.rows}
            found = contests.on_postgresql(server, running, str(number), part, expected)
            memory = measure.resident("worker")
            databases.checkpoint(server)
            copied = contests.copied(empty, part, COPY_1, 1)
            print(f"part {number}: {found.rate:,.0f} rows/s, \\copy {copied.rate:,.0f}", flush=True)
            yield Part(found, memory, copied)


def table(loaded: list[Part]) -> Iterator[list[str]]:
    """Rows of cells: one a part, rows counted from the beginning."""
    cpu = [f"{role} s/M" for role in report.ROLES]
    by_copy = [f"\\copy {what}" for what in ("rows/s", "database s/M", "WAL B/row")]
    yield ["rows loaded", "rows/s", "worker MiB", *cpu, "WAL B/row", *by_copy, "ours / \\copy"]
    total = 0
    for figure, memory, copied in loaded:
        total += figure.rows
        yield [
            f"{total:,}",
            f"{figure.rate:,.0f}",
            f"{memory:,.1f}",
            *(_used(figure, role) for role in report.ROLES),
            f"{figure.wal / figure.rows:,.0f}",
            f"{copied.rate:,.0f}",
            _used(copied, "database"),
            f"{copied.wal / copied.rows:,.0f}",
            f"{figure.rate / copied.rate:.2f}",
        ]


def _used(figure: Figure, role: str) -> str:
    used = figure.usage.get(role)
    return f"{used.cpu / figure.rows * 1e6:,.1f}" if used else ""
