"""`make bench ROWS=10_000_000`: the rate of the last million beside the first, and the memory.

One tenant gets so many rows in parts of about a million, each an upload of its own with the same
mixture of entities, so that parts differ in nothing but what is in the tables already. Each part
is generated under another seed and made the first one's: its tenant, and keys that nobody has.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import contests, databases, dataset, measure, ours, page, report
from bench.dataset import Dataset
from bench.report import FIRST_MILLION, LAST_MILLION, MILLIONS_TARGETS, Figure, Verdict
from tests import service

MILLION = 1_000_000
#: Texts that are unique in a tenant; a part writes its number before them.
NATURAL_KEYS = (b'"sku":"', b'"external_order_id":"')


def section(rows: int) -> str:
    """Load so many rows and tell about it."""
    with databases.server() as server:
        busy = report.busy()
        parts = made(rows)
        loaded = list(_loaded(server, parts))
        machine = {**report.machine(server), **busy}
    first, last = loaded[0][0], loaded[-1][0]
    rates = {FIRST_MILLION: first.rate, LAST_MILLION: last.rate}
    verdicts = [
        Verdict(target, rates[target.name] / rates[str(target.other)])
        for target in MILLIONS_TARGETS
    ]
    return page.millions(machine, table(loaded), verdicts)


def made(rows: int) -> list[Dataset]:
    """The parts, two at least; they are kept for the next run."""
    number = max(2, round(rows / MILLION))
    counts = dataset.mixture(rows // number)
    folder = dataset.home() / f"parts_of_{rows // number}"
    found = [Dataset(folder / str(one), counts) for one in range(1, number + 1)]
    for seed, part in enumerate(found, 1):
        dataset.once(part.folder, lambda part=part, seed=seed: _make(part, seed, found[0]))
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


def _loaded(server: str, parts: list[Dataset]) -> Iterator[tuple[Figure, float]]:
    """Each part's figure, and what the larger worker holds afterwards, in MiB."""
    with tempfile.TemporaryDirectory() as home, service.running(Path(home), server) as running:
        ours.prepare(running, parts[0])
        for number, part in enumerate(parts, 1):
            expected = {"inserted": part.rows}
            found = contests.on_postgresql(server, running, str(number), part, expected)
            print(f"part {number}: {found.rate:,.0f} rows/s", flush=True)
            yield found, measure.resident("worker")


def table(loaded: list[tuple[Figure, float]]) -> Iterator[list[str]]:
    """Rows of cells: one a part, rows counted from the beginning."""
    cpu = [f"{role} s/M" for role in report.ROLES]
    yield ["rows loaded", "rows/s", "worker MiB", *cpu, "WAL B/row"]
    total = 0
    for figure, memory in loaded:
        total += figure.rows
        used = [figure.usage.get(role) for role in report.ROLES]
        yield [
            f"{total:,}",
            f"{figure.rate:,.0f}",
            f"{memory:,.1f}",
            *(f"{one.cpu / figure.rows * 1e6:,.1f}" if one else "" for one in used),
            f"{figure.wal / figure.rows:,.0f}",
        ]
