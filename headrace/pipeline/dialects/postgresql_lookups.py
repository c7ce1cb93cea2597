"""PostgreSQL: what staged rows meet in the tables, looked up row by row through an index.

The planner has no statistics of a tenant and would join by reading all that it has, for every
segment anew: a load of ten million rows would become slower with each. A lookup of one key costs
the same whatever else there is. `OFFSET 0` keeps the planner from making a join of it.

Aliases as in statements.py.
"""

from functools import cache

from headrace.pipeline.dialects import statements
from headrace.pipeline.dialects.statements import SEQUENCE, TENANT, Spelling
from headrace.schema import Entity, Reference


@cache
def unresolved(spelling: Spelling, entity: Entity, reference: Reference, parent_key: str) -> str:
    """Staged lines whose parent is not there. Each parent is looked up once, in key order."""
    field, rows = reference.field, statements.staging(spelling, entity)
    parent = f"p.{TENANT} = {spelling.tenant} AND p.{parent_key} = wanted.{field}"
    return f"""
SELECT s.line, s.{field}
FROM (
    SELECT wanted.{field}
    FROM (SELECT DISTINCT {field} FROM {rows} WHERE {field} IS NOT NULL ORDER BY {field}) wanted
    WHERE (SELECT true FROM {reference.entity} p WHERE {parent} OFFSET 0) IS NULL
) missing
JOIN {rows} s ON s.{field} = missing.{field}
ORDER BY s.line"""


def taken(spelling: Spelling, entity: Entity, field: str) -> str:
    """Staged lines whose natural key is stored under another id."""
    holder = f"t.{TENANT} = {spelling.tenant} AND t.{field} = s.{field}"
    return f"""
SELECT s.line, s.{field}, t.{entity.key}
FROM {statements.staging(spelling, entity)} s
CROSS JOIN LATERAL (SELECT t.{entity.key} FROM {entity.name} t WHERE {holder} OFFSET 0) t
WHERE t.{entity.key} <> s.{entity.key}
ORDER BY s.line"""


def matched(spelling: Spelling, entity: Entity, mask: int) -> str:
    """The lines of a mask whose key is stored, packed: of equal rows, and of those that differ."""
    names = statements.values(entity, statements.present(entity, mask))
    columns = ", ".join(f"t.{name}" for name in names) or "true"
    key = f"t.{TENANT} = {spelling.tenant} AND t.{entity.key} = s.{entity.key}"
    return f"""
SELECT string_agg(int8send(line), '') FILTER (WHERE NOT differs),
       string_agg(int8send(line), '') FILTER (WHERE differs)
FROM (
    SELECT s.line, {spelling.differ(names, "t", "s")} AS differs
    FROM {statements.staging(spelling, entity)} s
    CROSS JOIN LATERAL (SELECT {columns} FROM {entity.name} t WHERE {key} OFFSET 0) t
    WHERE s.mask = {spelling.mask}
) found"""


def days(spelling: Spelling, entity: Entity, keys: dict[str, str], written: str) -> str:
    """The days of written rows, as texts; `written` selects what says the day of each.

    `keys` as in tables.py. A parent is looked up once.
    """
    days = statements.days_of(entity)
    found = f"SELECT {days.decided_by} AS moment FROM ({written}) w"
    if days.parent:
        parent = next(ref.entity for ref in entity.references if ref.field == days.parent)
        key = f"p.{TENANT} = {spelling.tenant} AND p.{keys[parent]} = w.{days.parent}"
        found = f"""SELECT p.moment
             FROM (SELECT DISTINCT {days.parent} FROM ({written}) w ORDER BY {days.parent}) w
             CROSS JOIN LATERAL
                 (SELECT p.{days.moment} AS moment FROM {parent} p WHERE {key} OFFSET 0) p"""
    return f"""ARRAY(SELECT DISTINCT CAST(CAST(moment AT TIME ZONE 'UTC' AS date) AS text)
             FROM ({found}) dated)"""


def line(spelling: Spelling) -> str:
    """The line of a written row t."""
    return f"t.{SEQUENCE} - {spelling.sequence} AS line"
