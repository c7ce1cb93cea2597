"""The road of a file of annotations: read → hold against the photos → transaction → account."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from headrace.recognitions import annotations, transforms
from headrace.recognitions.annotations import Annotation, Held
from headrace.recognitions.database import Database, RowsRefused, Session, Unavailable, check_tenant
from headrace.recognitions.errors import Code, Reject
from headrace.recognitions.loading import Account, Outcome, Progress, interrupted, stop_of
from headrace.recognitions.measures import Measures
from headrace.recognitions.patience import Patience
from headrace.recognitions.schema import QWEN_ANNOTATIONS, Role

GROUP = 500  # entries of a transaction
_COLUMNS = (
    *("recognition_id", "role", "path", "payload", "refused", "width", "height", "batch_id"),
)
_PHOTOS = """
SELECT recognition_id, role, width, height FROM {{recognition_photos}}
WHERE tenant_id = :tenant AND recognition_id {among}"""
_THERE = """
SELECT recognition_id, role, payload, width, height FROM {{raw_qwen_annotations}}
WHERE tenant_id = :tenant AND recognition_id {among}"""
Place = tuple[int, Role]


class Annotating:
    """One load of one file. `detections` counts boxes as the account counts entries."""

    def __init__(
        self,
        database: Database,
        tenant: UUID,
        batch_id: str,
        progress: Progress,
        measures: Measures,
        patience: Patience,
    ) -> None:
        self._database = database
        self._tenant = tenant
        self._batch_id = batch_id
        self._progress = progress
        self._measures = measures
        self._patience = patience
        self.account = Account()
        self.detections: Counter[str] = Counter()

    def run(self, entries: Sequence[Annotation | Reject]) -> Account:
        """Load the entries, and account for each."""
        self.account.found = len(entries)
        sound = [one for one in entries if isinstance(one, Annotation)]
        for one in entries:
            if isinstance(one, Reject):
                self._reject(one)
        try:
            for group in _groups(sound):
                self._load(group)
        except KeyboardInterrupt:
            self.account.stopped = interrupted()
        except Exception as error:
            self.account.stopped = stop_of(error)
        self.account.close()
        return self.account

    def _load(self, group: list[Annotation]) -> None:
        """In one transaction; what the database refuses is found by halves."""
        try:
            told = self._patience.through(Unavailable, lambda: self._brought(group))
        except RowsRefused as refused:
            if len(group) > 1:
                self._load(group[: len(group) // 2])
                self._load(group[len(group) // 2 :])
            else:
                self._reject(Reject(group[0].path, "", Code.ROW_REFUSED, str(refused)))
        else:
            self._tell(told)

    def _brought(self, group: list[Annotation]) -> list[tuple[Outcome, Held] | Reject]:
        with self._database.transaction(self._tenant) as session:
            check_tenant(session, self._database, self._tenant)
            return self._bring(session, group)

    def _bring(
        self, session: Session, group: list[Annotation]
    ) -> list[tuple[Outcome, Held] | Reject]:
        """What becomes of each, once the transaction commits."""
        listed = self._database.listed({one.recognition_id for one in group})
        sizes = self._by_photo(session, _PHOTOS, listed)
        there = self._by_photo(session, _THERE, listed)
        told: list[tuple[Outcome, Held] | Reject] = []
        changed: list[Held] = []
        for one in group:
            place = (one.recognition_id, one.role)
            if place not in sizes:
                text = f"there is no {one.role} photo of recognition {one.recognition_id}"
                told.append(Reject(one.path, "", Code.PHOTO_UNKNOWN, text))
                continue
            held = annotations.hold(one, *sizes[place])
            is_there = there.get(place) == [one.payload, *sizes[place]]
            told.append((Outcome.SKIPPED if is_there else Outcome.LOADED, held))
            changed += [] if is_there else [held]
        self._write(session, changed)
        return told

    def _by_photo(self, session: Session, statement: str, listed: object) -> dict[Place, list[Any]]:
        rows = session.rows(statement.format(among=self._database.among), listed=listed)
        return {(number, Role(role)): rest for number, role, *rest in rows}

    def _write(self, session: Session, changed: list[Held]) -> None:
        if not changed:
            return
        with self._measures.timed("db_bulk_copy"):
            session.fill(QWEN_ANNOTATIONS, _COLUMNS, map(self._row, changed))
        session.touch(sorted({held.annotation.recognition_id for held in changed}))
        transforms.detect(session, self._database)

    def _row(self, held: Held) -> Sequence[object]:
        one = held.annotation
        return (
            *(one.recognition_id, one.role.value, one.path, one.payload),
            *(held.refused_text, held.width, held.height, self._batch_id),
        )

    def _tell(self, told: Iterable[tuple[Outcome, Held] | Reject]) -> None:
        for one in told:
            if isinstance(one, Reject):
                self._reject(one)
                continue
            outcome, held = one
            self._note(outcome)
            self.account.rejects += held.rejects
            self.detections["rejected"] += len(held.refused)
            self.detections[outcome.value] += held.annotation.count - len(held.refused)

    def _note(self, outcome: Outcome) -> None:
        self.account.outcomes[outcome] += 1
        self._progress.moved(1)

    def _reject(self, reject: Reject) -> None:
        self.account.rejects.append(reject)
        self._note(Outcome.REJECTED)


def _groups(found: Sequence[Annotation]) -> Iterator[list[Annotation]]:
    rest = iter(found)
    while group := list(islice(rest, GROUP)):
        yield group
