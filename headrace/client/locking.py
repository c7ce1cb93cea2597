"""A lock on an open file that ends with the process, however the process ends."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

if sys.platform == "win32":
    import msvcrt

    def try_lock(file: IO[str]) -> bool:
        """Take the lock for as long as `file` is open; False if someone else has it."""
        try:
            file.seek(2**30)  # beyond the holder's id, which others must be able to read
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def try_lock(file: IO[str]) -> bool:
        """Take the lock for as long as `file` is open; False if someone else has it."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


@contextmanager
def alone(path: Path) -> Iterator[str]:
    """Hold the lock of a file that is there meanwhile; gives the process that has it already, or
    "" if we have it now. Raises OSError.
    """
    file, holder = _locked(path)
    if file is None:
        yield holder
        return
    try:
        yield ""
    finally:
        with suppress(OSError):  # Windows removes no open file; it may stay
            path.unlink()
        file.close()


def _locked(path: Path) -> tuple[IO[str] | None, str]:
    while True:
        file = path.open("a+", encoding="ascii")
        if not try_lock(file):
            file.seek(0)
            with file:
                return None, file.read().strip() or "unknown"
        if _is_at(path, file):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            return file, ""
        file.close()  # its holder removed it between our opening and our locking


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
