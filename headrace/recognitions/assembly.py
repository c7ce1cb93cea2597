"""A command's parts, put together from its settings and taken apart at its end."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.recognitions import database, ownership
from headrace.recognitions.database import Database, Unavailable
from headrace.recognitions.errors import CANNOT_CONNECT, USAGE, Stop
from headrace.recognitions.measures import Measures
from headrace.recognitions.patience import Patience
from headrace.recognitions.settings import S3, Local, Place, Settings, Supabase
from headrace.recognitions.storing import Store, Storing
from headrace.recognitions.sweeping import Sweeper
from headrace.recognitions.transaction import Batch, Transactions
from headrace.storage.local import LocalStore
from headrace.storage.supabase import SupabaseStore


@dataclass(frozen=True, slots=True)
class Parts:
    """What works on one tenant's recognitions."""

    settings: Settings
    database: Database
    storing: Storing
    sweeper: Sweeper
    measures: Measures

    def transactions(self, batch_id: str) -> Transactions:
        """What brings recognitions of a batch."""
        batch = Batch(self.settings.tenant, batch_id, self.settings.folder)
        return Transactions(self.database, self.storing, self.sweeper, batch, self.measures)


@contextmanager
def assembled(settings: Settings) -> Iterator[Parts]:
    """The parts, the database being reachable and its tables there. Raises Stop."""
    try:
        opened = database.opened(settings.database, settings.connections, settings.role)
    except Unavailable as error:
        raise Stop("database_unavailable", str(error), CANNOT_CONNECT) from error
    measures = Measures()
    storing = storing_of(settings, measures)
    try:
        sweeper = Sweeper(opened, storing, settings.tenant, settings.folder, settings.grace)
        yield Parts(settings, opened, storing, sweeper, measures)
    finally:
        storing.close()
        opened.close()


def check(parts: Parts) -> None:
    """Tables are there and the store's folder is ours. Raises Stop, or what the store raises."""
    if missing := parts.database.missing_tables():
        text = (
            f"{parts.database.place} lacks {', '.join(missing)}: run `manage.py migrate` (or, for a"
            " database of Supabase, `npx supabase migration up`)"
        )
        raise Stop("schema_missing", text, USAGE)
    ownership.claim(parts.database, parts.storing, parts.settings.tenant, parts.settings.folder)


def storing_of(settings: Settings, measures: Measures) -> Storing:
    """The store of photos, with its threads; who asks for it closes it. Raises Stop."""
    store = store_of(settings.place)
    patience = Patience(settings.attempts, settings.factor)
    return Storing(store, settings.threads, patience, measures)


def store_of(place: Place) -> Store:
    """The object store of a place. Raises Stop where its driver is missing."""
    match place:
        case Local(root):
            return LocalStore(Path(root))
        case S3():
            return _s3(place)
        case Supabase(url, key, bucket):
            return SupabaseStore(url, key, bucket)


def _s3(place: S3) -> Store:
    try:
        from headrace.storage.s3 import S3Store  # noqa: PLC0415 - an extra
    except ImportError as error:
        text = "S3 needs its client: pip install 'headrace[s3]'"
        raise Stop("driver_missing", text, USAGE) from error
    return S3Store(place.bucket, place.endpoint, place.region, place.access_key, place.secret)
