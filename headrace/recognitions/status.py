"""Whether everything is there that a load needs, and the remedy for what is wrong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from headrace.recognitions import assembly, database, ownership
from headrace.recognitions.assembly import Parts
from headrace.recognitions.database import Database, RowsRefused, Unavailable
from headrace.recognitions.errors import CANNOT_CONNECT, Stop
from headrace.recognitions.measures import Measures
from headrace.recognitions.schema import TABLES
from headrace.recognitions.settings import S3, Local, Place, Settings, Supabase
from headrace.recognitions.storing import Storing
from headrace.recognitions.transaction import STORE_FAILURES
from headrace.storage.base import StoreRefused

_MIGRATE = "run `manage.py migrate` or, for a database of Supabase, `npx supabase migration up`"
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


@dataclass(frozen=True, slots=True)
class Report:
    """What was looked at, the tenant's rows by table, and why the database was not, where so."""

    checks: list[Finding]
    rows: dict[str, int]
    stopped: Stop | None = None

    @property
    def is_fine(self) -> bool:
        """Whether nothing has to be done."""
        return all(one.is_fine for one in self.checks)


def report(settings: Settings) -> Report:
    """What there is to say; of a database that does not answer, what the store is like all the
    same. Raises Stop where settings are wrong.
    """
    try:
        with assembly.assembled(settings) as parts:
            missing = parts.database.missing_tables()
            return Report(list(_findings(parts, missing)), {} if missing else _counts(parts))
    except Stop as stop:
        if stop.exit_code != CANNOT_CONNECT:
            raise
        return _without_database(settings, stop)
    except Unavailable as error:
        return _without_database(settings, Stop("database_unavailable", str(error), CANNOT_CONNECT))


def _without_database(settings: Settings, stop: Stop) -> Report:
    remedy = "start it, or let DATABASE_URL lead to one that runs"
    storing = assembly.storing_of(settings, Measures())
    try:
        return Report(
            [Finding("database", str(stop), remedy), *_storage(settings, storing)], {}, stop
        )
    finally:
        storing.close()


def _findings(parts: Parts, missing: list[str]) -> Iterator[Finding]:
    """In the order in which a load would stumble over it."""
    yield Finding("database", f"{parts.database.name} at {parts.database.place}")
    yield _schema(missing)
    yield _migrations(parts, missing)
    yield from _storage(parts.settings, parts.storing, None if missing else parts.database)
    if not missing:
        yield _told("tenant", str(parts.settings.tenant), lambda: _check_tenant(parts))


def _schema(missing: list[str]) -> Finding:
    if not missing:
        return Finding("schema", f"all {len(TABLES)} tables")
    return Finding("schema", f"{', '.join(missing)} missing", _MIGRATE)


def _migrations(parts: Parts, missing: list[str]) -> Finding:
    try:
        with parts.database.transaction(parts.settings.tenant) as session:
            [(applied,)] = session.rows(_APPLIED[parts.database.has_tenants])
    except (Unavailable, RowsRefused):
        if len(missing) == len(TABLES):
            return Finding("migrations", "not applied", _MIGRATE)
        return Finding("migrations", "not recorded: the SQL was run by hand")
    if applied:
        return Finding("migrations", "applied")
    return Finding("migrations", "not applied", _MIGRATE)


def _storage(
    settings: Settings, storing: Storing, database: Database | None = None
) -> Iterator[Finding]:
    """Two lines of one look: whether anybody answers, and whether the bucket is there and ours."""
    place = described(settings.place)
    folder = f"{settings.folder}/{settings.tenant}"
    try:
        storing.patiently(lambda: next(iter(storing.store.sizes(folder)), None))
        if database is not None:
            ownership.check(database, storing, settings.tenant, settings.folder)
    except Stop as stop:
        yield Finding("storage", f"{place} answers")
        yield Finding("bucket", stop.code, str(stop))
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


def _counts(parts: Parts) -> dict[str, int]:
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
