"""Ids whose order is that of time: UUID version 7 of RFC 9562, with parts of a millisecond."""

import secrets
from datetime import UTC, datetime
from uuid import UUID

_MILLISECOND = 1_000_000  # nanoseconds
_RANDOM_BITS = 62


def at(nanoseconds: int) -> UUID:
    """A new id of this moment, in nanoseconds since 1970."""
    return UUID(int=_first(nanoseconds) | secrets.randbits(_RANDOM_BITS))


def first_of(moment: datetime) -> UUID:
    """The least id of this moment: ids of earlier ones are less. Moments before 1970 have none."""
    microseconds = round((moment - _EPOCH).total_seconds() * 1e6)
    return UUID(int=_first(max(0, microseconds) * 1_000))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _first(nanoseconds: int) -> int:
    """Milliseconds (48 bits), version 7, 4,096ths of a millisecond (12 bits), variant 2."""
    milliseconds, rest = divmod(nanoseconds, _MILLISECOND)
    return (
        (milliseconds & ((1 << 48) - 1)) << 80
        | 7 << 76
        | (rest * 4_096 // _MILLISECOND) << 64
        | 2 << _RANDOM_BITS
    )
