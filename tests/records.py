"""Records made from the declarations alone, so that a new entity is tested without a new line.

`example(entity, number)` is a complete record of which every value differs from that of the
next number; its references hold the keys of the parents of the same number.
"""

import json
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import msgspec

from headrace.entities import ENTITIES
from headrace.schema import (
    SERVER_NOW,
    Before,
    Boolean,
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
from tests import road

EPOCH = datetime(2024, 1, 1)  # noqa: DTZ001 - stored times are naive UTC here
NEED_ESCAPES = '"\\\t\n\r'
ALPHABET = "abcXYZ 09-_.,:;/'{}[]äß€ж漢🙂" + NEED_ESCAPES
_ENCODER = msgspec.json.Encoder(decimal_format="number")

Record = dict[str, Any]


def key(entity: str, number: int) -> str:
    return str(uuid5(road.TENANT, f"{entity} {number}"))


def example(entity: Entity, number: int, **given: Any) -> Record:
    """The record with this number; `given` replaces values."""
    parents = {reference.field: reference.entity for reference in entity.references}
    record = {field.name: _example_value(field, number) for field in entity.kept}
    record |= {name: key(parent, number) for name, parent in parents.items()}
    for check in entity.checks:
        if isinstance(check, Before):
            record[check.later] = spelled(EPOCH + timedelta(days=40_000, hours=number))
    return record | {entity.key: key(entity.name, number)} | given


def _example_value(field: Field, number: int) -> Any:
    match field.type:
        case Uuid():
            return key(field.name, number)
        case Text(choices=choices) if choices:
            return choices[number % len(choices)]
        case Text(max_length=length):
            return f"{number} {field.name}"[:length]
        case Money(scale=scale):
            return Decimal(number + 10) + Decimal(1).scaleb(-scale)
        case Integer():
            return number + 1
        case Boolean():
            return bool(number % 2)
        case Timestamp():
            return spelled(EPOCH + timedelta(hours=number))
        case JsonObject():
            return {"number": number, "more": [True, None, "text"]}


def spelled(moment: datetime) -> str:
    return moment.isoformat() + "Z"


def line(record: Record | bytes) -> bytes:
    """A record as its line, without the newline; Decimals are written as numbers."""
    return record if isinstance(record, bytes) else _ENCODER.encode(record)


def file(*records: Record | bytes, compress: bool = False) -> bytes:
    return road.ndjson(*map(line, records), compress=compress)


def optional(entity: Entity) -> list[Field]:
    """The fields that an example may be without."""
    return [field for field in entity.kept if not field.required and field.name not in told(entity)]


def told(entity: Entity) -> set[str]:
    """What an example must say although its declaration does not require it."""
    return {entity.levels.change} if entity.levels else set()


def without(record: Record, *names: str) -> Record:
    return {name: value for name, value in record.items() if name not in names}


def minimal(entity: Entity, number: int) -> Record:
    return without(example(entity, number), *(field.name for field in optional(entity)))


def ancestors(entity: Entity) -> list[Entity]:
    """All that an entity refers to, directly or not, in load order."""
    wanted = {entity.name}
    for candidate in reversed(ENTITIES):
        if candidate.name in wanted:
            wanted |= {reference.entity for reference in candidate.references}
    return [found for found in ENTITIES if found.name in wanted - {entity.name}]


def land_parents(database: road.Database, folder, entity: Entity, numbers: Iterable[int]) -> None:
    """The parents of the examples with these numbers, by files older than any test's."""
    for parent in ancestors(entity):
        rows = [example(parent, number) for number in numbers]
        ledger = road.land(
            database, folder, parent.name, file(*rows), number=0, tenant=database.tenant
        )
        assert set(ledger.outcome_by_line()) == {"inserted"}


def rejected(ledger: road.LocalLedger) -> list[tuple[int, str, str]]:
    return [(reject.line, reject.code, reject.field) for reject in ledger.rejects]


def meaning(field: Field, value: Any) -> Any:
    """A value, sent or read from any database, in the one form in which equal ones are equal."""
    if value is None:
        return None
    match field.type:
        case Uuid():
            return UUID(value).hex
        case Money(scale=scale):
            return value if isinstance(value, Decimal) else Decimal(value).scaleb(-scale)
        case Boolean():
            return bool(value)
        case Timestamp():
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
            return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
        case JsonObject():
            return value if isinstance(value, dict) else json.loads(value)
        case _:
            return value


def stored(
    database: road.Database,
    entity: Entity,
    *,
    with_now: bool = False,
    of: Sequence[Field] | None = None,
) -> list[Record]:
    """The tenant's rows by key: what records said, without times that the server chose unless
    `with_now`, or the columns that are given."""
    rows = database.rows(entity.name)
    mine = [row for row in rows if UUID(row["tenant_id"]) == database.tenant]
    fields = _compared(entity, with_now) if of is None else of
    return [{field.name: meaning(field, row[field.name]) for field in fields} for row in mine]


def expected(entity: Entity, *records: Record, with_now: bool = False) -> list[Record]:
    """What `stored` gives after records were inserted."""
    rows = [
        {
            field.name: meaning(field, _given_or_default(field, record))
            for field in _compared(entity, with_now)
        }
        for record in records
    ]
    return sorted(rows, key=lambda row: row[entity.key])


def _compared(entity: Entity, with_now: bool) -> list[Field]:
    return [field for field in entity.as_sent if with_now or field.default is not SERVER_NOW]


def _given_or_default(field: Field, record: Record) -> Any:
    if field.name in record:
        return record[field.name]
    return None if field.default is SERVER_NOW else field.default


# Random records, for the fast path and the reference loader.


def random_record(entity: Entity, dice: random.Random) -> Record:
    """A valid record: any optional field may be missing, any nullable one null.

    Most are tame: spelled as generators spell, so that the fast path takes them.
    """
    record: Record = {}
    tame = dice.random() < 0.7
    for field in entity.fields:
        if field.required or dice.random() < 0.8:
            cleared = field.null and dice.random() < 0.2
            record[field.name] = None if cleared else random_value(field.type, dice, tame)
    for check in entity.checks:
        _repair(check, record)
    return record


def _repair(check: Any, record: Record) -> None:
    match check:
        case Before(earlier, later) if record.get(later) is not None:
            record[earlier], record[later] = "2023-05-06T07:08:09Z", "2023-05-06T07:08:10Z"
        case MinimumWhen(field) if record.get(field) is not None:
            record[field] = str(record[field]).lstrip("-")
        case OneOf(one, other):
            _repair_one_of(one, other, record)
        case OnlyWith(field, other) if record.get(other) is None:
            record.pop(field, None)


def _repair_one_of(one: str, other: str, record: Record) -> None:
    if record.get(one) is not None:
        record.pop(other, None)
    elif record.get(other) is None:
        record[one] = 1


def random_value(kind: FieldType, dice: random.Random, tame: bool = False) -> Any:
    match kind:
        case Uuid():
            return str(UUID(int=dice.getrandbits(128)))
        case Text(choices=choices) if choices:
            return dice.choice(choices)
        case Text(max_length=length):
            return _random_text(dice, min(length, 12), tame)
        case Money(digits=digits, scale=scale, minimum=minimum):
            units = dice.randrange(10 ** dice.randrange(1, digits))
            sign = 1 if minimum is not None else dice.choice((1, -1))
            amount = Decimal(sign * units).scaleb(-dice.randrange(scale + 1))
            fits = abs(amount) < 10 ** (digits - scale - 1)
            return (str(amount) if dice.random() < 0.3 else amount) if fits else Decimal(1)
        case Integer(minimum=low, maximum=high):
            return dice.randint(1, 9) if tame else dice.randint(low, high)
        case Boolean():
            return dice.random() < 0.5
        case Timestamp():
            return _random_time(dice, tame)
        case JsonObject():
            return _random_object(dice, tame)


def _random_text(dice: random.Random, length: int, tame: bool) -> str:
    alphabet = ALPHABET[: -len(NEED_ESCAPES)] if tame else ALPHABET
    return "".join(dice.choices(alphabet, k=dice.randrange(length + 1)))


def _random_time(dice: random.Random, tame: bool) -> str:
    moment = datetime(1970, 1, 2) + timedelta(seconds=dice.randrange(7_200_000_000))  # noqa: DTZ001
    if tame:
        return spelled(moment)
    text = moment.isoformat(dice.choice("T ")) + dice.choice(("", f".{dice.randrange(10**6)}"))
    return text + dice.choice(("", "Z", "+00:00", "+05:30", "-1100"))


def _random_object(dice: random.Random, tame: bool) -> Record:
    names = (_random_text(dice, 4, tame) for _ in range(dice.randrange(3)))
    return {name: _random_json(dice, tame, 2) for name in names}


def _random_json(dice: random.Random, tame: bool, depth: int) -> Any:
    if depth and dice.random() < 0.4:
        members = [_random_json(dice, tame, depth - 1) for _ in range(dice.randrange(3))]
        names = (_random_text(dice, 4, tame) for _ in members)
        return members if dice.random() < 0.5 else dict(zip(names, members, strict=True))
    plain = (None, True, 0, -1, 10**30, Decimal("1.50"), Decimal("1E+3"))
    return dice.choice((*plain, _random_text(dice, 6, tame)))
