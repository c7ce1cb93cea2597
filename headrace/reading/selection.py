"""What is asked of a table: columns, conditions, an order, and where to go on.

Names are those of the entity's own columns, whatever a request calls them; values are the texts
that the columns' types travel in. Nothing that a caller wrote becomes a part of a statement.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from headrace.schema import Entity, Field, Index, JsonObject


class Operator(StrEnum):
    """How a column is compared with the values of a condition."""

    ONE_OF = "one of"  #: any of them
    FROM = "from"  #: the value, or more
    TO = "to"  #: the value, or less
    BEFORE = "before"  #: less than the value
    CONTAINS = "contains"  #: the value is a part of the text
    MISSING = "missing"  #: null; has no value


@dataclass(frozen=True, slots=True)
class Condition:
    """A column and what it is compared with; `values` are travelling texts."""

    field: Field
    operator: Operator
    values: tuple[str, ...] = ()

    @property
    def is_equality(self) -> bool:
        return self.operator == Operator.ONE_OF and len(self.values) == 1


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows of one entity. `order` names columns that are all ascending, or all descending.

    `after` holds the values of the row that the selection begins behind, one for each column of
    the order, none of which may be null in a row then. `prompt` asks for the first rows at once,
    whatever all of them cost: they come as an index has them, and are never sorted as a whole.
    """

    entity: Entity
    columns: tuple[Field, ...]
    conditions: tuple[Condition, ...] = ()
    order: tuple[Field, ...] = ()
    descending: bool = False
    after: tuple[str, ...] = ()
    limit: int | None = None
    prompt: bool = False

    @property
    def index(self) -> Index | None:
        """The declared index that has the chosen rows in their order, the most narrow one."""
        names = tuple(field.name for field in self.order)
        own = (index for index in self.entity.indexes if not index.optional)
        fitting = [index for index in own if self._begins(index, names)]
        return max(fitting, key=lambda index: index.columns.index(names[0]), default=None)

    def _begins(self, index: Index, names: tuple[str, ...]) -> bool:
        """Whether these columns come first in an index, behind those of which one value is chosen.

        There is none for rows in no order.
        """
        if not names or names[0] not in index.columns:
            return False
        fixed = {one.field.name for one in self.conditions if one.is_equality}
        at = index.columns.index(names[0])
        return fixed.issuperset(index.columns[:at]) and index.columns[at:][: len(names)] == names

    def is_chosen_within(self, index: Index) -> bool:
        """Whether an index has the key and all columns that the conditions name, some of which are
        not those that it is entered by.
        """
        if self.entity.key not in {field.name for field in self.order}:
            return False
        names = {one.field.name for one in self.conditions}
        entered = index.columns[: index.columns.index(self.order[0].name) + len(self.order)]
        return not names.issubset(entered) and names <= {*index.columns, *index.include}


class BadSelection(Exception):
    """What was asked for is not there to be asked; its text says what is."""


def columns_of(entity: Entity, names: Iterable[str] | None = None) -> tuple[Field, ...]:
    """The columns of these names in the order asked for; without names those of a record.

    A record's columns are what a file of the entity may bring, so that they can be sent again.
    Raises BadSelection for a name that is unknown or comes twice, and for no name at all.
    """
    if names is None:
        return entity.kept
    chosen = tuple(column(entity, name) for name in names)
    if not chosen:
        raise BadSelection(f"Name at least one column; known are {_listed(entity)}.")
    if len({field.name for field in chosen}) < len(chosen):
        raise BadSelection("A column is named twice.")
    return chosen


def column(entity: Entity, name: str) -> Field:
    """The column of that name. Raises BadSelection."""
    for field in entity.columns:
        if field.name == name:
            return field
    shown = name[:40] if name.isprintable() else "with that name"
    raise BadSelection(f"{entity.name} have no column {shown!r}; known are {_listed(entity)}.")


def key_order(entity: Entity) -> tuple[Field, ...]:
    """The order by identity, which every table has an index for."""
    return (entity.field(entity.key),)


def enters_index(entity: Entity, conditions: Iterable[Condition]) -> bool:
    """Whether an index begins with a column of which the conditions choose single values.

    A range does not count: to read a part of it behind a key, all of it has to be sorted.
    """
    single = (one.field.name for one in conditions if one.operator == Operator.ONE_OF)
    return not quick_columns(entity).isdisjoint(single)


def quick_columns(entity: Entity) -> set[str]:
    """The columns whose single values an index finds."""
    first = {entity.key, *entity.natural_keys}
    first |= {index.columns[0] for index in entity.indexes if not index.optional}
    first |= {entity.interval.owner} if entity.interval else set()
    first |= {entity.levels.owner} if entity.levels else set()
    return first


def is_comparable(field: Field) -> bool:
    """Whether conditions may name the column."""
    return not isinstance(field.type, JsonObject)


def _listed(entity: Entity) -> str:
    return ", ".join(field.name for field in entity.columns)
