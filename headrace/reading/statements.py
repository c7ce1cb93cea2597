"""A selection as SQL that every database shares, and the few spellings that differ.

Names come from declared entities only; values travel as parameters.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from headrace.pipeline.dialects.statements import TENANT
from headrace.reading.selection import Condition, Operator, Selection
from headrace.schema import Field, FieldType, Uuid


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a database spells what it does not share.

    `parameter` is a format string of {name} and {kind}; `contains` of {column} and {value}.
    `kind` names the type of a parameter, and `stored` makes of a travelling text what a column
    of that type is compared with.
    """

    parameter: str
    contains: str
    kind: Callable[[FieldType], str]
    stored: Callable[[FieldType, str], Any]


class Statement:
    """A statement in the making: its conditions, and the parameters that they have gathered."""

    def __init__(self, spelling: Spelling, tenant: UUID, selection: Selection) -> None:
        self._spelling = spelling
        self._selection = selection
        self.parameters: dict[str, Any] = {}
        self._tenant = self._parameter(Uuid(), str(tenant))
        self._conditions = [f"{TENANT} = {self._tenant}"]
        self._conditions += map(self._condition, selection.conditions)
        if selection.after:
            self._conditions.append(self._behind())

    def select(self, cells: str, hint: str = "") -> str:
        """The rows, `cells` being what is told of each; a hint follows the table's name.

        The order names the table: a cell that is called like its column is not the column.
        """
        selection = self._selection
        table = selection.entity.name
        order = self._ordered(f"{table}.{field.name}" for field in selection.order)
        parts = [f"SELECT {cells} FROM {table}{hint} WHERE {self._where}"]
        parts += [f"ORDER BY {order}"] if order else []
        parts += [f"LIMIT {selection.limit:d}"] if selection.limit is not None else []
        return " ".join(parts)

    def select_found(self, cells: str) -> str:
        """The same rows, found by what an index alone tells, and then looked up by their keys.

        The key must be one of the columns of the order.
        """
        entity, names = self._selection.entity, [field.name for field in self._selection.order]
        found = self.select(", ".join(f"{name} AS found_{name}" for name in names))
        return (
            f"SELECT {cells} FROM ({found}) found JOIN {entity.name}"
            f" ON {TENANT} = {self._tenant} AND {entity.key} = found_{entity.key}"
            f" ORDER BY {self._ordered(f'found_{name}' for name in names)}"
        )

    def _ordered(self, columns: Iterable[str]) -> str:
        direction = " DESC" if self._selection.descending else ""
        return ", ".join(f"{column}{direction}" for column in columns)

    def count(self) -> str:
        """How many rows there are, whatever the limit."""
        return f"SELECT count(*) FROM {self._selection.entity.name} WHERE {self._where}"

    @property
    def _where(self) -> str:
        return " AND ".join(self._conditions)

    def _parameter(self, kind: FieldType, text: str) -> str:
        name = f"p{len(self.parameters)}"
        self.parameters[name] = self._spelling.stored(kind, text)
        return self._spelling.parameter.format(name=name, kind=self._spelling.kind(kind))

    def _condition(self, condition: Condition) -> str:
        column, kind = condition.field.name, condition.field.type
        found = [self._parameter(kind, text) for text in condition.values]
        match condition.operator:
            case Operator.ONE_OF:
                return f"{column} IN ({', '.join(found)})"
            case Operator.FROM:
                return f"{column} >= {found[0]}"
            case Operator.TO:
                return f"{column} <= {found[0]}"
            case Operator.BEFORE:
                return f"{column} < {found[0]}"
            case Operator.CONTAINS:
                return self._spelling.contains.format(column=column, value=found[0])
            case Operator.MISSING:
                return f"{column} IS NULL"

    def _behind(self) -> str:
        """What comes after the row that `after` tells, in an order by one or more columns.

        That the first column is not before that row's follows from the rest, and is what an index
        is entered by where rows are not compared with rows.
        """
        beyond = "<" if self._selection.descending else ">"
        last = zip(self._selection.order, self._selection.after, strict=True)
        places = [(field.name, self._parameter(field.type, text)) for field, text in last]
        name, place = places[-1]
        behind = f"{name} {beyond} {place}"
        for name, place in reversed(places[:-1]):
            further = f"{name} {beyond} {place} OR {name} = {place} AND {behind}"
            behind = f"{name} {beyond}= {place} AND ({further})"
        return behind


def listed(fields: tuple[Field, ...], cell: Callable[[Field], str]) -> str:
    """The cells of columns, each under the column's name."""
    return ", ".join(
        spelled if (spelled := cell(field)) == field.name else f"{spelled} AS {field.name}"
        for field in fields
    )
