"""What is configured, reachable and missing, in findings that say what to do."""

import logging
import os
import platform
import shutil
from typing import NamedTuple

import django
from django.conf import settings
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from kombu.connection import Connection
from redis import RedisError

import headrace
from apps.core import backlog, isolation, mariadb, partitions, readiness, roles
from apps.core.findings import Finding, budget
from apps.core.redis_buckets import RedisBuckets
from headrace.pipeline import scanning

log = logging.getLogger(__name__)
OLDEST_POSTGRESQL = 150_000
LONG_SECONDS = 60


class Diagnosis(NamedTuple):
    findings: list[Finding]
    has_database: bool

    @property
    def is_well(self) -> bool:
        return all(finding.is_well for finding in self.findings)


def examine() -> Diagnosis:
    """Look at everything; what needs the database only where it answers."""
    findings = [_versions(), _scanner(), _environment(), _metrics(), *_folders()]
    findings += readiness.of_settings()
    findings += [_broker(), _call_limits(), database := _database()]
    if database.is_well:
        findings += _of_the_database()
    findings = [one._replace(advice="") if one.is_well else one for one in findings]
    return Diagnosis(findings, database.is_well)


def _versions() -> Finding:
    found = f"Headrace {headrace.__version__}, Python {platform.python_version()}"
    return Finding("versions", True, f"{found}, Django {django.__version__}")


def _scanner() -> Finding:
    missing = "none: pass A takes five times as long; install Headrace again where a C compiler is"
    return Finding("scanner", True, "native" if scanning.is_native() else missing)


def _environment() -> Finding:
    return Finding("environment", True, settings.HEADRACE_ENV)


def _metrics() -> Finding:
    if not settings.PRODUCTION:
        return Finding("metrics", True, "/metrics is open in development")
    has_token = bool(settings.HEADRACE_METRICS_TOKEN)
    found = "/metrics needs the token" if has_token else "none: HEADRACE_METRICS_TOKEN is unset"
    return Finding("metrics", True, found)


def _folders() -> list[Finding]:
    home, reserve = settings.HEADRACE_HOME, settings.HEADRACE_DISK_RESERVE_BYTES
    free = shutil.disk_usage(home).free
    found = f"{home}, {_gigabytes(free)} free, {_gigabytes(reserve)} of it reserved"
    advice = "Make room, move HEADRACE_HOME, or lower HEADRACE_DISK_RESERVE_BYTES."
    if not os.access(home, os.W_OK):
        advice = "Give the folder to the user who runs Headrace."
    is_well = free > reserve and os.access(home, os.W_OK)
    return [Finding("home", is_well, found, advice), _logs()]


def _logs() -> Finding:
    folder = settings.HEADRACE_LOGS
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    advice = "Give the folder to the user who runs Headrace, or set HEADRACE_LOGS to another."
    is_well = existing.is_dir() and os.access(existing, os.W_OK)
    return Finding("logs", is_well, str(folder / "django.log"), advice)


def _gigabytes(number: int) -> str:
    return f"{number / (1 << 30):.1f} GiB"


def _broker() -> Finding:
    url = settings.CELERY_BROKER_URL
    if not url:
        return Finding("broker", True, "none: embedded worker")
    try:
        with Connection(url, connect_timeout=3) as broker:
            found = broker.as_uri()  # without the password
            broker.ensure_connection(max_retries=1, timeout=5)
    except Exception:  # each kind of broker has errors of its own
        log.warning("the broker cannot be reached", exc_info=True)
        advice = "Start it or mend CELERY_BROKER_URL; until then the sweeps find the work."
        return Finding("broker", False, "does not answer", advice)
    return Finding("broker", True, found)


def _call_limits() -> Finding:
    if not settings.HEADRACE_REDIS_URL:
        return Finding("call limits", True, "counted in the database")
    try:
        RedisBuckets(settings.HEADRACE_REDIS_URL).ping()
    except RedisError:
        log.warning("the Redis of HEADRACE_REDIS_URL cannot be reached", exc_info=True)
        advice = "Start it or mend HEADRACE_REDIS_URL; until then the database counts calls."
        return Finding("call limits", False, "Redis does not answer", advice)
    return Finding("call limits", True, "counted in Redis")


