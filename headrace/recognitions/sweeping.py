"""Objects that no row names are removed, and no others.

Whoever stores an object says so before, in a row (an intent) that it commits, and holds the
tenant's objects with others for that; whoever removes holds them alone, and looks first whether a
row or a young intent names the object. So an object that is on its way into a transaction stays,
also when another transaction with the same photo fails meanwhile.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple
from uuid import UUID

from headrace.recognitions.database import Database, Session
from headrace.recognitions.schema import Intent
from headrace.recognitions.storing import Storing

AT_ONCE = 200  # objects, while others wait to store theirs
OWNER = "owner"  #: the object that says which database the folder belongs to

# Intents go first: a commit that is on its way holds its own, and is waited for. Then what is left
# of rows and intents decides; one statement, or a commit between two would be in neither.
_OPEN = """
DELETE FROM {{recognition_intents}}
WHERE tenant_id = :tenant AND (attempt_id, object_key) IN (
    SELECT attempt_id, object_key FROM {{recognition_intents}}
    WHERE tenant_id = :tenant AND (state = 'release' OR {aged})
    ORDER BY object_key LIMIT {most})
RETURNING object_key, state"""
_OF_ATTEMPT = """
DELETE FROM {recognition_intents}
WHERE tenant_id = :tenant AND attempt_id = :attempt"""
_NAMED = """
SELECT object_key FROM {{recognition_photos}}
WHERE tenant_id = :tenant AND object_key {among}
UNION
SELECT object_key FROM {{recognition_intents}}
WHERE tenant_id = :tenant AND object_key {among} AND state = 'put' AND NOT ({aged})"""


class Settled(NamedTuple):
    """How many objects went, and how many intents belonged to loads that had died."""

    objects: int
    dead: int


class Sweeper:
    """Removes objects of one tenant. `grace` is how long an intent is believed, in seconds."""

    def __init__(
        self, database: Database, storing: Storing, tenant: UUID, folder: str, grace: float
    ) -> None:
        self._database = database
        self._storing = storing
        self._tenant = tenant
        self._folder = f"{folder}/{tenant}"
        self._grace = grace

    def undo(self, attempt: UUID, keys: Iterable[str]) -> int:
        """Remove what a transaction that failed has stored under `keys`; how many objects went.

        Its intents may be gone: a tenant that is being erased has none any more.

        Raises Unavailable or what the store raised; then a later sweep does it.
        """
        with self._database.transaction(self._tenant) as session:
            session.lock(exclusive=True)
            session.run(_OF_ATTEMPT, attempt=attempt)
            return self._remove_unnamed(session, set(keys))

    def tidy(self) -> None:
        """Settle; where that shows that a load was killed, look for what else it has left."""
        if self.settle().dead:
            self.remove_orphans()

    def settle(self) -> Settled:
        """Remove what released rows and old intents name."""
        gone = dead = 0
        while True:
            with self._database.transaction(self._tenant) as session:
                session.lock(exclusive=True)
                statement = _OPEN.format(aged=self._database.aged, most=AT_ONCE)
                found = session.rows(statement, grace=self._grace)
                keys = {key for key, _ in found}
                # Only here: for each the folder is listed, and only a kill leaves something.
                self._storing.each(self._storing.delete_left, keys)
                gone += self._remove_unnamed(session, keys)
                dead += sum(state == Intent.PUT for _, state in found)
            if len(found) < AT_ONCE:
                return Settled(gone, dead)

    def remove_orphans(self) -> int:
        """Remove objects that nothing names and that are older than the grace; how many went.

        They are what a database that was set back to an older state does not know any more. Where
        the store goes away in between, all are looked through again.
        """
        gone: list[int] = []
        self._storing.patiently(lambda: gone.extend(self._gone_orphans()))
        return sum(gone)

    def _gone_orphans(self) -> Iterator[int]:
        """Remove them, some at once; how many."""
        keys = (
            key
            for key in self._storing.store.aged(self._folder, self._grace)
            if key != f"{self._folder}/{OWNER}"
        )
        while batch := set(islice(keys, AT_ONCE)):
            with self._database.transaction(self._tenant) as session:
                session.lock(exclusive=True)
                removed = self._remove_unnamed(session, batch)
            yield removed

    def _remove_unnamed(self, session: Session, keys: set[str]) -> int:
        """How many objects went; when one resists, the transaction must roll back."""
        statement = _NAMED.format(among=self._database.among, aged=self._database.aged)
        listed = self._database.listed(keys)
        named = {key for (key,) in session.rows(statement, listed=listed, grace=self._grace)}
        self._storing.each(self._storing.delete, keys - named)
        return len(keys - named)
