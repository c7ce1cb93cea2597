"""PostgreSQL's side of isolation: who serves, and what it may do.

The serving role owns nothing, is no superuser and cannot bypass row-level security; the
connection's own user becomes it with SET ROLE.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from apps.audit import guards
from headrace.databases import MAY_BECOME
from headrace.entities import BY_NAME, TABLES
from headrace.pipeline.dialects import postgresql_parents
from headrace.pipeline.dialects.postgresql_parents import GUARD, PARAMETER
from headrace.schema import Entity


def name() -> str:
    """The serving role, quoted."""
    return connection.ops.quote_name(settings.HEADRACE_DB_ROLE)


def grant(*, may_spare: bool) -> None:
    """Make the role if it is not there, and grant it what serving needs.

    If it `may_spare` the triggers of references, that too, where our user may grant it.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in [*statements(), *([_sparing()] if may_spare else [])]:
            cursor.execute(statement)


def statements() -> list[str]:
    """The SQL that `grant` runs, in order."""
    role, database = name(), connection.ops.quote_name(connection.settings_dict["NAME"])
    return [
        *administrator_statements(),
        f"GRANT TEMPORARY ON DATABASE {database} TO {role}",
        f"GRANT USAGE ON SCHEMA public TO {role}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
        _revocation(),
        *guards.grants(role),
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
        _analyze_function(),
        "REVOKE ALL ON FUNCTION headrace_analyze(text) FROM PUBLIC",
        f"GRANT EXECUTE ON FUNCTION headrace_analyze(text) TO {role}",
    ]


def administrator_statements() -> list[str]:
    """What needs the right to make roles, and does nothing where it has been done.

    Two databases of a cluster may be set up at once: the other's role will do.
    """
    role, user = name(), connection.settings_dict["USER"]
    member = connection.ops.quote_name(user) if user else "CURRENT_USER"
    return [
        f"DO $$ BEGIN IF to_regrole('{role}') IS NULL THEN"
        f" CREATE ROLE {role} NOLOGIN NOSUPERUSER NOBYPASSRLS; END IF;"
        " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
        f"DO $$ BEGIN IF NOT pg_has_role({_literal(user)}, '{settings.HEADRACE_DB_ROLE}',"
        f" {MAY_BECOME}) THEN GRANT {role} TO {member}; END IF; END $$",
    ]


def sparing_statement() -> str:
    """What lets loads write rows without the triggers of references; serving does without it."""
    return f"GRANT SET ON PARAMETER {PARAMETER} TO {name()}"


def _sparing() -> str:
    """Two databases that are set up at once would change one row: the lock is for those."""
    return f"""
DO $$ BEGIN
    IF has_parameter_privilege('{settings.HEADRACE_DB_ROLE}', '{PARAMETER}', 'SET')
       OR NOT has_parameter_privilege('{PARAMETER}', 'SET WITH GRANT OPTION') THEN
        RETURN;
    END IF;
    IF has_table_privilege('pg_parameter_acl', 'UPDATE') THEN
        LOCK TABLE pg_parameter_acl IN SHARE ROW EXCLUSIVE MODE;
    END IF;
    {sparing_statement()};
END $$"""


def knows_parents() -> bool:
    """Whether a migration has made the guards that sparing needs."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regproc(%s) IS NOT NULL", [GUARD])
        [is_there] = cursor.fetchone()
    return bool(is_there)


def _revocation() -> str:
    """Partitions are reached through their tables only, whose policies see every row."""
    return f"""
DO $$
DECLARE partition regclass;
BEGIN
    FOR partition IN SELECT oid FROM pg_class
                     WHERE relispartition AND relnamespace = 'public'::regnamespace
                     AND relkind IN ('r', 'p')
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM {name()}', partition);
    END LOOP;
END $$"""


def _literal(user: str) -> str:
    return "'" + user.replace("'", "''") + "'" if user else "current_user"


def _analyze_function() -> str:
    """Only an owner may ANALYZE; this does it for the serving role when a table has doubled or
    halved since, so that a first load has plans for what it refers to.

    Of the columns that promotion joins on: a quarter of the time that all of them take. Two
    workers who end together do it once.

    A table with partitions has no pages of its own and autovacuum never looks at it as a whole,
    while the planner estimates joins by what is known of the whole. So each partition is measured
    by its pages, and the whole by the rows of its partitions; its ANALYZE takes them along.
    """
    cases = "\n".join(
        f"        WHEN '{entity.name}' THEN '{', '.join(_joined_columns(entity))}'"
        for entity in TABLES.values()
    )
    return f"""
