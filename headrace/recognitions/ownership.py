"""A folder of the object store belongs to one database: what another names looks like orphans."""

from uuid import UUID, uuid4

from headrace.recognitions.database import Database, check_tenant
from headrace.recognitions.errors import USAGE, Stop
from headrace.recognitions.storing import Storing
from headrace.recognitions.sweeping import OWNER
from headrace.storage.base import ObjectMissing


def claim(database: Database, storing: Storing, tenant: UUID, folder: str) -> None:
    """Take the tenant's folder, or see that it is ours. Raises Stop if another database has it."""
    key, own = f"{folder}/{tenant}/{OWNER}", _identity(database, tenant)
    owner = storing.patiently(lambda: _read(storing, key))
    if owner is None:
        storing.patiently(lambda: storing.store.put(key, [own]))
    elif owner != own:
        text = (
            f"the photos in {folder}/{tenant} belong to another database: choose another bucket or"
            f" HEADRACE_RECOGNITIONS_FOLDER; or, if that database is gone for good, remove the"
            f" object {key}"
        )
        raise Stop("store_of_another", text, USAGE)


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
        found = session.rows("SELECT store_id FROM {recognition_stores} WHERE tenant_id = :tenant")
        if found:
            return UUID(str(found[0][0])).hex.encode()
        made = uuid4()
        session.run("INSERT INTO {recognition_stores} VALUES (:tenant, :made)", made=made)
        return made.hex.encode()
