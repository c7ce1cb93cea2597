"""Which of an upload's jobs wait for which: children for parents, movements for earlier ones."""

from apps.ingestions.models import Chunk
from headrace.entities import BY_NAME, ENTITIES
from headrace.schema import load_ranks

RANKS = load_ranks(ENTITIES)
PLACES = 8_000  # of files within a rank


def has_places(chunk: Chunk) -> bool:
    """Whether the chunk's file must wait for earlier ones of its kind: movements must."""
    return BY_NAME[chunk.entity].levels is not None


def rank_of(chunk: Chunk) -> int:
    """The rank of a chunk's job among those of its upload.

    Files of movements go one after the other: what came in must be there before it goes out.
    """
    return RANKS[chunk.entity] * PLACES + (_place(chunk) if has_places(chunk) else 0)


def _place(chunk: Chunk) -> int:
    earlier = Chunk.objects.filter(
        upload=chunk.upload_id, entity=chunk.entity, number__lt=chunk.number
    )
    return min(earlier.count(), PLACES - 1)
