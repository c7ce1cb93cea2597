"""PostgreSQL: what staged rows meet in the tables, by a join or looked up row by row.

The planner has no statistics of a tenant and joins by reading all that it has. Of a small table
that is the fastest way; with a large one each segment would do it anew, and a load of ten million
rows become slower with every one. There each key is looked up through its index, which costs the
same whatever else there is (`OFFSET 0` keeps the planner from making a join of it). It must not be
done with a small table: where all indexes are thought to hold next to nothing, the planner may take
one that knows the tenant only, and read for every row all that a neighbour is about to commit.

Aliases as in statements.py.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from headrace.pipeline.dialects import statements
from headrace.pipeline.dialects.statements import SEQUENCE, TENANT, Spelling
from headrace.schema import Entity, Reference


def size(table: str) -> str:
    """The bytes of a table; of one with partitions of its smallest, which may be the tenant's."""
    leaves = f"SELECT min(pg_relation_size(relid)) FROM pg_partition_tree('{table}') WHERE isleaf"
    return f"SELECT COALESCE(({leaves}), pg_relation_size('{table}'))"


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
{_met(entity.name, "t", entity.key, holder, by_index=True)}
WHERE t.{entity.key} <> s.{entity.key}
ORDER BY s.line"""


def matched(spelling: Spelling, entity: Entity, mask: int, *, by_index: bool) -> str:
    """The lines of a mask, packed: of rows that equal stored ones, of those that differ from them,
    and all."""
    names = statements.values(entity, statements.present(entity, mask))
    key = f"t.{TENANT} = {spelling.tenant} AND t.{entity.key} = s.{entity.key}"
    return f"""
SELECT string_agg(int8send(line), '') FILTER (WHERE NOT differs),
       string_agg(int8send(line), '') FILTER (WHERE differs),
       (SELECT string_agg(int8send(line), '')
        FROM {statements.staging(spelling, entity)} WHERE mask = {spelling.mask})
FROM (
    SELECT s.line, {spelling.differ(names, "t", "s")} AS differs
    FROM {statements.staging(spelling, entity)} s
    {_met(entity.name, "t", ", t.".join(names) or entity.key, key, by_index=by_index)}
    WHERE s.mask = {spelling.mask}
) found"""


class Parents(NamedTuple):
    """The keys of all entities, by name, and whether the parents' table is a large one."""

    keys: Mapping[str, str]
    by_index: bool


def days(spelling: Spelling, entity: Entity, parents: Parents, written: str) -> str:
    """The days of written rows, as texts; `written` selects what says the day of each.

    A parent is looked up once.
    """
    days = statements.days_of(entity)
    found = f"SELECT {days.decided_by} AS moment FROM ({written}) w"
    if days.parent:
        parent = next(ref.entity for ref in entity.references if ref.field == days.parent)
        key = f"p.{TENANT} = {spelling.tenant} AND p.{parents.keys[parent]} = w.{days.parent}"
        found = f"""SELECT p.{days.moment} AS moment
             FROM (SELECT DISTINCT {days.parent} FROM ({written}) w ORDER BY {days.parent}) w
             {_met(parent, "p", days.moment, key, by_index=parents.by_index)}"""
    return f"""ARRAY(SELECT DISTINCT CAST(CAST(moment AT TIME ZONE 'UTC' AS date) AS text)
             FROM ({found}) dated)"""


def _met(table: str, alias: str, columns: str, condition: str, *, by_index: bool) -> str:
    """The rows of a table that fulfil a condition on those before it."""
    if not by_index:
        return f"JOIN {table} {alias} ON {condition}"
    looked_up = f"SELECT {alias}.{columns} FROM {table} {alias} WHERE {condition} OFFSET 0"
    return f"CROSS JOIN LATERAL ({looked_up}) {alias}"


def line(spelling: Spelling) -> str:
    """The line of a written row t."""
    return f"t.{SEQUENCE} - {spelling.sequence} AS line"
