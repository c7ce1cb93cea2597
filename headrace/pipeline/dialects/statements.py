"""The promotion of an entity as SQL that every dialect shares, and the few spellings that differ.

Names come from declared entities only; values travel as parameters `tenant`, `sequence` (that
of line 0) and `mask`. Aliases: s is staging, t the target, p a parent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from headrace.schema import Days, Entity, Promotion, Reference

TENANT = "tenant_id"
SEQUENCE = "source_sequence"
KEY = "PRIMARY"  #: the index of tenant and key, for `Spelling.through`


@dataclass(frozen=True, slots=True)
class Spelling:
    """How a database spells what it does not share: parameters and null-safe comparison."""

    tenant: str
    sequence: str
    mask: str
    distinct: str  #: format string of {left} and {right}, two lists of columns
    staging_prefix: str = ""
    on_update: tuple[str, ...] = ()  #: assignments that an update makes besides the fields'
    join: str = "JOIN"  #: from staging to the target
    names_staging_once: bool = False  #: a statement may not read a temporary table twice
    hint: str = ""  #: format string behind a table that is to be read through {index}
    aside: str = ""  #: format string of an instant before all that records may name, by a {moment}

    def through(self, index: str) -> str:
        """The hint to look rows up by an index, where the planner must be told."""
        return self.hint.format(index=index)

    def differ(self, names: list[str], left: str, right: str) -> str:
        """The condition that any of the columns differs, nulls being equal."""
        if not names:
            return "1 = 0"
        return self.distinct.format(
            left=", ".join(f"{left}.{name}" for name in names),
            right=", ".join(f"{right}.{name}" for name in names),
        )


def staging(spelling: Spelling, entity: Entity) -> str:
    return f"{spelling.staging_prefix}{entity.name}_staging"


def present(entity: Entity, mask: int) -> list[str]:
    """The names of the fields that rows of this mask have."""
    return [name for bit, name in enumerate(entity.field_names) if mask >> bit & 1]


def natural_key(entity: Entity, field: str) -> str:
    """The name of the constraint, and its index, that a natural key is unique."""
    return f"{entity.name}_{field}_key"


def full_mask(entity: Entity) -> int:
    return (1 << len(entity.fields)) - 1


def matched(spelling: Spelling, entity: Entity, rows: str = "") -> str:
    """Staged rows, or those of a table like theirs, each with the stored row of its key."""
    key, by_key = entity.key, spelling.through(KEY)
    return f"""{rows or staging(spelling, entity)} s
{spelling.join} {entity.name} t{by_key} ON t.{TENANT} = {spelling.tenant} AND t.{key} = s.{key}"""


@cache
def unresolved(spelling: Spelling, entity: Entity, reference: Reference, parent_key: str) -> str:
    """Staged lines whose parent is not there."""
    return f"""
SELECT s.line, s.{reference.field}
FROM {staging(spelling, entity)} s
LEFT JOIN {reference.entity} p{spelling.through(KEY)}
       ON p.{TENANT} = {spelling.tenant} AND p.{parent_key} = s.{reference.field}
WHERE s.{reference.field} IS NOT NULL AND p.{parent_key} IS NULL
ORDER BY s.line"""


def taken(spelling: Spelling, entity: Entity, field: str) -> str:
    """Staged lines whose natural key is stored under another id."""
    by_field = spelling.through(natural_key(entity, field))
    return f"""
SELECT s.line, s.{field}, t.{entity.key}
FROM {staging(spelling, entity)} s
{spelling.join} {entity.name} t{by_field}
  ON t.{TENANT} = {spelling.tenant} AND t.{field} = s.{field}
WHERE t.{entity.key} <> s.{entity.key}
ORDER BY s.line"""


def rivals(spelling: Spelling, entity: Entity, field: str) -> str:
    """Staged lines whose natural key an earlier staged line has under another id."""
    return f"""
SELECT line, {field}, holder
FROM (SELECT line, {field}, {entity.key},
             FIRST_VALUE({entity.key}) OVER (PARTITION BY {field} ORDER BY line) AS holder
      FROM {staging(spelling, entity)}) ranked
WHERE {entity.key} <> holder
ORDER BY line"""


def repeated(spelling: Spelling, entity: Entity) -> str:
    """Staged lines whose key comes again further down."""
    return f"""
