"""The tables of recognitions, declared once as data.

The raw layer keeps what came, by batch; the domain layer is made of it by `transforms`. Every table
belongs to tenants: `tenant_id` begins each key and is not written here. `ddl` spells the tables for
each database; Django's models, the migrations and `supabase/migrations` are derived from them.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from headrace.schema import Constant, Integer, ServerNow, Text, Timestamp, Uuid


@dataclass(frozen=True, slots=True)
class Long:
    """A whole number of 64 bits."""


@dataclass(frozen=True, slots=True)
class Day:
    """A date of the calendar."""


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON document as text, to the byte as it came."""


ColumnType = Uuid | Text | Integer | Long | Day | Document | Timestamp


class Layer(StrEnum):
    """Where a table is: `raw` is a schema of its own where the database has schemas for it."""

    RAW = "raw"
    DOMAIN = "domain"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `minimum` is a check of numbers."""

    name: str
    type: ColumnType
    about: str
    null: bool = False
    default: Constant | ServerNow | None = None
    minimum: int | None = None


@dataclass(frozen=True, slots=True)
class Parent:
    """`columns`, with the tenant, are the key of a row of `table`, and go with it."""

    table: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table. Identity is (tenant, `key`); `increasing` names pairs of which the first is less."""

    name: str
    layer: Layer
    about: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    parent: Parent | None = None
    indexes: tuple[tuple[str, ...], ...] = ()
    increasing: tuple[tuple[str, str], ...] = ()

    @property
    def flat_name(self) -> str:
        """Its name where both layers share one schema."""
        return f"raw_{self.name}" if self.layer is Layer.RAW else self.name

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """The column called `name`. Raises KeyError if there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name!r}")


class Role(StrEnum):
    """Which of the two photos of a tray it is."""

    MAIN = "main"
    QUALIFYING = "qualifying"


class Kind(StrEnum):
    """What a model has detected."""

    DISH = "dish"
    PLATE = "plate"


class Intent(StrEnum):
    """What an object awaits."""

    PUT = "put"  #: it is being stored, and no row may name it yet
    RELEASE = "release"  #: a row has ceased to name it, and it goes unless another does


_NOW = ServerNow()
_ID = Column("recognition_id", Long(), "the number in the name of its folder", minimum=0)
_ROLE = Column("role", Text(10, tuple(Role)), "which of the two photos")
_BATCH = Column("batch_id", Text(64), "the load that brought it")
_LOADED = Column("loaded_at", Timestamp(), "when", default=_NOW)
_PATH = Column("path", Text(1024), "the file, from the dataset's folder on")
_PAYLOAD = Column("payload", Document(), "as it came")
_SIDES = (
    Column("width", Integer(), "pixels", minimum=1),
    Column("height", Integer(), "pixels", minimum=1),
)
_PHOTO = (
    Column("object_key", Text(255), "where the object store keeps it"),
    Column("sha256", Text(64), "of its bytes"),
    Column("bytes", Long(), "its length", minimum=1),
    *_SIDES,
    Column("media_type", Text(32), "of its bytes, whatever the file's name says"),
)
_ORIGIN = (_BATCH, _LOADED)
_OF_RECOGNITION = Parent("recognitions", ("recognition_id",))
_PLACE = Column("position", Integer(), "its place in the file, from 0", minimum=0)
_EXTERNAL = Column("external_id", Text(64), "the canteen's own id of the dish")
_NAME = Column("name", Text(255), "the dish")
_BATCHED = (("batch_id",),)

RECOGNITION_FILES = Table(
    "recognition_files",
    Layer.RAW,
    "The photos of a dataset, as they were found and stored.",
    ("recognition_id", "role"),
    (
        *(_ID, _ROLE, _PATH),
        Column("recognized_on", Day(), "the date in the files' names", null=True),
        *_PHOTO,
        *_ORIGIN,
    ),
    indexes=_BATCHED,
)
CORRECT_DISHES = Table(
    "correct_dishes",
    Layer.RAW,
    "The check of a tray: which dishes were on it.",
    ("recognition_id",),
    (_ID, _PATH, _PAYLOAD, *_ORIGIN),
    indexes=_BATCHED,
)
DISH_CATALOG = Table(
    "dish_catalog",
    Layer.RAW,
    "The menu of the day.",
    ("recognition_id",),
    (_ID, _PATH, _PAYLOAD, *_ORIGIN),
    indexes=_BATCHED,
)
QWEN_ANNOTATIONS = Table(
    "qwen_annotations",
    Layer.RAW,
    "What the model said of a photo.",
    ("recognition_id", "role"),
    (
        *(_ID, _ROLE, _PATH, _PAYLOAD),
        Column("refused", Document(), "places in it that were refused, such as dishes/0"),
        *(replace(side, about="pixels of the photo that it was held against") for side in _SIDES),
        *_ORIGIN,
    ),
    indexes=_BATCHED,
)
RECOGNITIONS = Table(
    "recognitions",
    Layer.DOMAIN,
    "A tray that was photographed twice.",
    ("recognition_id",),
    (_ID, Column("recognized_on", Day(), "the day, where names say it", null=True), *_ORIGIN),
    indexes=(*_BATCHED, ("recognized_on", "recognition_id")),
)
PHOTOS = Table(
    "recognition_photos",
    Layer.DOMAIN,
    "A photo of a tray.",
    ("recognition_id", "role"),
    (_ID, _ROLE, *_PHOTO),
    parent=_OF_RECOGNITION,
    indexes=(("object_key",),),
)
MENU_ITEMS = Table(
    "recognition_menu_items",
    Layer.DOMAIN,
    "A dish that was offered on the day.",
    ("recognition_id", "position"),
    (_ID, _PLACE, _EXTERNAL, _NAME),
    parent=_OF_RECOGNITION,
)
CHECKS = Table(
    "recognition_checks",
    Layer.DOMAIN,
    "What was on the tray, as the till has it.",
    ("recognition_id",),
    (
        _ID,
        Column("line_count", Integer(), "its lines", minimum=0),
        Column("dish_count", Long(), "dishes on all of them", minimum=0),
    ),
    parent=_OF_RECOGNITION,
)
CHECK_LINES = Table(
    "recognition_check_lines",
    Layer.DOMAIN,
    "A dish on a line of the check; a line with several says that it is one of them.",
    ("recognition_id", "line", "choice"),
    (
        _ID,
        Column("line", Integer(), "from 0", minimum=0),
        Column("choice", Integer(), "which of the line's dishes, from 0", minimum=0),
        Column("quantity", Integer(), "how many of it", minimum=1),
        _EXTERNAL,
        _NAME,
    ),
    parent=Parent("recognition_checks", ("recognition_id",)),
)
DETECTIONS = Table(
    "recognition_detections",
    Layer.DOMAIN,
    "A box in a photo in which the model sees something.",
    ("recognition_id", "role", "kind", "position"),
    (
        *(_ID, _ROLE),
        Column("kind", Text(10, tuple(Kind)), "what it sees"),
        *(_PLACE, Column("label", Text(255), "the model's own name for it")),
        Column("x_min", Integer(), "left edge in pixels", minimum=0),
        Column("y_min", Integer(), "upper edge in pixels", minimum=0),
        Column("x_max", Integer(), "right edge in pixels"),
        Column("y_max", Integer(), "lower edge in pixels"),
        _BATCH,
    ),
    parent=Parent("recognition_photos", ("recognition_id", "role")),
    indexes=_BATCHED,
    increasing=(("x_min", "x_max"), ("y_min", "y_max")),
)
INTENTS = Table(
    "recognition_intents",
    Layer.DOMAIN,
    "Objects that are being stored, or may have to go: what a kill leaves is found here.",
    ("attempt_id", "object_key"),
    (
        Column("attempt_id", Uuid(), "the transaction that it is of"),
        Column("object_key", Text(255), "the object"),
        Column("state", Text(10, tuple(Intent)), "what it awaits"),
        _BATCH,
        Column("created_at", Timestamp(), "when", default=_NOW),
    ),
    indexes=(("object_key",),),
)
STORES = Table(
    "recognition_stores",
    Layer.DOMAIN,
    "The object store's folder that is the tenant's: its object `owner` repeats this id.",
    ("store_id",),
    (Column("store_id", Uuid(), "made once"),),
)

#: All of them, each after those that it refers to.
TABLES: tuple[Table, ...] = (
    *(RECOGNITION_FILES, CORRECT_DISHES, DISH_CATALOG, QWEN_ANNOTATIONS),
    *(RECOGNITIONS, PHOTOS, MENU_ITEMS, CHECKS, CHECK_LINES, DETECTIONS),
    *(INTENTS, STORES),
)
BY_NAME = {table.flat_name: table for table in TABLES}
