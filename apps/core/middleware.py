"""What every request gets."""

import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from django.http import HttpRequest, HttpResponse

from apps.core import logs, origins
from apps.core.pacing import BLOCK, Pace
from apps.core.problems import Problem

log = logging.getLogger(__name__)
_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestId:
    """Answers and log lines carry a request id: the caller's, if it is harmless, or a new one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if _ACCEPTABLE.fullmatch(given) else uuid4().hex
        request.META[origins.REQUEST_ID] = request_id
        with (
            logs.context(request_id=request_id, method=request.method, path=request.path),
            origins.of_request(request),
        ):
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
    """Reads what a refused request still sends, up to DRAINED bytes or for some seconds.

    A connection that is closed on unread bytes is reset, and the sender may never see the answer.
    Of who may not call, and where there are too many bodies already, only what has come is read.
    """

    DRAINED = 32 << 20
    SECONDS = 2.0
    SHORTLY = 0.2
    SHORTLY_READ = (401, 403, 429, 503)

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self._get_response(request)
        if response.status_code >= 400 and request.method in ("POST", "PUT", "PATCH"):
            is_short = response.status_code in self.SHORTLY_READ
            self._drain(request, self.SHORTLY if is_short else self.SECONDS)
        return response

    def _drain(self, request: HttpRequest, seconds: float) -> None:
        left = self.DRAINED
        with Pace(request, seconds) as pace, suppress(Problem):
            while left > 0:
                if not (block := pace.read(BLOCK)):
                    return
                left -= len(block)
        pace.stop()
