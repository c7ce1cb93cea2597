"""Movements of levels as SQL that every dialect shares.

The levels of the staged owners are locked first, by a statement of its own: what a single one
would read is from before it waited. From then on nobody else moves them, so that what the later
statements find stays true to the commit.

Aliases: s is staging, t the target, l the table of levels.
"""

from collections.abc import Callable
from functools import cache

from headrace.pipeline.dialects.statements import KEY, SEQUENCE, TENANT, Spelling, matched, staging
from headrace.pipeline.dialects.tables import number_key
from headrace.schema import Entity, Field, Integer, Levels

Default = Callable[[Field], str | None]  #: a dialect's spelling of a field's default


def levels_of(entity: Entity) -> Levels:
    """The declared levels of an entity that has some."""
    assert entity.levels is not None
    return entity.levels


def table_of(entity: Entity) -> Entity:
    """The table that holds the levels of an entity that has some."""
    table = entity.level_table
    assert table is not None
    return table


def numbering(entity: Entity, numbered: str) -> list[str]:
    """Number the movements of a table that had no levels, and sum them up; more than once if need
    be, as the table is new to levels."""
    levels = levels_of(entity)
    of_owner = f"{TENANT}, {levels.owner}"
    return [
        numbered,
        f"DELETE FROM {levels.table}",
        f"INSERT INTO {levels.table} ({of_owner}, level, {levels.number}, {SEQUENCE})"
        f" SELECT {of_owner}, SUM({levels.change}), COUNT(*), MAX({SEQUENCE})"
        f" FROM {entity.name} GROUP BY {of_owner}",
    ]


def numbered(entity: Entity) -> str:
    """Number stored movements in the order in which their files came; claims stay claims."""
    key = f"t.{TENANT} = n.{TENANT} AND t.{entity.key} = n.{entity.key}"
    sets = _numbers(levels_of(entity), "")
    return f"UPDATE {entity.name} AS t SET {sets} FROM ({_order(entity)}) n WHERE {key}"


def numbered_by_join(entity: Entity) -> str:
    """`numbered` as MySQL spells it."""
    key = f"t.{TENANT} = n.{TENANT} AND t.{entity.key} = n.{entity.key}"
    sets = _numbers(levels_of(entity), "t.")
    return f"UPDATE {entity.name} t JOIN ({_order(entity)}) n ON {key} SET {sets}"


def _numbers(levels: Levels, prefix: str) -> str:
    # What has a number was numbered by an earlier try, which has saved the claim.
    is_new = f"COALESCE(t.{levels.number}, 0) = 0"
    claim = f"CASE WHEN {is_new} THEN t.{levels.level} ELSE t.{levels.claimed} END"
    return (
        f"{prefix}{levels.claimed} = {claim}, {prefix}{levels.level} = n.level,"
        f" {prefix}{levels.number} = n.number"
    )


def _order(entity: Entity) -> str:
    levels = levels_of(entity)
    return (
        f"SELECT {TENANT}, {entity.key}, ROW_NUMBER() OVER by_owner AS number,"
        f" SUM({levels.change}) OVER by_owner AS level FROM {entity.name} WINDOW by_owner AS"
        f" (PARTITION BY {TENANT}, {levels.owner} ORDER BY {SEQUENCE}, {entity.key})"
    )


@cache
def opened(spelling: Spelling, entity: Entity, on_conflict: str) -> str:
    """Give staged owners that never moved the level 0."""
    levels = levels_of(entity)
    owner = levels.owner
    return f"""
INSERT INTO {levels.table} ({TENANT}, {owner}, level, {levels.number}, {SEQUENCE})
SELECT {spelling.tenant}, s.{owner}, 0, 0, 0
FROM (SELECT DISTINCT {owner} FROM {staging(spelling, entity)}) s
LEFT JOIN {levels.table} l{spelling.through(KEY)}
       ON l.{TENANT} = {spelling.tenant} AND l.{owner} = s.{owner}
WHERE l.{owner} IS NULL
ORDER BY s.{owner}
{on_conflict}"""


