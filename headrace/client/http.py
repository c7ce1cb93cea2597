"""The HTTP client: uploads, files, progress, rejects, exports; for integrators and our commands.

with HeadraceClient("http://localhost:8000", api_key) as client:
    upload = client.open_upload()
    client.send_file(Path("orders_….ndjson"), upload.upload_token)
    print(client.status(upload.upload_token).outcomes)
"""

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

import headrace
from headrace.client import errors
from headrace.client.answers import (
    AcceptedFile,
    ExportStatus,
    OrderedExport,
    Reject,
    Upload,
    UploadStatus,
)
from headrace.client.downloads import Sink
from headrace.client.rejected import Download
from headrace.client.retries import OnRetry, Patience, patiently
from headrace.pipeline.formats import CSV, NDJSON, format_of_name

T = TypeVar("T")

#: Called with the bytes of the file sent so far; falls back when a try starts anew.
OnSent = Callable[[int], None]

API_PATH = "/api/v1"
FILES_PATH = "/ingest/comprehensive/"
RETRY_FOR = 300.0
#: Patience, in seconds, with a server that has not answered yet or wore out the last request's.
FIRST_CONTACT = 10.0
# A file's answer comes after the server has flushed it to disk, hence the long read.
TIMEOUT = httpx2.Timeout(connect=10, write=60, read=120, pool=None)
_PIECE = 256 * 1024
MEDIA_TYPES = {
    ".gz": "application/gzip",
    ".zst": "application/zstd",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".ndjson": "application/x-ndjson",
}


