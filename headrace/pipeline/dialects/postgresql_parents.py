"""PostgreSQL: references that are looked at once, for all staged rows, and not again row by row.

The triggers of foreign keys cost 12 µs a row, to find out what `unresolved` has just said of all of
them. It stays true to the commit where nobody can delete a parent meanwhile: a load holds the lock
of its tenant's parents, shared, from before it looks; a trigger of each parent's table takes it,
exclusive, before a row is deleted or gets another key. So whoever deletes waits for loads that have
looked, and then meets their rows by the foreign keys; a load that looks later sees the deletion.

Triggers are off while target rows are written, and for no other statement. Row-level security,
unique keys, checks and NOT NULL are no triggers and stay.
"""

from headrace.pipeline.dialects.statements import TENANT
from headrace.schema import Entity

PARAMETER = "session_replication_role"  #: who may set it may write without triggers
GUARD = "headrace_keep_parents"  #: the function of the triggers
MAY_SET = f"has_parameter_privilege('{PARAMETER}', 'SET')"
_LEVELS = ("ROW", "STATEMENT")


def guards(table: str, key: str) -> list[str]:
    """What makes deletions from a table that others refer to wait for loads, and loads for them.

    The statement's trigger takes the lock of the transaction's tenant before a row is touched: who
    waits for it then holds no row that a load may want. The row's trigger is for who is bound to no
    tenant, or names a partition.
    """
    function = f"""
CREATE OR REPLACE FUNCTION {GUARD}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE bound text := current_setting('app.tenant_id', true);
BEGIN
    IF TG_LEVEL = 'STATEMENT' THEN
        IF bound <> '' THEN
            PERFORM pg_advisory_xact_lock({_lock("bound")});
        END IF;
        RETURN NULL;
    END IF;
    PERFORM pg_advisory_xact_lock({_lock(f"OLD.{TENANT}")});
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$"""
    events = f"BEFORE DELETE OR UPDATE OF {TENANT}, {key} ON {table}"
    triggers = (
        f"CREATE OR REPLACE TRIGGER {_guard(table, level)} {events}"
        f" FOR EACH {level} EXECUTE FUNCTION {GUARD}()"
        for level in _LEVELS
    )
    return [function, *triggers]


def can_be_spared(entity: Entity) -> bool:
    """Whether there is something to spare: of movements only new levels have references."""
    return bool(entity.references) and entity.levels is None


def holding(entity: Entity) -> str:
    """Take the lock, and give a row, where that and what was looked at make triggers needless."""
    return f"""
SELECT pg_advisory_xact_lock_shared({_lock("CAST(%(tenant)s AS text)")})
WHERE current_setting('transaction_isolation') = 'read committed'
  AND {MAY_SET}
  AND {guarded(entity)}
  AND NOT EXISTS ({others(entity)})"""


def guarded(entity: Entity) -> str:
    """The condition that each of the entity's parents has its triggers."""
    parents = dict.fromkeys(reference.entity for reference in entity.references)
    wanted = [(parent, _guard(parent, level)) for parent in parents for level in _LEVELS]
    listed = ", ".join(f"(to_regclass('{table}'), '{name}')" for table, name in wanted)
    return (
        f"(SELECT count(*) FROM pg_trigger WHERE (tgrelid, tgname) IN ({listed})"
        f" AND tgenabled IN ('O', 'A')) = {len(wanted)}"
    )


def others(entity: Entity) -> str:
    """The triggers of the entity's table that are not ours, which must fire, or must not.

    Ours are the guards, those of our foreign keys, and those of keys that refer to the table by its
    primary key: they look at keys that change, and a load changes no primary one.
    """
    fields = "|".join(reference.field for reference in entity.references)
    own = ", ".join(f"'{_guard(entity.name, level)}'" for level in _LEVELS)
    return f"""
    SELECT t.tgname
    FROM (SELECT to_regclass('{entity.name}') AS relid
          UNION SELECT relid FROM pg_partition_tree(to_regclass('{entity.name}'))) part
    JOIN pg_trigger t ON t.tgrelid = part.relid AND t.tgenabled IN ('O', 'R')
    LEFT JOIN pg_constraint c ON c.oid = t.tgconstraint AND c.contype = 'f'
    WHERE t.tgname NOT IN ({own})
      AND (c.confrelid = t.tgrelid AND c.conrelid <> t.tgrelid
           AND c.conindid = (SELECT indexrelid FROM pg_index
                             WHERE indrelid = t.tgrelid AND indisprimary)
           OR c.conname ~ '^{entity.name}(_p[0-9]+)?_({fields})_fkey$') IS NOT TRUE"""


def _guard(table: str, level: str) -> str:
    return f"{table}_parent_{level.lower()}"


def _lock(tenant: str) -> str:
    return f"hashtextextended('parents ' || {tenant}, 0)"
