"""What every request gets."""

import re
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from django.http import HttpRequest, HttpResponse

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestId:
    """Answers carry X-Request-Id: the caller's, if it is harmless, or a new one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id", "")
        response = self._get_response(request)
        response["X-Request-Id"] = given if _ACCEPTABLE.fullmatch(given) else uuid4().hex
        return response


class ReadToTheEnd:
    """Reads what a refused request still sends, up to DRAINED bytes.

    A connection that is closed on unread bytes is reset, and the sender may never see the answer.
    """

    DRAINED = 32 << 20
    BLOCK = 1 << 18

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        if response.status_code >= 400 and request.method in ("POST", "PUT", "PATCH"):
            self._drain(request)
        return response

    def _drain(self, request: HttpRequest) -> None:
        left = self.DRAINED
        with suppress(Exception):  # the server's own kinds: the sender went away
            while left > 0 and (block := request.META["wsgi.input"].read(self.BLOCK)):
                left -= len(block)
