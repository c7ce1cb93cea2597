"""Photos and rows of some recognitions, together or not at all.

Prepare: intents are committed, photos stored, rows inserted in a transaction that stays open.
Commit: that transaction runs the transforms, takes the intents back and commits. When anything
fails the transaction rolls back and what was stored is removed (compensated), unless another row or
intent names it. A kill leaves intents, which `sweeping` finds after a grace; an intent that was
swept meanwhile fails the commit, so that no row ever names an object that is gone.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from headrace.recognitions import annotations, transforms
from headrace.recognitions.database import Database, Session, Unavailable, check_tenant
from headrace.recognitions.errors import Code, Reject
from headrace.recognitions.layout import Document, Recognition
from headrace.recognitions.measures import Measures
from headrace.recognitions.photos import Photo
from headrace.recognitions.schema import (
    CORRECT_DISHES,
    DISH_CATALOG,
    INTENTS,
    RECOGNITION_FILES,
    Intent,
    Table,
)
from headrace.recognitions.storing import Storing, key_of
from headrace.recognitions.sweeping import Sweeper
from headrace.storage.base import StoreFull, StoreRefused, StoreUnavailable

_FILE_COLUMNS = (
    *("recognition_id", "role", "path", "recognized_on", "object_key", "sha256", "bytes"),
    *("width", "height", "media_type", "batch_id"),
)
_DOCUMENT_COLUMNS = ("recognition_id", "path", "payload", "batch_id")
_INTENT_COLUMNS = ("attempt_id", "object_key", "state", "batch_id")
_TAKEN_BACK = """
DELETE FROM {recognition_intents}
WHERE tenant_id = :tenant AND attempt_id = :attempt AND state = 'put'"""
#: Objects of photos that are about to be replaced by others.
_REPLACED = """
SELECT DISTINCT object_key FROM {{recognition_photos}}
WHERE tenant_id = :tenant AND recognition_id {among}"""
_SWEPT = "the grace of the sweeper is shorter than this transaction took"
_STILL_NAMED = """
SELECT DISTINCT object_key FROM {{recognition_photos}}
WHERE tenant_id = :tenant AND object_key {among}"""
_TAKEN_BACK_OF = """
DELETE FROM {{recognition_intents}}
WHERE tenant_id = :tenant AND attempt_id = :attempt AND object_key {among} AND state = 'put'"""
_OF_OTHERS = """
SELECT recognition_id FROM {{recognitions}}
WHERE tenant_id = :tenant AND recognition_id {among} AND batch_id <> :batch"""
#: What a model said of photos that have another size by now: no detections are made of that.
_OUTSIZED = """
SELECT a.recognition_id, a.payload, a.refused FROM {{raw_qwen_annotations}} a
JOIN {{recognition_photos}} p USING (tenant_id, recognition_id, role)
WHERE a.tenant_id = :tenant AND a.recognition_id {among}
AND (a.width <> p.width OR a.height <> p.height)"""
STORE_FAILURES = (StoreUnavailable, StoreRefused, StoreFull, OSError)


class Swept(Exception):
    """A sweeper took the transaction for dead; nothing of it was committed."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one load says of all that it brings. `folder` is that of the object store."""

    tenant: UUID
    batch_id: str
    folder: str


@dataclass(frozen=True, slots=True)
class Brought:
    """What a transaction has done: recognitions that are there now, remarks about them, and those
    that another load has brought meanwhile.
    """

    recognitions: Sequence[Recognition]
    remarks: list[Reject]
    overtaken: Sequence[Recognition] = ()


class _Overtaken(Exception):
    """Another load has brought some of them; nothing was committed."""

    def __init__(self, recognition_ids: Set[int]) -> None:
        super().__init__(f"{len(recognition_ids)} recognitions")
        self.recognition_ids = recognition_ids