@cache
def locked(spelling: Spelling, entity: Entity) -> str:
    """Lock the levels of the staged owners, in the order of their keys."""
    levels = levels_of(entity)
    owner = levels.owner
    return f"""
SELECT l.{owner}
FROM {levels.table} l
WHERE l.{TENANT} = {spelling.tenant}
  AND l.{owner} IN (SELECT s.{owner} FROM {staging(spelling, entity)} s)
ORDER BY l.{owner}
FOR UPDATE"""


def checks(spelling: Spelling, entity: Entity, default: Default) -> dict[str, str]:
    """The statements between locking and moving, by operation."""
    return {
        "known": known(spelling, entity),
        "repeated": repeated(spelling, entity, default),
        "impossible": impossible(spelling, entity, may_be_negative=False),
        "still": still(spelling, entity),
    }


@cache
def known(spelling: Spelling, entity: Entity) -> str:
    """Staged lines whose key is stored, and whether they say the same as far as they go."""
    levels = levels_of(entity)
    same = [_says(field.staged, f"t.{field.name}") for field in _told(entity)]
    same.append(_says(_staged(entity, levels.target), f"t.{levels.level}"))
    found = f"t.{levels.level} - t.{levels.change}"
    same.append(_says(_staged(entity, levels.expected), found))
    return f"""
SELECT s.line, CASE WHEN {_all_of(same)} THEN 1 ELSE 0 END
FROM {matched(spelling, entity)}"""


@cache
def repeated(spelling: Spelling, entity: Entity, default: Default) -> str:
    """Staged lines whose key an earlier staged line has, and whether they say what it says."""
    key = entity.key
    fields = [*_told(entity), *(field for field in entity.fields if field.transient)]
    firsts = [
        f"FIRST_VALUE(s.{field.staged}) OVER by_key AS first_{field.staged}" for field in fields
    ]
    same = [
        _says(field.staged, _or_default(f"s.first_{field.staged}", default(field)))
        for field in fields
    ]
    return f"""
SELECT s.line, CASE WHEN {_all_of(same)} THEN 1 ELSE 0 END
FROM (SELECT s.*, ROW_NUMBER() OVER by_key AS place,
             {", ".join(firsts)}
      FROM {staging(spelling, entity)} s
      WINDOW by_key AS (PARTITION BY s.{key} ORDER BY s.line)) s
WHERE s.place > 1
ORDER BY s.line"""


@cache
def still(spelling: Spelling, entity: Entity) -> str:
    """Staged lines that change nothing by what they say themselves."""
    return f"SELECT line FROM {staging(spelling, entity)} WHERE {levels_of(entity).change} = 0"


@cache
def impossible(spelling: Spelling, entity: Entity, *, may_be_negative: bool) -> str:
    """Staged lines that find or lead to a level that they must not, by ascending line."""
    expected = _staged(entity, levels_of(entity).expected)
    whole = Integer()
    bounds = f"BETWEEN {whole.minimum} AND {whole.maximum}"
    forbidden = [
        f"found <> {expected}",
        f"led_to NOT {bounds}",
        f"led_to - found NOT {bounds}",  # to set a level may take a larger step than a change is
    ]
    if not may_be_negative:  # what brings a level that is below 0 nearer to it is allowed
        forbidden.append("(led_to < 0 AND led_to < found)")
    return f"""
WITH {_moves(spelling, entity, staging(spelling, entity))}
SELECT line, found, led_to, {expected}
FROM moves
WHERE {" OR ".join(forbidden)}
ORDER BY line"""


