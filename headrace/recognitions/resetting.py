"""One batch is taken back: its rows, its photos, and nothing else.

Detections go with their photo, also where another batch brought them: what that batch kept of them
in the raw layer stays, and makes them anew when the recognition is loaded again with a photo of the
same size.
"""

from uuid import uuid4

from headrace.recognitions.database import Session
from headrace.recognitions.schema import INTENTS, RECOGNITIONS, TABLES, Intent, Layer, Table

_KEYS = """
SELECT DISTINCT p.object_key FROM {recognition_photos} p
JOIN {recognitions} r USING (tenant_id, recognition_id)
WHERE p.tenant_id = :tenant AND r.batch_id = :batch"""
_RELEASED = """
UPDATE {recognition_intents} SET state = 'release'
WHERE tenant_id = :tenant AND batch_id = :batch AND state = 'put'"""
_COLUMNS = ("attempt_id", "object_key", "state", "batch_id")
_OWN = "batch_id = :batch"
_OF_ITS_RECOGNITIONS = (
    "recognition_id IN (SELECT recognition_id FROM {recognitions}"
    " WHERE tenant_id = :tenant AND batch_id = :batch)"
)


def _condition(table: Table) -> str:
    """Which of a table's rows go with a batch: its own, and those of its recognitions."""
    of_recognitions = table.layer is Layer.DOMAIN and "recognition_id" in table.column_names
    found = [_OWN] if "batch_id" in table.column_names else []
    found += [_OF_ITS_RECOGNITIONS] if of_recognitions and table != RECOGNITIONS else []
    return " OR ".join(found)


_CONDITIONS = {table.flat_name: found for table in TABLES if (found := _condition(table))}
#: What has a batch of its own; the rest goes with what it belongs to.
_BATCHED = [
    table.flat_name for table in TABLES if "batch_id" in table.column_names and table != INTENTS
]


def counted(session: Session, batch_id: str) -> dict[str, int]:
    """How many rows go with a batch, by table, where any do."""
    found = {
        name: session.rows(
            f"SELECT count(*) FROM {{{name}}} WHERE tenant_id = :tenant AND ({condition})",
            batch=batch_id,
        )[0][0]
        for name, condition in _CONDITIONS.items()
    }
    return {name: int(rows) for name, rows in found.items() if rows}


def remove(session: Session, batch_id: str) -> dict[str, int]:
    """Remove a batch's rows, in the session's transaction, and release its photos: the sweeper
    removes those that nobody else names. How many rows went by table, as `counted` tells.
    """
    session.lock(exclusive=False)
    counts = counted(session, batch_id)  # what goes with another row is not told when it goes
    keys = [key for (key,) in session.rows(_KEYS, batch=batch_id)]
    attempt = uuid4()
    released = ((attempt, key, Intent.RELEASE.value, batch_id) for key in keys)
    session.fill(INTENTS, _COLUMNS, released)
    session.run(_RELEASED, batch=batch_id)
    for name in _BATCHED:
        session.run(
            f"DELETE FROM {{{name}}} WHERE tenant_id = :tenant AND batch_id = :batch",
            batch=batch_id,
        )
    return counts
