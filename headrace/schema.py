"""The words in which a record type is declared.

Nothing here knows a database, a format or a framework: an `Entity` is data, and
everything else (tables, checks, promotion, generator, documentation) is derived from it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
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
    it out. `null` says whether an explicit null may clear it. A `transient` one says what is to
    be done, and no column of the target table holds it.
    """

    name: str
    type: FieldType
    about: str
    required: bool = False
    null: bool = False
    default: Constant | ServerNow | None = None
    transient: bool = False

    @property
    def staged(self) -> str:
        """Its column in staging tables; that of a transient field may not be a word of SQL."""
        return f"asked_{self.name}" if self.transient else self.name


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


@dataclass(frozen=True, slots=True)
class OneOf:
    """Exactly one of two fields is given, and not null."""

    one: str
    other: str


@dataclass(frozen=True, slots=True)
class OnlyWith:
    """`field` is given only where `other` is given too."""

    field: str
    other: str


Check = MinimumWhen | Before | OneOf | OnlyWith


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
class Levels:
    """Rows are movements: each changes the level of its `owner` by `change`.

    The target table numbers the movements of an owner without gaps (`number`) and holds in
    `level` what each led to; what a record says there is a claim, kept in `claimed` and never
    believed. Instead of the change a record may say the level itself (`target`), and which one it
    expects to find (`expected`). `table` holds the level of every owner.
    """

    owner: str
    change: str
    level: str
    target: str
    expected: str
    table: str
    number: str = "sequence"
    claimed: str = "claimed_level"

    @property
    def columns(self) -> "tuple[Field, ...]":
        """What the movements' table has besides what records say."""
        return (
            Field(self.claimed, Integer(), f"the {self.level} of the record, if any", null=True),
            Field(self.number, Integer(), "place among its owner's movements, from 1", default=0),
        )


@dataclass(frozen=True, slots=True)
class Days:
    """Figures are kept by day, and `table` lists the days whose rows have changed since.

    The day, in UTC, is that of `moment`: a field of the row itself or, where `parent` names a
    reference, of the row that it refers to.
    """

    moment: str
    parent: str = ""
    table: str = "dirty_days"

    @property
    def decided_by(self) -> str:
        """The field of the row itself that says which day it belongs to."""
        return self.parent or self.moment


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
    levels: Levels | None = None
    days: Days | None = None
    cluster_by: str = ""

    def __hash__(self) -> int:
        """Cheap: what is derived from an entity is kept by it."""
        return hash(self.name)

    @property
    def kept(self) -> tuple[Field, ...]:
        """The fields that have a column."""
        return tuple(field for field in self.fields if not field.transient)

    @property
    def columns(self) -> tuple[Field, ...]:
        """What the target table holds besides the tenant and the source sequence."""
        if self.levels is None:
            return self.kept
        always = (self.levels.change, self.levels.level)
        kept = (
            replace(field, null=False) if field.name in always else field for field in self.kept
        )
        return (*kept, *self.levels.columns)

    @property
    def as_sent(self) -> tuple[Field, ...]:
        """The columns that hold what a record says, or its default."""
        if self.levels is None:
            return self.columns
        ours = {self.levels.level, self.levels.claimed, self.levels.number}
        return tuple(field for field in self.columns if field.name not in ours)

    @property
    def level_table(self) -> "Entity | None":
        """The table of the owners' levels; no record is ever sent to it."""
        if self.levels is None:
            return None
        levels = self.levels
        parent = next(ref for ref in self.references if ref.field == levels.owner)
        return Entity(
            name=levels.table,
            about=f"The level that the {self.name} of each {levels.owner} have led to.",
            key=levels.owner,
            fields=(
                Field(levels.owner, Uuid(), "whose level", required=True),
                Field("level", Integer(), "the sum of all its movements", required=True),
                Field(levels.number, Integer(), "how many movements there are", required=True),
                Field("changed_at", Timestamp(), "when it last moved", default=SERVER_NOW),
            ),
            references=(parent,),
            indexes=(Index(f"{levels.table}_level_idx", ("level", levels.owner)),),
        )

    @property
    def field_names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @property
    def segment_field(self) -> str:
        """The name of the field whose ranges cut a file into segments."""
        return self.cluster_by or self.key

    def field(self, name: str) -> Field:
        """The field or column called `name`. Raises KeyError if there is none."""
        for field in (*self.fields, *(self.levels.columns if self.levels else ())):
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
