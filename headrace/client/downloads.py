"""Downloads that are continued where they broke."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol

import httpx2

from headrace.client.errors import NotExported

_BLOCK = 1 << 20


class Sink(Protocol):
    """Where the bytes of a download go; `size` of them are there."""

    size: int

    @property
    def headers(self) -> dict[str, str]:
        """What to ask for: all, or the rest of what has come if it is still the same."""

    def start_anew(self) -> None:
        """Forget what has come."""

    def take(self, response: httpx2.Response, moved: Callable[[], None]) -> None:
        """Read a response to its end; `moved` is called after each block. Raises TransportError."""


def rest(size: int, etag: str) -> dict[str, str]:
    """The headers that ask for what follows `size` bytes of the content named `etag`."""
    return {"Range": f"bytes={size}-", "If-Range": etag} if size and etag else {}


class PartFile:
    """Bytes in a file that outlives the process, and their digest.

    `etag` names what an earlier process began; `on_etag` must remember another one before it
    returns. `on_size` hears how many bytes there are. Raises OSError.
    """

    def __init__(
        self,
        path: Path,
        etag: str,
        on_etag: Callable[[str], object],
        on_size: Callable[[int], None],
    ) -> None:
        self.size = 0
        self._path = path
        self._etag = etag
        self._on_etag = on_etag
        self._on_size = on_size
        self._digest = hashlib.sha256()
        path.touch()
        if etag:
            self._read()

    @property
    def sha256(self) -> str:
        """The hex digest of the bytes that are there."""
        return self._digest.hexdigest()

    @property
    def headers(self) -> dict[str, str]:
        return rest(self.size, self._etag)

    def start_anew(self) -> None:
        self.size, self._digest = 0, hashlib.sha256()

    def take(self, response: httpx2.Response, moved: Callable[[], None]) -> None:
        if response.status_code != httpx2.codes.PARTIAL_CONTENT:
            self.start_anew()
        with self._path.open("r+b") as file:
            file.seek(self.size)
            file.truncate()
            # Only now: bytes of another content must never stand under this name.
            self._note(response.headers.get("ETag", ""))
            for block in response.iter_bytes():
                self._add(file, block)
                moved()

    def _read(self) -> None:
        """Count and digest what an earlier process has left."""
        with self._path.open("rb") as file:
            while block := file.read(_BLOCK):
                self._digest.update(block)
                self.size += len(block)

    def _note(self, etag: str) -> None:
        if etag != self._etag:
            self._on_etag(etag)
            self._etag = etag

    def _add(self, file: BinaryIO, block: bytes) -> None:
        file.write(block)
        self._digest.update(block)
        self.size += len(block)
        self._on_size(self.size)


class Pipe:
    """Bytes that are gone once they have come; a broken download goes on, but never anew."""

    def __init__(self, out: BinaryIO, on_size: Callable[[int], None]) -> None:
        self.size = 0
        self._etag = ""
        self._out = out
        self._on_size = on_size
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The hex digest of the bytes that have come."""
        return self._digest.hexdigest()

    @property
    def headers(self) -> dict[str, str]:
        return rest(self.size, self._etag)

    def start_anew(self) -> None:
        if self.size:
            raise NotExported(
                "cannot_continue",
                f"the download broke after {self.size:,} bytes and the server gives no rest of it",
            )

    def take(self, response: httpx2.Response, moved: Callable[[], None]) -> None:
        if response.status_code != httpx2.codes.PARTIAL_CONTENT:
            self.start_anew()
        self._etag = response.headers.get("ETag", "")
        for block in response.iter_bytes():
            self._out.write(block)
            self._digest.update(block)
            self.size += len(block)
            moved()
            self._on_size(self.size)
