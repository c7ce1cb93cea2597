"""What the server answers, typed. Members a newer server adds are ignored."""

from typing import Any

import msgspec

from headrace.pipeline.formats import NDJSON


class Upload(msgspec.Struct, frozen=True):
    """An upload that takes files under its token."""

    upload_token: str
    status_url: str = ""


class AcceptedFile(msgspec.Struct, frozen=True):
    """A file that the server holds; it need not be sent again.

    `bytes` and `sha256` are of the body as the server received it. `replayed` says that this
    answer was given before and the file was already there.
    """

    upload_token: str
    chunk_id: int | str
    entity: str
    filename: str
    bytes: int
    sha256: str
    status: str
    status_url: str = ""
    replayed: bool = False


class Outcomes(msgspec.Struct, frozen=True):
    """How many lines ended how. Lines still on their way are in none of them."""

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    superseded: int = 0
    rejected: int = 0
    parked: int = 0
    unprocessed: int = 0

    @property
    def total(self) -> int:
        return sum(msgspec.structs.astuple(self))

    def __add__(self, other: "Outcomes") -> "Outcomes":
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Outcomes(*(mine + theirs for mine, theirs in pairs))


class FileCounts(msgspec.Struct, frozen=True):
    """How many files of an upload arrived, ended, and ended in failure."""

    received: int = 0
    finished: int = 0
    failed: int = 0


class EntityStatus(msgspec.Struct, frozen=True):
    """The figures of one record type."""

    files: int = 0
    lines_received: int = 0
    outcomes: Outcomes = Outcomes()


class ChunkStatus(msgspec.Struct, frozen=True):
    """The figures of one received file; `code` and `message` say why it failed."""

    chunk_id: int | str
    filename: str
    entity: str
    status: str
    format: str = NDJSON
    code: str | None = None
    message: str | None = None
    bytes: int = 0
    lines_received: int | None = None
    outcomes: Outcomes = Outcomes()


class UploadStatus(msgspec.Struct, frozen=True):
    """How far an upload is.

    `lines_per_second` is a rate of lines, `eta_seconds` the seconds left; None when unknown.
    """

    upload_token: str
    status: str
    finished: bool
    files: FileCounts = FileCounts()
    bytes_received: int = 0
    lines_received: int = 0
    outcomes: Outcomes = Outcomes()
    entities: dict[str, EntityStatus] = {}
    lines_per_second: float | None = None
    eta_seconds: float | None = None
    reject_codes: dict[str, int] = {}
    level_mismatches: int = 0
    chunks: list[ChunkStatus] = []

    @property
    def balanced(self) -> bool:
        """Whether every line received has its outcome."""
        return self.outcomes.total == self.lines_received


class Reject(msgspec.Struct, frozen=True):
    """A refused line: where it stands, and what was expected there.

    `line` counts from 1 and `offset` in bytes from 0, both in the file `filename`. `raw` is
    the line itself, where the server sends it along.
    """

    line: int
    code: str
    message: str
    offset: int | None = None
    stage: str | None = None
    field: str | None = None
    value: Any = None
    chunk_id: int | str = ""
    filename: str = ""
    raw: Any = None


class OrderedExport(msgspec.Struct, frozen=True):
    """An export that the server has queued."""

    export_id: str
    status: str = ""
    status_url: str = ""


class ExportStatus(msgspec.Struct, frozen=True):
    """How far an export is.

    `rows` and `bytes` are what has been written so far; `rows_expected` and `sha256`, the hex
    digest of the whole file, are None until they are known. `code` and `message` say why it
    failed. `eta_seconds` are the seconds left.
    """

    export_id: str
    status: str
    entity: str = ""
    format: str = ""
    compression: str = ""
    filename: str = ""
    rows: int = 0
    rows_expected: int | None = None
    bytes: int = 0
    sha256: str | None = None
    code: str | None = None
    message: str | None = None
    rows_per_second: float | None = None
    eta_seconds: float | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether it is still going to end."""
        return self.status in ("queued", "running")
