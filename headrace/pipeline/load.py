"""What is being loaded: the facts about one chunk that every step of the road needs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO
from uuid import UUID
from zoneinfo import ZoneInfo

from headrace.pipeline import older
from headrace.pipeline.older import Older
from headrace.schema import Entity

LINE_BITS = 32
UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Policy:
    """How much of a file may be refused before all of it, or the rest, is.

    A `whole` file lands in one transaction of at most `whole_rows` rows and `whole_bytes`, which
    are in memory at once, or not at all. The limits are on rejected lines of one file: their
    number, and their share of its lines.
    """

    whole: bool = False
    whole_rows: int = 200_000
    whole_bytes: int = 128 << 20
    max_rejects: int | None = None
    max_reject_rate: float | None = None

    @property
    def is_limited(self) -> bool:
        return self.max_rejects is not None or self.max_reject_rate is not None

    def allows(self, rejected: int, received: int) -> bool:
        """Whether so many rejects of so many lines are within the limits."""
        within_number = self.max_rejects is None or rejected <= self.max_rejects
        rate = self.max_reject_rate
        # Divided, not multiplied: 0.29 * 100 is less than 29.
        return within_number and (rate is None or not rejected or rejected / received <= rate)


@dataclass(frozen=True, slots=True)
class Load:
    """One file of one tenant.

    `number` is the file's place among all the tenant's files: a row's source sequence is
    number * 2**32 + line, and a row is only ever replaced by one of a higher sequence.
    `open_source` gives the stored bytes from their beginning, `sha256` is their digest and
    `max_bytes` the most that they may unpack to; `format` and `delimiter` are those of
    formats.format_of. `older` says of which rows an older file may still bring older values: equal
    ones must take the new sequence then.

    Of movements: whether levels `may_be_negative`, and if so whether those that fall below 0 are
    told (`watches_falls`); whether all of an owner are refused where one is (`whole_owners`),
    whatever is wrong with it; `name_event` gives the id of an event that has none, by its line.
    """

    entity: Entity
    tenant: UUID
    number: int
    open_source: Callable[[], BinaryIO]
    sha256: str
    compression: str = ""
    format: str = "ndjson"
    delimiter: str = ","
    zone: ZoneInfo = UTC
    parks: bool = True
    older: Older = older.nothing
    max_bytes: int = 100 << 30
    policy: Policy = Policy()
    may_be_negative: bool = False
    watches_falls: bool = False
    whole_owners: bool = False
    name_event: Callable[[int], UUID] | None = None

    @property
    def sequence(self) -> int:
        """The source sequence of line 0 of this file."""
        return self.number << LINE_BITS
