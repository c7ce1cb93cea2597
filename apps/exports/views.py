"""HTTP for exports: read the request, call one service or selector, answer."""

from typing import Any
from uuid import UUID

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core import bodies, idempotency, pages, ranges, seats
from apps.core.blocks import Begun
from apps.core.problems import Problem
from apps.core.wire import CURSOR, PROBLEM, header, idempotency_header, plain, sent
from apps.exports import asked, bundles, selectors, services, takeouts
from apps.exports import serializers as shapes
from apps.exports.models import Export
from apps.tenants.authentication import check_scope, holder_of, tenant_at
from apps.tenants.doors import zone_of
from apps.tenants.scopes import Scope

MOST_BYTES = 256 << 10
PAGE = 50


def _of_all_kinds(status: int) -> dict[Any, Any]:
    """The schemas of an export's bytes, by kind: a whole one in JSON is an array of rows."""
    rows = {"type": "array", "items": {"type": "object"}}
    schemas: dict[Any, Any] = dict.fromkeys(selectors.MEDIA_TYPES, OpenApiTypes.BINARY)
    if status == 200:
        schemas["application/json"] = rows
    return {(status, kind): schema for kind, schema in schemas.items()}


class Exports(APIView):
    """Exports of the tenant: files made of its rows."""

    needs = {"GET": Scope.EXPORT, "POST": Scope.EXPORT}
    parser_classes = ()  # bodies are read by us

    @extend_schema(
        operation_id="order_export",
        description="Write the rows of a record type into a file, from one state of the database."
        " 202 says where its status is. A small one may be asked for as the answer itself, by"
        " `stream=true` or `Prefer: respond-sync`; such an answer cannot be continued.",
        parameters=[
            OpenApiParameter("stream", bool, description="answer with the rows themselves"),
            header("Prefer", "respond-sync: the same as stream=true"),
            idempotency_header(),
        ],
        request={"application/json": shapes.ExportRequest},
        responses={
            202: shapes.OrderedExport,
            **_of_all_kinds(200),
            **dict.fromkeys((400, 401, 404, 408, 409, 413, 415, 422, 429, 503, 507), PROBLEM),
        },
    )
    def post(self, request: Request, tenant_id: UUID) -> HttpResponseBase:
        tenant = tenant_at(request, tenant_id)
        pages.check(request.query_params, "stream", paging=())
        key = idempotency.read_key(tenant, "export", request.headers.get("Idempotency-Key"))
        wanted = asked.read(bodies.json_object(plain(request), MOST_BYTES), zone_of(tenant))
        if _is_sync(request):
            return _streamed(request, tenant, wanted)
        return sent(services.order(tenant, wanted, key))

    @extend_schema(
        operation_id="list_exports",
        parameters=[CURSOR],
        responses={200: shapes.ExportPage, **dict.fromkeys((400, 401, 404), PROBLEM)},
    )
    def get(self, request: Request, tenant_id: UUID) -> Response:
        tenant = tenant_at(request, tenant_id)
        pages.check(request.query_params, paging=("cursor",))
        rows, cursor = selectors.exports(tenant, request.query_params.get("cursor"), PAGE)
        return Response({"data": rows, "next_cursor": cursor})


class ExportStatus(APIView):
    needs = {"GET": Scope.EXPORT}

    @extend_schema(
        operation_id="export_status",
        responses={200: shapes.ExportFacts, **dict.fromkeys((401, 404), PROBLEM)},
    )
    def get(self, request: Request, tenant_id: UUID, export_id: UUID) -> Response:
        export = selectors.export_of(tenant_at(request, tenant_id), export_id)
        return Response(selectors.status(export))


class CancelExport(APIView):
    needs = {"POST": Scope.EXPORT}

    @extend_schema(
        operation_id="cancel_export",
        description="Stop it before it writes on. One that has ended stays as it is.",
        request=None,
        responses={200: shapes.ExportFacts, **dict.fromkeys((401, 404), PROBLEM)},
    )
    def post(self, request: Request, tenant_id: UUID, export_id: UUID) -> Response:
        tenant = tenant_at(request, tenant_id)
        services.cancel(selectors.export_of(tenant, export_id))
        return Response(selectors.status(selectors.export_of(tenant, export_id)))


