"""run.Ledger on a chunk's rows: what the pipeline needs remembered, each step with its effect."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, BinaryIO
from zoneinfo import ZoneInfo

import numpy as np
from django.conf import settings
from django.db import Error, connection
from django.db.models.functions import Now

from apps.core import jobs, metrics, objects
from apps.core.dialect import current
from apps.core.isolation import tenant_transaction
from apps.core.jobs import GiveBack, Lease
from apps.core.models import JobState
from apps.ingestions import accounts, measures, notices, older_files
from apps.ingestions.models import Chunk, ChunkState, ErrorPolicy, Segment, Upload
from apps.tenants.models import MissingParent, NegativeLevels, Tenant
from apps.webhooks import outbox
from headrace.entities import BY_NAME
from headrace.pipeline import owners
from headrace.pipeline.dialects.base import Dialect
from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.load import Load, Policy
from headrace.pipeline.report import Lines, Outcome, SegmentReport
from headrace.pipeline.scratch import Bounds
from headrace.pipeline.verify import Verified
from headrace.storage.base import ObjectMissing

LOOK_SECONDS = 1.0
SEGMENTS_AT_ONCE = 4  # in a statement: their digests, 8 bytes a row, are to fit into a packet
#: What else is to be done when rows of a file may have landed, by apps that we do not know.
AFTER_LANDING: list[Callable[[Chunk], None]] = []


def tell_of_landing(chunk: Chunk) -> None:
    """Rows of the file have landed, or may have: let others see to what follows from it."""
    for told in AFTER_LANDING:
        told(chunk)


def dialect() -> Dialect:
    """The dialect of the configured database."""
    return current()


def load_of(chunk: Chunk) -> Load:
    """What the pipeline needs to know about a chunk."""
    tenant = Tenant.objects.get(pk=chunk.tenant_id)
    may_be_negative = tenant.negative_levels == NegativeLevels.ALLOW
    return Load(
        entity=BY_NAME[chunk.entity],
        tenant=chunk.tenant_id,
        number=chunk.number,
        open_source=lambda: _open(chunk),
        sha256=chunk.sha256,
        compression=chunk.compression,
        format=chunk.format,
        delimiter=chunk.delimiter,
        zone=ZoneInfo(chunk.time_zone or tenant.time_zone),
        parks=_parks(chunk.upload) and not chunk.event_key,
        older=partial(older_files.may_bring, chunk),
        max_bytes=settings.HEADRACE_MAX_UNPACKED_BYTES,
        policy=_policy(chunk.upload),
        may_be_negative=may_be_negative,
        watches_falls=may_be_negative and outbox.is_watched(chunk.tenant_id),
        **_of_a_call(chunk),
    )


def _of_a_call(chunk: Chunk) -> dict[str, Any]:
    """What is promised to a stock call holds for one that is too long to be waited for."""
    if not chunk.event_key:
        return {}
    return {
        "whole_owners": True,
        "name_event": owners.event_names(chunk.tenant_id, chunk.event_key),
    }


def _parks(upload: Upload) -> bool:
    """A file that lands whole or not at all cannot leave lines behind to land later."""
    return upload.on_missing_parent == MissingParent.PARK and not _is_whole(upload)


def _policy(upload: Upload) -> Policy:
    return Policy(
        whole=_is_whole(upload),
        whole_rows=settings.HEADRACE_MAX_WHOLE_ROWS,
        whole_bytes=settings.HEADRACE_MAX_WHOLE_BYTES,
        max_rejects=upload.max_errors,
        max_reject_rate=upload.max_error_rate,
    )


def _is_whole(upload: Upload) -> bool:
    return upload.error_policy == ErrorPolicy.REJECT_ALL


def _open(chunk: Chunk) -> BinaryIO:
    try:
        return objects.store().open(chunk.source)
    except ObjectMissing:
        raise Permanent(FailureCode.SOURCE_LOST, "the stored file is not there") from None


@contextmanager
def fenced(lease: Lease) -> Iterator[Any]:
    """A tenant's transaction on the raw connection; its last statement is the fence."""
    lease.check()
    connection.close_if_unusable_or_obsolete()
    try:
        with tenant_transaction(lease.tenant):
            yield connection.connection
            lease.fence()
    except Exception as error:
        # The engine uses the connection past Django, who would not notice that it broke.
        connection.errors_occurred = True
        cause = error.__cause__ if isinstance(error, Error) else None
        of_driver = cause if isinstance(cause, Exception) else error
        raise dialect().translated(of_driver) or error from error


