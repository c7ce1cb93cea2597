"""HTTP for metrics: read the request, call the selector, answer."""

from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.core import seats
from apps.core.wire import CURSOR, PROBLEM, whole
from apps.metrics import requests, selectors
from apps.metrics.serializers import SalesMetrics
from apps.tenants.authentication import tenant_at
from apps.tenants.scopes import Scope


class Sales(APIView):
    needs = {"GET": Scope.READ}

    @extend_schema(
        operation_id="sales_metrics",
        description="Sales by day, hour, product or category, in each currency on its own: exact"
        " sums, orders, pieces and customers. What counts is in docs/metrics.md.",
        parameters=[
            OpenApiParameter("group_by", str, enum=requests.GROUPS, default="day"),
            OpenApiParameter("start_date", OpenApiTypes.DATE, description="30 days without it"),
            OpenApiParameter("end_date", OpenApiTypes.DATE, description="included; usually today"),
            OpenApiParameter(
                "currency",
                {"type": "string", "minLength": 1, "maxLength": 3},
                description="of this one only, as orders have it",
            ),
            OpenApiParameter(
                "precision",
                str,
                enum=requests.PRECISIONS,
                description="accepted; figures are always exact",
            ),
            CURSOR,
            whole("limit", 1, requests.MOST_ROWS, f"rows; {requests.USUAL_ROWS:,}"),
        ],
        responses={200: SalesMetrics, **dict.fromkeys((400, 401, 404, 409, 503), PROBLEM)},
    )
    def get(self, request: Request, tenant_id: UUID) -> HttpResponse:
        tenant = tenant_at(request, tenant_id)
        asked = requests.read(request.query_params)
        with seats.Seat(tenant):  # lines of products may be many
            found = selectors.sales(tenant, asked)
        return HttpResponse(found, content_type="application/json")