SELECT line
FROM (SELECT line, ROW_NUMBER() OVER (PARTITION BY {entity.key} ORDER BY line DESC) AS place
      FROM {staging(spelling, entity)}) ranked
WHERE place > 1"""


def replaced(spelling: Spelling, entity: Entity) -> str:
    """Staged lines that begin a stored interval elsewhere, and those whose stored row comes from a
    newer file, or from further down this one.
    """
    is_stale = f"t.{SEQUENCE} > {spelling.sequence} + s.line"
    return f"""
SELECT s.line, CASE WHEN {is_stale} THEN 1 ELSE 0 END AS is_stale
FROM {matched(spelling, entity)}
WHERE {is_stale} OR ({moves(spelling, entity)})"""


def moves(spelling: Spelling, entity: Entity) -> str:
    """The condition that a staged row will begin its stored interval elsewhere."""
    assert entity.interval is not None
    place = [entity.interval.owner, entity.interval.start]
    is_older = f"t.{SEQUENCE} < {spelling.sequence} + s.line"
    return f"{is_older} AND {spelling.differ(place, 't', 's')}"


def set_aside(spelling: Spelling, entity: Entity) -> str:
    """Let go of the starts that staged rows leave and others take.

    All are set back by as much, to where no record may begin: so no two meet.
    """
    return f"""
UPDATE {entity.name} AS t
SET {aside(spelling, entity)}
FROM ({wanted(spelling, entity)}) w
WHERE t.{TENANT} = {spelling.tenant} AND t.{entity.key} = w.{entity.key}"""


def wanted(spelling: Spelling, entity: Entity) -> str:
    """The keys of stored rows that staged ones begin elsewhere, and whose start another takes.

    By a sort: the planner does not know how many rows move, and a join might look at all of the
    others for each.
    """
    assert entity.interval is not None
    key, owner, start = entity.key, entity.interval.owner, entity.interval.start
    rows, given = staging(spelling, entity), ""
    if spelling.names_staging_once:
        rows, given = "staged", f"WITH staged AS (SELECT line, {key}, {owner}, {start} FROM {rows})"
    return f"""{given}
    SELECT {key}
    FROM (SELECT {key}, is_held, COUNT(*) OVER (PARTITION BY {owner}, {start}) AS claims
          FROM (SELECT {key}, {owner}, {start}, 0 AS is_held FROM {rows}
                UNION ALL
                SELECT t.{key}, t.{owner}, t.{start}, 1
                FROM {matched(spelling, entity, rows)}
                WHERE {moves(spelling, entity)}) places) counted
    WHERE is_held = 1 AND claims > 1"""


def aside(spelling: Spelling, entity: Entity) -> str:
    """The assignment that sets a stored start aside."""
    assert entity.interval is not None
    start = entity.interval.start
    return f"{start} = {spelling.aside.format(moment=f't.{start}')}"


def crowded(spelling: Spelling, entity: Entity) -> str:
    """Spans of the owners of whom a staged span overlaps one that is stored or staged.

    A stored span whose id is staged for the same owner counts as replaced. A staged row that
    leaves its end out keeps the stored one. Ids and owners are never null; SQLite, not told by IS
    NOT TRUE that it need not mind, would look for nulls among all staged rows, for each stored one.
    """
    assert entity.interval is not None
    owner, start, end = entity.interval.owner, entity.interval.start, entity.interval.end
    end_bit = 1 << entity.field_names.index(end)
    rows, given = staging(spelling, entity), ""
    if spelling.names_staging_once:
        read = f"SELECT line, mask, {entity.key}, {owner}, {start}, {end} FROM {rows}"
        rows, given = "staged", f"staged AS ({read}), "
    return f"""
