"""What checking costs, format by format: `python -m bench.formats`.

The same generated records in each format go through pass A alone, which is what formats differ
in: reading, counting twice, checking. Formats take turns; figures are medians of the rounds, in
processor time, so that other work on the machine matters little.
"""

import argparse
import hashlib
import io
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from headrace.entities import BY_NAME
from headrace.pipeline.formats.compression import zstd
from headrace.pipeline.load import Load
from headrace.pipeline.verify import verify
from headrace.synth import dataset
from headrace.synth.progress import Progress
from headrace.synth.settings import FormatName, Settings, Sizes

SIZES = Sizes(1, products=1_000, orders=40_000, customers=1_000)
MEASURED = ("orders", "order_items")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    rounds = options.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        files = list(_files(Path(folder)))
        found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for _ in range(rounds):
            for name, load in files:
                found[load.entity.name][name].append(_microseconds(load, Path(folder)))
    for entity, by_format in found.items():
        for name, costs in by_format.items():
            cost = statistics.median(costs)
            print(
                f"{entity:12} {name:11} {cost:6.1f} µs a row, {1e6 / cost:9,.0f} rows/s a processor"
            )


def _files(folder: Path) -> Iterator[tuple[str, Load]]:
    for format in (FormatName.NDJSON, FormatName.CSV):
        place = folder / format
        dataset.generate(Settings(place, SIZES, chunk_size=10**9, format=format), Progress())
        for entity in MEASURED:
            [path] = place.glob(f"{entity}_*_chunk_*")
            data, tenant = path.read_bytes(), UUID(path.name.split("_chunk")[0][-36:])
            yield format, _load(entity, tenant, data, format)
            if format is FormatName.NDJSON:
                packed = zstd.compress(data)
                yield "ndjson.zst", _load(entity, tenant, packed, format, compression="zstd")
                array = b"[" + data.strip().replace(b"\n", b",\n") + b"]"
                yield "json array", _load(entity, tenant, array, "json")


def _load(entity: str, tenant: UUID, data: bytes, format: str, **more: str) -> Load:
    digest = hashlib.sha256(data).hexdigest()
    opened = lambda: io.BytesIO(data)  # noqa: E731 - each reading begins anew
    return Load(BY_NAME[entity], tenant, 1, opened, digest, format=str(format), **more)


def _microseconds(load: Load, folder: Path) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        began = time.process_time()
        found = verify(load, Path(scratch), lambda records: None)
        spent = time.process_time() - began
    assert found.rows.count == found.received
    return 1e6 * spent / found.received


if __name__ == "__main__":
    main()
