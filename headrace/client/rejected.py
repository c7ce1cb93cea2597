"""Refused records of an upload as files of a folder, to be mended and sent again from there."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2

from headrace.client import downloads
from headrace.client.answers import ChunkStatus
from headrace.entities import BY_NAME
from headrace.pipeline import mending
from headrace.pipeline.formats import CSV, NDJSON


def files_of(chunks: Iterable[ChunkStatus]) -> Iterator[tuple[ChunkStatus, str]]:
    """Each chunk that has rejects, with a file name of its own that tells the record type."""
    taken: Counter[str] = Counter()
    for chunk in chunks:
        if chunk.outcomes.rejected:
            name = mending.download_name(chunk.filename, BY_NAME[chunk.entity], form_of(chunk))
            taken[name] += 1
            again = f".rejects-{taken[name]}." if taken[name] > 1 else ".rejects."
            yield chunk, name.replace(".rejects.", again)


def form_of(chunk: ChunkStatus) -> str:
    """What its refused records are called and written as: CSV stays CSV."""
    return CSV if chunk.format == CSV else NDJSON


class Download:
    """Bytes on their way to `path`: continued where they broke, and there whole or not at all.

    What has come stands in a file beside it, which is gone once the block ends. Raises OSError
    if the folder cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._etag = ""
        self.size = 0

    def __enter__(self) -> Self:
        self._part.write_bytes(b"")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._part.replace(self._path)
        else:
            self._part.unlink(missing_ok=True)

    @property
    def headers(self) -> dict[str, str]:
        """What to ask for: all, or the rest of what has come if it is still the same."""
        return downloads.rest(self.size, self._etag)

    def start_anew(self) -> None:
        self.size = 0

    def take(self, response: httpx2.Response, moved: Callable[[], None]) -> None:
        """Read a response to its end; `moved` is called after each block. Raises TransportError."""
        if response.status_code != httpx2.codes.PARTIAL_CONTENT:
            self.start_anew()
        self._etag = response.headers.get("ETag", "")
        with self._part.open("r+b") as file:
            file.seek(self.size)
            file.truncate()
            for block in response.iter_bytes():
                self.size += file.write(block)
                moved()
