"""What the views of every app share: how answers go out, and words of the OpenAPI document."""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.http import parse_etags
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request

from apps.core import bodies, pages
from apps.core.idempotency import Answer


class ProblemBody(serializers.Serializer):
    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField()


PROBLEM = OpenApiResponse(ProblemBody, description="")  # apps.core.openapi says which
#: A text without a quote at its beginning; `idempotency.read_key` takes it in quotes too.
_KEY = {"type": "string", "maxLength": 255, "pattern": r"^[!#-~]([ -~]*[!-~])?$"}


def header(name: str, about: str) -> OpenApiParameter:
    """A header of a request."""
    return OpenApiParameter(name, str, OpenApiParameter.HEADER, description=about)


def idempotency_header(about: str = "", *, required: bool = False) -> OpenApiParameter:
    """The header Idempotency-Key."""
    return OpenApiParameter(
        "Idempotency-Key",
        _KEY,
        OpenApiParameter.HEADER,
        description=f"1 to 255 printable characters{about and f'; {about}'}",
        required=required,
    )


def whole(name: str, least: int, most: int, about: str) -> OpenApiParameter:
    """A parameter that is a whole number between two."""
    schema = {"type": "integer", "minimum": least, "maximum": most}
    return OpenApiParameter(name, schema, description=about)


CURSOR = OpenApiParameter("cursor", str, description="next_cursor of the page before")
PAGING = [CURSOR, whole("limit", 1, pages.MOST, f"rows of a page; {pages.USUAL}")]
IF_NONE_MATCH = header("If-None-Match", "the ETag of what is there already")


def fields(names: Iterable[str]) -> OpenApiParameter:
    """The parameter that says which of these members a row has."""
    return OpenApiParameter(
        pages.FIELDS,
        {"type": "array", "items": {"type": "string", "enum": list(names)}, "minItems": 1},
        style="form",
        explode=False,
        description="columns, commas between them; repeatable",
    )


def instant(moment: datetime) -> str:
    """A time as it is told: in UTC, to the microsecond."""
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


def tagged(
    request: Request | HttpRequest, content: bytes, kind: str = "application/json"
) -> HttpResponse:
    """Content under its own name, or no more than that to whoever has it."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    if is_known(request, etag):
        return unchanged(etag)
    return HttpResponse(content, content_type=kind, headers={"ETag": etag})


def is_known(request: Request | HttpRequest, etag: str) -> bool:
    """Whether the caller says that it has what the ETag names."""
    known = parse_etags(request.headers.get("If-None-Match", ""))
    return bool({one.removeprefix("W/") for one in known} & {etag, "*"})


def unchanged(etag: str) -> HttpResponse:
    """The answer to whoever has it already."""
    return HttpResponse(status=304, headers={"ETag": etag})


def plain(request: Request) -> HttpRequest:
    """Django's own request, whose body nobody has read."""
    return request._request


def sent(answer: Answer) -> HttpResponse:
    """An answer of a service, and whether it is a replay."""
    body = answer.body.encode()
    headers = {"Content-Length": str(len(body))}  # or the server sends it in chunks
    if answer.location:
        headers["Location"] = answer.location
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    return HttpResponse(
        body, status=answer.status, content_type="application/json", headers=headers
    )


def options(request: Request, shape: type[serializers.Serializer]) -> dict[str, Any]:
    """The checked JSON object of a request. Raises Problem for options that do not exist."""
    return bodies.options(plain(request), shape)
