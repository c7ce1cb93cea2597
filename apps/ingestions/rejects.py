"""Rejects: told one by one as a report, or given back as records to mend and send again.

A download lists its pages when it begins, and pages never change. What is refused later is not
in it, so the ETag names the very bytes and a download that broke can be continued.
"""

import hashlib
import heapq
import json
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.db.models import Q

import headrace
from apps.core import blocks, objects
from apps.core.isolation import tenant_reading
from apps.core.problems import Problem
from apps.core.ranges import Content, made_anew
from apps.ingestions.models import Chunk, RejectRows, Upload
from headrace.entities import BY_NAME
from headrace.pipeline import mending
from headrace.pipeline.csv_records import Header
from headrace.pipeline.formats import CSV, JSON, compression, format_of
from headrace.pipeline.formats.base import Batch, without_bom
from headrace.pipeline.report import Reject, rejects_of
from headrace.storage.base import ObjectMissing

RAW_SHOWN = 10_000
# Retention empties the outcomes first, then removes the pages, in as many steps as it takes.
_IS_DROPPED = Q(outcomes=b"") | Q(details_dropped_at__isnull=False)


class Asked(NamedTuple):
    """Which rejects are wanted, and how: one of FORMS."""

    form: tuple[str, str]
    chunk: UUID | None
    code: str | None


@dataclass(frozen=True, slots=True)
class OfChunk:
    """The rejects of a chunk: its pages by first line, as (first line, primary key)."""

    chunk: Chunk
    pages: list[tuple[int, int]]
    code: str | None

    def in_order(self) -> Iterator[Reject]:
        """Pages overlap in lines; a page is opened when its first line is due, and not before."""
        heap: list[tuple[int, int, Reject, Iterator[Reject]]] = []
        for first_line, page in self.pages:
            yield from self._until(heap, first_line)
            _push(heap, page, self._page(page))
        yield from self._until(heap, None)

    def _until(self, heap: list[Any], line: int | None) -> Iterator[Reject]:
        while heap and (line is None or heap[0][0] < line):
            _, page, reject, rest = heapq.heappop(heap)
            _push(heap, page, rest)
            if self.code is None or reject.code == self.code:
                yield reject

    def _page(self, page: int) -> Iterator[Reject]:
        # A transaction a page: one around the view would not cover this iterator.
        with tenant_reading(self.chunk.tenant_id):
            blob = RejectRows.objects.values_list("blob", flat=True).get(pk=page)
        return rejects_of(bytes(blob))


def _push(heap: list[Any], page: int, rejects: Iterator[Reject]) -> None:
    if (following := next(rejects, None)) is not None:
        heapq.heappush(heap, (following.line, page, following, rejects))


def download(upload: Upload, asked: Asked) -> Content:
    """The wanted rejects of an upload, file by file in the order of their lines. Raises Problem."""
    found = _found(upload, asked)
    form, ending = asked.form
    headers = {"Content-Type": _CONTENT_TYPES[ending]}
    if form == "records":
        _check_sources(found)
        headers["Content-Disposition"] = f'attachment; filename="{_name(upload, found, ending)}"'
    if ending == "csv":
        _check_one_layout(found)
    write = FORMS[asked.form]
    rows = made_anew(lambda: blocks.joined(write(found)))
    return Content(_etag(asked, found), headers, rows)


def _found(upload: Upload, asked: Asked) -> list[OfChunk]:
    if asked.chunk and not Chunk.objects.filter(upload=upload, pk=asked.chunk).exists():
        raise Problem("not_found", "Choose a chunk of this upload, as its status lists them.")
    with tenant_reading(upload.tenant_id):
        pages = _pages(upload, asked)
    # Read after the pages: if some of those have been dropped, the chunk says so.
    chunks = Chunk.objects.filter(upload=upload, rejected__gt=0).order_by("number")
    chosen = chunks.filter(pk=asked.chunk) if asked.chunk else chunks
    wanted = list(chosen.defer("outcomes").annotate(is_dropped=_IS_DROPPED))
    for chunk in wanted:
        if chunk.is_dropped:
            raise Problem("gone", f"The rejects of chunk {chunk.id} are kept no longer.")
    return [OfChunk(chunk, pages[chunk.id], asked.code) for chunk in wanted if pages[chunk.id]]


def _pages(upload: Upload, asked: Asked) -> dict[UUID, list[tuple[int, int]]]:
    """The pages by chunk, without those that have no reject of the wanted code."""
    rows = RejectRows.objects.filter(chunk__upload=upload).order_by("first_line", "pk")
    if asked.chunk:
        rows = rows.filter(chunk=asked.chunk)
    found: dict[UUID, list[tuple[int, int]]] = defaultdict(list)
    for chunk, first_line, page, codes in rows.values_list("chunk", "first_line", "pk", "codes"):
        if asked.code is None or asked.code in codes:
            found[chunk].append((first_line, page))
    return found


