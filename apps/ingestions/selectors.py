"""What ingestion tells: committed counters and rejects, read and never computed anew."""

import heapq
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import Max, Min, Q, QuerySet, Subquery
from django.db.models.functions import Now

from apps.core.isolation import tenant_reading
from apps.core.jobs import ACTIVE
from apps.core.models import Job
from apps.core.problems import Problem
from apps.ingestions import sources
from apps.ingestions.models import BROKEN, ENDED, Chunk, ChunkState, RejectRows, Upload
from headrace.pipeline.formats import compression, ndjson
from headrace.pipeline.report import Outcome, Reject, rejects_of
from headrace.storage.base import ObjectMissing

_LISTED = (
    "id",
    "number",
    "filename",
    "entity",
    "state",
    "code",
    "message",
    "bytes",
    "lines_received",
    "reject_codes",
    "unknown_keys",
    *Outcome,
)
RAW_SHOWN = 10_000


def upload_of(tenant: UUID, token: str) -> Upload:
    """The tenant's upload; another's is as absent as one that never was. Raises Problem."""
    # PostgreSQL refuses to compare a text with a NUL.
    found = Upload.objects.filter(tenant_id=tenant, token=token) if token.isprintable() else None
    upload = found.first() if found else None
    if upload is None:
        raise Problem("not_found", "Check the upload token and the key.")
    return upload


def status(upload: Upload) -> dict[str, Any]:
    """How far an upload is: its sums, by entity and by chunk."""
    chunks = list(Chunk.objects.filter(upload=upload).order_by("number").values(*_LISTED))
    is_finished = _is_finished(upload, chunks)
    outcomes = _summed(chunks)
    return {
        "upload_token": upload.token,
        "status": _upload_state(chunks, is_finished),
        "finished": is_finished,
        "files": {
            "received": len(chunks),
            "finished": sum(chunk["state"] in ENDED for chunk in chunks),
            "failed": sum(chunk["state"] in BROKEN for chunk in chunks),
        },
        "bytes_received": sum(chunk["bytes"] for chunk in chunks),
        "lines_received": sum(chunk["lines_received"] for chunk in chunks),
        "outcomes": outcomes,
        "entities": _by_entity(chunks),
        **_pace(upload, chunks, outcomes),
        "reject_codes": dict(sum((Counter(chunk["reject_codes"]) for chunk in chunks), Counter())),
        "unknown_keys": dict(sum((Counter(chunk["unknown_keys"]) for chunk in chunks), Counter())),
        "chunks": [_chunk(chunk) for chunk in chunks],
    }


def _is_finished(upload: Upload, chunks: list[dict[str, Any]]) -> bool:
    """Nothing is queued or running for the upload, wakes of parked lines included."""
    if not chunks or any(chunk["state"] not in ENDED for chunk in chunks):
        return False
    subjects = [chunk["id"] for chunk in chunks]
    return not Job.objects.filter(subject__in=subjects, state__in=ACTIVE).exists()


def _upload_state(chunks: list[dict[str, Any]], is_finished: bool) -> str:
    if not chunks:
        return "open"
    if not is_finished:
        return "processing"
    if any(chunk["state"] in BROKEN for chunk in chunks):
        return "failed"
    has_rejects = any(chunk["rejected"] for chunk in chunks)
    return (ChunkState.COMPLETED_WITH_REJECTS if has_rejects else ChunkState.COMPLETED).value


def _summed(chunks: Iterable[dict[str, Any]]) -> dict[str, int]:
    rows = list(chunks)
    return {outcome.value: sum(row[outcome] for row in rows) for outcome in Outcome}