WITH {given}spans AS (
    SELECT s.line, s.{entity.key} AS id, s.{owner} AS owner, s.{start} AS starts,
           CASE WHEN s.mask & {end_bit} = 0 THEN t.{end} ELSE s.{end} END AS ends
    FROM {rows} s
    LEFT JOIN {entity.name} t{spelling.through(KEY)}
           ON t.{TENANT} = {spelling.tenant} AND t.{entity.key} = s.{entity.key}
    UNION ALL
    SELECT 0, t.{entity.key}, t.{owner}, t.{start}, t.{end}
    FROM {entity.name} t
    WHERE t.{TENANT} = {spelling.tenant}
      AND t.{owner} IN (SELECT {owner} FROM {rows})
), ordered AS (
    SELECT owner, starts, ends,
           LEAD(starts) OVER (PARTITION BY owner ORDER BY starts) AS next_starts,
           COUNT(*) OVER (PARTITION BY owner, starts) AS twins
    FROM spans
    WHERE line > 0 OR ((id, owner) IN (SELECT {entity.key}, {owner} FROM {rows})) IS NOT TRUE
)
SELECT line, id, owner, starts, ends
FROM spans
WHERE owner IN (SELECT owner FROM ordered
                WHERE twins > 1 OR next_starts < ends OR ends <= starts
                   OR (ends IS NULL AND next_starts IS NOT NULL))
ORDER BY line"""


def insert(spelling: Spelling, entity: Entity, mask: int) -> str:
    """Insert or update the staged rows of one mask, leaving equal rows alone."""
    names = present(entity, mask)
    listed = ", ".join(names)
    return f"""
INSERT INTO {entity.name} AS t ({TENANT}, {listed}, {SEQUENCE})
SELECT {spelling.tenant}, {", ".join(f"s.{name}" for name in names)}, {spelling.sequence} + s.line
FROM {staging(spelling, entity)} s
LEFT JOIN {entity.name} o ON o.{TENANT} = {spelling.tenant} AND o.{entity.key} = s.{entity.key}
{_only_first(spelling, entity)}WHERE s.mask = {spelling.mask}
  AND ({_worth_writing(spelling, entity, names)})
ORDER BY {write_order(entity)}
ON CONFLICT ({TENANT}, {entity.key}) {on_conflict(spelling, entity, names)}"""


def inserted(spelling: Spelling, entity: Entity, mask: int, which: str = "WHERE ") -> str:
    """Insert the staged rows of one mask; `which` begins the clauses that choose among them."""
    names = present(entity, mask)
    return f"""
INSERT INTO {entity.name} AS t ({TENANT}, {", ".join(names)}, {SEQUENCE})
SELECT {spelling.tenant}, {", ".join(f"s.{name}" for name in names)}, {spelling.sequence} + s.line
FROM {staging(spelling, entity)} s
{which}s.mask = {spelling.mask}"""


def _only_first(spelling: Spelling, entity: Entity) -> str:
    """Of the events of one key only the first may be written, whatever the masks of the others."""
    if entity.promotion is not Promotion.APPEND:
        return ""
    first = f"SELECT MIN(line) AS line FROM {staging(spelling, entity)} GROUP BY {entity.key}"
    return f"JOIN ({first}) f ON f.line = s.line\n"


def _worth_writing(spelling: Spelling, entity: Entity, names: list[str]) -> str:
    absent = f"o.{entity.key} IS NULL"
    if entity.promotion is Promotion.APPEND:
        return absent
    return f"{absent} OR {spelling.differ(values(entity, names), 'o', 's')}"


def write_order(entity: Entity) -> str:
    """Key order, so that loads lock alike; intervals end before the next one may begin."""
    if entity.interval is None:
        return f"s.{entity.key}, s.line"
    return f"s.{entity.interval.end} IS NULL, s.{entity.key}, s.line"


def on_conflict(spelling: Spelling, entity: Entity, names: list[str]) -> str:
    if entity.promotion is Promotion.APPEND:
        return "DO NOTHING"
    changes = [f"{name} = excluded.{name}" for name in [*values(entity, names), SEQUENCE]]
    return f"""DO UPDATE
SET {", ".join([*changes, *spelling.on_update])}
WHERE t.{SEQUENCE} < excluded.{SEQUENCE}"""


def values(entity: Entity, names: list[str]) -> list[str]:
    return [name for name in names if name != entity.key]


def known(spelling: Spelling, entity: Entity, mask: int) -> str:
    """Staged lines of one mask whose key is stored."""
    return f"""
SELECT s.line
FROM {matched(spelling, entity)}
WHERE s.mask = {spelling.mask}"""


def equal(spelling: Spelling, entity: Entity, mask: int) -> str:
    """Staged lines of one mask whose stored row was not written by them and is equal."""
    differs = spelling.differ(values(entity, present(entity, mask)), "t", "s")
    return f"""{known(spelling, entity, mask)}
  AND t.{SEQUENCE} <> {spelling.sequence} + s.line
  AND NOT ({differs})"""


def renew(spelling: Spelling, entity: Entity, mask: int) -> str:
    """Raise the sequence of stored rows that staged ones of one mask found equal and left alone."""
    differs = spelling.differ(values(entity, present(entity, mask)), "t", "s")
    return f"""
