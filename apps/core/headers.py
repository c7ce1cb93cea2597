"""Headers that tell a browser to do nothing with an answer that it was not made for.

Django's own middleware adds nosniff, Referrer-Policy, Cross-Origin-Opener-Policy, X-Frame-Options
and, in production over TLS, Strict-Transport-Security. No policy allows a script in a page's text,
and none lets a page be framed.
"""

import base64
import hashlib
import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from apps.core.problems import PEOPLES

_APART = "base-uri 'none'; frame-ancestors 'none'"
_SHUT = f"form-action 'none'; {_APART}"
_OURS = "default-src 'self'; object-src 'none'; img-src 'self' data:"
#: For answers that are no page: should a browser show one, it loads and runs nothing.
NOTHING = f"default-src 'none'; {_SHUT}"
ADMIN = f"{_OURS}; form-action 'self'; {_APART}"
#: Swagger UI and Redoc write styles into the page; Redoc searches in a worker that it makes itself.
DOCUMENTS = f"{_OURS}; style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; {_SHUT}"
_DOCUMENTS = ("/api/schema/swagger-ui/", "/api/docs/", "/api/redoc/")
_TENANTS = ("/api/v1/", PEOPLES)


class SecurityHeaders:
    """Adds to every answer what no view has set."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        path = request.path_info
        response.headers.setdefault("Content-Security-Policy", _policy(path))
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        if path.startswith(_TENANTS):
            response.headers.setdefault("Cache-Control", "no-store")
        return response


def _policy(path: str) -> str:
    if path.startswith(_DOCUMENTS):
        return DOCUMENTS
    return ADMIN if path.startswith(PEOPLES) else NOTHING


def with_own_styles(page: str) -> str:
    """The policy of a page that has its styles in its text: by their digests, and no script."""
    digests = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    )
    styles = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; style-src {styles}; {_SHUT}"
