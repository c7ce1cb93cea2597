"""One folder holds one dataset.

A loader takes every file it finds, so files of two datasets must never lie side by side. A hidden
manifest says which tenants' files are the generator's own. A run removes those before it writes
(they can be made again: the manifest keeps what they were made from, and the run prints it), and
refuses to start beside data files that no manifest claims: those are somebody's.

The manifest lists tenants and not files, because it must be complete before the first file is
written: ids of tenants are random, so a name that holds one is the generator's.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import orjson

from headrace.entities import BY_NAME, entity_of_file
from headrace.synth.faults.truth import TRUTH
from headrace.synth.files import COMPRESSED, TENANTS, unfinished, write_whole
from headrace.synth.formats import ENDINGS

MANIFEST = ".headrace-dataset.json"
_LOADABLE = re.compile(r".*\.(ndjson|jsonl|json|csv|tsv|parquet)(\.(gz|zst))?", re.IGNORECASE)
_ENTITIES, _ENDINGS = "|".join(BY_NAME), "|".join(map(re.escape, ENDINGS))
_COMPRESSED = "|".join(map(re.escape, COMPRESSED.values()))
_OWN = re.compile(
    rf"\.?({_ENTITIES})_([0-9a-f-]{{36}})(_chunk_\d{{4,}})?({_ENDINGS})({_COMPRESSED})(\.part)?"
)


class FolderError(Exception):
    """The folder must not be written to; the message says what to do."""


class Manifest(TypedDict):
    """What a folder's dataset was made from, and whether it was finished."""

    made_by: str
    settings: dict[str, object]
    tenants: list[str]
    complete: bool


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's manifest, None if there is none. Raises FolderError if it cannot be read."""
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        found = orjson.loads(path.read_bytes())
        return Manifest(
            made_by=found["made_by"],
            settings=found["settings"],
            tenants=list(found["tenants"]),
            complete=found["complete"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise FolderError(
            f"{path} cannot be read ({error}); remove it or choose another folder"
        ) from error


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replaces the folder's manifest."""
    write_whole(folder / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n")


@dataclass(frozen=True, slots=True)
class Cleared:
    """How many files were removed, and what they had been made from."""

    files: int
    settings: dict[str, object]


def clear(folder: Path) -> Cleared | None:
    """Makes the folder, and removes the dataset that its manifest claims; None without manifest.

    Raises FolderError, before it removes anything, if there are data files of anybody else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(folder)
    names = sorted(path.name for path in folder.iterdir())
    own = _own_files(names, manifest)
    _refuse(folder, [name for name in names if name not in own and _is_data(name)])
    for name in own:
        (folder / name).unlink()
    return Cleared(len(own), manifest["settings"]) if manifest else None


def _own_files(names: Iterable[str], manifest: Manifest | None) -> set[str]:
    if manifest is None:
        return set()
    tenants = set(manifest["tenants"])
    fixed = {TENANTS, TRUTH, *map(unfinished, (TENANTS, TRUTH, MANIFEST))}
    return {name for name in names if name in fixed or _tenant_of(name) in tenants}


def _tenant_of(name: str) -> str | None:
    match = _OWN.fullmatch(name)
    return match[2] if match else None


def _is_data(name: str) -> bool:
    known = name in (TENANTS, TRUTH) or entity_of_file(name) is not None
    return known and _LOADABLE.fullmatch(name) is not None


def _refuse(folder: Path, strangers: list[str]) -> None:
    if strangers:
        raise FolderError(
            f"{folder} holds {len(strangers)} data files that this generator did not make there, "
            f"such as {strangers[0]}; choose another folder with --output-dir or move them"
        )
