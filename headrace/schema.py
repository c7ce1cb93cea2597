"""The words in which a record type is declared.

Nothing here knows a database, a format or a framework: an `Entity` is data, and
everything else (tables, checks, promotion, generator, documentation) is derived from it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from graphlib import TopologicalSorter


@dataclass(frozen=True, slots=True)
class Uuid:
    """A canonical dashed UUID."""


@dataclass(frozen=True, slots=True)
class Text:
    """Unicode text of at most `max_length` code points; one of `choices` where they are given."""

    max_length: int
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Money:
    """An exact decimal with `digits` in all, `scale` of them behind the point."""

    digits: int = 19
    scale: int = 4
    minimum: int | None = None


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number of 32 bits; `nonzero` refuses 0."""

    minimum: int = -(2**31)
    maximum: int = 2**31 - 1
    nonzero: bool = False


@dataclass(frozen=True, slots=True)
class Boolean:
    """True or false."""


@dataclass(frozen=True, slots=True)
class Timestamp:
    """An instant, kept in UTC to the microsecond, between 1970 and 2200."""


@dataclass(frozen=True, slots=True)
class JsonObject:
    """A JSON object, compared by meaning and not by spelling."""


FieldType = Uuid | Text | Money | Integer | Boolean | Timestamp | JsonObject
Constant = str | int | bool


class ServerNow:
    """The default of a field that takes the database's time when a record leaves it out."""

    def __repr__(self) -> str:
        return "SERVER_NOW"


SERVER_NOW = ServerNow()


@dataclass(frozen=True, slots=True)
class Field:
    """One column and one key of a record.

    A field that is neither `required` nor given a `default` is NULL when a new record leaves
    it out. `null` says whether an explicit null may clear it.
    """

    name: str
    type: FieldType
    about: str
    required: bool = False
    null: bool = False
    default: Constant | ServerNow | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """`field` holds the key of a row of `entity` of the same tenant."""

    field: str
    entity: str


@dataclass(frozen=True, slots=True)
class Index:
    """A secondary index. The tenant's column always comes first and is not written here.

    `columns` may end in " desc". `where_true` or `where_present` name the column of a partial
    index; `include` lists covered columns. `method` "gin" and `optional` are made on request
    only (see docs/discussions.md for what they cost).
    """

    name: str
    columns: tuple[str, ...]
    include: tuple[str, ...] = ()
    where_true: str | None = None
    where_present: str | None = None
    method: str = "btree"
    optional: bool = False


@dataclass(frozen=True, slots=True)
class MinimumWhen:
    """`field` is at least `minimum` in records whose `when` equals `equals`."""

    field: str
    minimum: int
    when: str
    equals: str


@dataclass(frozen=True, slots=True)
class Before:
    """`earlier` is before `later`, where `later` is given."""

    earlier: str
    later: str


Check = MinimumWhen | Before


class Promotion(StrEnum):
    """How a checked row meets the row that the table already holds under its key."""

    UPSERT = "upsert"  #: insert, or change what differs if this record is newer
    APPEND = "append"  #: insert; the same again is unchanged, a different one is refused
    INTERVAL = "interval"  #: like upsert, and intervals of one owner never overlap


@dataclass(frozen=True, slots=True)
class Interval:
    """The half-open time range [start, end) of one `owner`; a missing end means still open."""

    owner: str
    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Entity:
    """A record type.

    `name` is the table's name and the prefix of its files; identity is (tenant, `key`). Each
    of `natural_keys` is unique per tenant too. `cluster_by` is the field whose ranges cut a
    file into segments (the key unless rows of one owner must meet).
    """

    name: str
    about: str
    key: str
    fields: tuple[Field, ...]
    promotion: Promotion = Promotion.UPSERT
    references: tuple[Reference, ...] = ()
    natural_keys: tuple[str, ...] = ()
    indexes: tuple[Index, ...] = ()
    checks: tuple[Check, ...] = ()
    interval: Interval | None = None
    cluster_by: str = ""

    @property
    def field_names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @property
    def segment_field(self) -> str:
        """The name of the field whose ranges cut a file into segments."""
        return self.cluster_by or self.key

    def field(self, name: str) -> Field:
        """The field called `name`. Raises KeyError if there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"{self.name} has no field {name!r}")


def load_order(entities: Iterable[Entity]) -> list[Entity]:
    """The entities, every one after all it refers to; ties keep the given order.

    Raises graphlib.CycleError if references form a circle.
    """
    by_name = {entity.name: entity for entity in entities}
    ranks = load_ranks(by_name.values())
    return sorted(by_name.values(), key=lambda entity: ranks[entity.name])


def load_ranks(entities: Iterable[Entity]) -> dict[str, int]:
    """For each entity's name the length of its longest chain of references, in entities.

    Two entities of one rank do not refer to each other and may load side by side.
    Raises graphlib.CycleError if references form a circle.
    """
    parents = {
        entity.name: {reference.entity for reference in entity.references} for entity in entities
    }
    ranks: dict[str, int] = {}
    for name in TopologicalSorter(parents).static_order():
        ranks[name] = 1 + max((ranks[parent] for parent in parents[name]), default=-1)
    return ranks
