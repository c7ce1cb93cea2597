"""The road of a dataset on one page: find → look up → read and check → transaction → account.

Recognitions go in groups. Some threads read and check the files of a group, more store them.
Every recognition that was found has exactly one outcome.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Protocol
from uuid import UUID

from headrace.recognitions import layout, photos
from headrace.recognitions.database import Database, RowsRefused, Unavailable
from headrace.recognitions.errors import INTERRUPTED, Code, Refused, Reject, Stop
from headrace.recognitions.layout import Folder, Recognition
from headrace.recognitions.photos import Photo
from headrace.recognitions.schema import Role
from headrace.recognitions.storing import Storing
from headrace.recognitions.threads import Threads
from headrace.recognitions.transaction import STORE_FAILURES, Brought, Swept, Transactions
from headrace.storage.base import StoreFull

AT_ONCE = 2  # groups: one is stored while another is committed
READERS = 4  # threads that read and check; of sixteen most waited for the interpreter's lock
_AGAIN = "; the same command again goes on where this one stopped"
_KNOWN = """
SELECT recognition_id, role, object_key, sha256, bytes FROM {{recognition_photos}}
WHERE tenant_id = :tenant AND recognition_id {among}"""


class Outcome(StrEnum):
    """What became of a recognition."""

    LOADED = "loaded"  #: its photos and rows are there now
    SKIPPED = "skipped"  #: it was there before, whole
    MENDED = "mended"  #: its rows were there before, and a photo that was missing is there now
    REJECTED = "rejected"  #: refused, and a reject says why
    UNPROCESSED = "unprocessed"  #: the load stopped before; nothing of it was changed


@dataclass(slots=True)
class Account:
    """What became of all that was found. `stopped` says why the load ended early, if it did."""

    found: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    rejects: list[Reject] = field(default_factory=list)
    remarks: list[Reject] = field(default_factory=list)
    stopped: Stop | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the outcomes sum up to what was found."""
        return self.outcomes.total() == self.found

    def close(self) -> None:
        """What has no outcome by now is unprocessed."""
        self.outcomes[Outcome.UNPROCESSED] += self.found - self.outcomes.total()


class Progress(Protocol):
    """Is told of what is done."""

    def moved(self, done: int) -> None:
        """So many recognitions more have their outcome."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A photo that a row names."""

    key: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Remedy:
    """The photos, by their keys, that a recognition lacks in the store; `name` is its folder's."""

    name: str
    photos: dict[str, Photo]

    def has(self, path: str) -> bool:
        """Whether one of the photos is that file."""
        return any(photo.name == path for photo in self.photos.values())


Known = dict[int, dict[Role, Stored]]


