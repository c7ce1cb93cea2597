"""What is being loaded: the facts about one chunk that every step of the road needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO
from uuid import UUID
from zoneinfo import ZoneInfo

from headrace.schema import Entity

LINE_BITS = 32
UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Load:
    """One file of one tenant.

    `number` is the file's place among all the tenant's files: a row's source sequence is
    number * 2**32 + line, and a row is only ever replaced by one of a higher sequence.
    `open_source` gives the stored bytes from their beginning, `sha256` is their digest and
    `max_bytes` the most that they may unpack to. `renews` says that equal rows must take the
    new sequence too, because an older file may still bring older values.
    """

    entity: Entity
    tenant: UUID
    number: int
    open_source: Callable[[], BinaryIO]
    sha256: str
    compression: str = ""
    zone: ZoneInfo = UTC
    parks: bool = True
    renews: bool = False
    max_bytes: int = 100 << 30

    @property
    def sequence(self) -> int:
        """The source sequence of line 0 of this file."""
        return self.number << LINE_BITS
