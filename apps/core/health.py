"""Probes: is the process alive, can it serve. Open to everybody; they tell no secrets."""

from collections.abc import Callable

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import api_view, authentication_classes, permission_classes
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import dialect, headers, problems
from apps.core.problems import Problem

METHODS = ["GET", "HEAD"]  # those who only want to know whether it answers


def _probe(view: Callable[[Request], Response]) -> Callable[..., HttpResponse]:
    """An operation of the OpenAPI document that needs no key."""
    documented = extend_schema(responses={200: OpenApiTypes.OBJECT, 503: OpenApiTypes.OBJECT})
    is_open = authentication_classes([])(permission_classes([AllowAny])(view))
    return documented(api_view(METHODS)(is_open))


@_probe
def live(request: Request) -> Response:
    """The process answers."""
    return Response({"status": "ok"})


@_probe
def ready(request: Request) -> Response:
    """The database answers and HEADRACE_HOME is there."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        connection.close()
        raise Problem("unavailable", "The database does not answer.") from None
    if not settings.HEADRACE_HOME.is_dir():
        raise Problem("unavailable", "HEADRACE_HOME is not there.")
    return Response({"status": "ok", "database": dialect.current().name})


@csrf_exempt  # it changes nothing, whatever the method
def home(request: HttpRequest) -> HttpResponse:
    """Where to go from here."""
    if request.method not in METHODS:
        return problems.not_allowed(request, *METHODS)
    response = HttpResponse(_HOME, content_type="text/html; charset=utf-8")
    response["Content-Security-Policy"] = _POLICY
    return response


_HOME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Headrace</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:16px/1.5 system-ui;margin:3rem auto;max-width:40rem;padding:0 1rem}</style>
</head><body><h1>Headrace</h1><p>Multi-tenant e-commerce data ingestion that accounts for every
line. The service is running.</p><ul>
<li><a href="/api/schema/swagger-ui/">Try the API</a></li>
<li><a href="/api/redoc/">Read the API</a></li>
<li><a href="/health/ready">Health</a></li>
<li><a href="/admin/">Administration</a></li></ul></body></html>
"""
_POLICY = headers.with_own_styles(_HOME)
