"""Headrace's configuration: the environment in, Django's settings out.

All state of the embedded default lives under HEADRACE_HOME. `.env.example` lists every
variable.
"""

import os
import secrets
import sys
from pathlib import Path

import headrace
from apps.core import logs
from main import databases

ROOT = Path(__file__).resolve().parent.parent
USUAL_PARTITIONS, MOST_PARTITIONS = 8, 256


def _flag(name: str, default: bool) -> bool:
    return os.environ.get(name, str(default)).strip().lower() in ("1", "true", "yes", "on")


def _partitions(text: str) -> int:
    """0 for none; a number, or "on" for the usual one."""
    numbers = {"": "0", "off": "0", "on": str(USUAL_PARTITIONS)}
    number = numbers.get(text, text)
    if not number.isdecimal() or int(number) > MOST_PARTITIONS:
        sys.exit(f"HEADRACE_PARTITIONS must be off, on or a number up to {MOST_PARTITIONS}")
    return int(number)


def _secret(home: Path) -> str:
    """DJANGO_SECRET_KEY, or one made once and kept under HEADRACE_HOME (development only)."""
    if given := os.environ.get("DJANGO_SECRET_KEY"):
        return given
    if PRODUCTION:
        sys.exit("HEADRACE_ENV=production needs DJANGO_SECRET_KEY: set it to a long random text")
    kept = home / "secret_key"
    try:
        with kept.open("x") as file:
            kept.chmod(0o600)
            file.write(secrets.token_urlsafe(48))
    except FileExistsError:
        pass
    return kept.read_text()


HEADRACE_ENV = os.environ.get("HEADRACE_ENV", "development")
PRODUCTION = HEADRACE_ENV == "production"
HEADRACE_HOME = Path(os.environ.get("HEADRACE_HOME", ".headrace")).resolve()
HEADRACE_HOME.mkdir(parents=True, exist_ok=True)
_BESIDE = HEADRACE_HOME.parent if HEADRACE_HOME.name == ".headrace" else HEADRACE_HOME
HEADRACE_LOGS = Path(os.environ.get("HEADRACE_LOGS") or _BESIDE / "logs").resolve()
# Read by prometheus_client when it is imported: the processes of a host count in shared files.
os.environ.update(PROMETHEUS_MULTIPROC_DIR=str(HEADRACE_HOME / "metrics"))

SECRET_KEY = _secret(HEADRACE_HOME)
DEBUG = False
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "" if PRODUCTION else "*").split(",")

try:
    DATABASES = {"default": databases.from_environment(os.environ, HEADRACE_HOME)}
