"""Records → rows that are ready to stage, by the native scanner where it has been built.

The scanner passes what is clean at once. Every other record goes to `closer`, which may be slow:
it reads it by the rules of its format's module, or finds out what is wrong with it. Without the
scanner every record does. Both ways give the same rows.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

import numpy as np

from headrace.pipeline import ties, values
from headrace.pipeline.load import Load
from headrace.pipeline.ready import INDEX, ReadyRows, Row, ready_rows
from headrace.pipeline.ties import Digests
from headrace.schema import (
    Before,
    Boolean,
    Check,
    Entity,
    Field,
    FieldType,
    Integer,
    JsonObject,
    MinimumWhen,
    Money,
    OneOf,
    OnlyWith,
    Text,
    Timestamp,
    Uuid,
)

try:
    from headrace.pipeline import _scanner as native
except ImportError:  # there was no compiler, or it is another machine's
    native = None  # type: ignore[assignment]

Closer = Callable[[bytes, int, int], Row | None]
MOST_COLUMNS = 64


class Scanned(NamedTuple):
    """The rows of a batch, and the digests that ties.py keeps of them."""

    rows: ReadyRows
    digests: Digests


class Scan(Protocol):
    """Scans the batches of one load, one after the other."""

    def __call__(
        self, records: list[bytes], lines: list[int], offsets: list[int], closer: Closer
    ) -> Scanned:
        """The rows of the records that begin on these lines, at these byte offsets.

        `closer` gives the row of a record that is not clean, or None if it has none, and is
        called with the record, its line and its offset in their order.
        """


def is_native() -> bool:
    """Whether the native scanner is there."""
    return native is not None


def scan_of(load: Load, names: Sequence[str] = (), delimiter: str = "") -> Scan:
    """How the records of a load are scanned: JSON, or cells of the columns of these `names`."""
    if native is None or load.name_event is not None or len(names) > MOST_COLUMNS:
        return plain_scan(load.entity)
    return _native_scan(load, names, delimiter)


def plain_scan(entity: Entity) -> Scan:
    """A scan without the native scanner."""
    positions = ties.positions(entity)

    def scan(records: list[bytes], lines: list[int], offsets: list[int], closer: Closer) -> Scanned:
        found = list(map(closer, records, lines, offsets))
        places = [at for at, row in enumerate(found) if row is not None]
        rows = [row for row in found if row is not None]
        ready = ready_rows([lines[at] for at in places], [offsets[at] for at in places], rows)
        return Scanned(ready, ties.digests(rows, positions))

    return scan


def _native_scan(load: Load, names: Sequence[str], delimiter: str) -> Scan:
    entity = load.entity
    fields, checks = _declared(entity, load.zone)
    scanner = native.Scanner(
        fields=fields,
        checks=checks,
        tenant=str(load.tenant).encode(),
        cluster=entity.field_names.index(entity.segment_field),
        ties=tuple(ties.positions(entity)),
        delimiter=delimiter.encode() or b"\0",
        columns=tuple(_column(entity, name) for name in names),
    )
    width = 1 + len(ties.positions(entity))

    def scan(records: list[bytes], lines: list[int], offsets: list[int], closer: Closer) -> Scanned:
        text, index, digests = scanner.scan(records, lines, offsets, closer)
        rows = ReadyRows(np.frombuffer(index, INDEX), text)
        return Scanned(rows, np.frombuffer(digests, "<u8").reshape(-1, width))

    return scan


def _column(entity: Entity, name: str) -> int:
    """What a column of a delimited file is to the scanner."""
    reserved = {"tenant_id": native.TENANT, "_op": native.OPERATION}
    if name in entity.field_names:
        return entity.field_names.index(name)
    return reserved.get(name, native.IGNORED)


@lru_cache(64)
def _declared(entity: Entity, zone: ZoneInfo) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """The entity's fields and checks in the scanner's words."""
    # A minimum other than 0 is not the scanner's: it leaves all values of the field to others.
    closed = {c.field for c in entity.checks if isinstance(c, MinimumWhen) and c.minimum}
    fields = [_field(field, zone, field.name in closed) for field in entity.fields]
    checks = [_check(entity.field_names.index, check) for check in entity.checks]
    return tuple(fields), tuple(checks)


def _field(field: Field, zone: ZoneInfo, is_closed: bool) -> tuple[Any, ...]:
    """Name, kind, whether it must be there and may be null, and what bounds its values."""
    kind, most, decimals, flag, choices = _kind(field.type, zone)
    if is_closed:
        kind = native.CLOSED
    name = field.name.encode()
    return name, kind, field.required, field.null, most, decimals, flag, choices


def _kind(kind: FieldType, zone: ZoneInfo) -> tuple[int, int, int, bool, tuple[bytes, ...]]:
    """A kind of value, its most characters or digits, its decimals, its flag and its choices."""
    match kind:
        case Uuid():
            return native.UUID, 0, 0, False, ()
        case Text(choices=choices) if choices:
            return native.CHOICE, 0, 0, False, tuple(choice.encode() for choice in choices)
        case Text(max_length=length):
            return native.TEXT, length, 0, False, ()
        case Money(minimum=minimum) if minimum:
            return native.CLOSED, 0, 0, False, ()
        case Money(digits=digits, scale=scale, minimum=minimum):
            whole = min(digits, len(str(values.MAX_UNITS)) - 1) - scale
            return native.MONEY, whole, scale, minimum is None, ()
        case Integer() if values.is_narrow(kind):
            return native.CLOSED, 0, 0, False, ()
        case Integer(nonzero=nonzero):
            return native.INTEGER, 0, 0, nonzero, ()
        case Boolean():
            return native.BOOLEAN, 0, 0, False, ()
        case Timestamp():
            return native.TIMESTAMP, 0, 0, zone.key != "UTC", ()
        case JsonObject():
            return native.OBJECT, 0, 0, False, ()


def _check(place: Callable[[str], int], check: Check) -> tuple[int, int, int, bytes]:
    match check:
        case Before(earlier, later):
            return native.BEFORE, place(earlier), place(later), b""
        case MinimumWhen(field, _, when, equals):
            return native.NOT_NEGATIVE, place(field), place(when), equals.encode()
        case OneOf(one, other):
            return native.ONE_OF, place(one), place(other), b""
        case OnlyWith(field, other):
            return native.ONLY_WITH, place(field), place(other), b""
