"""Production does not start on a set-up that lets tenants or strangers in."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest

from tests.inside import Inside
from tests.servers import free_port
from tests.service import ROOT, Service
from tests.test_isolation import on_postgresql, on_sqlite
from tests.test_operator import examined, unwell

SECRET = "q8Zr-0vTn3Wm_5Kc2Yh7Lx9Pd4Jg6Sb1"
SOUND = {
    "HEADRACE_ENV": "production",
    "DJANGO_SECRET_KEY": SECRET,
    "ALLOWED_HOSTS": "shop.example",
}
PROGRAMS = {
    "serve": (sys.executable, "manage.py", "serve", "--workers", "0", "--port", "{port}"),
    "worker": (sys.executable, "manage.py", "worker"),
    "celery": (sys.executable, "-m", "celery", "-A", "main", "worker", "-c", "1"),
    "gunicorn": (sys.executable, "-m", "gunicorn", "main.wsgi", "--bind", "127.0.0.1:{port}"),
}


def started(running: Service, program: str, **environment: str) -> str:
    """What a program says that does not start."""
    done = subprocess.run(
        [word.format(port=free_port()) for word in PROGRAMS[program]],
        cwd=ROOT,
        env={**running.environment, **SOUND, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert environment.get("DJANGO_SECRET_KEY", SECRET) not in done.stdout + done.stderr
    return done.stdout + done.stderr


@on_sqlite
@pytest.mark.parametrize("program", PROGRAMS)
def test_no_program_starts_with_any_host_or_a_short_secret_or_files_in_public(
    running_service, tmp_path, program
):
    home = tmp_path / "public" / "headrace"
    told = started(
        running_service,
        program,
        ALLOWED_HOSTS="*",
        DJANGO_SECRET_KEY="a short one",
        HEADRACE_HOME=str(home),
        CELERY_BROKER_URL="memory://" if program == "celery" else "",
    )
    for advice in (
        "Set ALLOWED_HOSTS to the names that clients use",
        "Set DJANGO_SECRET_KEY to a long random text",
        "Move HEADRACE_HOME to a folder that no web server gives out",
    ):
        assert advice in told


@on_sqlite
def test_each_fault_is_found_alone_and_development_is_let_be(running_service):
    inside = Inside(running_service, "readiness_inside")
    assert inside.do("each_fault") == {
        "nothing": [],
        "debug": ["debug"],
        **{name: ["secret key"] for name in ("short", "dull", "example")},
        "guessable keys": ["demo keys"],
        "any host": ["host names"],
        **{name: ["stored files"] for name in ("web root", "in media", "media in it", "static")},
    }
    assert inside.do("in_development") == []


@on_sqlite
def test_no_program_starts_where_a_table_has_lost_its_guard(running_service):
    name = "orders_tenant_update"
    with running_service.owner() as connection:
        asked = "SELECT sql FROM sqlite_master WHERE name = ?"
        [statement] = connection.execute(asked, [name]).fetchone()
        connection.execute(f"DROP TRIGGER {name}")
        try:
            told = started(running_service, "worker")
        finally:
            connection.execute(statement)
    assert "tenant triggers: none on orders. Run `manage.py migrate`." in told


@on_sqlite
@pytest.mark.parametrize("name", ["prod", "Production", "production "])
def test_a_word_that_was_meant_to_be_production_starts_nothing(running_service, name):
    environment = {**running_service.environment, "HEADRACE_ENV": name}
    for program in (PROGRAMS["serve"], PROGRAMS["worker"]):
        command = [word.format(port=free_port()) for word in program]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1
        assert f"HEADRACE_ENV is {name!r}: set it to development or production" in done.stderr


@contextmanager
def role_with(running: Service, *statements: str) -> Iterator[str]:
    """A serving role that has been given too much."""
    name = f"headrace_bad_{uuid4().hex[:8]}"
    with running.owner() as connection:
        [owner] = connection.execute("SELECT quote_ident(current_user)").fetchone()
        connection.execute(f"CREATE ROLE {name}")
        try:
            for statement in statements:
                connection.execute(statement.format(role=name, owner=owner))
            yield name
        finally:
            connection.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER")
            connection.execute(f"DROP OWNED BY {name}")
            connection.execute(f"DROP ROLE {name}")


FAULTS = {
    "is a superuser": ["ALTER ROLE {role} SUPERUSER"],
    "has BYPASSRLS": ["ALTER ROLE {role} BYPASSRLS"],
    "owns audit_log": ["ALTER TABLE audit_log OWNER TO {role}"],
    "may become": ["GRANT {owner} TO {role}"],
    "may become ": ["ALTER ROLE {role} NOINHERIT", "GRANT {owner} TO {role}"],
}


@on_postgresql
@pytest.mark.parametrize("fault", FAULTS)
def test_a_serving_role_that_could_pass_the_policies_is_found(running_service, fault):
    with role_with(running_service, *FAULTS[fault]) as name:
        code, findings = examined(running_service, HEADRACE_DB_ROLE=name)
    assert (code, [*unwell(findings)]) == (1, ["serving role"])
    assert fault in findings["serving role"]["found"]


@on_postgresql
@pytest.mark.parametrize("program", PROGRAMS)
def test_no_program_starts_under_such_a_role(running_service, program):
    with role_with(running_service, "ALTER ROLE {role} BYPASSRLS") as name:
        broker = "memory://" if program == "celery" else ""
        told = started(running_service, program, HEADRACE_DB_ROLE=name, CELERY_BROKER_URL=broker)
    assert f"{name} passes row-level security: it has BYPASSRLS" in told
    assert "name another role in HEADRACE_DB_ROLE" in told


@on_postgresql
def test_a_service_waits_for_its_database_and_looks_at_it_first(running_service, tmp_path):
    nowhere = f"postgresql://postgres@127.0.0.1:{free_port()}/headrace"
    environment = {
        **running_service.environment,
        **SOUND,
        "DATABASE_URL": nowhere,
        "HEADRACE_LOG_CONSOLE": "on",
    }
    log = tmp_path / "told"
    with (
        log.open("w") as told,
        subprocess.Popen(
            PROGRAMS["worker"], cwd=ROOT, env=environment, stdout=told, stderr=told
        ) as waiting,
    ):
        try:
            end = time.monotonic() + 60
            while log.read_text().count("the database does not answer yet") < 2:
                assert time.monotonic() < end
                assert waiting.poll() is None
                time.sleep(0.2)
        finally:
            waiting.kill()


@on_postgresql
def test_a_table_whose_policies_are_switched_off_is_found(running_service):
    with running_service.owner() as connection:
        connection.execute("ALTER TABLE parked NO FORCE ROW LEVEL SECURITY")
        try:
            code, findings = examined(running_service)
        finally:
            connection.execute("ALTER TABLE parked FORCE ROW LEVEL SECURITY")
    assert (code, [*unwell(findings)]) == (1, ["row security"])
    assert findings["row security"]["found"] == "not forced on parked"


@on_postgresql
def test_every_view_asks_with_the_rights_of_who_reads_it(running_service):
    """A view of its owner's would show every tenant's rows to any. There is none by now."""
    with running_service.owner() as connection:
        assert bare_views(connection) == []
        connection.execute("CREATE VIEW a_view AS SELECT * FROM customers")
        try:
            assert bare_views(connection) == ["a_view"]
            connection.execute("ALTER VIEW a_view SET (security_invoker = true)")
            assert bare_views(connection) == []
        finally:
            connection.execute("DROP VIEW a_view")


def bare_views(connection: psycopg.Connection) -> list[str]:
    """Views without security_invoker; a materialized one can never have it."""
    found = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND (relkind = 'm' OR relkind = 'v'"
        " AND NOT coalesce(reloptions::text ~ 'security_invoker=(true|on)', false))"
    ).fetchall()
    return [name for (name,) in found]
