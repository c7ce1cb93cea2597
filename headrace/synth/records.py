"""From an entity's declaration to the text of its records."""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from headrace.schema import Entity, Text, Timestamp, Uuid
from headrace.synth.cells import Cells, joined


class Json(NamedTuple):
    """Cells that hold whole JSON values and are written as they are, whatever the field's type."""

    cells: Cells


Column: TypeAlias = Cells | bytes | Json  #: bytes: the same value in every record


class Template:
    """The records of one entity and tenant: the declared fields, `tenant_id` after the key."""

    def __init__(self, entity: Entity, tenant_id: bytes) -> None:
        self._entity = entity
        self._tenant_id = tenant_id
        key, *others = entity.field_names
        self._names = (key, "tenant_id", *others)

    def records(self, columns: Mapping[str, Column]) -> Cells:
        """A block of records, one a row, each ended by a line feed.

        `columns` holds one column for every field of the entity, all of the same length.
        Raises ValueError if a field is left out or unknown.
        """
        self._check(columns)
        parts: list[bytes | Cells] = []
        for name in self._names:
            value = self._tenant_id if name == "tenant_id" else columns[name]
            parts += self._member(name, value)
        return joined(_rows(columns), b"{", *parts[1:], b"}\n")

    def _member(self, name: str, value: Column) -> list[bytes | Cells]:
        start = b'"%s":' % name.encode()
        if isinstance(value, Json):
            return [b",", start, value.cells]
        quote = b'"' if self._is_quoted(name) else b""
        return [b",", start + quote, value, quote]

    def _is_quoted(self, name: str) -> bool:
        if name == "tenant_id":
            return True
        return isinstance(self._entity.field(name).type, Uuid | Text | Timestamp)

    def _check(self, columns: Mapping[str, Column]) -> None:
        differing = set(columns) ^ set(self._entity.field_names)
        if differing:
            raise ValueError(
                f"{self._entity.name}: the generator and the declaration differ in "
                f"{', '.join(sorted(differing))}"
            )


def _rows(columns: Mapping[str, Column]) -> int:
    for column in columns.values():
        if isinstance(column, Json):
            return len(column.cells)
        if not isinstance(column, bytes):
            return len(column)
    raise ValueError("records need at least one column that is not constant")
