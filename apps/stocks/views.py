"""HTTP for stock: read the request, call one service or selector, answer."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from uuid import UUID

import msgspec
from django.http import HttpRequest, HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.core import idempotency, pages, seats
from apps.core.limited import Limited
from apps.core.wire import PAGING, PROBLEM, header, idempotency_header, plain, sent
from apps.ingestions.bodies import body_of, length_of
from apps.ingestions.readings import MEDIA_TYPES, PACKED
from apps.ingestions.serializers import AcceptedFile
from apps.ingestions.services import Delivery
from apps.stocks import asking, selectors, services
from apps.stocks import serializers as shapes
from apps.tenants.authentication import tenant_at
from apps.tenants.doors import zone_of
from apps.tenants.scopes import Scope
from headrace.pipeline.formats import JSON

SMALL_BYTES = 64 << 10  # of a body that needs no seat
BINARY = {"type": "string", "format": "binary"}


def _bulk_update(operation: str) -> Callable[..., Any]:
    kinds = [kind for kind, formats in MEDIA_TYPES.items() if JSON in formats]
    return extend_schema(
        operation_id=operation,
        description="Apply stock events: those of a product together, or none of them. Each is"
        " accounted for in the answer. More than can be waited for is queued (202).",
        parameters=[
            idempotency_header("needed where an event has no stock_event_id"),
            header("X-Filename", "name of a raw body"),
            header("Content-Encoding", "gzip or zstd, if the body is compressed"),
        ],
        request={
            "application/json": shapes.StockEvent(many=True),
            "multipart/form-data": {
                "type": "object",
                "required": ["file"],
                "properties": {"file": BINARY},
            },
            **dict.fromkeys(
                (*(kind for kind in kinds if kind != "application/json"), *PACKED), BINARY
            ),
        },
        responses={
            200: shapes.StockUpdate,
            202: AcceptedFile,
            **dict.fromkeys((400, 401, 404, 408, 409, 413, 415, 422, 429, 503, 507), PROBLEM),
        },
    )


class BulkUpdate(Limited):
    needs = {"POST": Scope.STOCK, "PUT": Scope.STOCK}
    parser_classes = ()  # bodies are read by us

    @_bulk_update("update_stock")
    def post(self, request: Request, tenant_id: UUID) -> HttpResponse:
        return self._update(request, tenant_id)

    @_bulk_update("put_stock")
    def put(self, request: Request, tenant_id: UUID) -> HttpResponse:
        return self._update(request, tenant_id)

    def _update(self, request: Request, tenant_id: UUID) -> HttpResponse:
        tenant = tenant_at(request, tenant_id)
        self.count(tenant)
        key = idempotency.read_key(tenant, "stock", request.headers.get("Idempotency-Key"))
        with _seat(plain(request), tenant):
            delivery = Delivery(
                tenant=tenant,
                key=key,
                token=None,
                encoding=request.headers.get("Content-Encoding", "").strip().lower(),
                length=length_of(plain(request)),
                body=body_of(plain(request)),
                door=services.DOOR,
            )
            return sent(services.update(delivery))


class Levels(APIView):
    needs = {"GET": Scope.READ}

    @extend_schema(
        operation_id="stock_levels",
        description="Levels by product; with `below` the lowest first. A product that never moved"
        " has none.",
        parameters=[
            OpenApiParameter("below", int, description="levels less than this"),
            OpenApiParameter("product_id", OpenApiTypes.UUID, many=True, description="or commas"),
            *PAGING,
        ],
        responses={200: shapes.LevelPage, **dict.fromkeys((400, 401, 404, 409), PROBLEM)},
    )
    def get(self, request: Request, tenant_id: UUID) -> HttpResponse:
        tenant, asked = tenant_at(request, tenant_id), request.query_params
        pages.check(asked, "below", "product_id", repeatable=("product_id",))
        below = pages.value(asked, "below", pages.NUMBER)
        order = [asking.PRODUCT] if below is None else [pages.NUMBER, asking.PRODUCT]
        mark = pages.mark_of(asked)
        wanted = selectors.Levels(
            below=None if below is None else int(below),
            products=asking.products(asked),
            after=pages.cursor(asked, *order, mark=mark),
            limit=pages.limit(asked),
            mark=mark,
        )
        return _page(*selectors.levels(tenant, wanted))


class Events(APIView):
    needs = {"GET": Scope.READ}

    @extend_schema(
        operation_id="stock_events",
        description="Movements: those of a product by their sequence, those of all by their ids."
        " With `since` or `mismatch` a page may have fewer rows than its limit, or none, and yet"
        " a next one.",
        parameters=[
            OpenApiParameter("product_id", OpenApiTypes.UUID),
            OpenApiParameter("since", OpenApiTypes.DATETIME, description="of their event_time"),
            OpenApiParameter("mismatch", bool, description="whose sender told another level"),
            *PAGING,
        ],
        responses={200: shapes.EventPage, **dict.fromkeys((400, 401, 404, 409), PROBLEM)},
    )
    def get(self, request: Request, tenant_id: UUID) -> HttpResponse:
        tenant, asked = tenant_at(request, tenant_id), request.query_params
        pages.check(asked, "product_id", "since", "mismatch")
        product = pages.value(asked, "product_id", asking.PRODUCT)
        mark = pages.mark_of(asked)
        after = pages.cursor(asked, pages.NUMBER if product else asking.EVENT, mark=mark)
        wanted = selectors.Events(
            product=product,
            since=pages.value(asked, "since", asking.TIME, zone_of(tenant)),
            is_mismatch=pages.flag(asked, "mismatch"),
            after=after[0] if after else None,
            limit=pages.limit(asked),
            mark=mark,
        )
        return _page(*selectors.events(tenant, wanted))


def _page(rows: list[dict[str, Any]], cursor: str | None) -> HttpResponse:
    content = msgspec.json.encode({"data": rows, "next_cursor": cursor})
    return HttpResponse(content, content_type="application/json")


def _seat(request: HttpRequest, tenant: UUID) -> AbstractContextManager[None]:
    """One for a body that may come slowly, none for a call of a few events.

    Seats keep threads free for such calls: if these took one, a tenant's tills would find none
    left where two thirds of them call at once. A small body is soon given up if it does not come.
    """
    is_small = 0 < length_of(request) <= SMALL_BYTES
    return nullcontext() if is_small else seats.Seat(tenant)
