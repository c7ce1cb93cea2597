"""What makes the log append-only: triggers of each database, and on PostgreSQL grants besides.

No row is changed. A row is removed only when it is KEPT_DAYS old, whatever the settings say, or
was written before somebody ordered its tenant's erasure (`audit_erasures`, whose own rows stay).
On PostgreSQL the serving role may not delete at all: it calls one function, which removes what
the trigger allows. There they fire for sessions without triggers too, which the role may be granted
(`roles.py`). Who owns the tables may still drop a trigger; docs/audit.md says so.
"""

from collections.abc import Callable, Mapping, Sequence

LOG, ERASURES = "audit_log", "audit_erasures"
KEPT_DAYS = 30  #: days that no setting, and no defect, can shorten
REFUSAL = "the audit log is append-only"


def preparation(database: str) -> Sequence[str]:
    """What a migration runs once the tables are there, by Django's name of the database."""
    return _PREPARATIONS[database]()


def grants(role: str) -> list[str]:
    """PostgreSQL's, after those on all tables; nothing where the tables are not made yet."""
    return [
        f"""
DO $$ BEGIN
    IF to_regclass('public.{LOG}') IS NOT NULL THEN
        REVOKE UPDATE, DELETE, TRUNCATE ON public.{LOG}, public.{ERASURES} FROM {role};
        REVOKE ALL ON FUNCTION headrace_audit_remove(timestamptz, integer) FROM PUBLIC;
        GRANT EXECUTE ON FUNCTION headrace_audit_remove(timestamptz, integer) TO {role};
    END IF;
END $$"""
    ]


def _removable(row: str, long_ago: str) -> str:
    """Whether a row may go."""
    return (
        f"{row}.recorded_at < {long_ago} OR EXISTS (SELECT 1 FROM {ERASURES} ordered"
        f" WHERE ordered.tenant_id = {row}.tenant_id AND ordered.ordered_at >= {row}.recorded_at)"
    )


def _of_postgresql() -> Sequence[str]:
    removable = _removable("OLD", f"statement_timestamp() - interval '{KEPT_DAYS} days'")
    safe_path = "SET search_path = pg_catalog, public, pg_temp"
    guard = f"""
CREATE OR REPLACE FUNCTION headrace_audit_guard() RETURNS trigger LANGUAGE plpgsql {safe_path} AS $$
BEGIN
    IF TG_OP = 'DELETE' AND TG_TABLE_NAME = '{LOG}' THEN
        IF {removable} THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'insufficient_privilege';
END $$"""
    remove = f"""
CREATE OR REPLACE FUNCTION headrace_audit_remove(until timestamptz, most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER {safe_path} AS $$
DECLARE
    own uuid := NULLIF(current_setting('app.tenant_id', true), '')::uuid;
    removed integer;
BEGIN
    DELETE FROM {LOG} WHERE tenant_id = own AND id IN (
        SELECT id FROM {LOG} WHERE tenant_id = own AND recorded_at <= until ORDER BY id LIMIT most);
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN removed;
END $$"""
    moments = {"UPDATE OR DELETE": "EACH ROW", "TRUNCATE": "EACH STATEMENT"}
    triggers = (
        f"CREATE TRIGGER {table}_append_{event.partition(' ')[0].lower()} BEFORE {event} ON {table}"
        f" FOR {each} EXECUTE FUNCTION headrace_audit_guard()"
        for table in _BOTH
        for event, each in moments.items()
    )
    return (guard, remove, *triggers, *always())


def always() -> list[str]:
    """PostgreSQL's: let the guards fire whatever `session_replication_role` says."""
    return [
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_append_{event}"
        for table in _BOTH
        for event in ("update", "truncate")
    ]


def _of_sqlite() -> Sequence[str]:
    """REPLACE removes a row and asks no trigger for deletions: an id that is there is refused."""
    removable = _removable("OLD", f"datetime('now', '-{KEPT_DAYS} days')")
    refuse = f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
    return [
        *(f"CREATE TRIGGER {t}_append_update BEFORE UPDATE ON {t} {refuse}" for t in _BOTH),
        f"CREATE TRIGGER {LOG}_append_delete BEFORE DELETE ON {LOG}"
        f" WHEN NOT ({removable}) {refuse}",
        f"CREATE TRIGGER {ERASURES}_append_delete BEFORE DELETE ON {ERASURES} {refuse}",
        *(
            f"CREATE TRIGGER {t}_append_insert BEFORE INSERT ON {t}"
            f" WHEN EXISTS (SELECT 1 FROM {t} WHERE id = NEW.id)"
            f" {refuse}"
            for t in _BOTH
        ),
    ]


def _of_mariadb() -> Sequence[str]:
    removable = _removable("OLD", f"UTC_TIMESTAMP(6) - INTERVAL {KEPT_DAYS} DAY")
    refuse = f"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = '{REFUSAL}'"
    bodies = {
        (LOG, "update"): refuse,
        (LOG, "delete"): f"IF NOT ({removable}) THEN {refuse}; END IF",
        (ERASURES, "update"): refuse,
        (ERASURES, "delete"): refuse,
    }
    return [
        statement
        for (table, event), body in bodies.items()
        for statement in (
            f"DROP TRIGGER IF EXISTS {table}_append_{event}",  # of a migration that was killed
            f"CREATE TRIGGER {table}_append_{event} BEFORE {event.upper()} ON {table}"
            f" FOR EACH ROW {body}",
        )
    ]


_BOTH = (LOG, ERASURES)
_PREPARATIONS: Mapping[str, Callable[[], Sequence[str]]] = {
    "postgresql": _of_postgresql,
    "sqlite": _of_sqlite,
    "mysql": _of_mariadb,
}
