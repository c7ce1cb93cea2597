"""An export's job: one snapshot, straight into parts of the object store.

Parts bear the epoch of the claim that makes them. The transaction that ends the job names those
of its own claim in the export's row; what a killed worker has left is named by nobody, is never
seen, and is swept.
"""

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, QuerySet
from django.db.models.functions import Now

from apps.core import jobs, objects, worker
from apps.core.isolation import tenant_transaction
from apps.core.jobs import Lease
from apps.core.models import JobState
from apps.core.problems import Problem
from apps.core.snapshots import Snapshot, snapshot
from apps.exports import asked
from apps.exports.bundles import BUNDLES
from apps.exports.models import ACTIVE, Export, ExportState
from apps.tenants import doors, quotas
from apps.webhooks import kinds, outbox
from headrace.pipeline.errors import FailureCode, LeaseLost, Permanent
from headrace.pipeline.formats import CSV
from headrace.reading import documents, packing, parquet
from headrace.reading.documents import Block
from headrace.reading.selection import Selection
from headrace.storage.base import StoreFull

EXPORT = "export"
FOLDER = "exports"  #: the part of the store that exports are in
LOOK_SECONDS = 0.5


class Part(NamedTuple):
    """An object that holds a stretch of the export's bytes."""

    key: str
    bytes: int
    rows: int
    sha256: str


def folder_of(export: Export) -> str:
    """Where the parts of all its claims are."""
    return f"{FOLDER}/{export.tenant_id}/{export.pk}"


def process(lease: Lease) -> None:
    """Write the job's export whole; rows of a record type from one state of the database."""
    export = Export.objects.get(pk=lease.subject)
    _begin(export, lease)
    writer = Writer(export, lease)
    with _opened(export) as (number, found):
        _expect(export, lease, number)
        parts = list(writer.write(found))
    _finish(export, lease, writer, parts)


@contextmanager
def _opened(export: Export) -> Iterator[tuple[int, Iterator[Block]]]:
    """How many rows there are, and the export's plain bytes."""
    if bundle := BUNDLES.get(export.entity):
        yield bundle.count(export.tenant_id), bundle.blocks(export.tenant_id)
        return
    wanted = asked.selection(export, doors.zone_of(export.tenant_id))
    with snapshot(export.tenant_id) as state:
        yield state.reader.count(*_of(state), wanted), blocks(export, state, wanted)


def give_up(lease: Lease, failure: Permanent) -> None:
    """End the job's export without anything to download."""
    cancelled = failure.code is FailureCode.CANCELLED
    state = ExportState.CANCELLED if cancelled else ExportState.FAILED
    with transaction.atomic(durable=True):
        Export.objects.filter(pk=lease.subject, state__in=ACTIVE).update(
            state=state, code=failure.code, message=str(failure), ended_at=Now()
        )
        lease.end(jobs.state_after(failure), failure.code)


def blocks(export: Export, state: Snapshot, wanted: Selection) -> Iterator[Block]:
    """The export's plain bytes; those of Parquet, whose pages are compressed, as they are kept."""
    is_parquet = export.format == parquet.PARQUET
    form = documents.form_of(CSV if is_parquet else export.format, is_safe=export.is_safe)
    lines = state.reader.lines(*_of(state), wanted, form)
    if is_parquet:
        return parquet.document(lines, wanted.columns, export.compression)
    return documents.document(lines, export.format, wanted.columns)


def packing_of(export: Export) -> str:
    """How its bytes are compressed as a whole."""
    return "none" if export.format == parquet.PARQUET else export.compression


def _of(state: Snapshot) -> tuple[Any, Any]:
    return state.connection, state.tenant


def _begin(export: Export, lease: Lease) -> None:
    """Show that it is at work; a holder who stood still since shows nothing."""
    if export.cancelled_at is not None:
        raise Permanent(FailureCode.CANCELLED, "It was cancelled before it began.")
    _ours(export, lease).update(state=ExportState.RUNNING, started_at=Now(), rows=0, bytes=0)


def _expect(export: Export, lease: Lease, rows: int) -> None:
    _ours(export, lease).update(rows_expected=rows)


def _ours(export: Export, lease: Lease) -> QuerySet[Export]:
    """The export, as long as its job is ours."""
    return Export.objects.filter(Exists(lease.held()), pk=export.pk, state__in=ACTIVE)


def _finish(export: Export, lease: Lease, writer: "Writer", parts: list[Part]) -> None:
    """Raises Permanent, and keeps nothing, if the tenant would keep more than it may."""
    try:
        _complete(export, lease, writer, parts)
    except Permanent:
        objects.delete(part.key for part in parts)
        raise


