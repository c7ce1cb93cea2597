"""Errors on the wire: problem+json (RFC 9457) with a stable code, from one catalogue."""

import logging
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.response import Http404
from rest_framework import exceptions
from rest_framework.response import Response

log = logging.getLogger(__name__)


# code → (HTTP status, title). docs/errors.md is generated from it.
PROBLEMS: Mapping[str, tuple[int, str]] = {
    "invalid_request": (400, "The request cannot be understood"),
    "idempotency_key_required": (400, "An Idempotency-Key header is required"),
    "empty_file": (400, "The file is empty"),
    "unknown_entity": (400, "The record type cannot be told"),
    "unauthenticated": (401, "A valid API key is required"),
    "forbidden": (403, "The key may not do this"),
    "not_found": (404, "There is nothing here"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "idempotency_in_flight": (409, "The first request with this key is still running"),
    "gone": (410, "It is not kept any longer"),
    "too_slow": (408, "The body comes too slowly"),
    "upload_closed": (409, "The upload takes no more files"),
    "too_large": (413, "The file is too large"),
    "unsupported_format": (415, "The format is not supported"),
    "range_not_satisfiable": (416, "The range begins behind the end"),
    "idempotency_mismatch": (422, "The key was used for another request"),
    "queue_full": (429, "Too much of yours is waiting already"),
    "internal": (500, "An error of ours"),
    "unavailable": (503, "The service cannot do this right now"),
    "busy": (503, "Too many bodies are coming in at once"),
    "store_full": (507, "There is no room for the file"),
}


# code → seconds after which the same request may succeed.
RETRY_AFTER: Mapping[str, int] = {
    "idempotency_in_flight": 1,
    "queue_full": 5,
    "unavailable": 1,
    "busy": 1,
    "store_full": 30,
}


class Problem(Exception):
    """An answer with a code of the catalogue; `detail` says what to do next."""

    def __init__(self, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.extra = extra


def body(code: str, detail: str, **extra: Any) -> dict[str, Any]:
    status, title = PROBLEMS[code]
    return {
        "type": f"urn:headrace:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        **extra,
    }


def answer(error: Exception, context: Mapping[str, Any]) -> Response:
    """The response to any exception of a view. No exception text of a library gets out."""
    code, detail, extra = _explained(error)
    content = body(code, detail, **extra)
    response = Response(content, content["status"], content_type="application/problem+json")
    if code == "unauthenticated":
        response["WWW-Authenticate"] = 'Bearer realm="headrace"'
    if code == "range_not_satisfiable":
        response["Content-Range"] = f"bytes */{extra['length']}"
    if code in RETRY_AFTER:
        response["Retry-After"] = str(RETRY_AFTER[code])
    return response


def _explained(error: Exception) -> tuple[str, str, dict[str, Any]]:
    match error:
        case Problem():
            return error.code, error.detail, error.extra
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            return "unauthenticated", "Send a valid key in X-API-Key.", {}
        case exceptions.PermissionDenied():
            return "forbidden", "Ask for a key with the scope that this needs.", {}
        case Http404() | exceptions.NotFound():
            return "not_found", "Check the address and whose it is.", {}
        case exceptions.MethodNotAllowed():
            return "method_not_allowed", "The OpenAPI document lists what is.", {}
        case exceptions.UnsupportedMediaType():
            return "unsupported_format", "Send application/json.", {}
        case exceptions.APIException() if error.status_code < 500:
            return "invalid_request", "Send valid JSON of the documented shape.", {}
        case UnreadablePostError():
            return "invalid_request", "The body ends too early, or comes too slowly.", {}
        case RequestDataTooBig():
            return "too_large", "Send less JSON at once.", {}
        case RecursionError():
            return "invalid_request", "Send JSON that is nested less deeply.", {}
        case OperationalError() | InterfaceError():
            log.error("the database did not answer", exc_info=error)
            return "unavailable", "Send the same request again in a moment.", {}
    log.exception("a request failed", exc_info=error)
    return "internal", "Try again; if it stays, report the request id.", {}


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler for addresses that no route has."""
    return _plain(request, "not_found", "The OpenAPI document at /api/schema/ lists what there is.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler for exceptions outside of API views."""
    return _plain(request, "internal", "Try again; if it stays, report the request id.")


def _plain(request: HttpRequest, code: str, detail: str) -> HttpResponse:
    content = body(code, detail)
    if request.path.startswith(PEOPLES):
        page = _PAGE.format(title=content["title"], status=content["status"])
        return HttpResponse(page, status=content["status"])
    return JsonResponse(content, status=content["status"], content_type="application/problem+json")


PEOPLES = "/admin/"  # where a browser asks, and gets a page
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{status}. <a href="/admin/">Back to the administration</a>. If it stays,
the log has the request by the X-Request-Id of this answer.</p></body></html>
"""
