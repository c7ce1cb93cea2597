"""What lies between two databases: a folder with the files of every tenant, whole or not there."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

MANIFEST = "manifest.json"
CONTROL = "control.jsonl"  #: tenants and keys
SOURCE, LANDED = "source", "landed"  #: which database it is of, and that all of it has landed
OWN = "own.jsonl"  #: what the service itself wrote for a tenant


class OtherFolder(Exception):
    """The folder is not for this; its text says why."""


def claim(folder: Path, source: str) -> None:
    """Let the folder be the source's, or find that it is. Raises OtherFolder.

    What has landed is not added to: rows that changed since would be missing from it.
    """
    if (folder / LANDED).exists():
        raise OtherFolder(f"{folder} has landed already: name another folder, or remove it")
    try:
        owner = (folder / SOURCE).read_text()
    except FileNotFoundError:
        write(folder / SOURCE, [source.encode()])
    else:
        if owner != source:
            raise OtherFolder(f"{folder} has rows of another database: name another folder")


def manifest(folder: Path, tenant: UUID) -> dict[str, Any] | None:
    """The manifest of a tenant whose files are whole; None for any other."""
    try:
        found: dict[str, Any] = json.loads((folder / str(tenant) / MANIFEST).read_text())
    except FileNotFoundError:
        return None
    return found


def tenants(folder: Path) -> list[UUID]:
    """The tenants whose files are whole."""
    return sorted(UUID(path.parent.name) for path in folder.glob(f"*/{MANIFEST}"))


def write(path: Path, blocks: Iterable[bytes]) -> None:
    """Write a file that is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")  # two may write it at once
    with part.open("wb") as file:
        for block in blocks:
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def write_json(path: Path, content: Any) -> None:
    write(path, [json.dumps(content, indent=2).encode() + b"\n"])


Tell = Callable[[str], None]  #: says how far a command is
