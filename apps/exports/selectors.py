"""What is told of exports: a list, one's status, and its bytes from any place on."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Now

from apps.core import objects
from apps.core.problems import Problem
from apps.core.ranges import Content
from apps.exports.models import TAR, Export, ExportState
from headrace.pipeline.formats import CSV, JSON, NDJSON
from headrace.pipeline.formats.compression import ENDINGS
from headrace.reading.parquet import PARQUET

_KINDS = {
    CSV: "text/csv; charset=utf-8",
    JSON: "application/json",
    NDJSON: "application/x-ndjson",
    PARQUET: "application/vnd.apache.parquet",
    TAR: "application/x-tar",
}
_PACKED_KINDS = {"gzip": "application/gzip", "zstd": "application/zstd"}
MEDIA_TYPES = (*_KINDS.values(), *_PACKED_KINDS.values())
_NOT_THERE = {
    ExportState.QUEUED: "It is queued; ask for its status until it is completed.",
    ExportState.RUNNING: "It is being written; ask for its status until it is completed.",
    ExportState.FAILED: "It failed; its status says why. Ask for a new one.",
    ExportState.CANCELLED: "It was cancelled. Ask for a new one.",
}


def export_of(tenant: UUID, key: UUID) -> Export:
    """The tenant's export. Raises Problem."""
    found = Export.objects.filter(tenant_id=tenant, pk=key).annotate(at=Now()).first()
    if found is None:
        raise Problem("not_found", "Check the address and whose it is.")
    return found


def exports(
    tenant: UUID, cursor: str | None, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of the tenant's exports, the newest first, and the cursor of the next one."""
    rows = Export.objects.filter(tenant_id=tenant).annotate(at=Now())
    if cursor is not None:
        last = export_of(tenant, _key(cursor))
        older = {"created_at": last.created_at, "pk__lt": last.pk}
        rows = rows.filter(created_at__lt=last.created_at) | rows.filter(**older)
    found = list(rows.order_by(F("created_at").desc(), F("pk").desc())[: limit + 1])
    page = found[:limit]
    return [status(row) for row in page], str(page[-1].pk) if len(found) > limit else None


def status(export: Any) -> dict[str, Any]:
    """What is told of an export that `export_of` found."""
    is_ready = export.state == ExportState.COMPLETED
    return {
        "export_id": export.pk,
        "entity": export.entity,
        "format": export.format,
        "compression": export.compression,
        "spreadsheet_safe": export.is_safe,
        "columns": export.columns,
        "filters": export.filters,
        "status": export.state,
        "code": export.code or None,
        "message": export.message or None,
        "rows": export.rows,
        "rows_expected": export.rows_expected,
        "bytes": export.bytes,
        **_speed(export),
        "created_at": export.created_at,
        "started_at": export.started_at,
        "ended_at": export.ended_at,
        "filename": filename(export),
        "sha256": export.sha256 or None,
        "parts": [
            {name: part[name] for name in ("rows", "bytes", "sha256")} for part in export.parts
        ],
        "status_url": export.address,
        "download_url": f"{export.address}download" if is_ready else None,
    }


def _speed(export: Any) -> dict[str, Any]:
    """How fast it is, and how long it will take if it stays so."""
    rate = eta = None
    if export.started_at is not None and export.rows:
        seconds = ((export.ended_at or export.at) - export.started_at).total_seconds()
        rate = round(export.rows / max(seconds, 0.001))
        if export.state == ExportState.RUNNING and export.rows_expected is not None and rate:
            eta = round(max(0, export.rows_expected - export.rows) / rate, 1)
    return {"rows_per_second": rate, "eta_seconds": eta}


def filename(export: Export) -> str:
    """What a download is called: nothing in it comes from a caller."""
    ending = "" if export.format == PARQUET else ENDINGS.get(export.compression, "")
    return f"{export.entity}_{export.pk}.{export.format}{ending}"


def media_type(export: Export) -> str:
    """The type of its bytes."""
    if export.format == PARQUET:
        return _KINDS[PARQUET]
    return _PACKED_KINDS.get(export.compression, _KINDS[export.format])


def content(export: Export) -> Content:
    """The bytes of a completed export. Raises Problem for any other."""
    if export.state == ExportState.EXPIRED:
        raise Problem("gone", "It is kept no longer. Ask for a new one.")
    if export.state != ExportState.COMPLETED:
        raise Problem("not_ready", _NOT_THERE[ExportState(export.state)], state=export.state)
    headers = {
        "Content-Type": media_type(export),
        "Content-Disposition": f'attachment; filename="{filename(export)}"',
        "X-Content-SHA256": export.sha256,
    }
    etag = f'"{export.sha256}"'
    return Content(etag, headers, lambda start: _bytes(export.parts, start), export.bytes)


def _bytes(parts: list[dict[str, Any]], start: int) -> Iterator[bytes]:
    """The bytes of the parts, one after the other, from a place on."""
    for part in parts:
        if start < part["bytes"]:
            yield from objects.blocks(objects.store(), part["key"], start, part["bytes"])
        start = max(0, start - part["bytes"])


def _key(cursor: str) -> UUID:
    try:
        return UUID(cursor)
    except ValueError:
        raise Problem("invalid_request", "Send cursor as next_cursor gave it.") from None
