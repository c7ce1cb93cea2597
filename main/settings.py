"""Headrace's configuration: the environment in, Django's settings out.

All state of the embedded default lives under HEADRACE_HOME. `.env.example` lists every
variable.
"""

import os
import secrets
import sys
from pathlib import Path

import headrace
from apps.core import addresses, logs
from headrace.databases import UnusableDatabase
from headrace.entities.orders import STATUSES
from main import databases

ROOT = Path(__file__).resolve().parent.parent
USUAL_PARTITIONS, MOST_PARTITIONS = 8, 256
MOST_PER_MINUTE = 60_000_000  # a call every microsecond


def _flag(name: str, default: bool) -> bool:
    return os.environ.get(name, str(default)).strip().lower() in ("1", "true", "yes", "on")


def _per_minute(text: str) -> int:
    """Calls a minute; 0 or "off" is no limit."""
    number = {"off": "0"}.get(text.strip().lower(), text.strip())
    if not number.isdecimal() or int(number) > MOST_PER_MINUTE:
        sys.exit(f"HEADRACE_…_PER_MINUTE must be off or a number up to {MOST_PER_MINUTE:,}")
    return int(number)


def _redis_url() -> str:
    """HEADRACE_REDIS_URL, or the broker's if that is Redis or Valkey; empty for none."""
    given = os.environ.get("HEADRACE_REDIS_URL", "")
    scheme, _, place = (given or os.environ.get("CELERY_BROKER_URL", "")).partition("://")
    known = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss"}
    if given not in ("", "off") and scheme not in known:
        sys.exit("HEADRACE_REDIS_URL must be off, or begin with redis:// or valkey://")
    return f"{known[scheme]}://{place}" if scheme in known else ""


def _sales_statuses(text: str) -> tuple[str, ...]:
    """The statuses of orders that count as sales, with commas between them."""
    given = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not given or not set(given) <= set(STATUSES):
        sys.exit(f"HEADRACE_SALES_STATUSES must name some of {', '.join(STATUSES)}")
    return given


def _partitions(text: str) -> int:
    """0 for none; a number, or "on" for the usual one."""
    numbers = {"": "0", "off": "0", "on": str(USUAL_PARTITIONS)}
    number = numbers.get(text, text)
    if not number.isdecimal() or int(number) > MOST_PARTITIONS:
        sys.exit(f"HEADRACE_PARTITIONS must be off, on or a number up to {MOST_PARTITIONS}")
    return int(number)


def _networks(name: str, text: str | None) -> tuple[addresses.Network, ...]:
    """Addresses and networks with commas between them."""
    try:
        return addresses.networks(text or "")
    except ValueError as error:
        sys.exit(f"{name}: {error}; name networks, such as 10.0.0.0/8,::1")


def _audit_days(text: str) -> int:
    """A number of days, no fewer than the database keeps entries in any case."""
    if not text.isdecimal() or int(text) < 30:
        sys.exit("HEADRACE_AUDIT_DAYS must be a number of days from 30")
    return int(text)


def _environment(name: str) -> str:
    """A word that is meant to be production must not open what only development may."""
    if name not in ("development", "production"):
        sys.exit(f"HEADRACE_ENV is {name!r}: set it to development or production")
    return name


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


