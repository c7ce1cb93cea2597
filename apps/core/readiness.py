"""What must be right before a production service starts; doctor shows the same at any time.

With HEADRACE_ENV=production neither the server nor a worker starts while one of these is not well:
a service that answers is not looked at again, and nobody reads a warning of its first second.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders
from django.db import (
    DatabaseError,
    InterfaceError,
    OperationalError,
    connection,
)

from apps.core import mariadb, roles
from apps.core.findings import Finding

log = logging.getLogger(__name__)
NOT_STARTED = 3
PAUSE_SECONDS = 2.0  # between two looks at a database that is not there yet
SHORTEST_SECRET, FEWEST_CHARACTERS = 32, 8
_TRIGGERS_OF_TABLES = """
SELECT t.name, COUNT(g.name) FROM sqlite_master t LEFT JOIN sqlite_master g
ON g.type = 'trigger' AND g.tbl_name = t.name AND substr(g.name, length(t.name) + 1, 8) = '_tenant_'
WHERE t.type = 'table' GROUP BY t.name"""
#: Names of folders that web servers give out by custom.
_PUBLIC = {"public", "public_html", "htdocs", "static", "www", "wwwroot", "html", "media"}
_USUAL_SECRETS = ("django-insecure", "change", "secret", "example", "password", "insecure")


def refuse_to_start() -> None:
    """End the process with code 3, and what to do, if production is not set up as it must be.

    Of a worker's codes that is the one after which gunicorn starts no other in its place.
    """
    if not settings.PRODUCTION:
        return
    if wrong := [finding for finding in _all() if not finding.is_well]:
        told = "\n".join(f"  {one.name}: {one.found}. {one.advice}" for one in wrong)
        sys.stderr.write(
            "HEADRACE_ENV=production does not start like this; `headrace doctor` shows the rest:\n"
            f"{told}\n"
        )
        sys.exit(NOT_STARTED)


def _all() -> Iterator[Finding]:
    yield from of_settings()
    yield from _answered(OF_DATABASES[connection.vendor])


def _answered(look: Callable[[], list[Finding]]) -> list[Finding]:
    """What a look at the database finds. Processes start before it, and wait for it here: nobody
    looks again once they serve.
    """
    while True:
        try:
            return look()
        except (OperationalError, InterfaceError):
            log.warning("the database does not answer yet: its roles are to be looked at")
            time.sleep(PAUSE_SECONDS)
        finally:
            connection.close()


def of_settings() -> list[Finding]:
    """What the environment says: debugging, the secret, demo keys, host names, folders."""
    return [_debug(), _secret(), _demo_keys(), _hosts(), _folders()]


def of_postgresql() -> list[Finding]:
    """What the session is after SET ROLE, and whether rows are bound to tenants at all."""
    found = role()
    return [found, _row_security()] if found.is_well else [found]


def of_mariadb() -> list[Finding]:
    """Whether rows are bound to tenants."""
    with connection.cursor() as cursor:
        return [mariadb.guards(cursor)]


def of_sqlite() -> list[Finding]:
    """The same."""
    with connection.cursor() as cursor:
        cursor.execute(_TRIGGERS_OF_TABLES)
        found = {table: number for table, number in cursor.fetchall() if table in mariadb.guarded()}
    return [mariadb.guarding(found, "Run `manage.py migrate`.")]


OF_DATABASES = {"postgresql": of_postgresql, "mysql": of_mariadb, "sqlite": of_sqlite}


def _debug() -> Finding:
    found = "on: errors show code and settings" if settings.DEBUG else "off"
    is_well = not (settings.DEBUG and settings.PRODUCTION)
    return Finding("debug", is_well, found, "Set DEBUG = False, as main/settings.py does.")


def _secret() -> Finding:
    """Who knows it can sign sessions; and what hashes keys must not be guessed."""
    fault = _fault(settings.SECRET_KEY)
    advice = (
        "Set DJANGO_SECRET_KEY to a long random text, such as `python -c 'import secrets;"
        " print(secrets.token_urlsafe(48))'` prints. A new one makes every issued key void."
    )
    given = bool(os.environ.get("DJANGO_SECRET_KEY"))
    source = "DJANGO_SECRET_KEY" if given else "HEADRACE_HOME/secret_key, made by the service"
    found = f"from {source}, {fault or 'long enough'}"
    return Finding("secret key", not (fault and settings.PRODUCTION), found, advice)


def _fault(secret: str) -> str:
    if len(secret) < SHORTEST_SECRET:
        return f"{len(secret)} characters, fewer than {SHORTEST_SECRET}"
    if len(set(secret)) < FEWEST_CHARACTERS:
        return f"{len(set(secret))} different characters, fewer than {FEWEST_CHARACTERS}"
    if secret.lower().startswith(_USUAL_SECRETS):
        return "one that examples have"
    return ""


def _demo_keys() -> Finding:
    is_on = settings.HEADRACE_DEMO_KEYS
    advice = "Leave HEADRACE_DEMO_KEYS out: whoever knows a tenant's id has its demo key."
    return Finding(
        "demo keys", not (is_on and settings.PRODUCTION), "on" if is_on else "off", advice
    )


def _hosts() -> Finding:
    names = [name for name in settings.ALLOWED_HOSTS if name]
    found = ", ".join(names) or "none: every call is refused"
    is_any = any(name.strip() == "*" for name in names)
    advice = "Set ALLOWED_HOSTS to the names that clients use, with commas between them."
    return Finding("host names", not (is_any and settings.PRODUCTION), found, advice)


def _folders() -> Finding:
    """Received files and exports must not lie where a web server gives files to everybody."""
    public = sorted({str(folder) for folder in _public_folders(settings.HEADRACE_HOME)})
    found = f"inside of {', '.join(public)}" if public else "outside of public folders"
    advice = "Move HEADRACE_HOME to a folder that no web server gives out."
    return Finding("stored files", not (public and settings.PRODUCTION), found, advice)


def _public_folders(home: Path) -> Iterator[Path]:
    """Those that hold the folder, or that it holds."""
    for parent in (home, *home.parents):
        if parent.name.lower() in _PUBLIC:
            yield parent
    for folder in _served_folders():
        if home.is_relative_to(folder) or folder.is_relative_to(home):
            yield folder


def _served_folders() -> Iterator[Path]:
    """What Django and WhiteNoise give out."""
    named: Iterable[str | Path | None] = (
        settings.STATIC_ROOT,
        settings.MEDIA_ROOT,
        getattr(settings, "WHITENOISE_ROOT", None),
    )
    yield from (Path(folder).resolve() for folder in named if folder)
    for finder in finders.get_finders():
        for storage in getattr(finder, "storages", {}).values():
            yield Path(storage.location).resolve()


def role() -> Finding:
    """Entered as the service does, so that what the session really is is what is looked at."""
    name = settings.HEADRACE_DB_ROLE
    try:
        with connection.cursor() as cursor:
            faults = roles.faults(cursor)
    except OperationalError:
        raise
    except DatabaseError:
        log.warning("the serving role cannot be entered", exc_info=True)
        advice = "Run `manage.py migrate`, or what `manage.py create_roles --sql` prints."
        return Finding("serving role", False, f"{name} cannot be entered", advice)
    if not faults:
        return Finding("serving role", True, f"{name} is bound by row-level security")
    advice = (
        f"Take that from {name}, or name another role in HEADRACE_DB_ROLE and run `manage.py"
        " migrate`: it must own nothing and be a member of nobody who does."
    )
    found = f"{name} passes row-level security: it {' and '.join(faults)}"
    return Finding("serving role", False, found, advice)


def _row_security() -> Finding:
    with connection.cursor() as cursor:
        bare = roles.unguarded(cursor, mariadb.guarded())
    advice = "Run `manage.py migrate`; if it stays, find out who switched it off."
    found = f"not forced on {', '.join(bare)}" if bare else "forced on all tenants' tables"
    return Finding("row security", not bare, found, advice)
