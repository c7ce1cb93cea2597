"""Files that a power cut leaves either as they were or as they became."""

import os
from pathlib import Path


def replace(path: Path, content: bytes) -> None:
    """Put `content` in the place of a file, all of it or nothing. Raises OSError."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    move(new, path)


def move(source: Path, target: Path) -> None:
    """Put a file in the place of another one, once its bytes are on the disk. Raises OSError."""
    with source.open("r+b") as file:
        os.fsync(file.fileno())
    source.replace(target)
    _flush_folder(target.parent)


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there; its rename is journalled by NTFS
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