def _check_sources(found: list[OfChunk]) -> None:
    for own in found:
        if not own.chunk.source:
            raise Problem(
                "gone",
                f"The file of chunk {own.chunk.id} is not kept any more: mend your own copy by what"
                " form=report says, or choose another chunk.",
            )


def _check_one_layout(found: list[OfChunk]) -> None:
    if len({(own.chunk.entity, _header(own.chunk)) for own in found}) > 1:
        raise Problem(
            "invalid_request",
            "A CSV has one record type and one header: choose a chunk, as the upload's status"
            " lists them.",
        )


def _name(upload: Upload, found: list[OfChunk], ending: str) -> str:
    """Begins with the record type, which a file must have, unless there are several."""
    entities = {own.chunk.entity for own in found}
    if len(entities) != 1:
        return f"{upload.token}.rejects.{ending}"
    label = found[0].chunk.filename if len(found) == 1 else upload.token
    return mending.download_name(label, BY_NAME[entities.pop()], ending)


def _etag(asked: Asked, found: list[OfChunk]) -> str:
    content = [(str(own.chunk.id), bool(own.chunk.source), own.pages) for own in found]
    named = repr((headrace.__version__, asked.form, asked.code, content))
    return f'"{hashlib.sha256(named.encode()).hexdigest()[:32]}"'


def _report(found: list[OfChunk]) -> Iterator[bytes]:
    for own in found:
        facts = {"chunk_id": str(own.chunk.id), "filename": own.chunk.filename}
        for reject, line in _with_lines(own):
            raw = None if line is None else line[:RAW_SHOWN].decode(errors="replace")
            yield json.dumps(msgspec.to_builtins(reject) | facts | {"raw": raw}).encode() + b"\n"


def _records(found: list[OfChunk]) -> Iterator[bytes]:
    for own in found:
        header = _header(own.chunk)
        for reject, line in _with_lines(own):
            yield mending.mendable_json(_as_json(_present(line, own), own.chunk, header), reject)


def _as_json(line: bytes, chunk: Chunk, header: Header | None) -> bytes:
    """A record as it would stand on a line of its own."""
    if header is not None:
        return mending.json_of(BY_NAME[chunk.entity], header, line)
    return mending.on_one_line(line) if chunk.format == JSON else line


def _csv(found: list[OfChunk]) -> Iterator[bytes]:
    if not found:
        return
    first = found[0].chunk
    entity, header = BY_NAME[first.entity], _header(first)
    own_csv = header and mending.CsvMending(header)
    yield own_csv.header() if own_csv else mending.csv_header(entity)
    for own in found:
        for reject, raw in _with_lines(own):
            line = _present(raw, own)
            yield (
                own_csv.line(line, reject)
                if own_csv
                else mending.mendable_csv(entity, _as_json(line, own.chunk, None), reject)
            )


# What `form` and `format` of a request may be.
FORMS: dict[tuple[str, str], Callable[[list[OfChunk]], Iterator[bytes]]] = {
    ("report", "ndjson"): _report,
    ("records", "ndjson"): _records,
    ("records", "csv"): _csv,
}
_CONTENT_TYPES = {
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8; header=present",
}


def _with_lines(own: OfChunk) -> Iterator[tuple[Reject, bytes | None]]:
    """Each reject with its line as it was received; None where the source is not kept."""
    lines = _source_lines(own.chunk)
    number, line = 0, None
    for reject in own.in_order():
        while number < reject.line:
            number, line = next(lines, (reject.line, None))
        yield reject, line


def _source_lines(chunk: Chunk) -> Iterator[tuple[int, bytes | None]]:
    return chain.from_iterable(
        zip(batch.numbers(), batch.lines, strict=True) for batch in _batches(chunk)
    )


def _header(chunk: Chunk) -> Header | None:
    """The header of a CSV file; None for another format, or if the file is not kept."""
    if chunk.format != CSV:
        return None
    with closing(_batches(chunk)) as batches:
        headers = (batch.lines[0] for batch in batches if batch.is_header)
        return next((Header.read(raw, chunk.delimiter) for raw in headers), None)


def _batches(chunk: Chunk) -> Generator[Batch, None, None]:
    try:
        source = objects.store().open(chunk.source) if chunk.source else None
    except ObjectMissing:
        source = None
    if source is None:
        return
    with source:
        plain = compression.blocks(source, chunk.compression, 1 << 62)
        _, blocks = without_bom(plain)
        yield from format_of(chunk.format, chunk.delimiter).batches(blocks)


def _present(line: bytes | None, own: OfChunk) -> bytes:
    """Raises ObjectMissing, which breaks the download off: asked again, the answer is `gone`."""
    if line is None:
        raise ObjectMissing(own.chunk.source)
    return line