def _database() -> Finding:
    if connection.vendor != "sqlite":
        connection.settings_dict["OPTIONS"].setdefault("connect_timeout", 5)
    try:
        with isolation.as_owner():
            connection.ensure_connection()
            found = f"{_place(connection.display_name)}, {_server_version()}"
    except Error:
        log.warning("the database cannot be reached", exc_info=True)
        advice = "Start it or mend DATABASE_URL or DB_*; the log has the driver's own words."
        return Finding("database", False, f"{_place()} cannot be reached", advice)
    return Finding("database", True, found)


def _place(kind: str = "") -> str:
    parts, (label, default) = connection.settings_dict, _SERVERS[connection.vendor]
    if not default:
        return f"{label} in {parts['NAME']}"
    host, port = parts["HOST"] or "the local socket", parts["PORT"] or default
    return f"{kind or label}, {parts['NAME']} at {host}:{port}"


_SERVERS = {
    "sqlite": ("SQLite", 0),
    "postgresql": ("PostgreSQL", 5432),
    "mysql": ("MariaDB or MySQL", 3306),
}


def _server_version() -> str:
    version: tuple[int, ...] = connection.get_database_version()
    return f"version {'.'.join(map(str, version))}"


def _of_the_database() -> list[Finding]:
    findings = [_migrations(), _partitions(), *_OF_DATABASES[connection.vendor]()]
    is_ready = all(one.is_well for one in findings if one.name in _NEEDED)
    return [*findings, _work()] if is_ready else findings


def _of_postgresql() -> list[Finding]:
    bound = readiness.of_postgresql()
    is_entered = all(one.is_well for one in bound)
    return [_age(), *bound, *([_references()] if is_entered else []), _budget()]


def _of_mariadb() -> list[Finding]:
    with isolation.as_owner(), connection.cursor() as cursor:
        return list(mariadb.findings(cursor))


_OF_DATABASES = {"sqlite": readiness.of_sqlite, "postgresql": _of_postgresql, "mysql": _of_mariadb}
_NEEDED = ("migrations", "serving role")


def _migrations() -> Finding:
    with isolation.as_owner():
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    found = f"{len(missing)} to apply" if missing else "all applied"
    return Finding("migrations", not missing, found, "Run `manage.py migrate`.")


def _age() -> Finding:
    with isolation.as_owner(), connection.cursor() as cursor:
        cursor.execute("SHOW server_version_num")
        number = int(cursor.fetchone()[0])
    advice = "Move to PostgreSQL 15 or later."
    return Finding("server version", number >= OLDEST_POSTGRESQL, str(number // 10_000), advice)


def _partitions() -> Finding:
    with isolation.as_owner():
        found, is_well = partitions.described(), partitions.is_as_configured()
    advice = (
        f"HEADRACE_PARTITIONS={settings.HEADRACE_PARTITIONS} is read when PostgreSQL's tables are"
        " made: unset it, or move to other tables as docs/partitions.md says."
    )
    return Finding("partitions", is_well, found, advice)


def _references() -> Finding:
    """Either way is well: docs/databases.md says what the one saves, and how to have it."""
    with connection.cursor() as cursor:
        hindrances = roles.hindrances(cursor)
    if not hindrances:
        return Finding("references", True, "looked at once, by loads")
    found = f"looked at twice, by loads and row by row, as {', and '.join(hindrances)}"
    return Finding("references", True, f"{found}: see docs/databases.md")


def _budget() -> Finding:
    with isolation.as_owner(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('max_connections')::int"
            " - current_setting('superuser_reserved_connections')::int"
        )
        [allowed] = cursor.fetchone()
    return budget(allowed)


def _work() -> Finding:
    live, lag = backlog.live(), backlog.lag_seconds()
    if not lag:
        return Finding("workers", True, f"{live} jobs are running, none waits")
    found = f"{live} jobs are running, the oldest that could has waited {lag:.0f} s"
    advice = "Start a worker (`manage.py serve` has one); `headrace jobs list` shows what waits."
    return Finding("workers", bool(live) or lag < LONG_SECONDS, found, advice)
