"""The pinned rows that every contestant loads: files for ours, COPY text for the others.

One tenant, seed 42, files of 50,000 lines in load order. The same sizes give the same bytes, so
a dataset is made once and kept under HEADRACE_HOME/bench; its digest is printed with the figures.
"""

import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from uuid import UUID

from headrace.entities import BY_NAME, entity_of_file
from headrace.pipeline.load import Load
from headrace.pipeline.verify import verify
from headrace.schema import Entity
from headrace.synth import dataset
from headrace.synth.progress import Progress
from headrace.synth.settings import Settings, Sizes

ENTITIES = ("customers", "products", "orders", "order_items")
LINES_A_FILE = 50_000
WHOLE = {"customers": 50_000, "products": 50_000, "orders": 200_000, "order_items": 400_000}


@dataclass(frozen=True)
class Dataset:
    """Files of one tenant in `folder`, and how many rows of each entity they have."""

    folder: Path
    counts: dict[str, int]

    @property
    def rows(self) -> int:
        return sum(self.counts.values())

    @cached_property
    def tenant(self) -> UUID:
        return UUID((self.folder / "tenants.csv").read_text().splitlines()[1].split(",")[0])

    def files(self, entity: str) -> list[Path]:
        """An entity's files, in the order in which they are sent."""
        found = self.folder.glob("*.ndjson")
        return sorted(path for path in found if entity_of_file(path.name) == BY_NAME[entity])

    def copy_text(self, entity: str) -> Path:
        """The entity's rows, ready for COPY into `columns(entity)` of its table."""
        return self.folder / "copy" / f"{entity}.txt"

    @cached_property
    def digest(self) -> str:
        """Names the bytes: equal digests, equal rows in equal order."""
        found = hashlib.sha256()
        for path in itertools.chain.from_iterable(map(self.files, ENTITIES)):
            found.update(path.read_bytes())
        return found.hexdigest()[:12]


def columns(entity: str) -> str:
    """The columns of COPY text."""
    return ", ".join(("tenant_id", *BY_NAME[entity].field_names, "source_sequence"))


def pinned(share: float = 1.0) -> Dataset:
    """The dataset with this share of the pinned rows, made if it is not there yet."""
    rows = round(sum(WHOLE.values()) * share)
    found = Dataset(home() / f"rows_{rows}", mixture(rows))

    def make() -> None:
        generate(found)
        write_copy_texts(found)

    once(found.folder, make)
    return found


def mixture(rows: int) -> dict[str, int]:
    """So many rows by entity, as the pinned ones are mixed."""
    counts = {entity: count * rows // sum(WHOLE.values()) for entity, count in WHOLE.items()}
    return {**counts, ENTITIES[-1]: counts[ENTITIES[-1]] + rows - sum(counts.values())}


def home() -> Path:
    """The folder of everything that benchmarks keep."""
    return Path(os.environ.get("HEADRACE_HOME", ".headrace")).resolve() / "bench"


def once(folder: Path, make: Callable[[], None]) -> None:
    """Fill the folder by `make`, unless that was done to its end before."""
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        make()
        (folder / "complete").touch()


def load_of(path: Path, tenant: UUID, number: int) -> Load:
    """What the pipeline needs to know about one of the files."""
    entity = entity_of_file(path.name)
    assert entity is not None
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Load(entity, tenant, number, lambda: path.open("rb"), digest)


def generate(made: Dataset, seed: int = 42) -> None:
    """Write exactly as many lines as the dataset has."""
    sizes = Sizes(
        tenants=1,
        customers=made.counts["customers"],
        products=made.counts["products"],
        orders=made.counts["orders"],
        items_per_order=2.05,  # a little more than is needed: the rest is cut off below
        stock_events_per_product=0,
        price_intervals_per_product=1,
    )
    settings = Settings(made.folder, sizes, seed=seed, chunk_size=LINES_A_FILE)
    dataset.generate(settings, Progress(verbose=False))
    for path in made.folder.glob("price_history_*"):
        path.unlink()
    for entity in ENTITIES:
        _cut(made.files(entity), made.counts[entity])


def write_copy_texts(made: Dataset) -> None:
    """Write the rows ready for COPY, as `Dataset.copy_text` names the files."""
    made.copy_text("orders").parent.mkdir()
    for entity in ENTITIES:
        _write_copy_text(made, BY_NAME[entity])


def _cut(files: list[Path], rows: int) -> None:
    """Keep the first `rows` lines of the files together."""
    left = rows
    for path in files:
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:left]))
        left -= min(left, len(lines))
        if path.stat().st_size == 0:
            path.unlink()
    assert left == 0, f"{files[0].name}: {left} lines too few"


def _write_copy_text(made: Dataset, entity: Entity) -> None:
    scratch = made.folder / "scratch"
    with made.copy_text(entity.name).open("wb") as file:
        for number, path in enumerate(made.files(entity.name), 1):
            scratch.mkdir()
            load = load_of(path, made.tenant, number)
            file.writelines(_copy_lines(load, scratch))
            shutil.rmtree(scratch)


def _copy_lines(load: Load, scratch: Path) -> Iterator[bytes]:
    """Pass A's rows with the tenant before them and the source sequence behind them."""
    verified = verify(load, scratch, lambda _: None)
    for row in verified.rows.read().rows:
        line, _, text = row.split(b"\t", 2)
        yield b"%s\t%s\t%d\n" % (str(load.tenant).encode(), text, load.sequence + int(line))
