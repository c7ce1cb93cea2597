"""Objects as files of a local folder.

Operator's note: an object is written beside its place, flushed to the disk, renamed, and its
folder flushed, so that neither a crash nor a power cut leaves half of one. Files that end in
`.part` belong to writers that died.
"""

import errno
import os
import random
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from headrace.storage.base import ObjectMissing, StoreFull


class LocalStore:
    """A store below `root`, which is made when the first object comes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, blocks: Iterable[bytes]) -> int:
        place = self._place(key)
        part = place.with_name(f"{place.name}.{uuid4().hex}.part")
        try:
            _make_folder(place.parent)
            size = _write(part, blocks)
            part.rename(place)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull from error
            raise
        finally:
            part.unlink(missing_ok=True)
        _flush_folder(place.parent)
        return size

    def open(self, key: str) -> BinaryIO:
        try:
            return self._place(key).open("rb")
        except FileNotFoundError as error:
            raise ObjectMissing(key) from error

    def delete(self, key: str) -> None:
        self._place(key).unlink(missing_ok=True)

    def aged(self, folder: str, older_than_seconds: float) -> Iterator[str]:
        limit, root = time.time() - older_than_seconds, self._root.resolve()
        for file in _files(self._place(folder)):
            with suppress(FileNotFoundError):  # a part that has become its object
                if file.stat(follow_symlinks=False).st_mtime < limit:
                    yield file.path.removeprefix(f"{root}{os.sep}")

    def _place(self, key: str) -> Path:
        place = self._root.joinpath(*key.split("/")).resolve()
        if not place.is_relative_to(self._root.resolve()):
            raise ValueError("a key must stay inside the store")
        return place


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All files below a folder: its own as they come, then those of its folders, shuffled."""
    if not folder.is_dir():
        return
    folders = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            else:
                yield entry
    random.shuffle(folders)
    for below in folders:
        yield from _files(below)


def _write(path: Path, blocks: Iterable[bytes]) -> int:
    size = 0
    with path.open("xb") as file:
        for block in blocks:
            size += file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return size


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each flushed into the one that holds it."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
