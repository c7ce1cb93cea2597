"""One batch is taken back: its rows, its photos, and nothing else.

Detections go with their photo, also where another batch brought them: what that batch kept of them
in the raw layer stays, and makes them anew when the recognition is loaded again.
"""

from uuid import uuid4

from headrace.recognitions.database import Session
from headrace.recognitions.schema import INTENTS, TABLES, Intent

_KEYS = """
SELECT DISTINCT p.object_key FROM {recognition_photos} p
JOIN {recognitions} r USING (tenant_id, recognition_id)
WHERE p.tenant_id = :tenant AND r.batch_id = :batch"""
_RELEASED = """
UPDATE {recognition_intents} SET state = 'release'
WHERE tenant_id = :tenant AND batch_id = :batch AND state = 'put'"""
_COLUMNS = ("attempt_id", "object_key", "state", "batch_id")
#: What has a batch of its own; the rest goes with what it belongs to.
BATCHED = [
    table.flat_name for table in TABLES if "batch_id" in table.column_names and table != INTENTS
]


def counted(session: Session, batch_id: str) -> dict[str, int]:
    """How many rows a batch has, by table, where it has any."""
    found = {
        name: session.rows(
            f"SELECT count(*) FROM {{{name}}} WHERE tenant_id = :tenant AND batch_id = :batch",
            batch=batch_id,
        )[0][0]
        for name in (*BATCHED, INTENTS.flat_name)
    }
    return {name: int(rows) for name, rows in found.items() if rows}


def remove(session: Session, batch_id: str) -> dict[str, int]:
    """Remove a batch's rows, in the session's transaction, and release its photos: the sweeper
    removes those that nobody else names. How many rows went by table.
    """
    session.lock(exclusive=False)
    keys = [key for (key,) in session.rows(_KEYS, batch=batch_id)]
    attempt = uuid4()
    released = ((attempt, key, Intent.RELEASE.value, batch_id) for key in keys)
    session.fill(INTENTS, _COLUMNS, released)
    session.run(_RELEASED, batch=batch_id)
    gone = {
        name: session.run(
            f"DELETE FROM {{{name}}} WHERE tenant_id = :tenant AND batch_id = :batch",
            batch=batch_id,
        )
        for name in BATCHED
    }
    return {name: rows for name, rows in gone.items() if rows}
