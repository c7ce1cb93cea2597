"""Photos on their way to the object store: many at once, tried again when that may help.

An object's key is made of its tenant and of the digest of its bytes, so that it never changes, and
storing it twice does nothing.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar
from uuid import UUID

from headrace.recognitions import photos
from headrace.recognitions.measures import Measures
from headrace.recognitions.patience import Patience
from headrace.recognitions.photos import Photo
from headrace.recognitions.threads import Threads
from headrace.storage.base import Leaving, Measured, ObjectStore, StoreUnavailable

FOLDER = "recognitions"
T = TypeVar("T")
R = TypeVar("R")


class Store(ObjectStore, Measured, Protocol):
    """What photos need of an object store."""


class Storing:
    """A store, the threads that use it, and how often they try."""

    def __init__(self, store: Store, threads: int, patience: Patience, measures: Measures) -> None:
        self.store = store
        self.threads = threads
        self.patience = patience
        self._measures = measures
        self._threads = Threads(threads, "photo")

    def put_all(self, found: Iterable[tuple[str, Photo]]) -> None:
        """Store photos under their keys.

        When one fails those that wait are not begun, and those on their way are waited for:
        nothing is stored afterwards. Raises StoreUnavailable, StoreRefused, StoreFull, Refused.
        """
        self.each(lambda one: self.put(*one), found)

    def put(self, key: str, photo: Photo) -> None:
        """Store one photo. Raises what `put_all` raises."""
        data = photos.bytes_of(photo)
        with self._measures.timed("storage_upload"):
            self.patiently(lambda: self.store.put(key, [data]))

    def each(self, work: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """Do it with every item, by the threads. Raises what one of the failures raised."""
        return self._threads.each(work, items)

    def patiently(self, work: Callable[[], T]) -> T:
        """Do it, tried again while the store is unavailable."""
        return self.patience.through(StoreUnavailable, work)

    def size(self, key: str) -> int | None:
        """The stored object's bytes, or None."""
        return self.patiently(lambda: self.store.size(key))

    def delete(self, key: str) -> None:
        """Remove an object."""
        self.patiently(lambda: self.store.delete(key))

    def delete_left(self, key: str) -> None:
        """Remove what writers of an object have left that died."""
        store = self.store
        if isinstance(store, Leaving):
            store.delete_left(key)

    def close(self) -> None:
        """End the threads."""
        self._threads.close()


def key_of(folder: str, tenant: UUID, sha256: str) -> str:
    """The key of a photo; two digits of its digest keep folders small."""
    return f"{folder}/{tenant}/{sha256[:2]}/{sha256}"