except databases.UnusableDatabase as unusable:
    sys.exit(str(unusable))

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "apps.core",
    "apps.tenants",
    "apps.catalog",
    "apps.ingestions",
]
MIDDLEWARE = [
    "apps.core.middleware.RequestId",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "apps.core.middleware.ReadToTheEnd",
    # For /admin/; API views are called by key and ask none of these anything.
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "main.urls"
WSGI_APPLICATION = "main.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    },
]
# Sessions are the admin's only: their cookies never reach the API.
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = "/admin"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
CSRF_TRUSTED_ORIGINS = [
    origin.strip()
    for origin in os.environ.get("CSRF_TRUSTED_ORIGINS", "").split(",")
    if origin.strip()
]
_RULES = "django.contrib.auth.password_validation"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"{_RULES}.UserAttributeSimilarityValidator"},
    {"NAME": f"{_RULES}.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": f"{_RULES}.CommonPasswordValidator"},
    {"NAME": f"{_RULES}.NumericPasswordValidator"},
]
# MariaDB has no partial indexes: Django makes whole ones in their place.
SILENCED_SYSTEM_CHECKS = ["models.W037"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
WHITENOISE_USE_FINDERS = True
APPEND_SLASH = False

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["apps.tenants.authentication.KeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["apps.tenants.authentication.HasTenant"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "apps.core.problems.answer",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Headrace",
    "DESCRIPTION": "Multi-tenant e-commerce data ingestion that accounts for every line.",
    "VERSION": headrace.__version__,
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "POSTPROCESSING_HOOKS": ["apps.catalog.openapi.add_record_types"],
}

# The documented api_key_<tenant_id> keys of generated data.
HEADRACE_DEMO_KEYS = _flag("HEADRACE_DEMO_KEYS", default=not PRODUCTION)
# What Prometheus must send to /metrics in production; without it there is no such page there.
HEADRACE_METRICS_TOKEN = os.environ.get("HEADRACE_METRICS_TOKEN", "")
# The role that serves and works under row-level security on PostgreSQL.
HEADRACE_DB_ROLE = os.environ.get("HEADRACE_DB_ROLE", "headrace_app")
# Partitions by tenant of each target table, when the first migrate makes them (PostgreSQL).
HEADRACE_PARTITIONS = _partitions(os.environ.get("HEADRACE_PARTITIONS", "off").strip().lower())
HEADRACE_MAX_BODY_BYTES = int(os.environ.get("HEADRACE_MAX_BODY_BYTES", 10 << 30))
HEADRACE_MAX_WHOLE_ROWS = int(os.environ.get("HEADRACE_MAX_WHOLE_ROWS", 200_000))
HEADRACE_MAX_WHOLE_BYTES = int(os.environ.get("HEADRACE_MAX_WHOLE_BYTES", 128 << 20))
HEADRACE_MAX_UNPACKED_BYTES = int(os.environ.get("HEADRACE_MAX_UNPACKED_BYTES", 100 << 30))
# What a tenant may have waiting, unless its row says otherwise.
HEADRACE_MAX_QUEUED_BYTES = int(os.environ.get("HEADRACE_MAX_QUEUED_BYTES", 50 << 30))
HEADRACE_MAX_ACTIVE_UPLOADS = int(os.environ.get("HEADRACE_MAX_ACTIVE_UPLOADS", 1_000))
HEADRACE_DISK_RESERVE_BYTES = int(os.environ.get("HEADRACE_DISK_RESERVE_BYTES", 256 << 20))
# Threads of a server process, each with a connection to the database.
HEADRACE_THREADS = int(os.environ.get("HEADRACE_THREADS", 12))
# A body that brings less than this on average, or nothing for so long, is given up.
HEADRACE_MIN_BYTES_PER_SECOND = int(os.environ.get("HEADRACE_MIN_BYTES_PER_SECOND", 1_000))
HEADRACE_BODY_SILENCE_SECONDS = int(os.environ.get("HEADRACE_BODY_SILENCE_SECONDS", 30))
HEADRACE_UPLOAD_HOURS = int(os.environ.get("HEADRACE_UPLOAD_HOURS", 24))
HEADRACE_PARKED_HOURS = int(os.environ.get("HEADRACE_PARKED_HOURS", 48))
HEADRACE_IDEMPOTENCY_HOURS = int(os.environ.get("HEADRACE_IDEMPOTENCY_HOURS", 24))
# Retention; docs/retention.md has the rules.
HEADRACE_DETAIL_DAYS = int(os.environ.get("HEADRACE_DETAIL_DAYS", 7))
HEADRACE_SOURCE_DAYS = int(os.environ.get("HEADRACE_SOURCE_DAYS", 7))
HEADRACE_JOB_DAYS = int(os.environ.get("HEADRACE_JOB_DAYS", 7))
HEADRACE_ORPHAN_HOURS = int(os.environ.get("HEADRACE_ORPHAN_HOURS", 24))
HEADRACE_CLEANUP_SECONDS = int(os.environ.get("HEADRACE_CLEANUP_SECONDS", 3600))
# Embedded workers beside the server; where Celery has a broker, its workers do the work.
HEADRACE_WORKERS = int(
    os.environ.get("HEADRACE_WORKERS", 0 if os.environ.get("CELERY_BROKER_URL") else 1)
)
# After so long a job goes back to the table between two steps, so that others get their turn.
HEADRACE_CLAIM_SECONDS = float(os.environ.get("HEADRACE_CLAIM_SECONDS", 60))
HEADRACE_LEASE_SECONDS = int(os.environ.get("HEADRACE_LEASE_SECONDS", 30))
HEADRACE_SWEEP_SECONDS = int(os.environ.get("HEADRACE_SWEEP_SECONDS", 5))

# Celery, where a broker is configured; else the embedded worker does the work.
CELERY_BROKER_URL = os.environ.get("CELERY_BROKER_URL", "")
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_TRANSPORT_OPTIONS = (
    {"socket_connect_timeout": 2, "socket_timeout": 5, "socket_keepalive": True}
    if CELERY_BROKER_URL.startswith(("redis", "valkey"))
    else {}
)
CELERY_TASK_DEFAULT_QUEUE = os.environ.get("HEADRACE_QUEUE", "headrace")
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_PUBLISH_RETRY = False  # a request must not wait for a broker; the sweep rings again
# A message is acknowledged before its work starts: the lease, not the broker, brings it back.
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE_FILENAME = str(HEADRACE_HOME / "celerybeat-schedule")
CELERY_BEAT_SYNC_EVERY = 1  # written at each turn, so that its age tells whether beat lives
CELERY_BEAT_SCHEDULE = {
    "sweep": {
        "task": "headrace.sweep",
        "schedule": HEADRACE_SWEEP_SECONDS,
        "options": {"expires": HEADRACE_SWEEP_SECONDS},
    }
}
# A ring that nobody heard for so long is dropped; the sweep rings anew.
HEADRACE_RING_SECONDS = 60
HEADRACE_SWEEP_RINGS = 16

LOGGING = logs.configuration(
    HEADRACE_LOGS,
    os.environ.get("HEADRACE_LOG_LEVEL", "INFO"),
    console=_flag("HEADRACE_LOG_CONSOLE", default=False),
)
