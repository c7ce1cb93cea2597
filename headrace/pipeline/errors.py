"""What can go wrong on the road, in one place: reject codes, failure codes, exceptions.

Clients match codes, people read messages; docs/errors.md is generated from this module.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Self

from headrace.pipeline.report import Reject


class _Coded(StrEnum):
    """A stable code with `advice`: what the sender can do."""

    advice: str

    def __new__(cls, code: str, advice: str) -> Self:
        member = str.__new__(cls, code)
        member._value_ = code
        member.advice = advice
        return member


class RejectCode(_Coded):
    """Why one line was refused."""

    BAD_ENCODING = "bad_encoding", "Send UTF-8 without NUL characters or lone surrogates."
    BAD_JSON = "bad_json", "Send one JSON object a line, nested at most 64 deep."
    BAD_CSV = "bad_csv", "Quote a cell as a whole, and double the quotes inside it."
    RAGGED_ROW = "ragged_row", "Give the row as many cells as the header has."
    DUPLICATE_KEY = "duplicate_key", "Name every key of an object once."
    LINE_TOO_LONG = "line_too_long", "Keep a line within 1 MiB."
    REQUIRED = "required", "Send the field, and not null."
    BAD_TYPE = "bad_type", "Send the JSON type that the field declares."
    BAD_UUID = "bad_uuid", "Send a dashed UUID, such as 123e4567-e89b-42d3-a456-426614174000."
    BAD_NUMBER = "bad_number", "Send a finite number within the field's digits and bounds."
    BAD_TIMESTAMP = "bad_timestamp", "Send ISO 8601 between 1970 and 2200, to the microsecond."
    BAD_CHOICE = "bad_choice", "Send one of the values that docs/entities.md lists."
    TOO_LONG = "too_long", "Shorten the text to the field's length."
    BAD_ORDER = "bad_order", "Let the earlier time be before the later one."
    BAD_OPERATION = "bad_operation", "Leave `_op` out or send `upsert`."
    FOREIGN_TENANT = "foreign_tenant", "Send your own tenant_id or leave it out."
    REFERENCE_MISSING = "reference_missing", "Send the row that is referred to, then this one."
    NATURAL_KEY_TAKEN = "natural_key_taken", "Use the id that already has this key."
    EVENT_CONFLICT = "event_conflict", "Give a different event an id of its own."
    NEGATIVE_LEVEL = (
        "negative_level",
        "Correct the event, send what came in first, or let the tenant have negative levels.",
    )
    LEVEL_CHANGED = "level_changed", "Look at the level that is there now, and count again."
    REFUSED_TOGETHER = "refused_together", "Mend the event that it names, and send both again."
    ONE_OF = "one_of", "Send exactly one of the two fields."
    INTERVAL_OVERLAP = "interval_overlap", "End the earlier interval before the next one begins."
    DATABASE_REFUSED = "database_refused", "Report the line: a check of ours is missing."


class FailureCode(_Coded):
    """Why a whole chunk ended without all its lines. Nothing of it is lost: the source is kept."""

    CORRUPT = "corrupt", "The compressed file is damaged or cut short: compress and send it again."
    BAD_HEADER = "bad_header", "Name the columns as docs/entities.md does, and send the file again."
    BAD_ARRAY = "bad_array", "Send one JSON array that ends, or one JSON object a line."
    BOMB = "decompression_bomb", "The file unpacks to more than is allowed: send smaller files."
    TOO_MANY_LINES = "too_many_lines", "Split the file below 200,000,000 lines."
    SOURCE_LOST = "source_lost", "The stored bytes are not those received: send the file again."
    SUM_RULE = "sum_rule", "The outcomes do not sum to the lines: report the chunk's id."
    READ_OTHERWISE = (
        "read_otherwise",
        "Resume the upload, or send the file again: another version of the program has begun it.",
    )
    QUARANTINED = "quarantined", "Processing died repeatedly: report the chunk's id."
    TOO_MANY_REJECTS = (
        "too_many_rejects",
        "Mend the rejected lines and send the file again, or resume with a higher limit.",
    )
    REJECTED_WHOLE = (
        "rejected_whole",
        "Mend the rejected lines and send the file again: nothing of it landed.",
    )
    TOO_LARGE_AT_ONCE = (
        "too_large_at_once",
        "Send smaller files, or use the error policy reject_failed.",
    )
    ROW_QUOTA = (
        "row_quota",
        "Resume the upload on another day (UTC), split the file, or ask for a higher quota.",
    )
    STORAGE_QUOTA = (
        "storage_quota",
        "Ask again when files that are kept have gone, or for a higher quota.",
    )
    CANCELLED = "cancelled", "Resume the upload, or send the file again."
    REFUSED_TOO_OFTEN = "refused_too_often", "The database refused many rows: report the chunk."


class HeadraceError(Exception):
    """Any error of ours. `retryable` says whether the same again may succeed."""

    retryable = False


class Retryable(HeadraceError):
    """The same transaction may succeed when it is run again: a deadlock, a lost connection."""

    retryable = True


class TookTooLong(Retryable):
    """The database gave a statement up. Unlike other troubles it may be the load's own fault."""


class Permanent(HeadraceError):
    """Trying again gives the same answer. `code` is stable.

    `received` is how many lines were counted before it was noticed; `rejects` are lines that
    were refused in a transaction that has been rolled back.
    """

    def __init__(
        self, code: FailureCode, message: str, received: int = 0, rejects: Sequence[Reject] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.received = received
        self.rejects = rejects


class Race(HeadraceError):
    """Another load took a key, or removed a parent, between the check and the write."""

    retryable = True


class DataRefused(HeadraceError):
    """The database refused a value that the checker let pass."""


class LeaseLost(HeadraceError):
    """Another worker has taken the job over: leave it alone, write nothing."""
