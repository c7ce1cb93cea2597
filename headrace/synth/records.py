"""A block of records as columns of their entity; formats.py spells them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headrace.schema import Entity, FieldType, Text, Timestamp, Uuid
from headrace.synth.cells import Cells, as_pool, text_of

TENANT = "tenant_id"
Mask: TypeAlias = NDArray[np.bool_]  #: shape (rows,)


class OrNull(NamedTuple):
    """Cells of which only the `present` ones are values; the others are null."""

    cells: Cells
    present: Mask


#: Values without their quotes, text as it stands within a JSON string, objects as JSON.
#: Bytes are the same value in every record.
Column: TypeAlias = Cells | bytes | OrNull
Record: TypeAlias = Mapping[str, bytes]  #: the JSON spelling of each value; absent keys have none
_IN_JSON_STRINGS = Uuid | Text | Timestamp


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """One record a row. `spared` marks those that very many others refer to."""

    entity: Entity
    columns: Mapping[str, Column]
    spared: Mask | None = None

    def __len__(self) -> int:
        for column in self.columns.values():
            if isinstance(column, OrNull):
                return len(column.cells)
            if not isinstance(column, bytes):
                return len(column)
        raise ValueError("records need at least one column that is not constant")

    def record(self, row: int) -> Record:
        """The JSON spelling of each value of a row."""
        return {name: self._value(name, kind, row) for name, kind in self.types.items()}

    def keys(self, name: str, rows: slice) -> list[bytes]:
        """The ids in a column, one for each of the rows; empty for null."""
        column = self.columns[name]
        if isinstance(column, bytes):
            return [column] * len(range(len(self))[rows])
        if isinstance(column, OrNull):
            column = np.where(column.present[:, None], column.cells, 0).astype(np.uint8)
        found: list[bytes] = as_pool(column[rows]).tolist()
        return found

    def _value(self, name: str, kind: FieldType, row: int) -> bytes:
        column = self.columns[name]
        if isinstance(column, OrNull):
            if not column.present[row]:
                return b"null"
            column = column.cells
        text = column if isinstance(column, bytes) else text_of(column[row])
        return json_value(kind, text)

    @property
    def types(self) -> Mapping[str, FieldType]:
        """The type of each column, in the order in which records have them."""
        return types_of(self.entity)


def types_of(entity: Entity) -> dict[str, FieldType]:
    """The type of each key of a generated record: the declared fields, `tenant_id` after the id."""
    key, *others = entity.kept
    own = {key.name: key.type, TENANT: Uuid()}
    return own | {field.name: field.type for field in others}


def is_in_quotes(kind: FieldType) -> bool:
    """Whether values of this type are JSON strings."""
    return isinstance(kind, _IN_JSON_STRINGS)


def json_value(kind: FieldType, text: bytes) -> bytes:
    """A value with the quotes that JSON wants."""
    return b'"%s"' % text if is_in_quotes(kind) else text


class Template:
    """The records of one entity and tenant."""

    def __init__(self, entity: Entity, tenant_id: bytes) -> None:
        self._entity = entity
        self._tenant_id = tenant_id

    def records(self, columns: Mapping[str, Column], spared: Mask | None = None) -> Records:
        """A block of records from one column for every field that tables hold, all of one length.

        Raises ValueError if a field is left out or unknown.
        """
        differing = set(columns) ^ {field.name for field in self._entity.kept}
        if differing:
            raise ValueError(
                f"{self._entity.name}: the generator and the declaration differ in "
                f"{', '.join(sorted(differing))}"
            )
        return Records(self._entity, {**columns, TENANT: self._tenant_id}, spared)
