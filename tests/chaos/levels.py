"""Invariant 5 of levels: each is the sum of its movements, numbered without gaps.

A level may be below 0 only where the tenant's policy of today allows it, or where a movement
raised it to there.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from headrace.entities import ENTITIES
from headrace.schema import Entity, Levels
from tests.chaos.evidence import Evidence, Row, broken
from tests.chaos.rows import Found, Place
from tests.reference import SentLine

NEVER_MOVED = (0, 0, 0)
Owner = tuple[str, str]  #: the tenant, and the owner's key


class Movements(NamedTuple):
    """The movements of one owner in the order of their numbers."""

    where: str
    levels: Levels
    rows: list[Row]
    may_be_negative: bool


def check(evidence: Evidence, found: Found) -> Iterator[str]:
    for entity in ENTITIES:
        if entity.levels is not None:
            yield from _ids(entity, evidence.table(entity.name))
            yield from _of_entity(entity, entity.levels, evidence, found)
            yield from _as_lines_say(entity, entity.levels, found)


def _ids(entity: Entity, rows: list[Row]) -> Iterator[str]:
    times = Counter((row["tenant_id"], row[entity.key]) for row in rows)
    for (tenant, key), number in times.items():
        if number > 1:
            yield broken(5, f"{Place(tenant, entity.name)}, key {key}", "one event", number)


def _of_entity(entity: Entity, levels: Levels, evidence: Evidence, found: Found) -> Iterator[str]:
    by_owner: dict[Owner, list[Row]] = defaultdict(list)
    for row in evidence.table(entity.name):
        by_owner[row["tenant_id"], row[levels.owner]].append(row)
    led_to: dict[Owner, tuple[int, int, int]] = {}
    for (tenant, owner), rows in by_owner.items():
        where = f"{Place(tenant, entity.name)}, {levels.owner} {owner}"
        in_order = sorted(rows, key=lambda row: row[levels.number])
        allows = found.tenants.get(tenant, {}).get("negative_levels") == "allow"
        yield from _counted(Movements(where, levels, in_order, allows))
        change = sum(row[levels.change] for row in rows)
        led_to[tenant, owner] = (change, len(rows), in_order[-1]["source_sequence"])
    yield from _table(levels, led_to, evidence.table(levels.table))


def _counted(moves: Movements) -> Iterator[str]:
    """One movement after the other: its number, the level it led to, and whether it may."""
    levels, level = moves.levels, 0
    numbers = [row[levels.number] for row in moves.rows]
    if numbers != list(range(1, 1 + len(numbers))):
        yield broken(5, moves.where, f"the numbers 1 to {len(numbers)}", numbers[:20])
    for row in moves.rows:
        where = f"{moves.where}, number {row[levels.number]}"
        level += row[levels.change]
        if row[levels.level] != level:
            yield broken(5, where, f"{levels.level} {level}", row[levels.level])
        if level < 0 and row[levels.change] < 0 and not moves.may_be_negative:
            yield broken(5, where, "no movement to below 0", level)


def _table(
    levels: Levels, expected: dict[Owner, tuple[int, int, int]], rows: list[Row]
) -> Iterator[str]:
    """Owners may be listed that never moved."""
    found = {
        (row["tenant_id"], row[levels.owner]): (
            *(row["level"], row[levels.number], row["source_sequence"]),
        )
        for row in rows
    }
    for tenant, owner in sorted({*expected, *found}):
        last = expected.get((tenant, owner), NEVER_MOVED)
        if found.get((tenant, owner)) != last:
            where = f"table {levels.table} of tenant {tenant}, {levels.owner} {owner}"
            told = "level {}, number {} and sequence {}".format(*last)
            yield broken(5, where, told, found.get((tenant, owner), "no row"))


def _as_lines_say(entity: Entity, levels: Levels, found: Found) -> Iterator[str]:
    """What the line said that a row is of: the level it claims, sets or expects."""
    for place, rows in found.rows.items():
        if place.entity == entity.name and place not in found.undecided:
            for key, row in rows.items():
                line = found.lines[place].get(row["source_sequence"])
                if line is not None and line.values[entity.key] == key:
                    yield from _as_said(f"{place}, key {key}", levels, row, line)


def _as_said(where: str, levels: Levels, row: Row, line: SentLine) -> Iterator[str]:
    said = line.values
    wanted = {
        levels.level: (said.get(levels.target), row[levels.level]),
        levels.expected: (said.get(levels.expected), row[levels.level] - row[levels.change]),
    }
    for name, (value, stored) in wanted.items():
        if value not in (None, stored):
            yield broken(5, where, f"{name} {value}", stored)
    if said.get(levels.level) != row[levels.claimed]:
        yield broken(5, where, f"{levels.claimed} {said.get(levels.level)}", row[levels.claimed])
