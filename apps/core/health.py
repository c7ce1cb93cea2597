"""Probes: is the process alive, can it serve. Open to everybody; they tell no secrets."""

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse

from apps.core import problems


def live(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> HttpResponse:
    """The database answers and the object store's folder can be written."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        connection.close()
        return _unavailable("The database does not answer.")
    if not settings.HEADRACE_HOME.is_dir():
        return _unavailable("HEADRACE_HOME is not there.")
    return JsonResponse({"status": "ok", "database": connection.vendor})


def home(request: HttpRequest) -> HttpResponse:
    """Where to go from here."""
    return HttpResponse(_HOME, content_type="text/html; charset=utf-8")


def _unavailable(detail: str) -> JsonResponse:
    content = problems.body("unavailable", detail)
    return JsonResponse(
        content,
        status=503,
        content_type="application/problem+json",
        headers={"Retry-After": "1"},
    )


_HOME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Headrace</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:16px/1.5 system-ui;margin:3rem auto;max-width:40rem;padding:0 1rem}</style>
</head><body><h1>Headrace</h1><p>Multi-tenant e-commerce data ingestion that accounts for every
line. The service is running.</p><ul>
<li><a href="/api/schema/swagger-ui/">Try the API</a></li>
<li><a href="/api/redoc/">Read the API</a></li>
<li><a href="/health/ready">Health</a></li></ul></body></html>
"""
