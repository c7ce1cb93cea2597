"""What an interrupted run must not forget, on disk before the effect that it allows.

A journal is one small JSON file per server and tenant. It is replaced as a whole (write, fsync,
rename, fsync of the folder), so a kill at any instant leaves the old or the new one:

    open_key      before the upload is opened: a lost answer replays, no second upload is made
    upload_token  before a file is sent into it
    accepted      after the server's 201: from then on the file is not sent again
    closed        the upload is finished: the next run opens a new one

A 201 that was lost with its connection is not in `accepted`; the file is sent once more under
the same idempotency key, and the server replays its answer.
"""

import hashlib
import os
import threading
import uuid
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import msgspec

from headrace.client import durable, locking

FOLDER = ".headrace-ingest"


class JournalError(Exception):
    """The journal is in another client's hands, cannot be read, or cannot be written."""


class _Page(msgspec.Struct):
    """The file's content. `accepted` maps file names to the hex SHA-256 of what was sent."""

    api_url: str
    tenant_id: str
    open_key: str = ""
    upload_token: str = ""
    accepted: dict[str, str] = {}
    closed: bool = True


class Journal:
    """The memory of one tenant's upload to one server; holds a lock until `release`.

    Threads of one process may share it. Raises JournalError if another client holds the lock,
    or if the file cannot be understood.
    """

    def __init__(self, folder: Path, api_url: str, tenant_id: str) -> None:
        server = hashlib.sha256(api_url.encode()).hexdigest()[:8]
        self.path = folder / f"{tenant_id}-{server}.json"
        self._writing = threading.RLock()
        self._held = _lock(self.path.with_suffix(".lock"), tenant_id)
        try:
            self._page = _read(self.path) or _Page(api_url, tenant_id)
        except BaseException:
            self._held.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    @property
    def upload_token(self) -> str:
        """The open upload's token; empty if there is none to continue."""
        return "" if self._page.closed else self._page.upload_token

    @property
    def accepted_files(self) -> int:
        """How many files the open upload has."""
        return 0 if self._page.closed else len(self._page.accepted)

    def open_key(self) -> str:
        """The idempotency key to open the upload with: the one left unanswered, or a new one."""
        if self._page.closed or self._page.upload_token:
            self._change(open_key=str(uuid.uuid4()), upload_token="", accepted={}, closed=False)
        return self._page.open_key

    def upload_opened(self, upload_token: str) -> None:
        self._change(upload_token=upload_token)

    def has_accepted(self, filename: str, sha256: str) -> bool:
        """Whether these bytes under this name are in the open upload."""
        return self._page.accepted.get(filename) == sha256

    def file_accepted(self, filename: str, sha256: str) -> None:
        with self._writing:
            self._change(accepted={**self._page.accepted, filename: sha256})

    def close_upload(self) -> None:
        """Note that the upload is finished, and is not to be joined again."""
        self._change(closed=True)

    def release(self) -> None:
        self._held.close()

    def _change(self, **members: Any) -> None:
        with self._writing:
            page = msgspec.structs.replace(self._page, **members)
            try:
                durable.replace(self.path, msgspec.json.format(msgspec.json.encode(page)))
            except OSError as error:
                raise JournalError(f"cannot write the journal {self.path}: {error}") from error
            self._page = page


def choose_folder(data_dir: Path) -> Path:
    """The folder for journals: in the data directory, or the user's state directory if that
    cannot be written. Raises JournalError if neither can."""
    beside_data = data_dir / FOLDER
    if _writable(beside_data):
        return beside_data
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    place = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:16]
    elsewhere = state / "headrace" / "ingest" / place
    if _writable(elsewhere):
        return elsewhere
    raise JournalError(f"cannot keep a journal: neither {beside_data} nor {elsewhere} is writable")


def _writable(folder: Path) -> bool:
    probe = folder / f".probe-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def _read(path: Path) -> _Page | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Page)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise JournalError(
            f"cannot read the journal {path}: {error}; remove it to begin a new upload"
        ) from error


def _lock(path: Path, tenant_id: str) -> IO[str]:
    """The open lock file. It stays where it is: removing it would let two holders in."""
    file = path.open("a+", encoding="ascii")
    if locking.try_lock(file):
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        return file
    file.seek(0)
    holder = file.read().strip() or "unknown"
    file.close()
    raise JournalError(
        f"another client (process {holder}) is sending the files of tenant {tenant_id} "
        f"to this server; wait for it or end it (lock {path})"
    )
