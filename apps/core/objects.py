"""The object store: what is in it is named by rows, and belongs to one database."""

import logging
from collections.abc import Iterable, Iterator

from django.conf import settings
from django.db.migrations.recorder import MigrationRecorder

from headrace.storage.base import ObjectMissing, ObjectStore, StoreRefused, StoreUnavailable
from headrace.storage.local import LocalStore

log = logging.getLogger(__name__)
BLOCK = 1 << 18  # bytes
OWNER = "owner"  #: the object that says which database the store belongs to


def store() -> ObjectStore:
    """The configured store."""
    return LocalStore(settings.HEADRACE_HOME / "objects")


def blocks(store: ObjectStore, key: str, start: int, end: int) -> Iterator[bytes]:
    """The bytes of an object from a place on. Raises ObjectMissing where the store has fewer: an
    answer that breaks off is better than one that goes on with the bytes of another.
    """
    with store.open(key) as file:
        file.seek(start)
        while start < end:
            block = file.read(min(BLOCK, end - start))
            if not block:
                raise ObjectMissing(key)
            start += len(block)
            yield block


def delete(keys: Iterable[str], where: ObjectStore | None = None) -> list[str]:
    """Remove objects that no row names; those that resist, which are left to the next cleanup."""
    own = where or store()
    return [key for key in keys if not _is_deleted(key, own)]


def _is_deleted(key: str, where: ObjectStore) -> bool:
    try:
        where.delete(key)
    except (OSError, StoreUnavailable, StoreRefused):
        log.exception("object %s could not be removed", key)
        return False
    return True


def is_ours() -> bool:
    """Whether the store belongs to this database; the first to ask owns it.

    What the chunks of another database name looks like orphans from here.
    """
    own = identity()
    try:
        with store().open(OWNER) as file:
            owner = file.read()
    except ObjectMissing:
        store().put(OWNER, [own])
        return True
    if owner != own:
        log.warning("the object store is another database's: orphans stay; see docs/retention.md")
    return owner == own


def identity() -> bytes:
    """The instant of the first migration: no two databases share it, and a dump keeps it."""
    first = MigrationRecorder.Migration.objects.filter(app="ingestions").earliest("applied")
    return str(first.applied.isoformat()).encode()
