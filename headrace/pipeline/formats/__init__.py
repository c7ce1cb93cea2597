"""The formats that files come in, by the names that a load carries."""

from collections.abc import Callable

from headrace.pipeline.formats import compression
from headrace.pipeline.formats.base import Format
from headrace.pipeline.formats.csv import Csv
from headrace.pipeline.formats.json_text import Json
from headrace.pipeline.formats.ndjson import NdJson

FORMATS = NDJSON, JSON, CSV = "ndjson", "json", "csv"
#: What a file's name may end in, before the ending of its compression.
ENDINGS = {".ndjson": NDJSON, ".jsonl": NDJSON, ".json": JSON, ".csv": CSV, ".tsv": CSV}
#: What a delimiter may be, by how a sender writes it.
DELIMITERS = {",": ",", ";": ";", "|": "|", "\t": "\t", "tab": "\t"}


def format_of_name(filename: str) -> str | None:
    """The format that a file's name ends in, compressed or not; None for another ending."""
    name = filename.lower()
    for packed in compression.ENDINGS.values():
        name = name.removesuffix(packed)
    return next((found for ending, found in ENDINGS.items() if name.endswith(ending)), None)


def format_of(name: str, delimiter: str = ",") -> Format:
    """The format called "ndjson", "json" or "csv". Raises KeyError for any other."""
    if name == CSV:
        return Csv(delimiter)
    return _WITHOUT_OPTIONS[name]()


_WITHOUT_OPTIONS: dict[str, Callable[[], Format]] = {NDJSON: NdJson, JSON: Json}
