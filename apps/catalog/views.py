"""HTTP for reading back: a list and a row of every record type, and the search of orders."""

from typing import Any
from uuid import UUID

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.catalog import asking, openapi, selectors
from apps.core import blocks, pages, seats
from apps.core.problems import Problem
from apps.core.wire import IF_NONE_MATCH, PAGING, PROBLEM, fields, plain, tagged, whole
from apps.tenants.authentication import tenant_at
from apps.tenants.scopes import Scope
from headrace.entities.orders import ORDERS
from headrace.schema import Entity


def rows_of(entity: Entity) -> type[APIView]:
    """The view that lists an entity's rows."""

    class Rows(APIView):
        needs = {"GET": Scope.READ}

        @extend_schema(
            operation_id=f"list_{entity.name}",
            description=f"{entity.about} By `{entity.key}`, which every row has whatever `fields`"
            " says.",
            parameters=[
                *openapi.parameters(asking.parameters(entity)),
                fields(openapi.columns(entity)),
                *PAGING,
            ],
            responses={
                200: openapi.page_of(entity),
                **dict.fromkeys((400, 401, 404, 409, 503), PROBLEM),
            },
        )
        def get(self, request: Request, tenant_id: UUID) -> HttpResponse:
            tenant = tenant_at(request, tenant_id)
            wanted = asking.page(tenant, entity, request.query_params)
            with seats.Seat(tenant):  # rare rows may be looked for long
                page = selectors.page(tenant, wanted, pages.mark_of(request.query_params))
            return HttpResponse(page, content_type="application/json")

    return Rows


def row_of(entity: Entity) -> type[APIView]:
    """The view of one row of an entity."""

    class Row(APIView):
        needs = {"GET": Scope.READ}

        @extend_schema(
            operation_id=f"get_{entity.name}_row",
            description=f"The row of a `{entity.key}`.",
            parameters=[
                fields(openapi.columns(entity)),
                IF_NONE_MATCH,
            ],
            responses={
                200: openapi.row_of(entity),
                304: OpenApiResponse(description="The row is as its ETag says."),
                **dict.fromkeys((400, 401, 404, 503), PROBLEM),
            },
        )
        def get(self, request: Request, tenant_id: UUID, row_id: UUID) -> HttpResponse:
            tenant = tenant_at(request, tenant_id)
            line = selectors.row(tenant, asking.one(entity, row_id, request.query_params))
            if line is None:
                raise Problem("not_found", "Check the address and whose it is.")
            return tagged(request, line)

    return Row


class Search(APIView):
    needs = {"GET": Scope.READ}

    @extend_schema(
        operation_id="search_orders",
        description="Orders, the newest first, a line each; `order_id` and `order_date` are in"
        " every line whatever `fields` says. The last line has `_meta`: count, limit, whether the"
        " limit cut the rest off, and next_cursor for it. Without it the stream has broken off.",
        parameters=[
            *openapi.parameters(asking.SEARCH),
            fields(openapi.columns(ORDERS)),
            whole("limit", 1, asking.MOST_LINES, "orders at most; without it all"),
            OpenApiParameter(
                "after", str, description="next_cursor, or `order_date~order_id` of the last line"
            ),
        ],
        responses={
            (200, "application/x-ndjson"): openapi.row_of(ORDERS),
            **dict.fromkeys((400, 401, 404, 503), PROBLEM),
        },
    )
    def get(self, request: Request, tenant_id: UUID) -> HttpResponseBase:
        tenant = tenant_at(request, tenant_id)
        wanted = asking.search(tenant, request.query_params)

        def answer() -> StreamingHttpResponse:
            begun: Any = blocks.Begun(selectors.search(tenant, wanted))
            return StreamingHttpResponse(begun, content_type="application/x-ndjson")

        return seats.seated(plain(request), tenant, answer)