def _by_entity(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {}
    for chunk in chunks:
        found.setdefault(chunk["entity"], []).append(chunk)
    return {
        entity: {
            "files": len(own),
            "lines_received": sum(chunk["lines_received"] for chunk in own),
            "outcomes": _summed(own),
        }
        for entity, own in found.items()
    }


def _pace(
    upload: Upload, chunks: list[dict[str, Any]], outcomes: dict[str, int]
) -> dict[str, float | None]:
    """Lines a second since the first chunk started, and the seconds that the rest will take."""
    times = Chunk.objects.filter(upload=upload).aggregate(
        start=Min("started_at"), end=Max("ended_at"), now=Max(Now())
    )
    if times["start"] is None:
        return {"lines_per_second": None, "eta_seconds": None}
    is_ended = all(chunk["state"] in ENDED for chunk in chunks)
    until = times["end"] if is_ended and times["end"] else times["now"]
    seconds = max((until - times["start"]).total_seconds(), 0.001)
    rate = (sum(outcomes.values()) - outcomes[Outcome.UNPROCESSED]) / seconds
    left = 0 if is_ended else outcomes[Outcome.UNPROCESSED]
    eta = round(left / rate, 1) if rate else None
    return {"lines_per_second": round(rate, 1), "eta_seconds": eta}


def _chunk(chunk: dict[str, Any]) -> dict[str, Any]:
    return {
        "chunk_id": str(chunk["id"]),
        "filename": chunk["filename"],
        "entity": chunk["entity"],
        "status": chunk["state"],
        "code": chunk["code"] or None,
        "message": chunk["message"] or None,
        "bytes": chunk["bytes"],
        "lines_received": chunk["lines_received"],
        "outcomes": _summed([chunk]),
    }


def uploads(tenant: UUID, cursor: str | None, limit: int) -> tuple[list[Upload], str | None]:
    """A page of the tenant's uploads, newest first, and the cursor of the next. Raises Problem."""
    rows = Upload.objects.filter(tenant_id=tenant).order_by("-created_at", "-id")
    if cursor:
        last = upload_of(tenant, cursor)
        # Compared by the database: SQLite's own times have fewer digits than Django's.
        instant = Subquery(Upload.objects.filter(pk=last.pk).values("created_at"))
        rows = rows.filter(Q(created_at__lt=instant) | Q(created_at=instant, id__lt=last.id))
    page = list(rows[: limit + 1])
    return page[:limit], page[limit - 1].token if len(page) > limit else None


def rejects(upload: Upload, chunk: UUID | None, code: str | None) -> Iterator[bytes]:
    """The upload's rejects as NDJSON, file by file in the order of their lines."""
    chunks = Chunk.objects.filter(upload=upload, rejected__gt=0).order_by("number")
    for own in chunks.filter(pk=chunk) if chunk else chunks:
        facts = {"chunk_id": str(own.id), "filename": own.filename}
        for reject, raw in _with_raw(own, _rejects_in_order(own, code)):
            content = msgspec.to_builtins(reject) | facts | {"raw": raw}
            yield json.dumps(content).encode() + b"\n"


def _rejects_in_order(chunk: Chunk, code: str | None) -> Iterator[Reject]:
    """Pages overlap in lines; a page is opened when its first line is due, and not before."""
    heap: list[tuple[int, int, Reject, Iterator[Reject]]] = []
    with tenant_reading(chunk.tenant_id):
        pages = list(_pages(chunk).values_list("first_line", "pk"))
    for first_line, page in pages:
        yield from _until(heap, first_line, code)
        _push(heap, page, _page(chunk, page))
    yield from _until(heap, None, code)


def _until(heap: list[Any], line: int | None, code: str | None) -> Iterator[Reject]:
    while heap and (line is None or heap[0][0] < line):
        _, page, reject, rest = heapq.heappop(heap)
        _push(heap, page, rest)
        if code is None or reject.code == code:
            yield reject


def _push(heap: list[Any], page: int, rejects: Iterator[Reject]) -> None:
    if (following := next(rejects, None)) is not None:
        heapq.heappush(heap, (following.line, page, following, rejects))


def _pages(chunk: Chunk) -> QuerySet[RejectRows]:
    return RejectRows.objects.filter(chunk=chunk).order_by("first_line", "pk")


def _page(chunk: Chunk, page: int) -> Iterator[Reject]:
    # A transaction a page: one around the view would not cover this iterator.
    with tenant_reading(chunk.tenant_id):
        blob = RejectRows.objects.values_list("blob", flat=True).get(pk=page)
    return rejects_of(bytes(blob))


def _with_raw(chunk: Chunk, found: Iterator[Reject]) -> Iterator[tuple[Reject, str | None]]:
    """Each reject with its line as it was received, read back from the stored source."""
    lines = _source_lines(chunk)
    number, line = 0, b""
    for reject in found:
        while number < reject.line:
            number, line = next(lines, (reject.line, b""))
        yield reject, line[:RAW_SHOWN].decode(errors="replace")


def _source_lines(chunk: Chunk) -> Iterator[tuple[int, bytes]]:
    try:
        source = sources.store().open(chunk.source)
    except ObjectMissing:
        return
    with source:
        plain = compression.blocks(source, chunk.compression, 1 << 62)
        _, blocks = ndjson.without_bom(plain)
        yield from chain.from_iterable(
            enumerate(batch.lines, batch.first_line) for batch in ndjson.batches(blocks)
        )
