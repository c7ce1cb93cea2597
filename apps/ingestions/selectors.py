"""What ingestion tells: committed counters, read and never computed anew."""

from collections import Counter
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import Max, Min, Q, Subquery
from django.db.models.functions import Now

from apps.core import logs
from apps.core.jobs import ACTIVE
from apps.core.models import Job
from apps.core.problems import Problem
from apps.ingestions import sessions
from apps.ingestions.models import BROKEN, ENDED, Chunk, ChunkState, Upload
from headrace.pipeline.report import Group, Groups, Outcome

_LISTED = (
    "id",
    "number",
    "filename",
    "format",
    "entity",
    "state",
    "code",
    "message",
    "bytes",
    "lines_received",
    "reject_groups",
    "unknown_keys",
    "level_mismatches",
    *Outcome,
)


def upload_of(tenant: UUID, token: str) -> Upload:
    """The tenant's upload; another's is as absent as one that never was. Raises Problem."""
    upload = _upload(tenant, token)
    if upload is None:
        raise Problem("not_found", "Check the upload token and the key.")
    logs.bind(upload=upload.id)
    return upload


def _upload(tenant: UUID, token: str) -> Upload | None:
    # PostgreSQL refuses to compare a text with a NUL.
    is_text = token.isprintable()
    return Upload.objects.filter(tenant_id=tenant, token=token).first() if is_text else None


def status(upload: Upload) -> dict[str, Any]:
    """How far an upload is: its sums, by entity and by chunk."""
    chunks = list(Chunk.objects.filter(upload=upload).order_by("number").values(*_LISTED))
    is_finished = _is_finished(upload, chunks)
    outcomes, groups = _summed(chunks), list(_groups(chunks))
    return {
        "upload_token": upload.token,
        "status": _upload_state(upload, chunks, is_finished),
        "accepts_files": _accepts_files(upload),
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
        "reject_codes": _lines_by_code(groups),
        "reject_groups": [_reject_group(group) for group in groups],
        "unknown_keys": dict(sum((Counter(chunk["unknown_keys"]) for chunk in chunks), Counter())),
        "level_mismatches": sum(chunk["level_mismatches"] for chunk in chunks),
        "chunks": [_chunk(chunk) for chunk in chunks],
    }


class _GroupOfChunk(Group):
    """A group whose sample is a line of this chunk."""

    chunk_id: str


def _groups(chunks: list[dict[str, Any]]) -> Groups:
    """The groups of all chunks, as one; the first chunk that has a group gives the sample."""
    groups = Groups()
    for chunk in chunks:
        for group in chunk["reject_groups"]:
            groups.join(_GroupOfChunk(**group, chunk_id=str(chunk["id"])))
    return groups


def _lines_by_code(groups: Iterable[Group]) -> dict[str, int]:
    codes: Counter[str] = Counter()
    for group in groups:
        codes[group.code] += group.lines
    return dict(codes)


def _reject_group(group: Group) -> dict[str, Any]:
    told = msgspec.structs.asdict(group)
    sample = {name: told.pop(name) for name in ("chunk_id", "line", "value", "message")}
    return told | {"sample": sample}


def _is_finished(upload: Upload, chunks: list[dict[str, Any]]) -> bool:
    """Nothing is queued or running for the upload, wakes of parked lines included.

    Without files it is when there may come none any more.
    """
    if not chunks:
        return not _accepts_files(upload)
    if any(chunk["state"] not in ENDED for chunk in chunks):
        return False
    subjects = [chunk["id"] for chunk in chunks]
    return not Job.objects.filter(subject__in=subjects, state__in=ACTIVE).exists()


def _accepts_files(upload: Upload) -> bool:
    return Upload.objects.filter(sessions.takes_files(), pk=upload.pk).exists()


def _upload_state(upload: Upload, chunks: list[dict[str, Any]], is_finished: bool) -> str:
    if not chunks:
        return _state_without_files(upload)
    if not is_finished:
        return "processing"
    states = {chunk["state"] for chunk in chunks}
    if ChunkState.CANCELLED in states:
        return "cancelled"
    if states & set(BROKEN):
        return "failed"
    has_rejects = any(chunk["rejected"] for chunk in chunks)
    return (ChunkState.COMPLETED_WITH_REJECTS if has_rejects else ChunkState.COMPLETED).value


def _state_without_files(upload: Upload) -> str:
    if upload.cancelled_at:
        return "cancelled"
    if upload.closed_at:
        return "completed"
    return "open" if _accepts_files(upload) else "expired"


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
        "format": chunk["format"],
        "entity": chunk["entity"],
        "status": chunk["state"],
        "code": chunk["code"] or None,
        "message": chunk["message"] or None,
        "bytes": chunk["bytes"],
        "lines_received": chunk["lines_received"],
        "outcomes": _summed([chunk]),
    }


def uploads(
    tenant: UUID, cursor: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of the tenant's uploads, newest first, and the cursor of the next. Raises Problem."""
    rows = Upload.objects.filter(tenant_id=tenant).order_by("-created_at", "-id")
    if cursor:
        last = _last_listed(tenant, cursor)
        # Compared by the database: SQLite's own times have fewer digits than Django's.
        instant = Subquery(Upload.objects.filter(pk=last.pk).values("created_at"))
        rows = rows.filter(Q(created_at__lt=instant) | Q(created_at=instant, id__lt=last.id))
    page = list(rows[: limit + 1])
    return _listed(page[:limit]), page[limit - 1].token if len(page) > limit else None


def _last_listed(tenant: UUID, cursor: str) -> Upload:
    """The upload that a cursor names. Raises Problem."""
    found = _upload(tenant, cursor)
    if found is None:
        raise Problem("invalid_request", "Send cursor as next_cursor gave it.")
    return found


def _listed(page: list[Upload]) -> list[dict[str, Any]]:
    """Each upload with its state, from two queries for all of them."""
    rows = Chunk.objects.filter(upload__in=page)
    active = Job.objects.filter(subject__in=rows.values("id"), state__in=ACTIVE)
    at_work = set(active.values_list("subject", flat=True))
    chunks: dict[UUID, list[dict[str, Any]]] = {upload.id: [] for upload in page}
    for chunk in rows.values("id", "upload_id", "state", "rejected"):
        chunks[chunk["upload_id"]].append({**chunk})
    return [_line_of_list(upload, chunks[upload.id], at_work) for upload in page]


def _line_of_list(
    upload: Upload, chunks: list[dict[str, Any]], at_work: set[UUID]
) -> dict[str, Any]:
    is_finished = all(chunk["state"] in ENDED and chunk["id"] not in at_work for chunk in chunks)
    return {
        "upload_token": upload.token,
        "status": _upload_state(upload, chunks, is_finished),
        "status_url": f"/api/v1/ingest/sessions/{upload.token}/status/",
        "created_at": upload.created_at.isoformat(),
    }