CREATE OR REPLACE FUNCTION headrace_analyze(target text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    columns text; part record; known real; actual real;
BEGIN
    columns := CASE target
{cases}
    END;
    IF columns IS NULL THEN
        RAISE EXCEPTION 'not a target table';
    END IF;
    IF NOT pg_try_advisory_xact_lock(hashtext('headrace_analyze'), hashtext(target)) THEN
        RETURN;
    END IF;
    FOR part IN
        SELECT oid::regclass AS name, relpages AS known,
               pg_relation_size(oid) / current_setting('block_size')::bigint AS actual
        FROM pg_class
        WHERE relkind = 'r' AND (oid = target::regclass OR oid IN
              (SELECT inhrelid FROM pg_inherits WHERE inhparent = target::regclass))
    LOOP
        IF part.actual > 2 * part.known + 10 OR 2 * part.actual + 10 < part.known THEN
            EXECUTE format('ANALYZE %s (%s)', part.name, columns);
        END IF;
    END LOOP;
    SELECT whole.reltuples, sum(leaf.reltuples) INTO known, actual
    FROM pg_class whole
    JOIN pg_inherits ON inhparent = whole.oid
    JOIN pg_class leaf ON leaf.oid = inhrelid AND leaf.reltuples > 0
    WHERE whole.oid = target::regclass AND whole.relkind = 'p'
    GROUP BY whole.reltuples;
    IF actual > 2 * known + 1000 OR 2 * actual + 1000 < known THEN
        EXECUTE format('ANALYZE %I (%s)', target, columns);
    END IF;
END $$"""


def _joined_columns(entity: Entity) -> list[str]:
    references = [reference.field for reference in entity.references]
    return list(dict.fromkeys((entity.key, *entity.natural_keys, *references)))


def faults(cursor: Any) -> list[str]:
    """What lets the session's role step over policies, in words; none where it is bound.

    A member of a role may become it, whether it inherits its rights or not.
    """
    cursor.execute(_FAULTS)
    [is_super, bypasses, owned, mighty] = cursor.fetchone()
    found = {
        "is a superuser": is_super,
        "has BYPASSRLS": bypasses,
        f"owns {owned}": owned,
        f"may become {mighty}": mighty,
    }
    return [words for words, holds in found.items() if holds]


_FAULTS = """
WITH owners AS (
    SELECT relowner AS role FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
    UNION SELECT nspowner FROM pg_namespace WHERE nspname = 'public'
    UNION SELECT datdba FROM pg_database WHERE datname = current_database()
)
SELECT own.rolsuper, own.rolbypassrls,
    (SELECT min(relname) FROM pg_class WHERE relowner = own.oid
        AND relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')),
    (SELECT min(rolname) FROM pg_roles other WHERE other.oid <> own.oid
        AND (rolsuper OR rolbypassrls OR other.oid IN (SELECT role FROM owners))
        AND NOT own.rolsuper AND pg_has_role(own.oid, other.oid, 'MEMBER'))
FROM pg_roles own WHERE own.rolname = current_user"""


def hindrances(cursor: Any) -> list[str]:
    """Why loads of the session's role look at references again, row by row; none where not."""
    cursor.execute(f"SELECT {postgresql_parents.MAY_SET}")
    [may_set] = cursor.fetchone()
    found = [] if may_set else [f"{settings.HEADRACE_DB_ROLE} may not set {PARAMETER}"]
    for entity in BY_NAME.values():
        if postgresql_parents.can_be_spared(entity):
            found += _hindrances_of(cursor, entity)
    return found


def _hindrances_of(cursor: Any, entity: Entity) -> Iterator[str]:
    cursor.execute(f"SELECT {postgresql_parents.guarded(entity)}")
    if cursor.fetchone() == (False,):
        yield f"what {entity.name} refer to has lost a guard"
    cursor.execute(postgresql_parents.others(entity))
    if others := sorted({name for (name,) in cursor.fetchall()}):
        yield f"{entity.name} has a trigger that is not ours, {others[0]}"


def unguarded(cursor: Any, tables: Sequence[str]) -> list[str]:
    """Those of the tables that are there without forced row-level security and a policy."""
    cursor.execute(
        "SELECT relname FROM pg_class"
        " WHERE oid IN (SELECT to_regclass(name) FROM unnest(%s::text[]) name)"
        " AND NOT (relrowsecurity AND relforcerowsecurity"
        " AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid)) ORDER BY relname",
        [list(tables)],
    )
    return [name for (name,) in cursor.fetchall()]
