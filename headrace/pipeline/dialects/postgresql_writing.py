"""PostgreSQL: staged rows into their table.

New rows are plainly inserted where nothing that was stored has their key: to ask at each row
whether another has come in between takes half as long as to write it, and log of its own. If one
has, the insert fails, and what is stored by then is merged (`merged`). So all of them are written
or none, and their number says which; to have each line told takes a twentieth of the time. They go
in as the file has them, which is by their date or number more often than by their id.
"""

from dataclasses import replace

from headrace.pipeline.dialects import postgresql_lookups, statements
from headrace.pipeline.dialects.postgresql_lookups import Parents
from headrace.pipeline.dialects.postgresql_tables import REWRITTEN, former
from headrace.pipeline.dialects.statements import TENANT, Spelling
from headrace.schema import Entity

NOT_STORED = """LEFT JOIN unnest(CAST(%(stored)s AS bigint[])) stored ON stored = s.line
WHERE stored IS NULL AND """
CHOSEN = """JOIN unnest(CAST(%(chosen)s AS bigint[])) chosen ON chosen = s.line
WHERE """
BOTH = """string_agg(int8send(line), '') FILTER (WHERE is_new),
       string_agg(int8send(line), '') FILTER (WHERE NOT is_new)"""


def inserted(spelling: Spelling, entity: Entity, mask: int) -> str:
    """Insert the rows of a mask but for the lines in `stored`.

    Raises a unique violation if one of them has come in between.
    """
    return statements.inserted(spelling, entity, mask, NOT_STORED)


def inserted_days(spelling: Spelling, entity: Entity, parents: Parents) -> str:
    """The days of those rows, which every record says: what decides them is required."""
    decided_by = statements.days_of(entity).decided_by
    rows = f"""SELECT s.{decided_by} FROM {statements.staging(spelling, entity)} s
{NOT_STORED}s.mask = {spelling.mask}"""
    return f"SELECT {postgresql_lookups.days(spelling, entity, parents, rows)}"


def merged(spelling: Spelling, entity: Entity, mask: int, parents: Parents) -> str:
    """Insert or update the rows of a mask on the lines in `chosen`, leaving equal and newer alone.

    Gives the lines that were inserted and those that were updated; where there are days, also those
    of all, before and after, and whether a row has moved to another.
    """
    names = statements.present(entity, mask)
    differs = spelling.differ(statements.values(entity, names), "t", "excluded")
    update = statements.on_conflict(_remembering(spelling, entity), entity, names)
    rows = f"""{statements.inserted(spelling, entity, mask, CHOSEN)}
ORDER BY s.{entity.key}
ON CONFLICT ({TENANT}, {entity.key}) {update}
  AND ({differs})"""
    return _told(rows, *_merged_told(spelling, entity, parents))


def merged_all(spelling: Spelling, entity: Entity, mask: int, parents: Parents) -> str:
    """The same for all staged rows of a mask, in the order that the entity's promotion asks for."""
    rows = statements.insert(_remembering(spelling, entity), entity, mask)
    return _told(rows, *_merged_told(spelling, entity, parents))


def marked(spelling: Spelling, entity: Entity) -> str:
    """List days whose rows have changed."""
    days = "unnest(CAST(%(days)s AS date[]))"
    table = statements.days_of(entity).table
    return f"INSERT INTO {table} ({TENANT}, day) SELECT {spelling.tenant}, {days}"


def _merged_told(
    spelling: Spelling, entity: Entity, parents: Parents
) -> tuple[list[str], list[str]]:
    told = [postgresql_lookups.line(spelling), f"NOT t.{REWRITTEN} AS is_new"]
    if entity.days is None:
        return told, [BOTH]
    decided_by = entity.days.decided_by
    told += [f"t.{decided_by}", f"t.{former(entity)} AS former"]
    before_and_after = f"""SELECT {decided_by} FROM written
             UNION ALL SELECT former FROM written WHERE NOT is_new"""
    has_moved = f"bool_or(NOT is_new AND former <> {decided_by})"
    days = postgresql_lookups.days(spelling, entity, parents, before_and_after)
    return told, [BOTH, days, has_moved]


def _told(rows: str, told: list[str], found: list[str]) -> str:
    returned, wanted = ", ".join(told), ",\n       ".join(found)
    return f"WITH written AS ({rows}\nRETURNING {returned})\nSELECT {wanted}\nFROM written"


def _remembering(spelling: Spelling, entity: Entity) -> Spelling:
    """An update remembers which day the row belonged to: RETURNING tells new values only, and what
    another statement reads before may be changed by a neighbour."""
    if entity.days is None:
        return spelling
    kept = f"{former(entity)} = t.{entity.days.decided_by}"
    return replace(spelling, on_update=(*spelling.on_update, kept))
