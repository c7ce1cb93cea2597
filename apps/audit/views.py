"""HTTP for the audit log: read the request, call one selector, answer."""

from uuid import UUID

import msgspec
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.audit import asking, selectors
from apps.audit import serializers as shapes
from apps.audit.models import Action
from apps.core import pages
from apps.core.wire import PROBLEM
from apps.tenants.authentication import tenant_at
from apps.tenants.scopes import Scope

_INSTANT = OpenApiTypes.DATETIME


class Audit(APIView):
    needs = {"GET": Scope.ADMIN}

    @extend_schema(
        operation_id="audit_log",
        description="Who did what, when and from where, the newest first. Stock and price calls"
        " are not in it: their rows are their record.",
        parameters=[
            OpenApiParameter("since", _INSTANT, description="entries of this time or later"),
            OpenApiParameter("until", _INSTANT, description="entries of before this time"),
            OpenApiParameter(
                "action", str, enum=Action.values, many=True, description="or with commas"
            ),
            OpenApiParameter("key", str, description="the id of the key that did it"),
            OpenApiParameter("cursor", str, description="next_cursor of the last page"),
            OpenApiParameter("limit", int, description=f"rows of a page, 1 to {pages.MOST:,}"),
        ],
        responses={200: shapes.EntryPage, **dict.fromkeys((400, 401, 403, 404, 409), PROBLEM)},
    )
    def get(self, request: Request, tenant_id: UUID) -> HttpResponse:
        tenant = tenant_at(request, tenant_id)
        rows, cursor = selectors.entries(tenant, asking.read(request.query_params))
        content = msgspec.json.encode({"data": rows, "next_cursor": cursor})
        return HttpResponse(content, content_type="application/json")