class Loading:
    """One load of one dataset.

    It has readers of its own: behind the photos of one group that wait to be stored, the next
    group would be read only when the store had nothing to do.
    """

    _readers: Threads

    def __init__(
        self,
        database: Database,
        storing: Storing,
        transactions: Transactions,
        tenant: UUID,
        progress: Progress,
        *,
        group_size: int,
        force: bool,
    ) -> None:
        self._database = database
        self._storing = storing
        self._transactions = transactions
        self._tenant = tenant
        self._progress = progress
        self._group_size = group_size
        self._force = force
        self._lock = threading.Lock()
        self._halted = threading.Event()
        self.account = Account()

    def run(self, found: Sequence[Folder]) -> Account:
        """Load the recognitions of these folders, and account for each."""
        self.account.found = len(found)
        groups = self._groups(self._unrepeated(found))
        with (
            Threads(READERS, "read") as self._readers,
            ThreadPoolExecutor(AT_ONCE, thread_name_prefix="group") as pool,
        ):
            running: set[Future[None]] = set()
            try:
                for group in groups:
                    running.add(pool.submit(self._work, group))
                    if len(running) >= AT_ONCE:
                        running = _waited(running, FIRST_COMPLETED)
                _waited(running, ALL_COMPLETED)
            except KeyboardInterrupt:
                self._halted.set()
                self.account.stopped = interrupted()
        self.account.close()
        return self.account

    def _unrepeated(self, found: Sequence[Folder]) -> Iterator[Folder]:
        first: dict[int, Folder] = {}
        for folder in found:
            known = first.setdefault(folder.recognition_id, folder)
            if known is folder:
                yield folder
            else:
                text = f"{folder.recognition_id} was found before, in {known.name}"
                self._reject(Reject(folder.name, "", Code.REPEATED, text))

    def _groups(self, found: Iterator[Folder]) -> Iterator[list[Folder]]:
        while not self._halted.is_set() and (group := list(islice(found, self._group_size))):
            yield group

    def _work(self, group: list[Folder]) -> None:
        """One group; when storage or database fail, the whole load ends."""
        if self._halted.is_set():
            return
        try:
            known = {} if self._force else self._patiently_known(group)
            self._look_after([one for one in group if one.recognition_id in known], known)
            self._bring([one for one in group if one.recognition_id not in known])
        except Exception as error:
            self._halted.set()
            with self._lock:
                self.account.stopped = self.account.stopped or stop_of(error)

    def _patiently_known(self, group: list[Folder]) -> Known:
        return self._storing.patience.through(Unavailable, lambda: self._known(group))

    def _known(self, group: list[Folder]) -> Known:
        listed = self._database.listed([one.recognition_id for one in group])
        with self._database.transaction(self._tenant) as session:
            statement = _KNOWN.format(among=self._database.among)
            rows = session.rows(statement, listed=listed)
        known: Known = {}
        for number, role, key, sha256, size in rows:
            known.setdefault(number, {})[Role(role)] = Stored(key, sha256, size)
        return known

    def _look_after(self, folders: list[Folder], known: Known) -> None:
        """Those that are there stay as they are; photos that are missing are stored again."""
        lost = self._storing.each(lambda one: self._lost(known[one.recognition_id]), folders)
        hurt = [(folder, of) for folder, of in zip(folders, lost, strict=True) if of]
        self._note(Outcome.SKIPPED, len(folders) - len(hurt))
        read = self._readers.each(_remedy, hurt)
        for one in read:
            if isinstance(one, Reject):
                self._reject(one)
        self._mend([one for one in read if isinstance(one, Remedy)])

    def _lost(self, stored: dict[Role, Stored]) -> dict[Role, Stored]:
        """Those that the store does not have as they were."""
        return {
            role: one for role, one in stored.items() if self._storing.size(one.key) != one.size
        }

    def _mend(self, found: list[Remedy]) -> None:
        if not found:
            return
        photos = {key: photo for one in found for key, photo in one.photos.items()}
        try:
            unnamed = self._transactions.mend(photos)
        except Refused as refused:
            self._reject(refused.reject)
            self._mend([one for one in found if not one.has(refused.reject.path)])
            return
        for one in found:
            if unnamed.isdisjoint(one.photos):
                self._note(Outcome.MENDED)
            else:
                text = "its row went or changed while its photo was stored again"
                self._reject(Reject(one.name, "", Code.ROW_CHANGED, text))

    def _bring(self, folders: list[Folder]) -> None:
        read = self._readers.each(_read, folders)
        self._load([one for one in read if isinstance(one, Recognition)])
        for one in read:
            if isinstance(one, Reject):
                self._reject(one)

    def _load(self, recognitions: list[Recognition]) -> None:
        """In one transaction; what the database refuses is found by halves."""
        if not recognitions:
            return
        try:
            brought = self._transactions.load(recognitions, force=self._force)
        except Refused as refused:
            self._load_without(recognitions, refused.reject)
        except RowsRefused as refused:
            if len(recognitions) > 1:
                middle = len(recognitions) // 2
                self._load(recognitions[:middle])
                self._load(recognitions[middle:])
            else:
                (one,) = recognitions
                self._reject(Reject(one.name, "", Code.ROW_REFUSED, str(refused)))
        else:
            self._tell(brought)

    def _tell(self, brought: Brought) -> None:
        self._note(Outcome.LOADED, len(brought.recognitions))
        self._note(Outcome.SKIPPED, len(brought.overtaken))
        with self._lock:
            self.account.remarks += [one for of in brought.recognitions for one in of.remarks]
            self.account.remarks += brought.remarks

    def _load_without(self, recognitions: list[Recognition], reject: Reject) -> None:
        """All but the one whose photo is not any more what was read."""
        self._reject(reject)
        names = {one.name: {photo.name for photo in one.photos.values()} for one in recognitions}
        self._load([one for one in recognitions if reject.path not in names[one.name]])

    def _note(self, outcome: Outcome, times: int = 1) -> None:
        with self._lock:
            self.account.outcomes[outcome] += times
        self._progress.moved(times)

    def _reject(self, reject: Reject) -> None:
        with self._lock:
            self.account.rejects.append(reject)
        self._note(Outcome.REJECTED)


def _waited(running: set[Future[None]], until: str) -> set[Future[None]]:
    """Those that still run; what one has raised, which would be a defect of ours, is raised."""
    done, rest = wait(running, return_when=until)
    for one in done:
        one.result()
    return rest


def _read(folder: Folder) -> Recognition | Reject:
    try:
        return layout.read(folder)
    except Refused as refused:
        return refused.reject


def _remedy(hurt: tuple[Folder, dict[Role, Stored]]) -> Remedy | Reject:
    folder, lost = hurt
    try:
        files = layout.photo_files(folder)
        found = [(one, files[role]) for role, one in lost.items()]
        return Remedy(folder.name, {stored.key: _same(stored, file) for stored, file in found})
    except Refused as refused:
        return refused.reject


def _same(stored: Stored, file: layout.File) -> Photo:
    """The photo that was stored. Raises Refused if the file is another one."""
    photo = photos.look_at(file.path, file.name)
    if photo.sha256 != stored.sha256:
        text = "its stored photo is missing, and the file is another one by now"
        raise Refused(photo.name, "", Code.PHOTO_CHANGED, text)
    return photo


def interrupted() -> Stop:
    """Why a load ends that a person has ended."""
    return Stop("interrupted", f"interrupted{_AGAIN}", INTERRUPTED)


def stop_of(error: Exception) -> Stop:
    """Why a load ends, and what to do. Raises the error itself if it is none that is known."""
    match error:
        case Stop():
            return error
        case Unavailable():
            return Stop("database_unavailable", f"{error}{_AGAIN}", 3)
        case Swept():
            return Stop("swept", f"{error}: raise HEADRACE_RECOGNITIONS_GRACE_SECONDS{_AGAIN}", 3)
        case RowsRefused():
            return Stop("database_refused", f"the database refused a statement: {error}", 3)
        case StoreFull():
            text = f"{error}: make room, or let HEADRACE_HOME be where there is some{_AGAIN}"
            return Stop("storage_full", text, 3)
    if isinstance(error, STORE_FAILURES):
        return Stop("storage_unavailable", f"the object store failed: {error}{_AGAIN}", 3)
    raise error
