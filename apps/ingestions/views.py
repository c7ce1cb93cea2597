"""HTTP for ingestion: read the request, call one service or selector, answer."""

import json
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core import idempotency, pages, ranges, seats
from apps.core.problems import Problem
from apps.core.wire import (
    CURSOR,
    IF_NONE_MATCH,
    PROBLEM,
    header,
    idempotency_header,
    options,
    plain,
    sent,
    tagged,
)
from apps.ingestions import rejects, selectors, services, sessions
from apps.ingestions import serializers as shapes
from apps.ingestions.bodies import body_of, length_of
from apps.ingestions.models import Upload
from apps.ingestions.readings import MEDIA_TYPES, PACKED
from apps.tenants.authentication import tenant_of
from apps.tenants.scopes import Scope
from headrace.entities import BY_NAME
from headrace.pipeline.errors import RejectCode
from headrace.pipeline.formats import DELIMITERS, FORMATS

PAGE = 50

BINARY = {"type": "string", "format": "binary"}


class Files(APIView):
    """Files of any record type."""

    needs = {"POST": Scope.INGEST}
    parser_classes = ()  # bodies are streamed by us

    @extend_schema(
        description="Store one file and queue it. The answer means that it is safe; its status"
        " says what became of every line.",
        parameters=[
            idempotency_header(required=True),
            header("Upload-Token", "the upload to join; without it a new one is opened"),
            header("X-Filename", "name of a raw body; its beginning tells the record type"),
            header("Content-Encoding", "gzip or zstd, if the body is compressed"),
            OpenApiParameter("entity", str, enum=sorted(BY_NAME), description="the record type"),
            OpenApiParameter("format", str, enum=FORMATS, description="without it the name tells"),
            OpenApiParameter("delimiter", str, enum=[*DELIMITERS], description="of a CSV file"),
        ],
        request={
            "multipart/form-data": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": BINARY,
                    "entity": {"type": "string", "enum": sorted(BY_NAME)},
                    "format": {"type": "string", "enum": FORMATS},
                    "delimiter": {"type": "string", "enum": [*DELIMITERS]},
                },
            },
            **dict.fromkeys((*MEDIA_TYPES, *PACKED), BINARY),
        },
        responses={
            201: shapes.AcceptedFile,
            **dict.fromkeys((400, 401, 404, 408, 409, 413, 415, 422, 429, 503, 507), PROBLEM),
        },
    )
    def post(self, request: Request) -> HttpResponse:
        tenant = tenant_of(request)
        key = idempotency.read_key(tenant, "file", request.headers.get("Idempotency-Key"))
        with seats.Seat(tenant):
            delivery = services.Delivery(
                tenant=tenant,
                key=key,
                token=request.headers.get("Upload-Token"),
                encoding=request.headers.get("Content-Encoding", "").strip().lower(),
                length=length_of(plain(request)),
                body=body_of(plain(request)),
            )
            return sent(services.receive(delivery))


class Uploads(APIView):
    """Uploads: what several files of one delivery have in common."""

    needs = {"GET": Scope.INGEST, "POST": Scope.INGEST}

    @extend_schema(
        operation_id="open_upload",
        parameters=[idempotency_header()],
        request=shapes.OpenUpload,
        responses={
            201: shapes.OpenedUpload,
            **dict.fromkeys((400, 401, 408, 409, 413, 415, 422, 429), PROBLEM),
        },
    )
    def post(self, request: Request) -> HttpResponse:
        wanted = sessions.Options(**options(request, shapes.OpenUpload))
        tenant = tenant_of(request)
        key = idempotency.read_key(tenant, "upload", request.headers.get("Idempotency-Key"))
        return sent(sessions.open_upload(tenant, wanted, key))

    @extend_schema(
        operation_id="list_uploads",
        parameters=[CURSOR],
        responses={200: shapes.UploadPage, **dict.fromkeys((400, 401), PROBLEM)},
    )
    def get(self, request: Request) -> Response:
        asked = request.query_params
        pages.check(asked, paging=("cursor",))
        rows, cursor = selectors.uploads(tenant_of(request), asked.get("cursor"), PAGE)
        return Response({"data": rows, "next_cursor": cursor})


