"""What a price event looks at and what it writes, as every database has it.

A moment is a time in UTC with its zone.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from apps.core.idempotency import Answer, Kept, Key
from headrace.pipeline.load import LINE_BITS

LAST_LINE = (1 << LINE_BITS) - 1
TICK = timedelta(microseconds=1)
# A call marks what it writes as the last line of a file, which no file has.
BY_A_CALL = f"source_sequence %% {LAST_LINE + 1} = {LAST_LINE}"


class Span(NamedTuple):
    """An interval of price_history; `end` is None while it is open."""

    id: UUID
    start: datetime
    end: datetime | None


class Found(NamedTuple):
    """A product and what stands beside it, read after its row was locked.

    `current` is the interval that contains `moment`, `next_start` when the one after that moment
    begins. `prices` are those of the last intervals, oldest first. `last_number` is the tenant's
    last file. `kept` is the answer that the idempotency key has already, unless it is too old to
    be given again.
    """

    price: Decimal
    category: UUID | None
    moment: datetime
    last_number: int
    current: Span | None
    next_start: datetime | None
    prices: Sequence[Decimal]
    kept: Kept | None
    has_old_answer: bool = False

    @property
    def sequence(self) -> int:
        """Newer than every line of the files that were accepted, older than any file to come."""
        return self.last_number << LINE_BITS | LAST_LINE


class Event(NamedTuple):
    """A row of price_events without its feed number."""

    event_id: UUID
    tenant_id: UUID
    product_id: UUID
    old_price: Decimal
    new_price: Decimal
    claimed_old_price: Decimal | None
    pct_change: str | None
    severity: str
    reasons: str
    source: str
    metadata: str | None
    status: str
    processed_at: datetime


EVENT_COLUMNS = f"{', '.join(Event._fields)}, feed_number"


class Move(NamedTuple):
    """A product's new price: from when to when, under which id and in place of which interval."""

    interval: UUID
    sequence: int
    end: datetime | None
    cut: Span | None


class Outcome(NamedTuple):
    """All that a call writes. `move` is None where the price stays."""

    event: Event
    move: Move | None
    is_anomaly: bool
    key: Key
    fingerprint: str
    answer: Answer
    has_old_answer: bool


def postponed(moment: datetime, last: Span | None, ahead: datetime | None) -> datetime:
    """The moment, or just after an interval that has begun with it or that a call made later.

    The latter is there if the clock was set back since that call.
    """
    if ahead is not None:
        return ahead + TICK
    return moment + TICK if last is not None and last.start == moment else moment


def containing(last: Span | None, moment: datetime) -> Span | None:
    """The last interval that has begun, if it contains the moment: no other can."""
    return last if last is not None and (last.end is None or last.end > moment) else None
