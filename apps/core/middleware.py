"""What every request gets."""

import logging
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from django.http import HttpRequest, HttpResponse

from apps.core import logs

log = logging.getLogger(__name__)
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestId:
    """Answers and log lines carry a request id: the caller's, if it is harmless, or a new one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _ACCEPTABLE.fullmatch(given) else uuid4().hex
        with logs.context(request_id=request_id, method=request.method, path=request.path):
            began = time.perf_counter()
            response = self._get_response(request)
            _log_access(request, response, time.perf_counter() - began)
        response["X-Request-Id"] = request_id
        return response


def _log_access(request: HttpRequest, response: HttpResponse, seconds: float) -> None:
    """One line a request. `bytes_in` is what the sender announced; a chunked body says nothing."""
    announced = request.META.get("CONTENT_LENGTH") or ""
    fields = {
        "status": response.status_code,
        "duration_ms": round(seconds * 1e3, 1),
        "bytes_in": int(announced) if announced.isdecimal() else None,
    }
    log.info("request", extra=fields)


class ReadToTheEnd:
    """Reads what a refused request still sends, up to DRAINED bytes or for DRAIN_SECONDS.

    A connection that is closed on unread bytes is reset, and the sender may never see the answer.
    What comes later is not waited for: the server would discard it in a thread of its own time.
    """

    DRAINED = 32 << 20
    DRAIN_SECONDS = 2
    BLOCK = 1 << 18

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        if response.status_code >= 400 and request.method in ("POST", "PUT", "PATCH"):
            self._drain(request)
        return response

    def _drain(self, request: HttpRequest) -> None:
        left, end = self.DRAINED, time.monotonic() + self.DRAIN_SECONDS
        connection = request.META.get("gunicorn.socket")
        if connection:
            connection.settimeout(self.DRAIN_SECONDS)
        with suppress(Exception):  # the server's own kinds: the sender went away
            while left > 0 and time.monotonic() < end:
                if not (block := request.META["wsgi.input"].read(self.BLOCK)):
                    return
                left -= len(block)
        if connection:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