HEADRACE_ENV = _environment(os.environ.get("HEADRACE_ENV") or "development")
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
except UnusableDatabase as unusable:
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
    "apps.webhooks",
    "apps.catalog",
    "apps.ingestions",
    "apps.analytics",
    "apps.stocks",
    "apps.exports",
    "apps.moving",
    "apps.metrics",
    "apps.recognitions",
    "apps.lifecycle",
    "apps.audit",
]
MIDDLEWARE = [
    "apps.core.middleware.RequestId",
    "apps.core.headers.SecurityHeaders",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "apps.core.middleware.ReadToTheEnd",
    # For /admin/; API views are called by key and ask none of these anything.
    "apps.core.admin_middleware.Forms",
    "apps.core.admin_middleware.Sessions",
    "apps.core.admin_middleware.Logins",
    "django.middleware.csrf.CsrfViewMiddleware",
    "apps.core.admin_middleware.Authentication",
    "apps.core.admin_middleware.Messages",
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
# Sent over TLS only. A host that once said so is asked by TLS alone for that long.
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if PRODUCTION else 0
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
    "DEFAULT_PERMISSION_CLASSES": ["apps.tenants.authentication.HasScope"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "apps.audit.refusals.answer",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "apps.core.negotiation.OneFormat",
    "DEFAULT_METADATA_CLASS": None,  # OPTIONS would be an operation that is in no document
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
    "PATH_CONVERTER_OVERRIDES": {"id": {"type": "string", "format": "uuid"}},
    "POSTPROCESSING_HOOKS": [
        "apps.catalog.openapi.add_record_types",
        "apps.tenants.openapi.add_scopes",
        "apps.core.openapi.complete",
    ],
}

# The documented api_key_<tenant_id> keys of generated data.
HEADRACE_DEMO_KEYS = _flag("HEADRACE_DEMO_KEYS", default=not PRODUCTION)
# What Prometheus must send to /metrics in production; without it there is no such page there.
HEADRACE_METRICS_TOKEN = os.environ.get("HEADRACE_METRICS_TOKEN", "")
# Bad keys and failed logins of one address that a server process looks at; 0 is no limit.
HEADRACE_BAD_KEYS_PER_MINUTE = _per_minute(os.environ.get("HEADRACE_BAD_KEYS_PER_MINUTE") or "30")
# Networks whose X-Forwarded-For or Forwarded is believed.
HEADRACE_TRUSTED_PROXIES = _networks(
    "HEADRACE_TRUSTED_PROXIES", os.environ.get("HEADRACE_TRUSTED_PROXIES")
)
# The role that serves and works under row-level security on PostgreSQL.
HEADRACE_DB_ROLE = os.environ.get("HEADRACE_DB_ROLE", "headrace_app")
# Partitions by tenant of each target table, when the first migrate makes them (PostgreSQL).
HEADRACE_PARTITIONS = _partitions(os.environ.get("HEADRACE_PARTITIONS", "off").strip().lower())
HEADRACE_MAX_BODY_BYTES = int(os.environ.get("HEADRACE_MAX_BODY_BYTES", 10 << 30))
HEADRACE_MAX_WHOLE_ROWS = int(os.environ.get("HEADRACE_MAX_WHOLE_ROWS", 200_000))
HEADRACE_MAX_WHOLE_BYTES = int(os.environ.get("HEADRACE_MAX_WHOLE_BYTES", 128 << 20))
HEADRACE_MAX_UNPACKED_BYTES = int(os.environ.get("HEADRACE_MAX_UNPACKED_BYTES", 100 << 30))
# Stock calls of more than this are queued like files.
HEADRACE_STOCK_INLINE_BYTES = int(os.environ.get("HEADRACE_STOCK_INLINE_BYTES", 4 << 20))
HEADRACE_STOCK_INLINE_UNPACKED_BYTES = int(
    os.environ.get("HEADRACE_STOCK_INLINE_UNPACKED_BYTES", 16 << 20)
)
HEADRACE_STOCK_INLINE_EVENTS = int(os.environ.get("HEADRACE_STOCK_INLINE_EVENTS", 10_000))
# What a tenant may have waiting, unless its row says otherwise.
HEADRACE_MAX_QUEUED_BYTES = int(os.environ.get("HEADRACE_MAX_QUEUED_BYTES", 50 << 30))
HEADRACE_MAX_ACTIVE_UPLOADS = int(os.environ.get("HEADRACE_MAX_ACTIVE_UPLOADS", 1_000))
# What a tenant may keep in files, and how many rows may land a day; 0 is no limit.
HEADRACE_MAX_STORED_BYTES = int(os.environ.get("HEADRACE_MAX_STORED_BYTES", 0))
HEADRACE_MAX_ROWS_PER_DAY = int(os.environ.get("HEADRACE_MAX_ROWS_PER_DAY", 0))
# Stock and price calls a minute, unless a tenant's row says otherwise; 0 is no limit.
HEADRACE_TENANT_PER_MINUTE = _per_minute(os.environ.get("HEADRACE_TENANT_PER_MINUTE") or "100")
HEADRACE_PRODUCT_PER_MINUTE = _per_minute(os.environ.get("HEADRACE_PRODUCT_PER_MINUTE") or "10")
# Where they are counted; in the database without it, and while it does not answer.
HEADRACE_REDIS_URL = _redis_url()
# Exports of a tenant that wait or run at once, and the size of their parts before compression.
HEADRACE_MAX_ACTIVE_EXPORTS = int(os.environ.get("HEADRACE_MAX_ACTIVE_EXPORTS", 50))
HEADRACE_EXPORT_PART_BYTES = int(os.environ.get("HEADRACE_EXPORT_PART_BYTES", 64 << 20))
# Webhook endpoints of a tenant, and the networks beside the public internet that they may be in.
HEADRACE_MAX_WEBHOOKS = int(os.environ.get("HEADRACE_MAX_WEBHOOKS", 10))
HEADRACE_WEBHOOK_ALLOW = _networks(
    "HEADRACE_WEBHOOK_ALLOW", os.environ.get("HEADRACE_WEBHOOK_ALLOW")
)
# Sales of these statuses count in the metrics; a change has them computed anew.
HEADRACE_SALES_STATUSES = _sales_statuses(
    os.environ.get("HEADRACE_SALES_STATUSES") or "delivered,shipped"
)
HEADRACE_DISK_RESERVE_BYTES = int(os.environ.get("HEADRACE_DISK_RESERVE_BYTES", 256 << 20))
# Threads of a server process, each with a connection to the database.
HEADRACE_THREADS = int(os.environ.get("HEADRACE_THREADS", 12))
# A body that brings less than this on average, or nothing for so long, is given up.
HEADRACE_MIN_BYTES_PER_SECOND = int(os.environ.get("HEADRACE_MIN_BYTES_PER_SECOND", 1_000))
HEADRACE_BODY_SILENCE_SECONDS = int(os.environ.get("HEADRACE_BODY_SILENCE_SECONDS", 30))
# So long a page of a list may look for its rows, with a thread of the server.
HEADRACE_LIST_SECONDS = float(os.environ.get("HEADRACE_LIST_SECONDS", 20))
# Links to photos are good for so long, a third less if they were not just made.
HEADRACE_PHOTO_LINK_SECONDS = int(os.environ.get("HEADRACE_PHOTO_LINK_SECONDS", 15 * 60))
# A store of photos that makes links of its own is redirected to, where readers reach it.
HEADRACE_PHOTO_REDIRECTS = _flag("HEADRACE_PHOTO_REDIRECTS", default=True)
# The head of a request must have come whole after so long.
HEADRACE_HEADER_SECONDS = float(os.environ.get("HEADRACE_HEADER_SECONDS", 10))
HEADRACE_UPLOAD_HOURS = int(os.environ.get("HEADRACE_UPLOAD_HOURS", 24))
HEADRACE_PARKED_HOURS = int(os.environ.get("HEADRACE_PARKED_HOURS", 48))
HEADRACE_IDEMPOTENCY_HOURS = int(os.environ.get("HEADRACE_IDEMPOTENCY_HOURS", 24))
# Retention; docs/retention.md has the rules.
HEADRACE_DETAIL_DAYS = int(os.environ.get("HEADRACE_DETAIL_DAYS", 7))
HEADRACE_SOURCE_DAYS = int(os.environ.get("HEADRACE_SOURCE_DAYS", 7))
HEADRACE_EXPORT_DAYS = int(os.environ.get("HEADRACE_EXPORT_DAYS", 7))
HEADRACE_WEBHOOK_DAYS = int(os.environ.get("HEADRACE_WEBHOOK_DAYS", 14))
HEADRACE_JOB_DAYS = int(os.environ.get("HEADRACE_JOB_DAYS", 7))
# Longer than any request takes to store a body: what it has not yet committed looks like an orphan.
HEADRACE_ORPHAN_HOURS = float(os.environ.get("HEADRACE_ORPHAN_HOURS", 24))
# How long an erasure waits once its tenant's work is stopped, longer than a body may be silent and
# than a lease: whoever is still at something has noticed by then.
HEADRACE_ERASE_QUIET_SECONDS = int(os.environ.get("HEADRACE_ERASE_QUIET_SECONDS", 60))
HEADRACE_AUDIT_DAYS = _audit_days(os.environ.get("HEADRACE_AUDIT_DAYS") or "400")
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
    },
    # Each queues jobs of the table, and does nothing where they wait already.
    "generate_hourly_metrics": {
        "task": "generate_hourly_metrics",
        "schedule": 3_600,
        "options": {"expires": 3_000},
    },
    "generate_daily_metrics": {
        "task": "generate_daily_metrics",
        "schedule": 24 * 3_600,
        "options": {"expires": 3_000},
    },
    "cleanup_expired_data": {
        "task": "cleanup_expired_data",
        "schedule": HEADRACE_CLEANUP_SECONDS,
        "options": {"expires": 3_000},
    },
}
# A ring that nobody heard for so long is dropped; the sweep rings anew.
HEADRACE_RING_SECONDS = 60
HEADRACE_SWEEP_RINGS = 16

LOGGING = logs.configuration(
    HEADRACE_LOGS,
    os.environ.get("HEADRACE_LOG_LEVEL", "INFO"),
    console=_flag("HEADRACE_LOG_CONSOLE", default=False),
)
