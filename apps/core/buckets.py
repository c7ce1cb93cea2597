"""What quotas are counted in: buckets that refill evenly, taken from in one atomic step.

A bucket is one number, the time at which it will be full again. A call moves that time by `step`,
and is refused where it would then lie more than `depth` ahead: GCRA, the generic cell rate
algorithm of ITU-T I.371, as a virtual schedule. A call takes from all its buckets or from none,
and one that is refused moves nothing, so it puts off nobody's next turn. Each store goes by its
own clock, never by that of a web process. A time more than two depths ahead is left over from a
clock that was set back since, and counts as none.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

WHOLE = UUID(int=0)  #: in the place of a product: the bucket of all calls of a tenant


class Bucket(NamedTuple):
    """A bucket of a tenant's: WHOLE, of one product, or of one key, which has an id in the place of
    a product's. `step` and `depth` are microseconds.
    """

    product: UUID
    step: int
    depth: int


class Own(NamedTuple):
    """The quota that a key has for itself: so many calls a minute, and where they are counted."""

    bucket: UUID
    calls: int


class Taken(NamedTuple):
    """Whether a call passed, and in how many microseconds each of its buckets is full again."""

    passed: bool
    ahead: tuple[int, ...]


class Store(Protocol):
    """Where buckets are. Buckets of a call come in the order of their products, WHOLE first."""

    def take(self, tenant: UUID, buckets: Sequence[Bucket]) -> Taken:
        """Take a call from each of the tenant's buckets, or from none.

        Raises ValueError where two of them are the same one.
        """


def check_distinct(buckets: Sequence[Bucket]) -> None:
    """Raises ValueError where two are the same one: no store could count a call in both."""
    if len({bucket.product for bucket in buckets}) < len(buckets):
        raise ValueError("a call is counted twice in one bucket")
