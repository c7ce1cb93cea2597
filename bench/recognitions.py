"""The recognition loader beside what it is made of: `python -m bench.recognitions`.

- S3: photos a second and MB a second beside a bare parallel put of the same files with the same
  client and as many threads, which checks nothing and writes no row.
- Latency: the loader beside a sequential one, which reads, puts and inserts one after the other,
  both with 20 ms added to each put.
- Local: recognitions a second to a local folder and PostgreSQL.

Contestants take turns on fresh databases and buckets, every other round backwards; a figure is the
median of the rounds.
"""

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg

from bench import databases, report
from headrace.recognitions import assembly, layout, postgresql, settings
from headrace.recognitions.assembly import Parts
from headrace.recognitions.loading import Loading
from headrace.recognitions.progress import Lines
from headrace.recognitions.storing import Store
from headrace.storage.local import LocalStore
from tests import recognition_sets, recognitions, stores
from tests.recognition_sets import Dataset

THREADS = 16
LATENCY = 0.02  # seconds
TARGETS = {"s3": 0.8, "latency": 3.0, "local": 200.0}


class Far(LocalStore):
    """A local store at the end of a long line."""

    def put(self, key: str, blocks: Iterator[bytes]) -> int:
        time.sleep(LATENCY)
        return super().put(key, blocks)


def main() -> None:
    options = _options()
    seconds: dict[str, list[float]] = defaultdict(list)
    with databases.server() as server, tempfile.TemporaryDirectory() as home:
        dataset = recognition_sets.make(
            Path(home) / "set", options.recognitions, scale=options.scale
        )
        few = recognition_sets.make(Path(home) / "few", options.recognitions // 5, 1, options.scale)
        contestants = _contestants(server, dataset, few)
        for number in range(options.rounds):
            for name, contestant in contestants[:: -1 if number % 2 else 1]:
                seconds[name].append(contestant())
        size = sum(path.stat().st_size for path in photos(dataset))
        machine = report.machine(server)
    medians = {name: statistics.median(some) for name, some in seconds.items()}
    print(_text(machine, options.recognitions, size, medians))
    if options.json:
        content = {"machine": machine, "bytes": size, "seconds": dict(seconds)}
        options.json.write_text(json.dumps(content, indent=2) + "\n")


def _contestants(
    server: str, dataset: Dataset, few: Dataset
) -> list[tuple[str, Callable[[], float]]]:
    return [
        ("s3 bare put", lambda: _on_s3(lambda s3: _bare(dataset, s3))),
        ("s3 loader", lambda: _on_s3(lambda s3: _loaded(server, dataset, environment=s3))),
        ("latency sequential", lambda: _sequential(server, few)),
        ("latency loader", lambda: _loaded(server, few, store=Far)),
        ("local loader", lambda: _loaded(server, dataset)),
    ]


def _on_s3(contestant: Callable[[dict[str, str]], float]) -> float:
    """On a server of its own: what another has stored would slow it, or leave no room."""
    with stores.s3() as environment:
        return contestant(environment)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recognitions", type=int, default=2_000)
    parser.add_argument(
        "--scale",
        type=float,
        default=2.65,
        help="of photos: 2.65 is 848 x 636, 175 kB as real ones",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    return parser.parse_args()


def photos(dataset: Dataset) -> list[Path]:
    return sorted(dataset.path.rglob("*.jpg"))


def _bare(dataset: Dataset, environment: dict[str, str]) -> float:
    """Read and put, and nothing else."""
    place, _ = settings.photos_of(environment)
    store, folder = assembly.store_of(place), uuid4().hex

    def put(path: Path) -> None:
        store.put(f"{folder}/{path.name}", [path.read_bytes()])

    return _timed(lambda: list(ThreadPoolExecutor(THREADS).map(put, photos(dataset))))


def _loaded(
    server: str,
    dataset: Dataset,
    environment: dict[str, str] | None = None,
    store: Callable[[Path], Store] | None = None,
) -> float:
    with _parts(server, {**(environment or {}), "HEADRACE_RECOGNITIONS_FOLDER": uuid4().hex}) as (
        parts,
        home,
    ):
        if store is not None:
            parts.storing.store = store(home)
        assembly.check(parts)
        found = list(layout.folders(dataset.path))
        work = Loading(
            parts.database,
            parts.storing,
            parts.transactions("bench"),
            parts.settings.tenant,
            Lines(len(found)),
            group_size=parts.settings.group_size,
            force=False,
        )
        seconds = _timed(lambda: work.run(found))
        assert work.account.outcomes["loaded"] == len(found), work.account
        return seconds


@contextmanager
def _parts(server: str, environment: dict[str, str]) -> Iterator[tuple[Parts, Path]]:
    with (
        tempfile.TemporaryDirectory() as home,
        recognitions.world(Path(home), "supabase", server, **environment) as world,
        assembly.assembled(settings.read(world.environment, Path(home), production=False)) as parts,
    ):
        yield parts, Path(home) / "objects"


def _sequential(server: str, dataset: Dataset) -> float:
    """As one writes it first: photo by photo, row by row, a commit for each recognition."""
    with _parts(server, {}) as (parts, home):
        tenant, far = parts.settings.tenant, Far(home)
        with psycopg.connect(postgresql.address(parts.settings.database)) as connection:
            return _timed(lambda: _load_slowly(connection, far, str(tenant), dataset))


def _load_slowly(connection: psycopg.Connection, store: Far, tenant: str, dataset: Dataset) -> None:
    for folder in layout.folders(dataset.path):
        number = folder.recognition_id
        connection.execute(
            "INSERT INTO recognitions (tenant_id, recognition_id, batch_id) VALUES (%s, %s, 'b')",
            [tenant, number],
        )
        for path in sorted((folder.path / "photos").iterdir()):
            data = path.read_bytes()
            key = hashlib.sha256(data).hexdigest()
            store.put(key, iter([data]))
            role = path.stem.rpartition("_")[2].lower()
            connection.execute(
                "INSERT INTO recognition_photos"
                " VALUES (%s, %s, %s, %s, %s, %s, 640, 480, 'image/jpeg')",
                [tenant, number, role, key, key, len(data)],
            )
        connection.commit()


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _text(machine: dict, count: int, size: int, seconds: dict[str, float]) -> str:
    s3, bare, local = (seconds[name] for name in ("s3 loader", "s3 bare put", "local loader"))
    ratios = {
        "s3": bare / s3,
        "latency": seconds["latency sequential"] / seconds["latency loader"],
        "local": count / local,
    }
    lines = [f"{name}: {value}" for name, value in machine.items()]
    lines += [f"{count} recognitions, {2 * count} photos, {size / 1e6:.0f} MB"]
    for name in ("s3 bare put", "s3 loader", "local loader"):
        rate = 2 * count / seconds[name]
        lines.append(f"{name}: {rate:.0f} photos/s, {size / 1e6 / seconds[name]:.1f} MB/s")
    for name in ("latency sequential", "latency loader"):
        lines.append(f"{name}: {count // 5 / seconds[name]:.1f} recognitions/s")
    lines += [f"{name}: {ratios[name]:.2f} (target {target:g})" for name, target in TARGETS.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
