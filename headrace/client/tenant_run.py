"""One tenant's part of a run: its upload, what of it was sent, and how that ended."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from headrace.client import errors, http, rejected
from headrace.client.answers import UploadStatus
from headrace.client.journal import Journal
from headrace.client.plan import DataFile, TenantFiles
from headrace.client.progress import Progress

CHUNK_FAILED = frozenset({"failed", "corrupt", "cancelled"})


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that was not accepted, or that the server could not land."""

    filename: str
    code: str
    message: str


class ParkedGrace:
    """Whether parked lines of a finished upload are still waking.

    A parent that has just landed wakes its children a moment later, and the server's sweeper
    wakes those that were missed; every fall of the count grants `seconds` more.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._fewest: int | None = None
        self._since = 0.0

    def is_over(self, parked: int) -> bool:
        """Whether to stop waiting, having just seen `parked` lines."""
        if self._fewest is None or parked < self._fewest:
            self._fewest, self._since = parked, time.monotonic()
        return parked == 0 or time.monotonic() - self._since >= self._seconds


@dataclass(slots=True)
class TenantRun:
    """The upload of one tenant's files. `send` may be called from several threads."""

    tenant: TenantFiles
    client: http.HeadraceClient
    journal: Journal
    progress: Progress
    grace: ParkedGrace
    delimiter: str = ""
    token: str = ""
    continued: bool = False
    sent: list[str] = field(default_factory=list)
    already_accepted: list[str] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    refusal: errors.HeadraceError | None = None
    status: UploadStatus | None = None
    rejects_files: list[Path] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def accepted(self) -> int:
        """How many of the files the server holds."""
        return len(self.sent) + len(self.already_accepted)

    @property
    def has_every_file(self) -> bool:
        return self.accepted == len(self.tenant.files)

    def join(self) -> None:
        """Continue the open upload of an earlier run, or open one.

        Raises HeadraceError if the server refuses or cannot be reached.
        """
        token = self.journal.upload_token
        if token and self._is_known(token):
            self.token, self.continued = token, True
            self.progress.note(
                f"continuing upload {token} of tenant {self.tenant.tenant_id}: "
                f"{self.journal.accepted_files} files were accepted before"
            )
            return
        self.token = self.client.open_upload(self.journal.open_key()).upload_token
        self.journal.upload_opened(self.token)

    def send(self, file: DataFile) -> None:
        """Send one file unless it was accepted before. Raises Unreachable; keeps other failures."""
        if self.refusal is not None:
            self._failed(file, self.refusal)
            return
        try:
            self._send(file)
        except errors.Unreachable:
            raise
        except OSError as error:
            self._failed(file, errors.HeadraceError("unreadable", str(error)))
        except errors.HeadraceError as error:
            self._note_refusal(error)
            self._failed(file, error)

    def has_come_to_rest(self) -> bool:
        """Read the upload's status; whether it is finished and quiet.

        Raises Unreachable; any other failure ends this tenant's waiting.
        """
        try:
            self.status = self.client.status(self.token)
        except errors.Unreachable:
            raise
        except errors.HeadraceError as error:
            self._note_refusal(error)
            self.failures.append(Failure("", error.code, f"its status: {error.detail}"))
            return True
        return self.status.finished and self.grace.is_over(self.status.outcomes.parked)

    def fetch_rejects(self, folder: Path) -> None:
        """Write each chunk's refused records into `folder`. Raises Unreachable; keeps other
        failures. A file that is there already stays: somebody may be mending it."""
        for chunk, name in rejected.files_of(self.status.chunks if self.status else []):
            path = folder / name
            try:
                if path.exists():
                    self.progress.note(f"{path} is there already and was left as it is")
                else:
                    form = rejected.form_of(chunk)
                    self.client.download_rejects(self.token, chunk.chunk_id, path, form=form)
                self.rejects_files.append(path)
            except errors.Unreachable:
                raise
            except OSError as error:
                self.failures.append(Failure(name, "unwritable", str(error)))
            except errors.HeadraceError as error:
                self.failures.append(Failure(name, error.code, f"its rejects: {error.detail}"))

    def close_journal(self, landed: bool) -> None:
        """Let the next run open a new upload, if this one has every file; `landed` says that
        they must have come to rest, too."""
        if self.has_every_file and (not landed or (self.status and self.status.finished)):
            self.journal.close_upload()

    def _is_known(self, token: str) -> bool:
        try:
            self.client.status(token)
        except errors.UploadClosed:
            self.progress.note(
                f"the server no longer knows upload {token} of tenant {self.tenant.tenant_id}; "
                "opening a new one"
            )
            return False
        return True

    def _send(self, file: DataFile) -> None:
        digest = http.sha256_of(file.path)
        mark = " ".join((digest, http.own_delimiter(file.name, self.delimiter))).rstrip(" ")
        if self.journal.has_accepted(file.name, mark):
            self.progress.file_known(self.tenant.tenant_id, file.size)
            self.already_accepted.append(file.name)
            return
        accepted = self.client.send_file(
            file.path,
            self.token,
            sha256=digest,
            delimiter=self.delimiter,
            on_sent=lambda sent: self.progress.file_moved(self.tenant.tenant_id, file.name, sent),
        )
        self.journal.file_accepted(file.name, mark)
        self.sent.append(file.name)
        again = " (it was there already)" if accepted.replayed else ""
        self.progress.detail(f"{file.name}: accepted as chunk {accepted.chunk_id}{again}")

    def _failed(self, file: DataFile, error: errors.HeadraceError) -> None:
        self.failures.append(Failure(file.name, error.code, error.detail))
        self.progress.file_moved(self.tenant.tenant_id, file.name, 0)
        say = self.progress.detail if error is self.refusal else self.progress.note
        say(f"{file.name}: not accepted: {error.code}: {error.detail}")

    def refuse(self, error: errors.HeadraceError) -> None:
        """Remember a refusal that holds for every file of this tenant."""
        with self._lock:
            if self.refusal is None:
                self.refusal = error
                self.progress.note(
                    f"tenant {self.tenant.tenant_id}: refused: {error.code}: {error.detail}"
                )

    def _note_refusal(self, error: errors.HeadraceError) -> None:
        if isinstance(error, errors.KeyRefused | errors.UploadClosed):
            self.refuse(error)
        if isinstance(error, errors.UploadClosed):
            self.journal.close_upload()