def _complete(export: Export, lease: Lease, writer: "Writer", parts: list[Part]) -> None:
    with tenant_transaction(export.tenant_id):
        if not export.is_operators:
            _check_quota(export, writer.bytes)
        Export.objects.filter(pk=export.pk).update(
            state=ExportState.COMPLETED,
            parts=[part._asdict() for part in parts],
            rows=writer.rows,
            rows_expected=writer.rows,
            bytes=writer.bytes,
            sha256=writer.whole.hexdigest(),
            ended_at=Now(),
        )
        outbox.put(export.tenant_id, kinds.EXPORT_COMPLETED, _told(export, writer), export.pk)
        lease.end(JobState.DONE)


def _check_quota(export: Export, size: int) -> None:
    """Holds the tenant's row, so that two who end at once do not both find the same room."""
    tenant = doors.hold(export.tenant_id)
    try:
        quotas.check_bytes(tenant, size)
    except Problem as problem:
        raise Permanent(FailureCode.STORAGE_QUOTA, problem.detail) from None


def _told(export: Export, writer: "Writer") -> dict[str, Any]:
    """What a webhook says of an export that is whole."""
    return {
        "export_id": export.pk,
        "entity": export.entity,
        "format": export.format,
        "compression": export.compression,
        "rows": writer.rows,
        "bytes": writer.bytes,
        "sha256": writer.whole.hexdigest(),
        "status_url": export.address,
        "download_url": f"{export.address}download",
    }


class Writer:
    """Puts blocks into parts; tells the export's row how far it is, heeds a cancel, and makes room
    for others now and then.
    """

    def __init__(self, export: Export, lease: Lease) -> None:
        self.rows = self.bytes = 0
        self.whole = hashlib.sha256()
        self._export = export
        self._lease = lease
        self._interludes = worker.Interludes()
        self._next_look = time.monotonic() + LOOK_SECONDS

    def write(self, blocks: Iterator[Block]) -> Iterator[Part]:
        """The parts, each stored when it is given. Raises Permanent CANCELLED, LeaseLost and
        StoreFull; what was stored is removed then, and only a kill leaves it to the sweep.
        """
        folder = f"{folder_of(self._export)}/{self._lease.epoch}"
        keys: list[str] = []
        try:
            for stretch in _stretches(blocks, settings.HEADRACE_EXPORT_PART_BYTES):
                keys.append(f"{folder}/{len(keys):05}")
                yield self._part(keys[-1], stretch)
        except BaseException:
            objects.delete(keys)
            raise

    def _part(self, key: str, stretch: Iterator[Block]) -> Part:
        """Raises StoreFull, which is an attempt: it is not tried for ever."""
        _check_room()
        digest, rows = hashlib.sha256(), self.rows
        packed = packing.packed(self._plain(stretch), packing_of(self._export))
        size = objects.store().put(key, self._hashed(packed, digest))
        return Part(key, size, self.rows - rows, digest.hexdigest())

    def _plain(self, stretch: Iterator[Block]) -> Iterator[bytes]:
        for block in stretch:
            self.rows += block.rows
            if time.monotonic() >= self._next_look:
                self._look()
            yield block.data

    def _hashed(self, data: Iterator[bytes], digest: Any) -> Iterator[bytes]:
        for piece in data:
            digest.update(piece)
            self.whole.update(piece)
            self.bytes += len(piece)
            yield piece

    def _look(self) -> None:
        self._interludes.give()
        self._next_look = time.monotonic() + LOOK_SECONDS
        self._lease.check()
        own = _ours(self._export, self._lease)
        if not own.update(rows=self.rows, bytes=self.bytes):
            raise LeaseLost(f"export {self._export.pk} is another worker's, or gone")
        if own.filter(cancelled_at__isnull=False).exists():
            raise Permanent(FailureCode.CANCELLED, "It was cancelled.")


def _stretches(blocks: Iterator[Block], most: int) -> Iterator[Iterator[Block]]:
    """The blocks in stretches of so many bytes or little more; each must be read to its end.

    There is always one: of a compressed file, that of nothing is not empty.
    """
    yield _stretch(blocks, most)
    for first in blocks:
        yield _stretch(chain([first], blocks), most)


def _check_room() -> None:
    """Raises StoreFull if a part would eat into the reserve of the disk."""
    free = shutil.disk_usage(settings.HEADRACE_HOME).free
    if free < settings.HEADRACE_DISK_RESERVE_BYTES + settings.HEADRACE_EXPORT_PART_BYTES:
        raise StoreFull


def _stretch(blocks: Iterator[Block], most: int) -> Iterator[Block]:
    size = 0
    for block in blocks:
        yield block
        size += len(block.data)
        if size >= most:
            return
