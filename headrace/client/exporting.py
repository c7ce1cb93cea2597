"""One export brought home: ordered once, waited for, fetched into a file, whatever breaks.

Beside FILE stand, until it is whole:

    FILE.part       the bytes that have come
    FILE.part.json  the journal, replaced as a whole: what was asked and the idempotency key,
                    before it is asked; then the export's id; then its digest and ETag, before
                    a byte of it is kept
    FILE.part.lock  while a client is at work on it

A kill at any instant leaves a state that the same command goes on from: an order whose answer was
lost is replayed, bytes that have come are not asked for again, and FILE is there whole or not.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from headrace.client import durable, http, locking
from headrace.client.answers import ExportStatus
from headrace.client.downloads import PartFile, Pipe
from headrace.client.errors import NotExported, UploadClosed

_FIRST_LOOK = 0.1
_SLOWEST_LOOK = 3.0


class PlaceError(Exception):
    """The file is there, is another client's or another export's, or cannot be written."""


class Watcher(Protocol):
    """Who is told how far it is."""

    def note(self, text: str) -> None:
        """Something that everyone should see."""

    def written(self, status: ExportStatus) -> None:
        """The server writes it."""

    def fetched(self, size: int, total: int) -> None:
        """So many of its bytes have come."""


class Wanted(msgspec.Struct, frozen=True):
    """A request for an export, to a server; equal ones are the same command."""

    api_url: str
    tenant_id: str
    asked: dict[str, Any]


class Page(msgspec.Struct, frozen=True):
    """The journal. `key` is an idempotency key; `replaces` says that FILE may be replaced."""

    wanted: Wanted
    key: str
    replaces: bool = False
    export_id: str = ""
    sha256: str = ""
    etag: str = ""


class Fetched(msgspec.Struct, frozen=True):
    """An export that is there. `bytes_before` had come in earlier runs."""

    status: ExportStatus
    continued: bool
    bytes_before: int


class Place:
    """The file of an export, and what stands beside it until it is whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self.journal = path.with_name(f"{path.name}.part.json")
        self._lock = path.with_name(f"{path.name}.part.lock")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no other client work on the file meanwhile. Raises PlaceError."""
        if self.path.is_dir() or not self.path.parent.is_dir():
            raise PlaceError(f"{self.path} is no place for a file: expected one in a folder")
        with locking.alone(self._lock) as holder:
            if holder:
                raise PlaceError(
                    f"another client (process {holder}) is at work on {self.path}; wait for it or"
                    " end it"
                )
            yield

    def page(self, wanted: Wanted, *, restart: bool) -> Page:
        """What an earlier run has noted, or a new page. Raises PlaceError."""
        page = None if restart else self._read()
        if page is None:
            if self.path.exists() and not restart:
                raise PlaceError(f"{self.path} is there already; --restart makes it anew")
            self.part.unlink(missing_ok=True)
            return self.write(Page(wanted, str(uuid.uuid4()), replaces=self.path.exists()))
        if page.wanted != wanted:
            raise PlaceError(
                f"{self.part} belongs to another export, as {self.journal} says: give the same"
                " options as before, or another --out, or --restart to begin anew"
            )
        if self.path.exists() and not page.replaces and not self.is_moved(page):
            raise PlaceError(f"{self.path} has come to be there; --restart makes it anew")
        return page

    def write(self, page: Page) -> Page:
        """Note a page durably, and give it back."""
        durable.replace(self.journal, msgspec.json.format(msgspec.json.encode(page)))
        return page

    def is_moved(self, page: Page) -> bool:
        """Whether all was done but the removal of the journal."""
        if not page.sha256 or self.part.exists() or not self.path.exists():
            return False
        return http.sha256_of(self.path) == page.sha256

    def finish(self) -> None:
        """Put the whole part in the place of the file."""
        durable.move(self.part, self.path)
        self.journal.unlink()

    def _read(self) -> Page | None:
        try:
            return msgspec.json.decode(self.journal.read_bytes(), type=Page)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise PlaceError(
                f"cannot read the journal {self.journal}: {error}; --restart begins anew"
            ) from error


class Exporting:
    """An export on its way. Raises HeadraceError, NotExported if it will not come, and OSError."""

    def __init__(self, client: http.HeadraceClient, wanted: Wanted, watcher: Watcher) -> None:
        self._client = client
        self._wanted = wanted
        self._watcher = watcher
        self.export_id = ""

    def to_file(self, place: Place, *, restart: bool) -> Fetched:
        """Bring it into a file, going on from what earlier runs left. Raises PlaceError."""
        with place.held():
            page = place.page(self._wanted, restart=restart)
            continued = bool(page.export_id)
            page = self._ordered(page, place)
            status = self._written()
            if place.is_moved(page):
                place.journal.unlink()
                return Fetched(status, continued, status.bytes)
            before = self._fetch(page, status, place)
            place.finish()
        return Fetched(status, continued, before)

    def to_stdout(self, out: BinaryIO) -> Fetched:
        """Write it to a stream as it comes; nothing remembers how far that went."""
        self._order(str(uuid.uuid4()))
        status = self._written()
        pipe = Pipe(out, lambda size: self._watcher.fetched(size, status.bytes))
        if status.bytes:
            self._client.download_export(self._wanted.tenant_id, self.export_id, pipe)
        out.flush()
        if pipe.sha256 != status.sha256:
            raise _damaged(status, pipe)
        return Fetched(status, False, 0)

    def _ordered(self, page: Page, place: Place) -> Page:
        if page.export_id:
            self.export_id = page.export_id
            self._watcher.note(f"continuing export {self.export_id}")
            return page
        self._order(page.key)
        return place.write(msgspec.structs.replace(page, export_id=self.export_id))

    def _order(self, key: str) -> None:
        ordered = self._client.order_export(self._wanted.tenant_id, self._wanted.asked, key)
        self.export_id = ordered.export_id

    def _written(self) -> ExportStatus:
        """Its status once the server has written it whole."""
        pause = _FIRST_LOOK
        while (status := self._status()).is_at_work:
            self._watcher.written(status)
            time.sleep(pause)
            pause = min(_SLOWEST_LOOK, pause * 1.5)
        if status.status != "completed":
            raise _ended(status)
        return status

    def _status(self) -> ExportStatus:
        try:
            return self._client.export_status(self._wanted.tenant_id, self.export_id)
        except UploadClosed as error:
            if error.code != "not_found":
                raise  # this is another service's URL
            raise NotExported(
                error.code, f"the server no longer knows export {self.export_id}"
            ) from error

    def _fetch(self, page: Page, status: ExportStatus, place: Place) -> int:
        """Bring what is missing, and all of it once more where the digest is another one; the
        number of bytes that were there before.
        """
        page = place.write(msgspec.structs.replace(page, sha256=status.sha256 or ""))
        part = PartFile(
            place.part,
            page.etag,
            lambda etag: place.write(msgspec.structs.replace(page, etag=etag)),
            lambda size: self._watcher.fetched(size, status.bytes),
        )
        before = part.size
        if self._is_whole(part, status):
            return before
        self._watcher.note("what has come has another digest than the export: fetching it anew")
        part.start_anew()
        if self._is_whole(part, status):
            return 0
        place.part.unlink()
        raise _damaged(status, part)

    def _is_whole(self, part: PartFile, status: ExportStatus) -> bool:
        if part.size < status.bytes:
            self._download(part)
        return part.sha256 == status.sha256

    def _download(self, part: PartFile) -> None:
        try:
            self._client.download_export(self._wanted.tenant_id, self.export_id, part)
        except UploadClosed as error:
            raise NotExported(
                error.code, f"export {self.export_id} cannot be downloaded: {error.detail}"
            ) from error


def _ended(status: ExportStatus) -> NotExported:
    why = ": ".join(filter(None, (status.code, status.message)))
    return NotExported(
        f"export_{status.status}",
        f"export {status.export_id} is {status.status}" + (f": {why}" if why else ""),
    )


def _damaged(status: ExportStatus, came: PartFile | Pipe) -> NotExported:
    return NotExported(
        "digest_mismatch",
        f"export {status.export_id} arrives as {came.size:,} bytes with the digest {came.sha256},"
        f" and was written as {status.bytes:,} bytes with {status.sha256}: what the server keeps of"
        " it is damaged",
    )
