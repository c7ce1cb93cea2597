"""HTTP for prices: read the request, call one service or selector, answer."""

from uuid import UUID

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from apps.analytics import price_anomalies, price_events, price_requests, price_wire
from apps.analytics import serializers as shapes
from apps.analytics.price_events import PriceChanged
from apps.core import bodies, idempotency, pages, problems, seats
from apps.core.limited import Limited
from apps.core.problems import Problem
from apps.core.wire import PROBLEM, idempotency_header, plain, sent, whole
from apps.tenants.authentication import tenant_at
from apps.tenants.scopes import Scope
from headrace.pipeline.errors import RejectCode
from headrace.pipeline.values import shown

MOST_HOURS = 24 * 3660
MOST_LINES = 1_000_000
MOST_WAIT = 25  # seconds: below the minute after which proxies give an answer up
MOST_OF_A_PAGE = 1_000


class PriceEvents(Limited):
    needs = {"POST": Scope.PRICE}
    parser_classes = ()  # bodies are read by us: no digit of a price may be lost

    @extend_schema(
        operation_id="send_price_event",
        description="Set what a product costs from now on, and learn whether the change is an"
        " anomaly. Price, price history and event change together.",
        parameters=[idempotency_header(required=True)],
        request={"application/json": shapes.PriceCall},
        responses={
            201: shapes.PriceEvent,
            **dict.fromkeys((400, 401, 404, 408, 409, 413, 415, 422, 429, 503), PROBLEM),
        },
    )
    def post(self, request: Request, tenant_id: UUID, product_id: UUID) -> HttpResponse:
        tenant = tenant_at(request, tenant_id)
        self.count(tenant, product_id)
        key = idempotency.read_key(tenant, "price", request.META.get("HTTP_IDEMPOTENCY_KEY"))
        if key is None:
            raise Problem("idempotency_key_required", "Send an Idempotency-Key header.")
        asked = price_requests.read(bodies.read_json(plain(request), price_requests.MOST_BYTES))
        try:
            return sent(price_events.accept(tenant, product_id, key, asked))
        except PriceChanged as changed:
            return _changed(changed)


class ProductAnomalies(APIView):
    needs = {"GET": Scope.READ}

    @extend_schema(
        operation_id="product_price_anomalies",
        description="The product's anomalies, newest first, a line each. The last line has `_meta`:"
        " count, hours, limit, and whether the limit cut the rest off. Without it the stream has"
        " broken off.",
        parameters=[
            whole("hours", 1, MOST_HOURS, "how far back; 24"),
            whole("limit", 1, MOST_LINES, "without it all"),
        ],
        responses={
            (200, "application/x-ndjson"): shapes.PriceAnomaly,
            **dict.fromkeys((400, 401, 404, 503), PROBLEM),
        },
    )
    def get(self, request: Request, tenant_id: UUID, product_id: UUID) -> HttpResponseBase:
        tenant = tenant_at(request, tenant_id)
        pages.check(request.query_params, "hours", "limit", paging=())
        hours = _whole(request, "hours", 1, MOST_HOURS) or 24
        limit = _whole(request, "limit", 1, MOST_LINES)
        price_anomalies.check_product(tenant, product_id)
        lines = price_anomalies.stream(tenant, product_id, hours, limit)
        return seats.seated(
            plain(request),
            tenant,
            lambda: StreamingHttpResponse(lines, content_type="application/x-ndjson"),
        )


class TenantAnomalies(APIView):
    needs = {"GET": Scope.READ}

    @extend_schema(
        operation_id="follow_price_anomalies",
        description="The tenant's anomalies in the order in which they were committed. Ask again"
        " with next_cursor as `after`: none is missed, none comes twice.",
        parameters=[
            OpenApiParameter(
                "after",
                str,
                description="next_cursor of the page before; `latest` for those to come; without"
                " it from the first",
            ),
            whole("wait", 0, MOST_WAIT, "seconds to wait if there is nothing new; 0"),
            whole("limit", 1, MOST_OF_A_PAGE, "100"),
        ],
        responses={200: shapes.PriceAnomalyPage, **dict.fromkeys((400, 401, 404), PROBLEM)},
    )
    def get(self, request: Request, tenant_id: UUID) -> HttpResponse:
        tenant = tenant_at(request, tenant_id)
        pages.check(request.query_params, "after", "wait", "limit", paging=())
        wait = _whole(request, "wait", 0, MOST_WAIT) or 0
        limit = _whole(request, "limit", 1, MOST_OF_A_PAGE) or 100
        page = price_anomalies.page(tenant, request.query_params.get("after"), wait, limit)
        return HttpResponse(price_wire.encode(page), content_type="application/json")


def _whole(request: Request, name: str, least: int, most: int) -> int | None:
    """A whole number of the address, None where it is not there. Raises Problem."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        message = f"expected a whole number from {least} to {most}"
        error = {"field": name, "code": RejectCode.BAD_NUMBER, "value": shown(text)}
        errors = [{**error, "message": message}]
        raise Problem("invalid_value", f"{name}: {message}", errors=errors)
    return int(text)


def _changed(changed: PriceChanged) -> HttpResponse:
    """Not by raising: the current price is a number with all its digits."""
    price = price_wire.digits(changed.price)
    content = problems.body(
        "price_changed",
        f"The price is {price}: send that as old_price, or do not send strict.",
        current_price=price_wire.number(changed.price),
    )
    return HttpResponse(
        price_wire.encode(content), status=409, content_type="application/problem+json"
    )
