"""JSON of either kind: an array if its first sign is a bracket, otherwise an object a line."""

from collections.abc import Iterable, Iterator
from itertools import chain

from headrace.pipeline.formats import base, json_array, ndjson
from headrace.pipeline.formats.base import Batch


class Json:
    """base.Format that becomes one of the two when it sees the first block."""

    def __init__(self) -> None:
        self._format: base.Format = ndjson.NdJson()

    @property
    def blanks(self) -> bytes:
        return self._format.blanks

    def census(self) -> "Census":
        return Census()

    def batches(self, blocks: Iterable[bytes], offset: int = 0) -> Iterator[Batch]:
        stream = iter(blocks)
        first = next(stream, b"")
        self._format = _format_of(first)
        yield from self._format.batches(chain([first] if first else [], stream), offset)


class Census:
    """base.Census of the kind that the first block shows."""

    def __init__(self) -> None:
        self._census: base.Census | None = None

    @property
    def records(self) -> int:
        return self._census.records if self._census else 0

    def feed(self, block: bytes) -> None:
        if self._census is None:
            self._census = _format_of(block).census()
        self._census.feed(block)


def _format_of(first: bytes) -> base.Format:
    is_array = first.lstrip(json_array.BLANKS).startswith(b"[")
    return json_array.JsonArray() if is_array else ndjson.NdJson()
