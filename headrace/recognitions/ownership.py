"""A folder of the object store belongs to one database: what another names looks like orphans."""

from uuid import UUID, uuid4

from headrace.recognitions.database import Database, Session, check_tenant
from headrace.recognitions.errors import USAGE, Stop
from headrace.recognitions.storing import Storing
from headrace.recognitions.sweeping import OWNER
from headrace.storage.base import ObjectMissing


def claim(database: Database, storing: Storing, tenant: UUID, folder: str) -> None:
    """Take the tenant's folder, or see that it is ours. Raises Stop if another database has it."""
    own = _identity(database, tenant)
    owner = _owner(storing, tenant, folder)
    if owner is None:
        storing.patiently(lambda: storing.store.put(_key(tenant, folder), [own]))
    elif owner != own:
        raise _anothers(tenant, folder)


def check(database: Database, storing: Storing, tenant: UUID, folder: str) -> None:
    """See that the tenant's folder is ours or nobody's, and take nothing. Raises Stop."""
    owner = _owner(storing, tenant, folder)
    with database.transaction(tenant) as session:
        own = _known(session)
    if owner not in (None, own):
        raise _anothers(tenant, folder)


def _key(tenant: UUID, folder: str) -> str:
    return f"{folder}/{tenant}/{OWNER}"


def _anothers(tenant: UUID, folder: str) -> Stop:
    text = (
        f"the photos in {folder}/{tenant} belong to another database: choose another bucket or"
        f" HEADRACE_RECOGNITIONS_FOLDER; or, if that database is gone for good, remove the"
        f" object {_key(tenant, folder)}"
    )
    return Stop("store_of_another", text, USAGE)


def _owner(storing: Storing, tenant: UUID, folder: str) -> bytes | None:
    return storing.patiently(lambda: _read(storing, _key(tenant, folder)))


def _read(storing: Storing, key: str) -> bytes | None:
    try:
        with storing.store.open(key) as file:
            return file.read()
    except ObjectMissing:
        return None


def _identity(database: Database, tenant: UUID) -> bytes:
    """The database's name for the tenant's folder, made once."""
    with database.transaction(tenant) as session:
        check_tenant(session, database, tenant)
        session.lock(exclusive=True)
        if known := _known(session):
            return known
        made = uuid4()
        session.run("INSERT INTO {recognition_stores} VALUES (:tenant, :made)", made=made)
        return made.hex.encode()


def _known(session: Session) -> bytes | None:
    found = session.rows("SELECT store_id FROM {recognition_stores} WHERE tenant_id = :tenant")
    return UUID(str(found[0][0])).hex.encode() if found else None