def _step(operation: str, about: str, step: Callable[[Upload], None]) -> Callable[..., Any]:
    """A view that takes an upload one step further, and answers with its status."""

    class Step(APIView):
        needs = {"POST": Scope.INGEST}

        @extend_schema(
            operation_id=operation,
            description=about,
            request=None,
            responses={200: shapes.UploadStatus, **dict.fromkeys((401, 404), PROBLEM)},
        )
        def post(self, request: Request, token: str) -> Response:
            upload = selectors.upload_of(tenant_of(request), token)
            step(upload)
            upload.refresh_from_db()
            return Response(selectors.status(upload))

    return Step.as_view()


complete = _step("complete_upload", "No more files will come.", sessions.complete)
cancel = _step(
    "cancel_upload",
    "Take no more files; those at work stop at their next segment, and the rest of their lines"
    " is unprocessed.",
    sessions.cancel,
)


class Resume(APIView):
    needs = {"POST": Scope.INGEST}

    @extend_schema(
        operation_id="resume_upload",
        description="Queue the failed, corrupt and cancelled files again: from where they"
        " stopped, or anew if nothing of them has landed.",
        request=shapes.Limits,
        responses={
            200: shapes.ResumedUpload,
            **dict.fromkeys((400, 401, 404, 408, 413, 415), PROBLEM),
        },
    )
    def post(self, request: Request, token: str) -> Response:
        upload = selectors.upload_of(tenant_of(request), token)
        resumed = sessions.resume(upload, options(request, shapes.Limits))
        upload.refresh_from_db()
        return Response({"resumed": resumed, **selectors.status(upload)})


class UploadStatus(APIView):
    needs = {"GET": Scope.INGEST}

    @extend_schema(
        operation_id="upload_status",
        parameters=[IF_NONE_MATCH],
        responses={200: shapes.UploadStatus, 304: None, **dict.fromkeys((401, 404), PROBLEM)},
    )
    def get(self, request: Request, token: str) -> HttpResponse:
        upload = selectors.upload_of(tenant_of(request), token)
        return tagged(request, json.dumps(selectors.status(upload)).encode())


class Rejects(APIView):
    needs = {"GET": Scope.INGEST}

    @extend_schema(
        operation_id="upload_rejects",
        description="All rejects, file by file in the order of their lines: as a report, or as"
        " the refused records themselves with the members `_line`, `_code`, `_field` and"
        " `_message`, ready to be mended and sent again. A code filter looks at a line's first"
        " fault.",
        parameters=[
            OpenApiParameter("form", str, enum=["report", "records"]),
            OpenApiParameter("format", str, enum=["ndjson", "csv"], description="csv: records"),
            OpenApiParameter("chunk", OpenApiTypes.UUID),
            OpenApiParameter("code", str),
            header("Range", "bytes=N- or bytes=N-M, to continue a download that broke"),
            header("If-Range", "the ETag of that download"),
        ],
        responses={
            (200, "application/x-ndjson"): shapes.RejectedLine,
            (200, "text/csv"): OpenApiTypes.STR,
            (206, "application/x-ndjson"): OpenApiTypes.BINARY,
            **dict.fromkeys((400, 401, 404, 410, 416, 503), PROBLEM),
        },
    )
    def get(self, request: Request, token: str) -> HttpResponseBase:
        upload = selectors.upload_of(tenant_of(request), token)
        asked = request.query_params
        pages.check(asked, "form", "format", "chunk", "code", paging=())
        form = (asked.get("form", "report"), asked.get("format", "ndjson"))
        if form not in rejects.FORMS:
            raise Problem(
                "invalid_request",
                "Send form=report, or form=records with format=ndjson or format=csv.",
            )
        wanted = rejects.Asked(form, _uuid(asked.get("chunk")), _code(asked.get("code")))
        return seats.seated(
            plain(request),
            upload.tenant_id,
            lambda: ranges.answer(plain(request), rejects.download(upload, wanted)),
        )


def _uuid(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise Problem("invalid_request", "Send chunk as a UUID.") from None


def _code(text: str | None) -> str | None:
    """Raises Problem for a code that no reject can have, and names those that are near it."""
    known = [code.value for code in RejectCode]
    if text is not None and text not in known:
        near = get_close_matches(text, known) or known
        raise Problem("invalid_request", f"Send code as one of the codes: {', '.join(near)}.")
    return text
