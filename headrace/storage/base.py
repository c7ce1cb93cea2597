"""Where received bytes are kept: one narrow interface, and what every store must do.

Keys are slash-separated names that the server makes; nothing a caller sends becomes a key.
"""

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol, runtime_checkable


class ObjectStore(Protocol):
    """Objects by key. An object is there whole or not at all."""

    def put(self, key: str, blocks: Iterable[bytes]) -> int:
        """Store the blocks durably under `key` and return their length in bytes.

        If `blocks` raises, nothing is kept. Raises StoreFull when there is no room.
        """

    def open(self, key: str) -> BinaryIO:
        """The object's bytes from the beginning. Raises ObjectMissing."""

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is fine."""

    def aged(self, folder: str, older_than_seconds: float) -> Iterator[str]:
        """The keys below `folder` that were written so long ago, in another order each time.

        What a writer that died has left behind has a key too, with which it can be deleted.
        Keys may be deleted while more are asked for; memory stays small for millions of them.
        """

    def sizes(self, folder: str) -> Iterator[tuple[str, int]]:
        """The keys below `folder`, those of writers at work or dead too, each with its bytes."""

    def prune(self, folder: str) -> None:
        """Remove the places below `folder` that hold nothing, and its own."""


class Measured(Protocol):
    """What some stores can besides: tell an object's length without reading it."""

    def size(self, key: str) -> int | None:
        """The object's bytes, or None if it is not there."""


@runtime_checkable
class Signing(Protocol):
    """What some stores can besides: let whoever has a link read one object for a while."""

    def signed_url(self, key: str, seconds: int) -> str:
        """A link that reads the object without a key. Raises ObjectMissing where that is seen."""


@runtime_checkable
class Leaving(Protocol):
    """What some stores can besides, because a writer that dies leaves something in them."""

    def delete_left(self, key: str) -> None:
        """Remove what writers of that object have left that died; those at work are not hurt."""


class ObjectMissing(Exception):
    """There is no object under that key."""


class StoreFull(Exception):
    """There is no room for the object; nothing of it was kept."""


class StoreUnavailable(Exception):
    """The store did not answer, or is overloaded: the same again may work."""


class StoreRefused(Exception):
    """The store answered that it will not: rights, a bucket that is not there, a bad request."""
