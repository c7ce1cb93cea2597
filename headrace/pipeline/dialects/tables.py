"""The parts of a target table that are spelled alike on every database."""

from collections.abc import Iterator, Mapping

from headrace.pipeline.dialects.statements import TENANT, natural_key
from headrace.schema import Before, Entity, Field, MinimumWhen


def column(field: Field, kind: str, default: str | None, check: str | None) -> str:
    """A column from the dialect's spellings of its type, default and check."""
    parts = [field.name, kind]
    if not field.null:
        parts.append("NOT NULL")
    if default is not None:
        parts.append(f"DEFAULT {default}")
    if check is not None:
        parts.append(f"CHECK ({check})")
    return " ".join(parts)


def constraints(entity: Entity, keys: Mapping[str, str], *, refers: bool = True) -> Iterator[str]:
    """Keys, references unless left out, and checks; `keys` has the key of every entity by name."""
    yield f"CONSTRAINT {entity.name}_pkey PRIMARY KEY ({TENANT}, {entity.key})"
    for field in entity.natural_keys:
        yield f"CONSTRAINT {natural_key(entity, field)} UNIQUE ({TENANT}, {field})"
    if refers:
        yield from references(entity, keys)
    for check in entity.checks:
        if isinstance(check, MinimumWhen | Before):
            yield f"CHECK ({_check(check)})"


def references(entity: Entity, keys: Mapping[str, str], suffix: str = "") -> Iterator[str]:
    """The references of a table to others; the suffix is that of a partition and its parents'.

    Of the owner of a movement its level refers to the parent: it is locked when the movement is
    written, and stays. So the movement need not, which is half of what its writing would cost.
    """
    for reference in entity.references:
        if entity.levels and reference.field == entity.levels.owner:
            continue
        yield (
            f"CONSTRAINT {entity.name}{suffix}_{reference.field}_fkey"
            f" FOREIGN KEY ({TENANT}, {reference.field})"
            f" REFERENCES {reference.entity}{suffix} ({TENANT}, {keys[reference.entity]})"
        )


def _check(check: MinimumWhen | Before) -> str:
    match check:
        case MinimumWhen(field, minimum, when, equals):
            return f"{when} <> '{equals}' OR {field} >= {minimum}"
        case Before(earlier, later):
            return f"{earlier} < {later}"


def choices(field: Field, allowed: tuple[str, ...]) -> str:
    """The check that a text is one of those allowed."""
    return f"{field.name} IN ({', '.join(repr(choice) for choice in allowed)})"


def number_key(entity: Entity) -> str:
    """The name of the unique index that lets no owner have two movements of one number."""
    assert entity.levels is not None
    return f"{entity.name}_{entity.levels.number}_key"


def unique_indexes(entity: Entity) -> Iterator[str]:
    """What no constraint of the table's making can say."""
    yield from _interval_indexes(entity)
    if entity.levels:
        owner, number = entity.levels.owner, entity.levels.number
        on = f"ON {entity.name} ({TENANT}, {owner}, {number})"
        yield f"CREATE UNIQUE INDEX {number_key(entity)} {on}"


def _interval_indexes(entity: Entity) -> Iterator[str]:
    """One span an instant begins, and one stays open, for each owner."""
    if entity.interval:
        owner, start, end = entity.interval.owner, entity.interval.start, entity.interval.end
        on = f"ON {entity.name} ({TENANT}, {owner}"
        yield f"CREATE UNIQUE INDEX {entity.name}_start_key {on}, {start})"
        yield f"CREATE UNIQUE INDEX {entity.name}_open_key {on}) WHERE {end} IS NULL"
