"""HTTP for operators: read the request, call one service or selector, answer."""

from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core import bodies, pages
from apps.core.wire import CURSOR, PROBLEM, plain, whole
from apps.exports import serializers as export_shapes
from apps.exports import takeouts
from apps.exports.views import CONTINUED, DOWNLOADED, downloaded
from apps.lifecycle import selectors, services
from apps.lifecycle import serializers as shapes
from apps.tenants.authentication import holder_of
from apps.tenants.scopes import Scope
from headrace.schema import Field, Uuid

_ID = Field("id", Uuid(), "the row that the last page ended with")
_PAGING = [CURSOR, whole("limit", 1, pages.MOST, f"rows of a page; {pages.USUAL}")]
_BODY = (400, 401, 404, 408, 413, 415)  # what any operation with a body may answer


def _answers(*statuses: int) -> dict[int, Any]:
    return dict.fromkeys(statuses, PROBLEM)


class Tenants(APIView):
    needs = {"GET": Scope.OPERATOR, "POST": Scope.OPERATOR}
    parser_classes = ()  # bodies are read by us

    @extend_schema(
        operation_id="operator_list_tenants",
        parameters=_PAGING,
        responses={200: shapes.TenantPage, **_answers(400, 401)},
    )
    def get(self, request: Request) -> Response:
        return _page(request, selectors.tenants)

    @extend_schema(
        operation_id="operator_create_tenant",
        description="Make a tenant, and a key that it may do everything with, which is shown"
        " this once.",
        request={"application/json": shapes.NewTenant},
        responses={201: shapes.CreatedTenant, **_answers(400, 401, 408, 409, 413, 415)},
    )
    def post(self, request: Request) -> Response:
        made = services.create(bodies.options(plain(request), shapes.NewTenant))
        location = f"/api/v1/operator/tenants/{made.tenant.pk}/"
        facts = {**selectors.listed(made.tenant), "api_key": made.key}
        return Response(facts, 201, headers={"Location": location})


class OneTenant(APIView):
    needs = {"GET": Scope.OPERATOR, "PATCH": Scope.OPERATOR}
    parser_classes = ()  # bodies are read by us

    @extend_schema(
        operation_id="operator_tenant",
        description="A tenant: its settings, its quotas, and what is used of them.",
        responses={200: shapes.TenantFacts, **_answers(401, 404)},
    )
    def get(self, request: Request, tenant_id: UUID) -> Response:
        return Response(selectors.tenant(tenant_id))

    @extend_schema(
        operation_id="operator_change_tenant",
        description="Set quotas, the name and other settings; what is not sent stays as it is.",
        request={"application/json": shapes.TenantChanges},
        responses={200: shapes.TenantFacts, **_answers(*_BODY)},
    )
    def patch(self, request: Request, tenant_id: UUID) -> Response:
        services.change(tenant_id, bodies.options(plain(request), shapes.TenantChanges))
        return Response(selectors.tenant(tenant_id))


class Suspend(APIView):
    needs = {"POST": Scope.OPERATOR}
    parser_classes = ()  # bodies are read by us

    @extend_schema(
        operation_id="operator_suspend_tenant",
        description="Let a tenant only read, or do nothing at all. It holds within a second. What"
        " it has sent before lands.",
        request={"application/json": shapes.Suspension},
        responses={200: shapes.TenantFacts, **_answers(*_BODY, 409)},
    )
    def post(self, request: Request, tenant_id: UUID) -> Response:
        services.suspend(tenant_id, bodies.options(plain(request), shapes.Suspension)["state"])
        return Response(selectors.tenant(tenant_id))


class Resume(APIView):
    needs = {"POST": Scope.OPERATOR}

    @extend_schema(
        operation_id="operator_resume_tenant",
        description="Let a tenant do everything again.",
        request=None,
        responses={200: shapes.TenantFacts, **_answers(401, 404, 409)},
    )
    def post(self, request: Request, tenant_id: UUID) -> Response:
        services.resume(tenant_id)
        return Response(selectors.tenant(tenant_id))