@cache
def moved(spelling: Spelling, entity: Entity, default: Default) -> str:
    """Insert the staged movements, in the order in which neighbours lock and index pages lie."""
    levels = levels_of(entity)
    computed = {
        levels.change: "m.led_to - m.found",
        levels.level: "m.led_to",
        levels.claimed: f"s.{levels.level}",
        levels.number: "m.number",
    }
    names = [field.name for field in entity.columns]
    cells = [
        computed.get(field.name) or _or_default(f"s.{field.name}", default(field))
        for field in entity.columns
    ]
    rows, given = staging(spelling, entity), ""
    if spelling.names_staging_once:
        rows, given = "staged", f"staged AS (SELECT * FROM {rows}), "
    return f"""
INSERT INTO {entity.name} ({TENANT}, {", ".join(names)}, {SEQUENCE})
WITH {given}{_moves(spelling, entity, rows)}
SELECT {spelling.tenant}, {", ".join(cells)}, {spelling.sequence} + m.line
FROM moves m
{spelling.join} {rows} s ON s.{entity.key} = m.{entity.key} AND s.line = m.line
ORDER BY m.{levels.owner}, m.line"""


@cache
def raised(spelling: Spelling, entity: Entity, now: str) -> str:
    """Bring the levels of the staged owners to what the last movement led to.

    The last movement's number is made first: else the planner may read all movements of an owner
    for it, where it has no statistics of them. Under row-level security PostgreSQL looks numbers up
    by an index only if both sides have one type: the comparison of two types counts as one that may
    tell what it sees.
    """
    levels = levels_of(entity)
    owner, number = levels.owner, levels.number
    return f"""
UPDATE {levels.table} AS l
SET {_raises(levels, "", now)}
FROM (
    WITH newest AS MATERIALIZED (
        SELECT x.{owner}, o.{number} + x.moves AS {number}
        FROM {_counted(spelling, entity, "CAST(COUNT(*) AS integer)")} x
        {spelling.join} {levels.table} o ON o.{TENANT} = {spelling.tenant} AND o.{owner} = x.{owner}
    )
    SELECT t.{owner}, t.{levels.level}, t.{number}, t.{SEQUENCE}
    FROM newest n
    {spelling.join} {entity.name} t ON t.{TENANT} = {spelling.tenant} AND t.{owner} = n.{owner}
                                   AND t.{number} = n.{number}
) t
WHERE l.{TENANT} = {spelling.tenant} AND l.{owner} = t.{owner}"""


def raised_by_join(spelling: Spelling, entity: Entity, now: str) -> str:
    """`raised` as MySQL spells it."""
    levels = levels_of(entity)
    return f"""
UPDATE {_counted(spelling, entity, "COUNT(*)")} x
STRAIGHT_JOIN {levels.table} l{spelling.through(KEY)}
STRAIGHT_JOIN {entity.name} t{spelling.through(number_key(entity))}
SET {_raises(levels, "l.", now)}
WHERE {_of_last(spelling, entity)}"""


def noteworthy(spelling: Spelling, entity: Entity) -> str:
    """Of what was just moved: lines whose claim is wrong, and lines that changed nothing."""
    levels = levels_of(entity)
    return f"""
SELECT s.line, {differs(levels)}, t.{levels.change} = 0
FROM {matched(spelling, entity)}
WHERE {differs(levels)} OR t.{levels.change} = 0"""


@cache
def fallen(spelling: Spelling, entity: Entity) -> str:
    """Owners whose level is below 0 and was not when the first staged movement found it.

    Once the levels are raised: the last movement has the level's number.
    """
    levels = levels_of(entity)
    owner, number = levels.owner, levels.number
    return f"""
WITH low AS MATERIALIZED (
    SELECT x.{owner}, l.level, l.{number} - x.moves + 1 AS {number}
    FROM {_counted(spelling, entity, "CAST(COUNT(*) AS integer)")} x
    {spelling.join} {levels.table} l ON l.{TENANT} = {spelling.tenant} AND l.{owner} = x.{owner}
    WHERE l.level < 0
)
SELECT x.{owner}, x.level
FROM low x
{spelling.join} {entity.name} t ON t.{TENANT} = {spelling.tenant} AND t.{owner} = x.{owner}
                           AND t.{number} = x.{number}
WHERE t.{levels.level} - t.{levels.change} >= 0
ORDER BY x.{owner}"""