class HeadraceClient:
    """One API key's view of a server. Threads may share it.

    `api_url` is the server's root, with or without /api/v1. Failures that may pass (no
    connection, in flight, over a limit, out of space, 5xx) are tried again for `retry_for`
    seconds, and `on_retry` hears of each; `http` lends a connection pool, which stays open.
    Every method raises `errors.HeadraceError` with `code`, `status` and `retryable`.
    """

    def __init__(
        self,
        api_url: str,
        api_key: str,
        *,
        retry_for: float = RETRY_FOR,
        on_retry: OnRetry = lambda error, wait: None,
        http: httpx2.Client | None = None,
    ) -> None:
        self.base_url = base_url(api_url)
        self._key = api_key
        self._retry_for = retry_for
        self._on_retry = on_retry
        self._lent = http is not None
        self._http = http or httpx2.Client(timeout=TIMEOUT)
        self._reached = False
        self._seen: dict[str, tuple[str, UploadStatus]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, unless they were lent."""
        if not self._lent:
            self._http.close()

    def open_upload(self, idempotency_key: str | None = None) -> Upload:
        """A new upload, or the one that was opened with this key before (1-255 ASCII signs)."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        response = self._patiently(
            self._patience(),
            lambda: self._ask("POST", "/ingest/sessions/", headers=headers, json={}),
        )
        return _decoded(response, Upload)

    def send_file(
        self,
        path: Path,
        upload_token: str,
        *,
        sha256: str | None = None,
        delimiter: str = "",
        on_sent: OnSent = lambda sent: None,
    ) -> AcceptedFile:
        """Stream the file at `path` into an upload; memory does not grow with its size.

        The file's name must begin with its record type and end in its format (`orders_….csv`,
        `.ndjson.gz`). A CSV file with another delimiter than a comma (a tab for .tsv) needs it.
        Calling this again for the same bytes, name and upload lands them once. `sha256` is the
        file's hex digest, if known. Raises FileChanged if the file is written to meanwhile,
        OSError if it cannot be read.
        """
        digest = sha256 or sha256_of(path)
        patience = self._patience()

        def request() -> httpx2.Response:
            with path.open("rb") as file:
                place = FILES_PATH + _query(path.name, delimiter)
                headers = _file_headers(path.name, upload_token, digest, delimiter)
                return self._send_body(file, place, headers, patience, on_sent)

        response = self._patiently(patience, request)
        accepted = _decoded(response, AcceptedFile)
        if accepted.sha256 != digest:
            raise errors.FileChanged(
                "file_changed", f"{path.name} changed while it was sent; send it again"
            )
        replayed = response.headers.get("Idempotency-Replayed") == "true"
        return msgspec.structs.replace(accepted, replayed=replayed)

    def status(self, upload_token: str) -> UploadStatus:
        """How far an upload is. Cheap to poll: an unchanged status is not sent again."""
        tag, seen = self._seen.get(upload_token, ("", None))
        headers = {"If-None-Match": tag} if tag else {}
        path = f"/ingest/sessions/{quote(upload_token, safe='')}/status/"
        response = self._patiently(
            self._patience(), lambda: self._ask("GET", path, headers=headers)
        )
        if response.status_code == 304 and seen is not None:
            return seen
        status = _decoded(response, UploadStatus)
        self._seen[upload_token] = (response.headers.get("ETag", ""), status)
        return status

    def rejects(self, upload_token: str) -> Iterator[Reject]:
        """Every refused line of an upload, streamed in the server's order.

        Opening the stream is tried again; a stream that breaks raises Unreachable.
        """
        path = f"/ingest/sessions/{quote(upload_token, safe='')}/rejects/"
        response = self._patiently(
            self._patience(), lambda: self._ask("GET", path, headers={}, stream=True)
        )
        try:
            for line in response.iter_lines():
                if line:
                    yield msgspec.json.decode(line, type=Reject)
        except httpx2.TransportError as error:
            raise errors.of_transport(error) from error
        finally:
            response.close()

    def download_rejects(
        self, upload_token: str, chunk_id: int | str, path: Path, *, form: str = NDJSON
    ) -> None:
        """Write a chunk's refused records to `path`, as NDJSON or CSV to mend and send again.

        Streamed; a stream that breaks is continued, and `path` is there whole or not at all.
        Raises OSError if it cannot be written.
        """
        place = f"/ingest/sessions/{quote(upload_token, safe='')}/rejects/"
        query = f"?form=records&format={form}&chunk={quote(str(chunk_id), safe='')}"
        patience = self._patience()
        with Download(path) as download:
            self._patiently(patience, lambda: self._take(download, place + query, patience))

    def order_export(
        self, tenant_id: str, asked: Mapping[str, Any], idempotency_key: str | None = None
    ) -> OrderedExport:
        """Order an export, or hear of the one that was ordered with this key before.

        `asked` is the request as docs/exports.md has it: `entity`, `format`, `filters`, ….
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        place = _exports(tenant_id)
        response = self._patiently(
            self._patience(), lambda: self._ask("POST", place, headers=headers, json=dict(asked))
        )
        return _decoded(response, OrderedExport)

    def export_status(self, tenant_id: str, export_id: str) -> ExportStatus:
        """How far an export is."""
        place = f"{_exports(tenant_id)}/{quote(export_id, safe='')}/"
        response = self._patiently(self._patience(), lambda: self._ask("GET", place, headers={}))
        return _decoded(response, ExportStatus)

    def download_export(self, tenant_id: str, export_id: str, into: Sink) -> None:
        """Bring the bytes of a completed export, or what `into` lacks of them.

        Streamed; a stream that breaks is continued. The digest is left to the caller.
        """
        place = f"{_exports(tenant_id)}/{quote(export_id, safe='')}/download"
        patience = self._patience()
        self._patiently(patience, lambda: self._take(into, place, patience))

    def _take(self, download: Sink, path: str, patience: Patience) -> httpx2.Response:
        headers = {"Accept-Encoding": "identity", **download.headers}
        try:
            response = self._ask("GET", path, headers=headers, stream=True)
        except errors.Refused as error:
            if error.status != httpx2.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
            download.start_anew()  # all had come but the end of the answer
            raise errors.Unreachable(error.code, error.detail, status=error.status) from error
        try:
            download.take(response, patience.moved)
        except httpx2.TransportError as error:
            patience.came(download.size)
            raise errors.of_transport(error) from error
        finally:
            response.close()
        return response

    def _send_body(
        self,
        file: BinaryIO,
        place: str,
        headers: dict[str, str],
        patience: Patience,
        on_sent: OnSent,
    ) -> httpx2.Response:
        size = file.seek(0, 2)
        file.seek(0)
        body = _pieces(file, size, Path(file.name).name, patience, on_sent)
        sized = {**headers, "Content-Length": str(size)}
        return self._ask("POST", place, headers=sized, content=body)

    def _ask(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str],
        content: Iterator[bytes] | None = None,
        json: object = None,
        stream: bool = False,
    ) -> httpx2.Response:
        """One try. Raises HeadraceError unless the answer is 2xx or 304."""
        request = self._http.build_request(
            method,
            self.base_url + path,
            headers={**headers, "X-API-Key": self._key, "User-Agent": _USER_AGENT},
            content=content,
            json=json,
        )
        try:
            response = self._http.send(request, stream=stream)
            if response.is_success or response.status_code == 304:
                return response
            response.read()
        except httpx2.TransportError as error:
            raise errors.of_transport(error) from error
        response.close()
        raise errors.of_answer(response)

    def _patience(self) -> Patience:
        """Long with a server known to answer; short before that, so that N files cannot each
        wait out a server that is gone."""
        seconds = self._retry_for if self._reached else min(self._retry_for, FIRST_CONTACT)
        return Patience(seconds, self._on_retry)

    def _patiently(
        self, patience: Patience, request: Callable[[], httpx2.Response]
    ) -> httpx2.Response:
        try:
            response = patiently(patience, request)
        except errors.HeadraceError as error:
            self._reached = not error.retryable
            raise
        self._reached = True
        return response


def _exports(tenant_id: str) -> str:
    return f"/tenants/{quote(tenant_id, safe='')}/reports/export"


def _file_headers(name: str, token: str, digest: str, delimiter: str) -> dict[str, str]:
    return {
        "Content-Type": content_type(name),
        "X-Filename": quote(name, safe=" ()+,;=@[]"),  # a header is ASCII, a name may not be
        "Upload-Token": token,
        "Idempotency-Key": file_key(token, name, digest, own_delimiter(name, delimiter)),
    }


def own_delimiter(filename: str, delimiter: str) -> str:
    """The delimiter that a file must be sent with, "" for what its name says already."""
    is_csv = format_of_name(filename) == CSV and ".tsv" not in filename.lower()
    return delimiter if is_csv else ""


def _query(name: str, delimiter: str) -> str:
    own = own_delimiter(name, delimiter)
    return f"?delimiter={quote(own, safe='')}" if own else ""


def base_url(api_url: str) -> str:
    """The URL that the API's paths follow, without a slash at its end."""
    return api_url.strip().rstrip("/").removesuffix(API_PATH) + API_PATH