class Takeouts(APIView):
    needs = {"POST": Scope.OPERATOR}
    parser_classes = ()  # bodies are read by us

    @extend_schema(
        operation_id="operator_order_takeout",
        description="Export every record type of a tenant, whatever its state. Suspend it first, or"
        " let it only read, and all files show the same state of the database.",
        request={"application/json": export_shapes.TakeoutRequest},
        responses={202: export_shapes.TakeoutManifest, **_answers(*_BODY, 409, 429, 507)},
    )
    def post(self, request: Request, tenant_id: UUID) -> Response:
        wanted = bodies.options(plain(request), export_shapes.TakeoutRequest)
        takeout = services.take_out(tenant_id, **wanted, asked_by=holder_of(request).key_id)
        location = f"/api/v1/operator/tenants/{tenant_id}/takeouts/{takeout.pk}/"
        return Response(_manifest(takeout), 202, headers={"Location": location})


class TakeoutStatus(APIView):
    needs = {"GET": Scope.OPERATOR}

    @extend_schema(
        operation_id="operator_takeout_manifest",
        responses={200: export_shapes.TakeoutManifest, **_answers(401, 404)},
    )
    def get(self, request: Request, tenant_id: UUID, takeout_id: UUID) -> Response:
        return Response(_manifest(takeouts.takeout_of(tenant_id, takeout_id)))


class TakeoutDownload(APIView):
    needs = {"GET": Scope.OPERATOR}

    @extend_schema(
        operation_id="operator_download_takeout",
        description="A file of a takeout, as the tenant may download it too.",
        parameters=CONTINUED,
        responses=DOWNLOADED,
    )
    def get(
        self, request: Request, tenant_id: UUID, takeout_id: UUID, export_id: UUID
    ) -> HttpResponseBase:
        takeout = takeouts.takeout_of(tenant_id, takeout_id)
        return downloaded(request, takeouts.export_of(takeout, export_id))


class Erase(APIView):
    needs = {"POST": Scope.OPERATOR}
    parser_classes = ()  # bodies are read by us

    @extend_schema(
        operation_id="operator_erase_tenant",
        description="Erase everything of a suspended tenant, for good. 202 says where the proof"
        " will be. The same request again gives the same erasure, and takes up one that failed.",
        request={"application/json": shapes.ErasureRequest},
        responses={202: shapes.Proof, **_answers(*_BODY, 409, 503)},
    )
    def post(self, request: Request, tenant_id: UUID) -> Response:
        confirm = bodies.options(plain(request), shapes.ErasureRequest)["confirm"]
        erasure = services.erase(tenant_id, confirm, asked_by=holder_of(request).key_id)
        location = f"/api/v1/operator/erasures/{erasure.pk}/"
        return Response(selectors.proof(erasure), 202, headers={"Location": location})


class Erasures(APIView):
    needs = {"GET": Scope.OPERATOR}

    @extend_schema(
        operation_id="operator_list_erasures",
        parameters=_PAGING,
        responses={200: shapes.ProofPage, **_answers(400, 401, 404)},
    )
    def get(self, request: Request) -> Response:
        return _page(request, selectors.erasures)


class OneErasure(APIView):
    needs = {"GET": Scope.OPERATOR}

    @extend_schema(
        operation_id="operator_erasure",
        description="An erasure and its proof: the counts before, and those found anew at the end.",
        responses={200: shapes.Proof, **_answers(401, 404)},
    )
    def get(self, request: Request, erasure_id: UUID) -> Response:
        return Response(selectors.erasure(erasure_id))


def _page(request: Request, listed: Any) -> Response:
    """Raises Problem."""
    asked = request.query_params
    pages.check(asked)
    last = pages.cursor(asked, _ID)
    rows, cursor = listed(UUID(last[0]) if last else None, pages.limit(asked))
    return Response({"data": rows, "next_cursor": cursor})


def _manifest(takeout: Any) -> dict[str, Any]:
    """With the addresses that are the operator's."""
    found = takeouts.manifest(takeout)
    root = f"/api/v1/operator/tenants/{takeout.tenant_id}/takeouts/{takeout.pk}"
    for file in found["files"]:
        if file["download_url"]:
            file["download_url"] = f"{root}/{file['export_id']}/download"
    return found
