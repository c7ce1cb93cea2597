"""Objects as files of a local folder.

Operator's note: an object is written beside its place, flushed to the disk, renamed, and its
folder flushed, so that neither a crash nor a power cut leaves half of one. Files that end in
`.part` belong to writers: those at work have theirs locked, those that died do not. A folder goes
with its last file, all but the first below the root: a writer that had just made or found it makes
it once more, until its `.part` holds it.
"""

import errno
import os
import random
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from headrace.storage.base import ObjectMissing, StoreFull

_NO_NAMES = frozenset(("", ".", ".."))
TRIES = 1_000  # each of which another's deletion has to meet between two system calls


class LocalStore:
    """A store below `root`, which is made when the first object comes."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def put(self, key: str, blocks: Iterable[bytes]) -> int:
        place = self._place(key)
        part = place.with_name(f"{place.name}.{uuid4().hex}.part")
        try:
            with _begun(part) as file:
                size = _written(file, blocks)
                part.rename(place)  # while it is locked
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StoreFull(f"no room is left on the disk of {self._root}") from error
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
        place = self._place(key)
        place.unlink(missing_ok=True)
        for folder in place.relative_to(self._root).parents[:-2]:
            try:
                self._root.joinpath(folder).rmdir()
            except OSError:  # it holds something, or another has removed it
                break

    def delete_left(self, key: str) -> None:
        place = self._place(key)
        left = re.compile(rf"{re.escape(place.name)}\.[0-9a-f]{{32}}\.part")
        with suppress(FileNotFoundError), os.scandir(place.parent) as entries:
            for entry in entries:
                if left.fullmatch(entry.name):
                    _delete_unlocked(entry.path)

    def aged(self, folder: str, older_than_seconds: float) -> Iterator[str]:
        limit = time.time() - older_than_seconds
        return (key for key, stat in self._stats(folder) if stat.st_mtime < limit)

    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        return ((key, stat.st_size) for key, stat in self._stats(folder))

    def size(self, key: str) -> int | None:
        try:
            return self._place(key).stat().st_size
        except FileNotFoundError:
            return None

    def prune(self, folder: str) -> None:
        place = self._place(folder)
        for below, _, _ in os.walk(place, topdown=False):
            with suppress(OSError):  # not empty, or gone
                os.rmdir(below)

    def _stats(self, folder: str) -> Iterator[tuple[str, os.stat_result]]:
        root = f"{self._root}{os.sep}"
        for file in _files(self._place(folder)):
            with suppress(FileNotFoundError):  # a part that has become its object
                yield file.path.removeprefix(root), file.stat(follow_symlinks=False)

    def _place(self, key: str) -> Path:
        parts = key.split("/")
        if any(part in _NO_NAMES for part in parts):
            raise ValueError("a key must stay inside the store")
        return self._root.joinpath(*parts)


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All files below a folder: its own as they come, then those of its folders, shuffled."""
    if not folder.is_dir():
        return
    folders = []
    with suppress(FileNotFoundError), os.scandir(folder) as entries:  # it may go with its last file
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            else:
                yield entry
    random.shuffle(folders)
    for below in folders:
        yield from _files(below)


def _begun(path: Path) -> BinaryIO:
    """A new file, which keeps its folder from now on, and is locked until it is closed."""
    for _ in range(TRIES):
        with suppress(FileNotFoundError):  # a folder above went with its last file meanwhile
            _make_folder(path.parent)
            file = path.open("xb")
            with suppress(OSError):  # a file system without locks, where nothing is taken for left
                _lock(file, waits=True)
            if os.fstat(file.fileno()).st_nlink:
                return file
            file.close()  # it was taken for left before it was locked
    raise FileNotFoundError(errno.ENOENT, "its folder goes as often as it is made", str(path))


def _delete_unlocked(path: str) -> None:
    with suppress(OSError), open(path, "rb") as file:  # it is gone, at work, or not to be told
        _lock(file, waits=False)
        os.unlink(path)


def _lock(file: BinaryIO, *, waits: bool) -> None:
    """Lock a file until it is closed. Raises BlockingIOError where another has it, or waits."""
    import fcntl  # noqa: PLC0415 - Windows has none, and imports this for the client's command

    fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)


def _written(file: BinaryIO, blocks: Iterable[bytes]) -> int:
    size = 0
    for block in blocks:
        size += file.write(block)
    file.flush()
    os.fsync(file.fileno())
    return size


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each flushed into the one that holds it."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        with suppress(FileExistsError):  # `exist_ok` looks again, when it may have gone
            folder.mkdir()
        _flush_folder(folder.parent)


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
