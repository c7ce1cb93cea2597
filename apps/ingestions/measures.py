"""What ingestion tells Prometheus."""

import time
from functools import partial
from uuid import UUID

from django.db.models import Sum

from apps.core import metrics
from apps.ingestions.models import Chunk


def kept_bytes(tenant: UUID) -> int:
    """The received files of a tenant that are kept."""
    kept = Chunk.objects.filter(tenant_id=tenant).exclude(source="")
    return int(kept.aggregate(bytes=Sum("bytes", default=0))["bytes"])


def parked_lines() -> metrics.Samples:
    """Lines that wait for their parent."""
    total = Chunk.objects.filter(parked__gt=0).aggregate(total=Sum("parked"))["total"]
    return [((), total or 0)]


def queued_bytes() -> metrics.Samples:
    """Bytes of files that have not ended."""
    total = Chunk.objects.filter(ended_at=None).aggregate(total=Sum("bytes"))["total"]
    return [((), total or 0)]


def count_end(chunk: Chunk) -> None:
    """Measure a chunk that ends with the caller's transaction, once it has committed."""
    metrics.when_committed(partial(_observe_end, chunk.pk))


def _observe_end(chunk: UUID) -> None:
    facts = ("entity", "state", "started_at", "ended_at")
    entity, state, start, end = Chunk.objects.values_list(*facts).get(pk=chunk)
    if start and end:
        metrics.CHUNK_SECONDS.labels(entity, state).observe((end - start).total_seconds())


def count_segment(entity: str, began: float) -> None:
    """Measure a segment's transaction from its beginning, a monotonic time, to its commit."""
    observe = metrics.SEGMENT_SECONDS.labels(entity).observe
    metrics.when_committed(lambda: observe(time.monotonic() - began))
