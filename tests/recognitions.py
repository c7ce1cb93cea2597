"""Datasets of recognitions with real photos, databases for them, and the loader's command.

A database is Headrace's own ("sqlite", "postgresql") or that of a Supabase project ("supabase"),
which is PostgreSQL with `supabase/migrations` applied.
"""

import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from PIL import Image
from typer.testing import CliRunner

from headrace.recognitions import assembly, ddl, settings
from headrace.recognitions.command import app
from headrace.recognitions.schema import BY_NAME, TABLES
from headrace.recognitions.settings import DEFAULT_TENANT
from tests import servers, templates
from tests.service import ROOT

(MIGRATION,) = (ROOT / "supabase" / "migrations").glob("*.sql")
SHAPES = ("sqlite", "postgresql", "supabase")
WIDTH, HEIGHT = 320, 240
DISHES = [(f"{number:08}", f"dish {number}, «hot»") for number in range(1, 14)]
FIRST_ID = 100_001
VARYING = {"batch_id", "loaded_at", "created_at"}  # from load to load
BOOKKEEPING = {"recognition_stores"}


def jpeg(seed: object, width: int = WIDTH, height: int = HEIGHT, kind: str = "JPEG") -> bytes:
    """A photo of noise that no other seed gives."""
    noise = random.Random(str(seed)).randbytes(width * height // 16)
    small = Image.frombytes("L", (width // 4, height // 4), noise)
    file = BytesIO()
    small.resize((width, height)).convert("RGB").save(file, kind, quality=85)
    return file.getvalue()


@dataclass(frozen=True)
class Dataset:
    """A dataset's folder, made in the usual layout."""

    path: Path

    def folder(self, number: int) -> Path:
        return self.path / "RRS" / "export_1" / f"recognition_{number}"

    def photo(self, number: int, role: str) -> Path:
        (found,) = (self.folder(number) / "photos").glob(f"*_{role}.jpg")
        return found

    def menu(self, number: int) -> Path:
        (found,) = self.folder(number).glob("*_AM.json")
        return found

    def check(self, number: int) -> Path:
        (found,) = self.folder(number).glob("*_correct_dishes.json")
        return found

    @property
    def annotations(self) -> Path:
        return self.path / "qwen_annotations.json"

    def annotate(self, entries: dict[str, Any]) -> None:
        self.annotations.write_text(json.dumps(entries))


def photo_path(number: int, role: str) -> str:
    """How annotations name a photo."""
    return f"data/recognition_{number}/photos/recognition_{number}_2025-10-11_{role}.jpg"


def annotation(*boxes: list[int], plates: tuple[list[int], ...] = ()) -> dict[str, Any]:
    """What the model says of a photo."""

    def listed(found: tuple[list[int], ...], word: str) -> dict[str, Any]:
        return {
            "qwen_detections": [
                {"bbox_2d": box, "label": f"{word}_{place}"} for place, box in enumerate(found)
            ]
        }

    return {"dishes": listed(boxes, "dish"), "plates": listed(plates, "plate")}


def make(path: Path, count: int, seed: object = 0, scale: int = 1) -> Dataset:
    """A dataset of so many recognitions: the same for the same seed. `scale` is of the photos."""
    dataset = Dataset(path)
    chance = random.Random(str(seed))
    entries = {}
    for number in range(FIRST_ID, FIRST_ID + count):
        put(dataset, number, chance, seed, scale)
        for role in ("Main", "Qualifying"):
            boxes = [[10 * place, 5, 10 * place + 9, 30] for place in range(chance.randrange(1, 5))]
            entries[photo_path(number, role)] = annotation(*boxes, plates=([0, 0, WIDTH, HEIGHT],))
    dataset.annotate(entries)
    return dataset


def put(
    dataset: Dataset, number: int, chance: random.Random, seed: object = 0, scale: int = 1
) -> None:
    folder = dataset.folder(number)
    (folder / "photos").mkdir(parents=True)
    for role in ("Main", "Qualifying"):
        place = folder / "photos" / f"recognition_{number}_2025-10-11_{role}.jpg"
        place.write_bytes(jpeg((seed, number, role), WIDTH * scale, HEIGHT * scale))
    menu = [{"ExternalId": key, "Name": name} for key, name in DISHES]
    chosen = chance.sample(menu, chance.randrange(2, 6))
    check = [{"Count": chance.randrange(1, 3), "Dishes": [dish]} for dish in chosen]
    begin = folder / f"{number}_recognition_2025-10-11_"
    Path(f"{begin}AM.json").write_text(json.dumps(menu), encoding="utf-8")
    Path(f"{begin}correct_dishes.json").write_text(json.dumps(check), encoding="utf-8")


class World:
    """A database, a store (in a local folder unless `environment` says where), and the command."""

    def __init__(self, home: Path, shape: str, url: str, environment: dict[str, str]) -> None:
        self.home = home
        self.shape = shape
        self.url = url
        self.tenant = DEFAULT_TENANT
        self.environment = {"HEADRACE_HOME": str(home), "DATABASE_URL": url, **environment}

    def invoke(self, *arguments: object, **environment: str) -> Any:
        """The command in this process; its `stdout`, `stderr` and `exit_code`."""
        kept = {name: None for name in os.environ if name.startswith(("HEADRACE_", "AWS_"))}
        given = {**kept, **self.environment, **environment}
        return CliRunner().invoke(app, [str(one) for one in arguments], env=given)

    def tell(self, *arguments: object, **environment: str) -> dict[str, Any]:
        """What the command tells as JSON, and its exit code."""
        done = self.invoke(*arguments, "--json", **environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.stdout, done.stderr
        return {**json.loads(done.stdout), "exit_code": done.exit_code}

    def load(self, dataset: Dataset, *arguments: object, **environment: str) -> dict[str, Any]:
        return self.tell("load", "--source", dataset.path, *arguments, **environment)

    def start(self, *arguments: object) -> subprocess.Popen:
        """The command as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "headrace", "recognitions", *map(str, arguments)],
            env={**os.environ, **self.environment},
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection of the owner, who sees every tenant's rows; each statement commits."""
        if self.shape == "sqlite":
            path = self.url.removeprefix("sqlite:///")
            with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
                connection.create_function("headrace_tenant", 0, lambda: "*")
                connection.execute("PRAGMA foreign_keys = ON")
                yield connection
        else:
            with psycopg.connect(self.url, autocommit=True) as connection:
                yield connection

    def ask(self, statement: str) -> list[tuple]:
        """What the database says; names of tables in braces are flat."""
        named = statement.format(**{flat: self.name(flat) for flat in BY_NAME})
        with self.connection() as connection:
            cursor = connection.execute(named)
            return cursor.fetchall() if cursor.description else []

    def name(self, flat: str) -> str:
        return ddl.in_schemas(BY_NAME[flat]) if self.shape == "supabase" else flat

    def rows(self) -> dict[str, list[tuple]]:
        """All rows by table, but for what varies from load to load."""
        found = {}
        for table in TABLES:
            if table.flat_name not in BOOKKEEPING:
                columns = [name for name in table.column_names if name not in VARYING]
                asked = f"SELECT tenant_id, {', '.join(columns)} FROM {{{table.flat_name}}}"
                rows = [tuple(map(str, row)) for row in self.ask(asked)]
                found[table.flat_name] = sorted(rows)
        return found

    def counts(self) -> dict[str, int]:
        """How many rows there are by table, where there are any."""
        return {table: len(rows) for table, rows in self.rows().items() if rows}

    @property
    def store(self) -> Any:
        """The store, as the command sees it."""
        found = settings.read(self.environment, self.home, production=False)
        return assembly.store_of(found.place)

    def objects(self, tenant: UUID = DEFAULT_TENANT) -> dict[str, str]:
        """The digests of a tenant's stored photos by key."""
        store = self.store
        keys = [key for key, _ in store.sizes(f"recognitions/{tenant}")]
        return {
            key: hashlib.sha256(store.open(key).read()).hexdigest()
            for key in keys
            if not key.endswith("/owner")
        }

    def state(self) -> tuple[dict[str, list[tuple]], dict[str, str]]:
        """All that a load leaves."""
        return self.rows(), self.objects()

    def add_tenant(self, tenant: UUID) -> None:
        spelled = tenant.hex if self.shape == "sqlite" else str(tenant)
        if self.shape != "supabase":
            columns = "tenant_id, name, time_zone, state, on_missing_parent, negative_levels"
            values = f"'{spelled}', 'A team', 'UTC', 'active', 'park', 'reject'"
            now = "CURRENT_TIMESTAMP"
            self.ask(
                f"INSERT INTO tenants ({columns}, last_number, created_at, updated_at)"
                f" VALUES ({values}, 0, {now}, {now})"
            )


@contextmanager
def world(home: Path, shape: str, server: str | None, **environment: str) -> Iterator[World]:
    """A fresh database of this shape, with the default tenant."""
    if shape == "sqlite":
        made = World(home, shape, f"sqlite:///{home / templates.SQLITE}", environment)
        _migrate(home, {"HEADRACE_HOME": str(home)})
        made.add_tenant(made.tenant)
        yield made
        return
    assert server is not None
    with servers.new_database(server) as url:
        made = World(home, shape, url, environment)
        if shape == "supabase":
            with psycopg.connect(url) as connection:
                connection.execute(MIGRATION.read_text())
        else:
            _migrate(home, {"HEADRACE_HOME": str(home), "DATABASE_URL": url})
        made.add_tenant(made.tenant)
        yield made


def _migrate(home: Path, environment: dict[str, str]) -> None:
    def migrate() -> None:
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "-v", "0"],
            cwd=ROOT,
            env={**os.environ, **environment},
            check=True,
        )

    templates.fill(home, environment, migrate)


def outcomes(told: dict) -> dict:
    """Those that are not 0; they must sum up to what was found."""
    assert sum(told["outcomes"].values()) == told["found"]
    return {name: number for name, number in told["outcomes"].items() if number}
