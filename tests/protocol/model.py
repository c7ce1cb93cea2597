"""What ought to be: files, the rows of a shop, and what becomes of lines that land in it.

It knows nothing of leases, segments or databases. Whoever watches the service says which lines
landed in one transaction, and is told what must have become of them.
"""

import json
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

PARENTS = {"customers": None, "orders": "customers", "order_items": "orders"}
PRODUCT = UUID(int=9 << 120)
INSERTED, UPDATED, UNCHANGED, SUPERSEDED = "i", "u", "n", "s"
REJECTED, PARKED, UNPROCESSED, BLANK = "r", "p", "x", " "
WRITTEN = (INSERTED, UPDATED, UNCHANGED, SUPERSEDED)


class Line(NamedTuple):
    """A line of a file: a record of a small number, or one that is blank or broken."""

    key: int
    version: int
    parent: int
    is_record: bool = True
    text: str = ""

    def __repr__(self) -> str:
        return f"Line{tuple(self)[: 3 if self.is_record else 5]}"


LINES = [
    Line(key, version, parent) for key in range(4) for version in (1, 2) for parent in range(3)
]
LINES += [Line(0, 0, 0, False, ""), Line(0, 0, 0, False, "{broken")]


def key_of(entity: str, number: int) -> UUID:
    return UUID(int=(1 + list(PARENTS).index(entity) << 120) + number)


class Content(NamedTuple):
    """What a row says, but for what the service adds."""

    parent: UUID | None
    version: int


class Row(NamedTuple):
    content: Content
    sequence: tuple[int, int]


@dataclass
class File:
    """A received file, and what became of its lines as far as the service has told."""

    entity: str
    number: int
    lines: tuple[Line, ...]
    parks: bool
    is_planned: bool = False
    outcomes: dict[int, str] = field(default_factory=dict)
    expired: set[int] = field(default_factory=set)

    @property
    def data(self) -> bytes:
        return "".join(f"{self._text(line)}\n" for line in self.lines).encode()

    @property
    def records(self) -> list[int]:
        return [number for number, line in enumerate(self.lines, 1) if line.is_record]

    @property
    def received(self) -> int:
        return len(self.lines) - list(self.outcomes.values()).count(BLANK)

    def plan(self) -> None:
        """The file has been read to its end: what is broken has its outcome."""
        self.is_planned = True
        for number, line in enumerate(self.lines, 1):
            undecided = UNPROCESSED if line.is_record else REJECTED if line.text else BLANK
            self.outcomes[number] = undecided

    def forget(self) -> None:
        """Nothing of it has landed, and it is read anew."""
        self.is_planned = False
        self.outcomes = {}

    def key(self, number: int) -> UUID:
        return key_of(self.entity, self.lines[number - 1].key)

    def parent(self, number: int) -> UUID | None:
        above = PARENTS[self.entity]
        return above and key_of(above, self.lines[number - 1].parent)

    def content(self, number: int) -> Content:
        return Content(self.parent(number), self.lines[number - 1].version)

    def with_outcome(self, *outcomes: str) -> set[int]:
        return {number for number, outcome in self.outcomes.items() if outcome in outcomes}

    def _text(self, line: Line) -> str:
        if not line.is_record:
            return line.text
        key = key_of(self.entity, line.key)
        match self.entity:
            case "customers":
                more = {"customer_id": str(key), "name": str(line.version)}
            case "orders":
                more = {
                    "order_id": str(key),
                    "external_order_id": key.hex,
                    "customer_id": str(key_of("customers", line.parent)),
                    "total_amount": line.version,
                    "order_date": "2024-01-01T00:00:00",
                }
            case _:
                more = {
                    "order_item_id": str(key),
                    "order_id": str(key_of("orders", line.parent)),
                    "product_id": str(PRODUCT),
                    "quantity": line.version,
                    "unit_price": 1,
                    "line_total": 1,
                }
        return json.dumps(more)


class Shop:
    """The rows of a tenant."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[UUID, Row]] = {entity: {} for entity in PARENTS}

    def land(self, file: File, numbers: list[int]) -> dict[int, str]:
        """Land lines of a file in one transaction; what becomes of them."""
        orphans = [number for number in numbers if not self._has_parent(file, number)]
        found = dict.fromkeys(orphans, PARKED if file.parks else REJECTED)
        last = {file.key(number): number for number in numbers if number not in found}
        for number in numbers:
            if number not in found:
                is_last = last[file.key(number)] == number
                found[number] = self._write(file, number) if is_last else SUPERSEDED
        file.outcomes |= found
        return found

    def has(self, entity: str | None, key: UUID | None) -> bool:
        return entity is None or key in self.rows[entity]

    def _has_parent(self, file: File, number: int) -> bool:
        return self.has(PARENTS[file.entity], file.parent(number))

    def _write(self, file: File, number: int) -> str:
        rows, key = self.rows[file.entity], file.key(number)
        fresh = Row(file.content(number), (file.number, number))
        stored = rows.get(key)
        if stored is None:
            rows[key] = fresh
            return INSERTED
        is_newer = stored.sequence < fresh.sequence
        if is_newer:
            rows[key] = fresh
        if stored.content == fresh.content:
            return UNCHANGED
        return UPDATED if is_newer else SUPERSEDED


def newest(files: list[File]) -> dict[str, dict[UUID, Content]]:
    """What the tables must hold in the end: of each key the last line that was not refused."""
    rows: dict[str, dict[UUID, Content]] = {entity: {} for entity in PARENTS}
    for file in sorted(files, key=lambda file: file.number):
        for number in sorted(file.with_outcome(*WRITTEN)):
            rows[file.entity][file.key(number)] = file.content(number)
    return rows
