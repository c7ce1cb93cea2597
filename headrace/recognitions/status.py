"""Whether everything is there that a load needs, and the remedy for what is wrong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headrace.recognitions import database
from headrace.recognitions.assembly import Parts
from headrace.recognitions.database import RowsRefused, Unavailable
from headrace.recognitions.errors import Stop
from headrace.recognitions.schema import TABLES
from headrace.recognitions.settings import S3, Local, Place, Supabase
from headrace.recognitions.transaction import STORE_FAILURES
from headrace.storage.base import StoreRefused

MIGRATION = "20251118120000"
_APPLIED = {
    # by whether the database is Headrace's own
    True: "SELECT count(*) FROM django_migrations WHERE app = 'recognitions'",
    False: (
        f"SELECT count(*) FROM supabase_migrations.schema_migrations WHERE version = '{MIGRATION}'"
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `remedy` is empty where it is as it should be."""

    name: str
    text: str
    remedy: str = ""

    @property
    def is_fine(self) -> bool:
        """Whether nothing has to be done."""
        return not self.remedy


def findings(parts: Parts) -> Iterator[Finding]:
    """What there is to say, in the order in which a load would stumble over it."""
    yield Finding("database", f"{parts.database.name} at {parts.database.place}")
    missing = parts.database.missing_tables()
    yield _schema(missing)
    yield _migrations(parts)
    yield from _storage(parts)
    if not missing:
        yield _told("tenant", str(parts.settings.tenant), lambda: _check_tenant(parts))


def _schema(missing: list[str]) -> Finding:
    if not missing:
        return Finding("schema", f"all {len(TABLES)} tables")
    remedy = "run `manage.py migrate` or, for a database of Supabase, `npx supabase migration up`"
    return Finding("schema", f"{', '.join(missing)} missing", remedy)


def _migrations(parts: Parts) -> Finding:
    try:
        with parts.database.transaction(parts.settings.tenant) as session:
            [(applied,)] = session.rows(_APPLIED[parts.database.has_tenants])
    except (Unavailable, RowsRefused):
        return Finding("migrations", "not recorded: the SQL was run by hand, or not at all")
    if applied:
        return Finding("migrations", "applied")
    return Finding("migrations", "not applied", "run them, as above")


def _storage(parts: Parts) -> Iterator[Finding]:
    """Two lines of one look: whether anybody answers, and whether the bucket is there."""
    place = described(parts.settings.place)
    folder = f"{parts.settings.folder}/{parts.settings.tenant}"
    try:
        parts.storing.patiently(lambda: next(iter(parts.storing.store.sizes(folder)), None))
    except StoreRefused as refused:
        yield Finding("storage", f"{place} answers")
        yield Finding("bucket", str(refused), "make the bucket, or check the key's rights")
    except STORE_FAILURES as failure:
        yield Finding("storage", f"{place}: {failure}", "check its address, and that it runs")
    else:
        yield Finding("storage", f"{place} answers")
        yield Finding("bucket", "there")


def described(place: Place) -> str:
    """A place for photos in words, without its keys."""
    match place:
        case Local(root):
            return f"local folder {root}"
        case S3(bucket, endpoint):
            return f"S3 bucket {bucket} at {endpoint or 'AWS'}"
        case Supabase(url, _, bucket):
            return f"Supabase bucket {bucket} at {url}"


def _told(name: str, fine: str, look: Callable[[], None]) -> Finding:
    try:
        look()
    except Stop as stop:
        return Finding(name, stop.code, str(stop))
    return Finding(name, fine)


def _check_tenant(parts: Parts) -> None:
    with parts.database.transaction(parts.settings.tenant) as session:
        database.check_tenant(session, parts.database, parts.settings.tenant)


def counts(parts: Parts) -> dict[str, int]:
    """The tenant's rows by table."""
    with parts.database.transaction(parts.settings.tenant) as session:
        return {
            table.flat_name: int(
                session.rows(
                    f"SELECT count(*) FROM {{{table.flat_name}}} WHERE tenant_id = :tenant"
                )[0][0]
            )
            for table in TABLES
        }