class Transactions:
    """Makes transactions; threads may share it."""

    def __init__(
        self,
        database: Database,
        storing: Storing,
        sweeper: Sweeper,
        batch: Batch,
        measures: Measures,
    ) -> None:
        self._database = database
        self._storing = storing
        self._sweeper = sweeper
        self._batch = batch
        self._measures = measures

    def load(self, recognitions: Sequence[Recognition], *, force: bool = False) -> Brought:
        """Bring these, whole, but for those that another load has brought meanwhile, which `force`
        replaces.

        Tried again while the database is away, since done twice it changes nothing. Raises
        Unavailable, Swept, Refused or what the store raised.
        """
        return self._storing.patience.through(Unavailable, lambda: self._load(recognitions, force))

    def _load(self, recognitions: Sequence[Recognition], force: bool) -> Brought:
        attempt = uuid4()
        photos = self._photos(recognitions)
        self._announce(attempt, photos)
        try:
            self._storing.put_all(photos.items())
            brought = self._brought(attempt, recognitions, photos.keys(), force)
        except BaseException:
            self._undo(attempt, photos)
            raise
        self._measures.count("recognitions_processed", len(brought.recognitions))
        self._count(self._photos(brought.recognitions).values())
        return brought

    def _photos(self, recognitions: Iterable[Recognition]) -> dict[str, Photo]:
        return {
            self._key(photo.sha256): photo
            for recognition in recognitions
            for photo in recognition.photos.values()
        }

    def _count(self, photos: Collection[Photo]) -> None:
        """What is there for good; what was stored in vain is not."""
        self._measures.count("images_processed", len(photos))
        self._measures.count("bytes_uploaded", sum(photo.size for photo in photos))

    def mend(self, photos: Mapping[str, Photo]) -> Set[str]:
        """Store photos, by key, that rows name already. The keys that no row names any more, since
        another command has changed it meanwhile: those objects go again.

        Tried again as `load` is. Raises Unavailable, Swept, Refused or what the store raised.
        """
        return self._storing.patience.through(Unavailable, lambda: self._mend(photos))

    def _mend(self, photos: Mapping[str, Photo]) -> Set[str]:
        attempt = uuid4()
        self._announce(attempt, photos)
        try:
            self._storing.put_all(photos.items())
            unnamed = photos.keys() - self._settle_named(attempt, photos)
        except BaseException:
            self._undo(attempt, photos)
            raise
        if unnamed:
            self._undo(attempt, unnamed)
        self._count([photos[key] for key in photos.keys() - unnamed])
        return unnamed

    def _settle_named(self, attempt: UUID, keys: Iterable[str]) -> Set[str]:
        """Take the intents back of what rows name by now."""
        with self._database.transaction(self._batch.tenant) as session:
            check_tenant(session, self._database, self._batch.tenant)
            statement = _STILL_NAMED.format(among=self._database.among)
            found = session.rows(statement, listed=self._database.listed(keys))
            named = {key for (key,) in found}
            statement = _TAKEN_BACK_OF.format(among=self._database.among)
            listed = self._database.listed(named)
            if session.run(statement, attempt=attempt, listed=listed) != len(named):
                raise Swept(_SWEPT)
        return named

    def _undo(self, attempt: UUID, keys: Iterable[str]) -> None:
        with suppress(Unavailable, *STORE_FAILURES):  # a later sweep does it
            self._sweeper.undo(attempt, keys)

    def _announce(self, attempt: UUID, keys: Iterable[str]) -> None:
        """Intents, before anything is stored."""
        with self._database.transaction(self._batch.tenant) as session:
            check_tenant(session, self._database, self._batch.tenant)
            session.lock(exclusive=False)
            session.fill(INTENTS, _INTENT_COLUMNS, self._intents(attempt, keys, Intent.PUT))

    def _brought(
        self, attempt: UUID, recognitions: Sequence[Recognition], stored: Set[str], force: bool
    ) -> Brought:
        """Commit them; where another load was faster, the others without them."""
        try:
            remarks = self._commit(attempt, recognitions, stored, force)
        except _Overtaken as error:
            ids = error.recognition_ids
            rest = [one for one in recognitions if one.recognition_id not in ids]
            gone = [one for one in recognitions if one.recognition_id in ids]
            brought = self._brought(attempt, rest, stored, force)
            return replace(brought, overtaken=[*brought.overtaken, *gone])
        return Brought(recognitions, remarks)

    def _commit(
        self, attempt: UUID, recognitions: Sequence[Recognition], stored: Set[str], force: bool
    ) -> list[Reject]:
        """Remarks. Of what is stored, what none of them has is released."""
        ids = [one.recognition_id for one in recognitions]
        with self._database.transaction(self._batch.tenant) as session:
            check_tenant(session, self._database, self._batch.tenant)
            with self._measures.timed("db_bulk_copy"):
                self._fill(session, recognitions)
            # Looked up once the raw rows are ours: another load may just have changed them.
            if not force and (overtaken := self._of_others(session, ids)):
                raise _Overtaken(overtaken)
            released = (self._replaced(session, ids) | stored) - self._photos(recognitions).keys()
            transforms.run(session, self._database, ids)
            if session.run(_TAKEN_BACK, attempt=attempt) != len(stored):
                raise Swept(_SWEPT)
            intents = self._intents(attempt, released, Intent.RELEASE)
            session.fill(INTENTS, _INTENT_COLUMNS, intents)
            return self._outsized(session, recognitions)

    def _of_others(self, session: Session, ids: list[int]) -> set[int]:
        """Those that are there by another load: what this one has brought it may bring again, not
        knowing that a commit was heard before the answer was lost.
        """
        statement = _OF_OTHERS.format(among=self._database.among)
        listed = self._database.listed(ids)
        found = session.rows(statement, listed=listed, batch=self._batch.batch_id)
        return {int(number) for (number,) in found}

    def _outsized(self, session: Session, recognitions: Sequence[Recognition]) -> list[Reject]:
        """A remark for each whose photos have another size than their annotations were held to."""
        listed = self._database.listed(one.recognition_id for one in recognitions)
        rows = session.rows(_OUTSIZED.format(among=self._database.among), listed=listed)
        lost: Counter[int] = Counter()
        for number, payload, refused in rows:
            lost[number] += annotations.count_held(payload, refused)
        told = "{:,} detections were of a photo of another size"
        return [
            Reject(one.name, "", Code.SIZE_CHANGED, told.format(of))
            for one in recognitions
            if (of := lost[one.recognition_id])
        ]

    def _replaced(self, session: Session, ids: list[int]) -> set[str]:
        listed = self._database.listed(ids)
        found = session.rows(_REPLACED.format(among=self._database.among), listed=listed)
        return {key for (key,) in found}

    def _fill(self, session: Session, recognitions: Sequence[Recognition]) -> None:
        files = (row for one in recognitions for row in self._file_rows(one))
        session.fill(RECOGNITION_FILES, _FILE_COLUMNS, files)
        menus = ((one.recognition_id, one.menu) for one in recognitions)
        self._fill_documents(session, DISH_CATALOG, menus)
        checks = ((one.recognition_id, one.check) for one in recognitions)
        self._fill_documents(session, CORRECT_DISHES, checks)

    def _fill_documents(
        self, session: Session, table: Table, found: Iterable[tuple[int, Document]]
    ) -> None:
        rows = ((number, one.name, one.text, self._batch.batch_id) for number, one in found)
        session.fill(table, _DOCUMENT_COLUMNS, rows)

    def _file_rows(self, one: Recognition) -> Iterator[Sequence[object]]:
        for role, photo in one.photos.items():
            yield (
                *(one.recognition_id, role.value, photo.name, one.recognized_on),
                *(self._key(photo.sha256), photo.sha256, photo.size),
                *(photo.width, photo.height, photo.media_type, self._batch.batch_id),
            )

    def _intents(
        self, attempt: UUID, keys: Iterable[str], state: Intent
    ) -> Iterator[Sequence[object]]:
        for key in keys:
            yield attempt, key, state.value, self._batch.batch_id

    def _key(self, sha256: str) -> str:
        return key_of(self._batch.folder, self._batch.tenant, sha256)