def content_type(filename: str) -> str:
    """The media type of a data file, by its ending."""
    ending = next((one for one in MEDIA_TYPES if filename.lower().endswith(one)), "")
    return MEDIA_TYPES.get(ending, "application/octet-stream")


def sha256_of(path: Path) -> str:
    """The hex digest of a file's bytes. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_key(upload_token: str, filename: str, sha256: str, delimiter: str = "") -> str:
    """The idempotency key of a file in an upload, 64 hexadecimal digits.

    The name takes part, so that two files of equal bytes are two files; so does a delimiter, so
    that a file can be sent again with the right one.
    """
    told = f"{upload_token}\n{filename}\n{sha256}" + (f"\n{delimiter}" if delimiter else "")
    return hashlib.sha256(told.encode()).hexdigest()


def _pieces(
    file: BinaryIO, size: int, name: str, patience: Patience, on_sent: OnSent
) -> Iterator[bytes]:
    """Exactly `size` bytes of the file: the Content-Length that was promised."""
    sent = 0
    on_sent(0)
    while sent < size:
        piece = file.read(min(_PIECE, size - sent))
        if not piece:
            raise errors.FileChanged("file_changed", f"{name} became shorter while it was sent")
        yield piece
        sent += len(piece)
        patience.moved()
        on_sent(sent)


def _decoded(response: httpx2.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(response.content, type=kind)
    except msgspec.MsgspecError as error:
        raise errors.BadAnswer(
            "bad_answer",
            f"{response.request.url} is not a Headrace this client understands: {error}",
            status=response.status_code,
        ) from error


_USER_AGENT = f"headrace/{headrace.__version__}"