class ChunkLedger:
    """run.Ledger on the chunk's rows. `landed` is called in the transaction that ends it."""

    def __init__(self, chunk: Chunk, lease: Lease, landed: Callable[[Chunk], None]) -> None:
        self._chunk = chunk
        self._lease = lease
        self._landed = landed
        self._looked = 0.0
        self._began = 0.0

    def tick(self, records: int) -> None:
        self._lease.check()
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            self.stop_if_cancelled()

    def rest(self) -> None:
        self.stop_if_cancelled()
        if self._lease.is_tired and jobs.waiting(1):
            raise GiveBack("others wait")

    def stop_if_cancelled(self) -> None:
        """Raises Permanent once the upload has been cancelled."""
        upload = Upload.objects.filter(pk=self._chunk.upload_id)
        if upload.exclude(cancelled_at=None).exists():
            raise Permanent(FailureCode.CANCELLED, "the upload was cancelled")

    def sums(self) -> tuple[int, int]:
        return Chunk.objects.values_list("rejected", "lines_received").get(pk=self._chunk.pk)

    def transaction(self) -> Any:
        self._began = time.monotonic()
        return fenced(self._lease)

    def bounds(self) -> list[Bounds] | None:
        self._chunk.refresh_from_db()
        if not self._chunk.is_planned:
            return None
        return [Bounds(*row) for row in self._rows().values_list("low", "high")]

    def check_open(self, lines: Lines) -> None:
        without = accounts.merged_outcomes(self._chunk).lines_of(Outcome.UNPROCESSED)
        if not np.array_equal(without, np.sort(lines)):
            told = f"expected to find {len(without):,} lines that are sound, found {len(lines):,}"
            raise Permanent(FailureCode.READ_OTHERWISE, f"{told}, or others")

    def pending(self) -> list[int]:
        return list(self._rows().filter(report=None).values_list("number", flat=True))

    def record_plan(
        self, verified: Verified, bounds: list[Bounds], digests: Iterator[bytes | None]
    ) -> None:
        chunk = self._chunk
        rejected = verified.outcomes.counts()[Outcome.REJECTED]
        with fenced(self._lease):
            day = accounts.take_rows(chunk, verified.received, rejected)
            accounts.keep_rejects(chunk, verified.reject_pages())
            planned = enumerate(zip(bounds, digests, strict=True))
            while some := list(islice(planned, SEGMENTS_AT_ONCE)):
                Segment.objects.bulk_create(
                    Segment(chunk=chunk, number=number, low=low, high=high, digests=kept)
                    for number, ((low, high), kept) in some
                )
            Chunk.objects.filter(pk=chunk.pk).update(
                state=ChunkState.PROMOTING,
                is_planned=True,
                counted_on=day,
                lines_received=verified.received,
                rejected=rejected,
                unprocessed=verified.received - rejected,
                outcomes=verified.outcomes.pack(),
                unknown_keys=verified.unknown_keys,
            )
            metrics.count_rows(chunk.entity, {Outcome.REJECTED: rejected})

    def record_segment(self, number: int, report: SegmentReport) -> None:
        self._rows().filter(number=number).update(report=report.pack())
        accounts.keep_report(self._chunk, report, taken_from=Outcome.UNPROCESSED)
        notices.tell_of_falls(self._chunk.tenant_id, report.falls)
        measures.count_segment(self._chunk.entity, self._began)

    def finish(self) -> None:
        # Without a fence: it is no progress that would keep a poison chunk out of quarantine.
        with tenant_transaction(self._chunk.tenant_id):
            dialect().refresh_statistics(connection.connection, BY_NAME[self._chunk.entity])
        with tenant_transaction(self._chunk.tenant_id):
            notices.await_others(self._chunk)
            self._chunk = accounts.locked(self._chunk)
            outcomes = accounts.merged_outcomes(self._chunk)
            accounts.check_sums(self._chunk, outcomes)
            Chunk.objects.filter(pk=self._chunk.pk).update(
                state=accounts.landed_state(self._chunk.rejected),
                outcomes=outcomes.pack(),
                ended_at=Now(),
                settled_at=Now(),
            )
            self._rows().delete()
            self._landed(self._chunk)
            notices.tell_of_a_files_end(self._chunk, self._lease)
            measures.count_end(self._chunk)
            self._lease.end(JobState.DONE)

    def _rows(self) -> Any:
        return Segment.objects.filter(chunk=self._chunk).order_by("number")