#: What a download answers, and what it may be asked with; the operator's is the same.
DOWNLOADED: dict[Any, Any] = {
    **_of_all_kinds(200),
    **_of_all_kinds(206),
    **dict.fromkeys((401, 404, 409, 410, 416, 503), PROBLEM),
}
CONTINUED = [
    header("Range", "bytes=N- or bytes=N-M"),
    header("If-Range", "the ETag of the download that broke"),
]


def downloaded(request: Request, export: Export) -> HttpResponseBase:
    """The bytes of a completed export, or those asked for. Raises Problem."""
    content = selectors.content(export)
    services.note_download(export, request.headers.get("Range"))
    asking = plain(request)
    return seats.seated(asking, export.tenant_id, lambda: ranges.answer(asking, content))


class Download(APIView):
    needs = {"GET": Scope.EXPORT}

    @extend_schema(
        operation_id="download_export",
        description="The file. A download that broke is continued by Range, with the ETag of the"
        " first answer in If-Range; X-Content-SHA256 is the digest of the whole. Keys, webhooks and"
        " audit log of a takeout need the scope admin besides.",
        parameters=CONTINUED,
        responses=DOWNLOADED,
    )
    def get(self, request: Request, tenant_id: UUID, export_id: UUID) -> HttpResponseBase:
        tenant = tenant_at(request, tenant_id)
        return downloaded(request, _open_to(request, selectors.export_of(tenant, export_id)))


def _open_to(request: Request, export: Export) -> Export:
    """The export, if the key may read what it has. Raises Problem."""
    if need := bundles.scope_of(export.entity):
        check_scope(request, need)
    return export


class Takeouts(APIView):
    """Everything of the tenant at once."""

    needs = {"POST": Scope.EXPORT}
    parser_classes = ()  # bodies are read by us

    @extend_schema(
        operation_id="order_takeout",
        description="Export every record type, and what else there is of the tenant: keys,"
        " webhooks and audit log if the key has the scope admin, which their downloads need too;"
        " the manifest names what it is without as `withheld`. 202 says where the manifest is,"
        " which has the rows, bytes and digest of each file once it is there; the files are"
        " ordinary exports.",
        request={"application/json": shapes.TakeoutRequest},
        responses={
            202: shapes.TakeoutManifest,
            **dict.fromkeys((400, 401, 404, 408, 413, 415, 429, 503, 507), PROBLEM),
        },
    )
    def post(self, request: Request, tenant_id: UUID) -> Response:
        tenant = tenant_at(request, tenant_id)
        wanted = bodies.options(plain(request), shapes.TakeoutRequest)
        takeout = takeouts.order_own(tenant, **wanted, asked_by=holder_of(request))
        location = f"/api/v1/tenants/{tenant}/reports/takeouts/{takeout.pk}/"
        return Response(takeouts.manifest(takeout), 202, headers={"Location": location})


class TakeoutStatus(APIView):
    needs = {"GET": Scope.EXPORT}

    @extend_schema(
        operation_id="takeout_manifest",
        responses={200: shapes.TakeoutManifest, **dict.fromkeys((401, 404), PROBLEM)},
    )
    def get(self, request: Request, tenant_id: UUID, takeout_id: UUID) -> Response:
        takeout = takeouts.takeout_of(tenant_at(request, tenant_id), takeout_id)
        return Response(takeouts.manifest(takeout))


def _streamed(request: Request, tenant: UUID, wanted: asked.Asked) -> StreamingHttpResponse:
    export, data = services.stream(tenant, wanted)
    headers = {"Content-Disposition": f'attachment; filename="{selectors.filename(export)}"'}
    kind = selectors.media_type(export)
    return seats.seated(
        plain(request),
        tenant,
        lambda: StreamingHttpResponse(Begun(data), content_type=kind, headers=headers),
    )


def _is_sync(request: Request) -> bool:
    asked_for = request.query_params.get("stream", "false")
    if asked_for not in ("true", "false"):
        raise Problem("invalid_request", "Send stream=true, or leave it out.")
    return asked_for == "true" or "respond-sync" in request.headers.get("Prefer", "")
