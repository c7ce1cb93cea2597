"""HTTP for ingestion: read the request, call one service or selector, answer."""

import hashlib
import json
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core import idempotency
from apps.core.idempotency import Answer
from apps.core.problems import Problem
from apps.ingestions import selectors, services
from apps.ingestions import serializers as shapes
from apps.ingestions.bodies import body_of
from apps.ingestions.models import MissingParent, Upload
from apps.tenants.authentication import tenant_of
from headrace.entities import BY_NAME

PAGE = 50
PROBLEM = OpenApiResponse(shapes.ProblemBody, description="application/problem+json")


def _header(name: str, about: str, *, required: bool = False) -> OpenApiParameter:
    return OpenApiParameter(
        name, str, OpenApiParameter.HEADER, description=about, required=required
    )


IDEMPOTENCY = _header("Idempotency-Key", "1 to 255 printable characters", required=True)


class Files(APIView):
    """Files of any record type."""

    parser_classes = ()  # bodies are streamed by us

    @extend_schema(
        description="Store one file and queue it. The answer means that it is safe; its status"
        " says what became of every line.",
        parameters=[
            IDEMPOTENCY,
            _header("Upload-Token", "the upload to join; without it a new one is opened"),
            _header("X-Filename", "name of a raw body; its beginning tells the record type"),
            _header("Content-Encoding", "gzip, if the body is compressed"),
            OpenApiParameter("entity", str, enum=sorted(BY_NAME), description="the record type"),
        ],
        request={
            "multipart/form-data": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "format": "binary"},
                    "entity": {"type": "string", "enum": sorted(BY_NAME)},
                },
            },
            "application/x-ndjson": {"type": "string", "format": "binary"},
            "application/gzip": {"type": "string", "format": "binary"},
        },
        responses={
            201: shapes.AcceptedFile,
            **dict.fromkeys((400, 401, 404, 409, 413, 415, 422, 503, 507), PROBLEM),
        },
    )
    def post(self, request: Request) -> HttpResponse:
        tenant = tenant_of(request)
        key = idempotency.read_key(tenant, "file", request.headers.get("Idempotency-Key"))
        if key is None:
            raise Problem("idempotency_key_required", "Send an Idempotency-Key header.")
        delivery = services.Delivery(
            tenant=tenant,
            key=key,
            token=request.headers.get("Upload-Token"),
            encoding=request.headers.get("Content-Encoding", "").strip().lower(),
            body=body_of(_plain(request)),
        )
        return _sent(services.receive(delivery))


class Uploads(APIView):
    """Uploads: what several files of one delivery have in common."""

    @extend_schema(
        operation_id="open_upload",
        parameters=[_header("Idempotency-Key", "1 to 255 printable characters")],
        request=shapes.OpenUpload,
        responses={201: shapes.OpenedUpload, **dict.fromkeys((400, 401, 409, 422), PROBLEM)},
    )
    def post(self, request: Request) -> HttpResponse:
        asked = shapes.OpenUpload(data=_options(request))
        asked.is_valid(raise_exception=True)
        tenant = tenant_of(request)
        key = idempotency.read_key(tenant, "upload", request.headers.get("Idempotency-Key"))
        policy = MissingParent(asked.validated_data["on_missing_parent"])
        return _sent(services.open_upload(tenant, policy, key))

    @extend_schema(
        operation_id="list_uploads",
        parameters=[OpenApiParameter("cursor", str, description="next_cursor of the last page")],
        responses={200: shapes.UploadPage, 401: PROBLEM},
    )
    def get(self, request: Request) -> Response:
        rows, cursor = selectors.uploads(
            tenant_of(request), request.query_params.get("cursor"), PAGE
        )
        return Response({"data": [_listed(upload) for upload in rows], "next_cursor": cursor})


class UploadStatus(APIView):
    @extend_schema(
        operation_id="upload_status",
        responses={200: shapes.UploadStatus, 304: None, **dict.fromkeys((401, 404), PROBLEM)},
    )
    def get(self, request: Request, token: str) -> HttpResponse:
        upload = selectors.upload_of(tenant_of(request), token)
        content = json.dumps(selectors.status(upload)).encode()
        etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        if request.headers.get("If-None-Match") == etag:
            return HttpResponse(status=304, headers={"ETag": etag})
        return HttpResponse(content, content_type="application/json", headers={"ETag": etag})


class Rejects(APIView):
    @extend_schema(
        operation_id="upload_rejects",
        description="All rejects as NDJSON, file by file in the order of their lines.",
        parameters=[
            OpenApiParameter("chunk", OpenApiTypes.UUID),
            OpenApiParameter("code", str),
        ],
        responses={
            (200, "application/x-ndjson"): shapes.RejectedLine,
            **dict.fromkeys((400, 401, 404), PROBLEM),
        },
    )
    def get(self, request: Request, token: str) -> HttpResponseBase:
        upload = selectors.upload_of(tenant_of(request), token)
        chunk = _uuid(request.query_params.get("chunk"))
        lines = selectors.rejects(upload, chunk, request.query_params.get("code"))
        return StreamingHttpResponse(lines, content_type="application/x-ndjson")


def _options(request: Request) -> dict[str, Any]:
    """The JSON object of a request. Raises Problem for options that do not exist."""
    if request.headers.get("Transfer-Encoding"):
        raise Problem("invalid_request", "Send the options with a Content-Length.")
    options = request.data
    if not isinstance(options, dict):
        raise Problem("invalid_request", "Send the options as a JSON object.")
    if unknown := set(options) - set(shapes.OpenUpload().fields):
        raise Problem("invalid_request", f"There is no option {', '.join(sorted(unknown))}.")
    return options


def _plain(request: Request) -> HttpRequest:
    return request._request


def _uuid(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        raise Problem("invalid_request", "Send chunk as a UUID.") from None


def _listed(upload: Upload) -> dict[str, Any]:
    return {
        "upload_token": upload.token,
        "status": selectors.status(upload)["status"],
        "status_url": f"/api/v1/ingest/sessions/{upload.token}/status/",
        "created_at": upload.created_at.isoformat(),
    }


def _sent(answer: Answer) -> HttpResponse:
    headers = {"Location": answer.location}
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    return HttpResponse(
        answer.body, status=answer.status, content_type="application/json", headers=headers
    )