def fallen_by_join(spelling: Spelling, entity: Entity) -> str:
    """`fallen` as MySQL spells it."""
    levels = levels_of(entity)
    owner, number = levels.owner, levels.number
    return f"""
SELECT x.{owner}, l.level
FROM {_counted(spelling, entity, "COUNT(*)")} x
{spelling.join} {levels.table} l{spelling.through(KEY)}
  ON l.{TENANT} = {spelling.tenant} AND l.{owner} = x.{owner}
{spelling.join} {entity.name} t{spelling.through(number_key(entity))}
  ON t.{TENANT} = {spelling.tenant} AND t.{owner} = x.{owner}
 AND t.{number} = l.{number} - x.moves + 1
WHERE l.level < 0 AND t.{levels.level} - t.{levels.change} >= 0
ORDER BY x.{owner}"""


def differs(levels: Levels) -> str:
    """The condition that the sender of a movement came to another level; NULL without a claim."""
    return f"t.{levels.claimed} <> t.{levels.level}"


def _moves(spelling: Spelling, entity: Entity, rows: str) -> str:
    """Staged lines with the level that each finds and leads to, and its number.

    A line that says the level itself begins a part of its owner's lines, in which the changes
    are added to what it says; in part 0 they are added to the level that is stored.
    """
    levels = levels_of(entity)
    owner, change = levels.owner, levels.change
    target, expected = _staged(entity, levels.target), _staged(entity, levels.expected)
    in_order = f"PARTITION BY {owner} ORDER BY line"
    in_part = f"PARTITION BY {owner}, part"
    return f"""placed AS (
    SELECT s.line, s.{entity.key}, s.{owner}, s.{change}, s.{target}, s.{expected},
           l.level AS opening, l.{levels.number} AS last,
           COUNT(s.{target}) OVER (PARTITION BY s.{owner} ORDER BY s.line) AS part
    FROM {rows} s
    {spelling.join} {levels.table} l ON l.{TENANT} = {spelling.tenant} AND l.{owner} = s.{owner}
), led AS (
    SELECT p.*, COALESCE(MAX({target}) OVER ({in_part}), opening)
                + COALESCE(SUM({change}) OVER ({in_part} ORDER BY line), 0) AS led_to
    FROM placed p
), moves AS (
    SELECT d.*, COALESCE(LAG(led_to) OVER ({in_order}), opening) AS found,
           last + ROW_NUMBER() OVER ({in_order}) AS number
    FROM led d
)"""


def _raises(levels: Levels, prefix: str, now: str) -> str:
    return (
        f"{prefix}level = t.{levels.level}, {prefix}{levels.number} = t.{levels.number},"
        f" {prefix}changed_at = {now}, {prefix}{SEQUENCE} = t.{SEQUENCE}"
    )


def _counted(spelling: Spelling, entity: Entity, count: str) -> str:
    owner = levels_of(entity).owner
    rows = staging(spelling, entity)
    return f"(SELECT {owner}, {count} AS moves FROM {rows} GROUP BY {owner})"


def _of_last(spelling: Spelling, entity: Entity) -> str:
    levels = levels_of(entity)
    owner, number = levels.owner, levels.number
    return f"""l.{TENANT} = {spelling.tenant} AND l.{owner} = x.{owner}
  AND t.{TENANT} = {spelling.tenant} AND t.{owner} = x.{owner}
  AND t.{number} = l.{number} + x.moves"""


def _told(entity: Entity) -> list[Field]:
    """What a record says of a movement and is kept; not its key, which is equal where compared."""
    return [field for field in entity.as_sent if field.name != entity.key]


def _staged(entity: Entity, name: str) -> str:
    return entity.field(name).staged


def _says(staged: str, other: str) -> str:
    """What a line leaves out, contradicts nothing."""
    return f"(s.{staged} IS NULL OR s.{staged} = {other})"


def _or_default(value: str, default: str | None) -> str:
    return value if default is None else f"COALESCE({value}, {default})"


def _all_of(conditions: list[str]) -> str:
    return " AND ".join(conditions)