UPDATE {entity.name} AS t
SET {SEQUENCE} = {spelling.sequence} + s.line
FROM {staging(spelling, entity)} s
WHERE t.{TENANT} = {spelling.tenant} AND t.{entity.key} = s.{entity.key}
  AND s.mask = {spelling.mask} AND t.{SEQUENCE} < {spelling.sequence} + s.line
  AND NOT ({differs})"""


def days_of(entity: Entity) -> Days:
    """The declared days of an entity that has some."""
    assert entity.days is not None
    return entity.days


def dated(spelling: Spelling, entity: Entity, keys: Mapping[str, str], row: str) -> tuple[str, str]:
    """What says the day of a row of this alias, and the join that it takes; `keys` as in
    tables.py."""
    days = days_of(entity)
    if not days.parent:
        return f"{row}.{days.moment}", ""
    parent = next(ref.entity for ref in entity.references if ref.field == days.parent)
    key = f"p.{TENANT} = {spelling.tenant} AND p.{keys[parent]} = {row}.{days.parent}"
    return f"p.{days.moment}", f"\n{spelling.join} {parent} p{spelling.through(KEY)} ON {key}"


def written_days(spelling: Spelling, entity: Entity, keys: Mapping[str, str], day: str) -> str:
    """The days of the rows that staged ones of a mask have made or changed.

    `day` is a format string that cuts a {moment} to its day.
    """
    moment, join = dated(spelling, entity, keys, "t")
    return f"""
SELECT DISTINCT {day.format(moment=moment)}
FROM {matched(spelling, entity)}{join}
WHERE s.mask = {spelling.mask} AND t.{SEQUENCE} = {spelling.sequence} + s.line"""


def former_days(
    spelling: Spelling, entity: Entity, keys: Mapping[str, str], mask: int, day: str
) -> str:
    """The days of rows that staged ones of a mask are about to move to another day, maybe."""
    moment, join = dated(spelling, entity, keys, "t")
    decided_by = [name for name in present(entity, mask) if name == days_of(entity).decided_by]
    return f"""
SELECT DISTINCT {day.format(moment=moment)}
FROM {matched(spelling, entity)}{join}
WHERE s.mask = {spelling.mask} AND t.{SEQUENCE} < {spelling.sequence} + s.line
  AND {spelling.differ(decided_by, "t", "s")}"""


def staged_days(spelling: Spelling, entity: Entity, keys: Mapping[str, str], day: str) -> str:
    """The days of the staged rows of a mask. Each says its own: what decides it is required."""
    moment, join = dated(spelling, entity, keys, "s")
    return f"""
SELECT DISTINCT {day.format(moment=moment)}
FROM {staging(spelling, entity)} s{join}
WHERE s.mask = {spelling.mask}"""


def outrun(spelling: Spelling, entity: Entity) -> str:
    """Staged lines whose stored row is still older: it was changed since they found it equal."""
    return f"""
SELECT s.line
FROM {matched(spelling, entity)}
WHERE t.{SEQUENCE} < {spelling.sequence} + s.line"""


def checks(spelling: Spelling, entity: Entity, keys: Mapping[str, str]) -> dict[str, str]:
    """The statements before a segment is written, by operation; `keys` as in tables.py."""
    found = {
        f"unresolved {reference.field}": unresolved(
            spelling, entity, reference, keys[reference.entity]
        )
        for reference in entity.references
    }
    for field in entity.natural_keys:
        found[f"taken {field}"] = taken(spelling, entity, field)
        found[f"rivals {field}"] = rivals(spelling, entity, field)
    if entity.interval:
        found |= {"replaced": replaced(spelling, entity), "spans": crowded(spelling, entity)}
    return found if entity.levels else found | {"repeated": repeated(spelling, entity)}


def afterwards(spelling: Spelling, entity: Entity, mask: int) -> dict[str, str]:
    """The statements after a segment was written, by operation."""
    return {
        "equal": equal(spelling, entity, mask),
        "renew": renew(spelling, entity, mask),
    }
