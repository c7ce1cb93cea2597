"""What leaves as one file and is not rows of a record type: whoever has it says how it is made."""

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple
from uuid import UUID

from apps.exports.models import TAR, Export
from headrace.reading.documents import Block


class Bundle(NamedTuple):
    """How many things a tenant has, and the bytes of a file that holds them all.

    Where there are none there is no file of them, unless it `is_always` there. A key that orders
    or fetches one needs its `scope` beside that for exports.
    """

    count: Callable[[UUID], int]
    blocks: Callable[[UUID], Iterator[Block]]
    format: str = TAR
    scope: str | None = None
    is_always: bool = False


#: By name, beside those of record types. Apps that have some add them.
BUNDLES: dict[str, Bundle] = {}


def exports(tenant: UUID, compression: str, scopes: Collection[str]) -> list[Export]:
    """Those that a takeout of the tenant has for whoever has these scopes, not saved."""
    return [
        Export(entity=name, format=bundle.format, compression=compression, columns=[], filters={})
        for name, bundle in BUNDLES.items()
        if bundle.scope in (None, *scopes) and (bundle.is_always or bundle.count(tenant))
    ]


def withheld(names: Collection[str]) -> list[str]:
    """What a takeout of these lacks, since the key that ordered it had not the scope."""
    return [name for name, bundle in BUNDLES.items() if bundle.scope and name not in names]


def scope_of(name: str) -> str | None:
    """What a key needs to read this beside the scope for exports, if anything."""
    return BUNDLES[name].scope if name in BUNDLES else None
