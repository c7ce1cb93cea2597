"""What to generate: sizes, presets and the shape of the files."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path


class Preset(StrEnum):
    """The sizes that have a name."""

    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class FormatName(StrEnum):
    """How records are written; formats.py spells each."""

    NDJSON = "ndjson"
    CSV = "csv"
    TSV = "tsv"


class Compression(StrEnum):
    """How whole files are compressed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much to generate. All but `tenants` count per tenant."""

    tenants: int = 10
    products: int = 500_000
    orders: int = 2_000_000
    customers: int = 10_000
    stock_events_per_product: int = 20
    price_intervals_per_product: int = 4
    items_per_order: float = 2.5


PRESETS: Mapping[Preset, Sizes] = {
    Preset.SMALL: Sizes(tenants=2, products=1_000, orders=5_000, customers=100),
    Preset.MEDIUM: Sizes(tenants=5, products=50_000, orders=100_000, customers=1_000),
    Preset.LARGE: Sizes(tenants=10, products=500_000, orders=2_000_000, customers=10_000),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole order to the generator.

    `until` is the day before which everything happens; orders fill the two years before it.
    `chunk_size` is in records, `faults` the share of them that are spoilt.
    """

    folder: Path
    sizes: Sizes = Sizes()
    seed: int = 42
    until: date = date(2024, 1, 1)
    chunk_size: int = 10_000
    compression: Compression = Compression.NONE
    format: FormatName = FormatName.NDJSON
    faults: float = 0
