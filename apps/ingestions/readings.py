"""How a received file is to be read: what its bytes, its name and its headers agree on."""

from typing import NamedTuple

from apps.core.problems import Problem
from headrace.pipeline.formats import CSV, DELIMITERS, ENDINGS, JSON, NDJSON
from headrace.pipeline.formats import compression as compressions

ACCEPTED = f"{', '.join(ENDINGS)}, as they are or with .gz or .zst"
LONGEST_MAGIC = 5
OTHER_MAGIC = {b"PK\x03\x04": "zip", b"\xfd7zXZ": "xz", b"BZh": "bzip2"}
# What a media type says; any other, and that of a form's default, says nothing.
MEDIA_TYPES = {
    "text/csv": {CSV},
    "application/csv": {CSV},
    "text/tab-separated-values": {CSV},
    "application/json": {JSON, NDJSON},
    "application/x-ndjson": {NDJSON, JSON},
    "application/jsonl": {NDJSON, JSON},
}
TABBED = "text/tab-separated-values"
PACKED = {"application/gzip": "gzip", "application/x-gzip": "gzip", "application/zstd": "zstd"}


class Reading(NamedTuple):
    """How to get from the stored bytes to records."""

    compression: str
    format: str
    delimiter: str


class Signs(NamedTuple):
    """What a file shows: its first bytes, its name, and what its sender says of it."""

    beginning: bytes
    filename: str
    content_type: str
    encoding: str
    format: str | None
    delimiter: str | None


def reading_of(signs: Signs) -> Reading:
    """Raises Problem where two signs contradict each other, or a format is not read."""
    if not signs.beginning:
        raise Problem("empty_file", "Send at least one line.")
    compression, stem = _compression(signs)
    format_ = _format(signs, stem)
    return Reading(compression, format_, _delimiter(signs, format_, stem))


def _compression(signs: Signs) -> tuple[str, str]:
    """The compression, and the file's name without its ending. The bytes decide."""
    found = compressions.compression_of(signs.beginning)
    for magic, kind in OTHER_MAGIC.items():
        if signs.beginning.startswith(magic):
            raise Problem("unsupported_format", f"Send plain, gzip or zstd, not {kind}.")
    if signs.encoding not in ("", "identity", *compressions.ENDINGS):
        raise Problem("unsupported_format", "Send Content-Encoding: gzip or zstd, or none.")
    stem = name = signs.filename.lower()
    claims = [signs.encoding.replace("identity", ""), PACKED.get(signs.content_type, "")]
    for kind, ending in compressions.ENDINGS.items():
        if name.endswith(ending):
            claims.append(kind)
            stem = name.removesuffix(ending)
    for claim in filter(None, claims):
        if claim != found:
            raise Problem("unsupported_format", f"The file is said to be {claim} but is not.")
    return found, stem


def _format(signs: Signs, stem: str) -> str:
    """What is asked for; else what the name says, else the media type, else JSON of any kind."""
    named = next((found for ending, found in ENDINGS.items() if stem.endswith(ending)), None)
    if "." in stem and named is None and signs.format is None:
        raise Problem("unsupported_format", f"Send {ACCEPTED}, or say ?format=.")
    said = MEDIA_TYPES.get(signs.content_type, set())
    if signs.format not in (None, NDJSON, JSON, CSV):
        raise Problem("unsupported_format", "Send format=ndjson, json or csv.")
    chosen = signs.format or named or next(iter(sorted(said)), JSON)
    for claim in ({named} if named else set(), said):
        if claim and chosen not in claim and not {chosen, *claim} <= {JSON, NDJSON}:
            raise Problem(
                "unsupported_format",
                f"The file is sent as {chosen} and named or declared as {' or '.join(claim)}.",
            )
    return chosen


def _delimiter(signs: Signs, format_: str, stem: str) -> str:
    if format_ != CSV:
        if signs.delimiter:
            raise Problem("invalid_request", "Only a CSV file has a delimiter.")
        return ","
    is_tabbed = stem.endswith(".tsv") or signs.content_type == TABBED
    wanted = signs.delimiter or ("tab" if is_tabbed else ",")
    if wanted not in DELIMITERS:
        raise Problem("invalid_request", "Send delimiter as one of , ; | or tab.")
    return DELIMITERS[wanted]
