"""Headrace's configuration: the environment in, Django's settings out.

All state of the embedded default lives under HEADRACE_HOME. `.env.example` lists every
variable.
"""

import os
import secrets
import sys
from pathlib import Path

import headrace
from main import databases

ROOT = Path(__file__).resolve().parent.parent


def _flag(name: str, default: bool) -> bool:
    return os.environ.get(name, str(default)).strip().lower() in ("1", "true", "yes", "on")


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

SECRET_KEY = _secret(HEADRACE_HOME)
DEBUG = False
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "" if PRODUCTION else "*").split(",")

try:
    DATABASES = {"default": databases.from_environment(os.environ, HEADRACE_HOME)}
except databases.UnusableDatabase as unusable:
    sys.exit(str(unusable))

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
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
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "apps.core.middleware.RequestId",
    "apps.core.middleware.ReadToTheEnd",
]
ROOT_URLCONF = "main.urls"
WSGI_APPLICATION = "main.wsgi.application"
TEMPLATES = [
    {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True},
]
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
# The role that serves and works under row-level security on PostgreSQL.
HEADRACE_DB_ROLE = os.environ.get("HEADRACE_DB_ROLE", "headrace_app")
HEADRACE_MAX_BODY_BYTES = int(os.environ.get("HEADRACE_MAX_BODY_BYTES", 10 << 30))
HEADRACE_MAX_UNPACKED_BYTES = int(os.environ.get("HEADRACE_MAX_UNPACKED_BYTES", 100 << 30))
HEADRACE_PARKED_HOURS = int(os.environ.get("HEADRACE_PARKED_HOURS", 48))
HEADRACE_IDEMPOTENCY_HOURS = int(os.environ.get("HEADRACE_IDEMPOTENCY_HOURS", 24))
HEADRACE_LEASE_SECONDS = int(os.environ.get("HEADRACE_LEASE_SECONDS", 30))
HEADRACE_SWEEP_SECONDS = int(os.environ.get("HEADRACE_SWEEP_SECONDS", 5))

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "plain"},
        "file": {
            "class": "logging.handlers.WatchedFileHandler",
            "filename": HEADRACE_HOME / "headrace.log",
            "formatter": "plain",
            "delay": True,
        },
    },
    "root": {"handlers": ["file"], "level": os.environ.get("HEADRACE_LOG_LEVEL", "INFO")},
}
