"""Errors on the wire: problem+json (RFC 9457) with a stable code, from one catalogue."""

import logging
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.http.response import Http404
from rest_framework import exceptions
from rest_framework.renderers import JSONRenderer

log = logging.getLogger(__name__)


# code → (HTTP status, title). docs/errors.md is generated from it.
PROBLEMS: Mapping[str, tuple[int, str]] = {
    "invalid_request": (400, "The request cannot be understood"),
    "invalid_value": (400, "A value is not acceptable"),
    "too_broad": (400, "Rows were looked for too long"),
    "idempotency_key_required": (400, "An Idempotency-Key header is required"),
    "empty_file": (400, "The file is empty"),
    "corrupt": (400, "The file is damaged or cut short"),
    "bad_array": (400, "The JSON array is broken"),
    "unknown_entity": (400, "The record type cannot be told"),
    "address_refused": (400, "The address may not be called"),
    "unauthenticated": (401, "A valid API key is required"),
    "forbidden": (403, "The key may not do this"),
    "wrong_scope": (403, "The key lacks the scope that this needs"),
    "suspended": (403, "The tenant is suspended"),
    "link_invalid": (403, "The link is not one of ours"),
    "link_expired": (403, "The link has expired"),
    "read_only": (403, "The tenant may only read"),
    "not_found": (404, "There is nothing here"),
    "photo_missing": (404, "The photo is not where it was stored"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "idempotency_in_flight": (409, "The first request with this key is still running"),
    "price_changed": (409, "The product has another price"),
    "cursor_outdated": (409, "The pages have changed since the last one"),
    "endpoint_disabled": (409, "The endpoint is disabled"),
    "too_many": (409, "There are as many of them as there may be"),
    "not_ready": (409, "There is nothing to download yet"),
    "gone": (410, "It is not kept any longer"),
    "too_slow": (408, "The body comes too slowly"),
    "tenant_exists": (409, "There is a tenant with this id"),
    "not_suspended": (409, "The tenant must be suspended first"),
    "being_erased": (409, "The tenant is being erased"),
    "key_ended": (409, "The key has ended, or has a successor"),
    "last_admin_key": (409, "The tenant would have no key left that can make one"),
    "too_many_keys": (409, "The tenant has as many keys as it may"),
    "upload_closed": (409, "The upload takes no more files"),
    "uri_too_long": (414, "The address is too long"),
    "too_large": (413, "The file is too large"),
    "unsupported_format": (415, "The format is not supported"),
    "range_not_satisfiable": (416, "The range begins behind the end"),
    "idempotency_mismatch": (422, "The key was used for another request"),
    "queue_full": (429, "Too much of yours is waiting already"),
    "too_many_bad_keys": (429, "Too many bad keys came from this address"),
    "quota-exceeded": (429, "Too many calls in a minute"),
    "row_quota": (429, "Too many rows on one day"),
    "internal": (500, "An error of ours"),
    "unavailable": (503, "The service cannot do this right now"),
    "busy": (503, "Too many bodies are coming in at once"),
    "store_full": (507, "There is no room for the file"),
    "storage_quota": (507, "The tenant keeps as much as it may"),
}


# code → seconds after which the same request may succeed.
RETRY_AFTER: Mapping[str, int] = {
    "idempotency_in_flight": 1,
    "queue_full": 5,
    "unavailable": 1,
    "busy": 1,
    "store_full": 30,
    "storage_quota": 3_600,
}


class Problem(Exception):
    """An answer with a code of the catalogue; `detail` says what to do next."""

    headers: Mapping[str, str] = {}

    def __init__(self, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.extra = extra


def body(code: str, detail: str, **extra: Any) -> dict[str, Any]:
    """What an answer says. It may quote any text: half of a surrogate pair becomes a `?`."""
    status, title = PROBLEMS[code]
    return {
        "type": f"urn:headrace:problem:{code}",
        "title": title,
        "status": status,
        "detail": _writable(detail),
        "code": code,
        **{name: _writable(value) for name, value in extra.items()},
    }


def _writable(value: Any) -> Any:
    """The same as UTF-8 can spell it."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {_writable(name): _writable(one) for name, one in value.items()}
    return list(map(_writable, value)) if isinstance(value, list | tuple) else value


def answer(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """The response to any exception of a view. No exception text of a library gets out."""
    code, detail, extra = _explained(error)
    content = body(code, detail, **extra)
    # Written here, as the renderer of a view may be one of pages.
    response = HttpResponse(
        JSONRenderer().render(content),
        status=content["status"],
        content_type="application/problem+json",
    )
    if code == "unauthenticated":
        response["WWW-Authenticate"] = 'Bearer realm="headrace"'
    if code == "range_not_satisfiable":
        response["Content-Range"] = f"bytes */{extra['length']}"
    if code in RETRY_AFTER:
        response["Retry-After"] = str(RETRY_AFTER[code])
    if isinstance(error, Problem):
        for name, value in error.headers.items():
            response[name] = value
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
        case SuspiciousOperation():  # too many parameters, or a Host that is not the service's
            return "invalid_request", "Send fewer parameters, and a Host of this service.", {}
        case RecursionError():
            return "invalid_request", "Send JSON that is nested less deeply.", {}
        case OperationalError() | InterfaceError():
            log.error("the database did not answer", exc_info=error)
            return "unavailable", "Send the same request again in a moment.", {}
    log.exception("a request failed", exc_info=error)
    return "internal", "Try again; if it stays, report the request id.", {}


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler for addresses that no route has."""
    return plain(request, "not_found", "The OpenAPI document at /api/schema/ lists what there is.")


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler for what it finds suspicious before a view is asked."""
    told = "Send a Host of this service (ALLOWED_HOSTS), and fewer parameters."
    return plain(request, "invalid_request", told)


def not_allowed(request: HttpRequest, *methods: str) -> HttpResponse:
    """The answer of a page to a method other than these."""
    answer = plain(request, "method_not_allowed", "The OpenAPI document lists what is.")
    answer["Allow"] = ", ".join(methods)
    return answer


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler for exceptions outside of API views."""
    return plain(request, "internal", "Try again; if it stays, report the request id.")


def plain(request: HttpRequest, code: str, detail: str) -> HttpResponse:
    """A problem outside of API views."""
    content = body(code, detail)
    if request.path.startswith(PEOPLES):
        return page(code)
    return JsonResponse(content, status=content["status"], content_type="application/problem+json")


def page(code: str) -> HttpResponse:
    """The answer to a browser."""
    status, title = PROBLEMS[code]
    return HttpResponse(_PAGE.format(title=title, status=status), status=status)


PEOPLES = "/admin/"  # where a browser asks, and gets a page
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{status}. <a href="/admin/">Back to the administration</a>. If it stays,
the log has the request by the X-Request-Id of this answer.</p></body></html>
"""
