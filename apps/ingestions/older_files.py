"""Of which keys an older file may still bring rows, as headrace.pipeline.older tells it."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Q, QuerySet
from django.db.models.functions import Length

from apps.ingestions.models import BROKEN, ENDED, Chunk, Segment
from headrace.pipeline import older
from headrace.pipeline.older import Keys, Mask

_RESUMABLE = Q(state__in=BROKEN) & ~Q(source="")
_AT_WORK = ~Q(state__in=ENDED) | _RESUMABLE | Q(parked__gt=0)
#: Files whose segments do not say what they may bring: there is no plan, or retention has dropped
#: it, or lines wait that belong to no segment any more.
_UNKNOWN = Q(is_planned=False) | Q(is_planned=True, outcomes=b"") | Q(parked__gt=0)


def may_bring(chunk: Chunk, keys: Keys) -> Mask:
    """Of which keys a file with a lower number may still bring rows, while others work on them.

    What is unknown is asked before the segments are looked at, and again afterwards: each statement
    sees another moment. A file that lands in between leaves nothing, unless it parks lines.
    """
    before = Chunk.objects.filter(
        tenant_id=chunk.tenant_id, entity=chunk.entity, number__lt=chunk.number
    )
    files = list(before.filter(_AT_WORK).values_list("pk", flat=True))
    found = before.filter(pk__in=files)
    if not files:
        return older.nothing(keys)
    if found.filter(_UNKNOWN).exists():
        return older.anything(keys)
    digests = _pending(files)
    if digests is None or found.filter(_UNKNOWN).exists():
        return older.anything(keys)
    return older.among(digests)(keys)


def _pending(files: Sequence[UUID]) -> list[bytes] | None:
    """What is kept of the segments that have not landed; None if of one nothing is, or too much."""
    segments: QuerySet[Segment] = Segment.objects.filter(chunk__in=files, report=None)
    sizes = list(segments.values_list(Length("digests"), flat=True))
    if None in sizes or sum(sizes) > older.MOST_BYTES:
        return None
    kept = list(segments.values_list("digests", flat=True))
    return None if None in kept else [bytes(one) for one in kept if one is not None]
