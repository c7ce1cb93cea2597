"""What leaves as one file and is not rows of a record type: whoever has it says how it is made."""

from collections.abc import Callable, Iterator
from typing import NamedTuple
from uuid import UUID

from apps.exports.models import TAR, Export
from headrace.reading.documents import Block


class Bundle(NamedTuple):
    """How many things a tenant has, and the bytes of a tar that holds them all."""

    count: Callable[[UUID], int]
    blocks: Callable[[UUID], Iterator[Block]]


#: By name, beside those of record types. Apps that have some add them.
BUNDLES: dict[str, Bundle] = {}


def exports(tenant: UUID, compression: str) -> list[Export]:
    """Those that a takeout of the tenant has, not saved."""
    return [
        Export(entity=name, format=TAR, compression=compression, columns=[], filters={})
        for name, bundle in BUNDLES.items()
        if bundle.count(tenant)
    ]
