"""HTTP for webhooks: read the request, call one service or selector, answer."""

from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core import pages, seats
from apps.core.problems import Problem
from apps.core.wire import PROBLEM, options
from apps.tenants.authentication import tenant_at
from apps.tenants.scopes import Scope
from apps.webhooks import kinds, selectors, services
from apps.webhooks import serializers as shapes
from apps.webhooks.models import DeliveryState
from apps.webhooks.selectors import Log
from apps.webhooks.services import Wanted

_READING = (401, 404)
_WRITING = (*_READING, 400, 408, 413, 415)


class Webhooks(APIView):
    """Addresses that are told what happens."""

    needs = {"GET": Scope.ADMIN, "POST": Scope.ADMIN}

    @extend_schema(
        operation_id="list_webhooks",
        responses={200: shapes.WebhookPage, **dict.fromkeys(_READING, PROBLEM)},
    )
    def get(self, request: Request, tenant_id: UUID) -> Response:
        found = selectors.endpoints(tenant_at(request, tenant_id))
        return Response({"data": found, "next_cursor": None})

    @extend_schema(
        operation_id="create_webhook",
        description="Have events sent to an address, signed as Standard Webhooks says. The answer"
        " has the secret, which is not shown again.",
        request=shapes.NewWebhook,
        responses={
            201: shapes.WebhookWithSecret,
            **dict.fromkeys((*_WRITING, 409, 503), PROBLEM),
        },
    )
    def post(self, request: Request, tenant_id: UUID) -> Response:
        tenant = tenant_at(request, tenant_id)
        asked = options(request, shapes.NewWebhook)
        events = asked.get("events", [*kinds.KINDS])
        wanted = Wanted(asked["url"], events, asked.get("description", ""))
        with seats.Seat(tenant):  # names may be slow to resolve
            key, secret = services.create(tenant, wanted)
        return _secret(tenant, key, secret, 201)


class Webhook(APIView):
    needs = {"GET": Scope.ADMIN, "PATCH": Scope.ADMIN, "DELETE": Scope.ADMIN}

    @extend_schema(
        operation_id="show_webhook",
        responses={200: shapes.Webhook, **dict.fromkeys(_READING, PROBLEM)},
    )
    def get(self, request: Request, tenant_id: UUID, endpoint_id: UUID) -> Response:
        return Response(selectors.endpoint(tenant_at(request, tenant_id), endpoint_id))

    @extend_schema(
        operation_id="change_webhook",
        description="Change what is sent. What waits when it is disabled has failed; events that"
        " happen before it is enabled again are not kept for it.",
        request=shapes.WebhookChanges,
        responses={200: shapes.Webhook, **dict.fromkeys((*_WRITING, 503), PROBLEM)},
    )
    def patch(self, request: Request, tenant_id: UUID, endpoint_id: UUID) -> Response:
        tenant = tenant_at(request, tenant_id)
        changes = options(request, shapes.WebhookChanges)
        with seats.Seat(tenant):
            services.change(tenant, endpoint_id, changes)
        return Response(selectors.endpoint(tenant, endpoint_id))

    @extend_schema(
        operation_id="delete_webhook",
        responses={204: None, **dict.fromkeys(_READING, PROBLEM)},
    )
    def delete(self, request: Request, tenant_id: UUID, endpoint_id: UUID) -> Response:
        services.remove(tenant_at(request, tenant_id), endpoint_id)
        return Response(status=204)


class Rotate(APIView):
    needs = {"POST": Scope.ADMIN}

    @extend_schema(
        operation_id="rotate_webhook",
        description="A new secret, which is not shown again. For `overlap_hours` both sign, so that"
        " receivers may change theirs meanwhile.",
        request=shapes.SecretRotation,
        responses={200: shapes.WebhookWithSecret, **dict.fromkeys(_WRITING, PROBLEM)},
    )
    def post(self, request: Request, tenant_id: UUID, endpoint_id: UUID) -> Response:
        tenant = tenant_at(request, tenant_id)
        hours = options(request, shapes.SecretRotation)["overlap_hours"]
        return _secret(tenant, endpoint_id, services.rotate(tenant, endpoint_id, hours), 200)


def _secret(tenant: UUID, endpoint: UUID, secret: str, status: int) -> Response:
    told = {**selectors.endpoint(tenant, endpoint), "secret": secret}
    return Response(told, status=status, headers={"Cache-Control": "no-store"})


class Test(APIView):
    needs = {"POST": Scope.ADMIN}

    @extend_schema(
        operation_id="test_webhook",
        description="Send an event `webhook.test` now; the log of deliveries says what came of it.",
        request=None,
        responses={
            202: shapes.QueuedDelivery,
            **dict.fromkeys((*_READING, 409), PROBLEM),
        },
    )
    def post(self, request: Request, tenant_id: UUID, endpoint_id: UUID) -> Response:
        made = services.test(tenant_at(request, tenant_id), endpoint_id)
        return Response({"delivery_id": made.delivery_id}, status=202)


class Deliveries(APIView):
    needs = {"GET": Scope.ADMIN}

    @extend_schema(
        operation_id="list_webhook_deliveries",
        description="What was sent to an endpoint and what came of it, the newest first.",
        parameters=[
            OpenApiParameter("state", str, enum=DeliveryState.values),
            OpenApiParameter("cursor", str, description="next_cursor of the last page"),
            OpenApiParameter("limit", int, description=f"rows of a page, up to {pages.MOST:,}"),
        ],
        responses={
            200: shapes.WebhookDeliveryPage,
            **dict.fromkeys((*_READING, 400), PROBLEM),
        },
    )
    def get(self, request: Request, tenant_id: UUID, endpoint_id: UUID) -> Response:
        tenant, asked = tenant_at(request, tenant_id), request.query_params
        pages.check(asked, "state")
        state = asked.get("state")
        if state is not None and state not in DeliveryState.values:
            raise Problem("invalid_request", f"Send state as {', '.join(DeliveryState.values)}.")
        wanted = Log(endpoint_id, state, _cursor(asked.get("cursor")), pages.limit(asked))
        rows, cursor = selectors.deliveries(tenant, wanted)
        return Response({"data": rows, "next_cursor": cursor})


def _cursor(text: str | None) -> UUID | None:
    try:
        return None if text is None else UUID(text)
    except ValueError:
        raise Problem("invalid_request", "Send cursor as next_cursor gave it.") from None


class Replay(APIView):
    needs = {"POST": Scope.ADMIN}

    @extend_schema(
        operation_id="replay_webhook_delivery",
        description="Send a delivery again, with the webhook-id that it had.",
        request=None,
        responses={
            202: shapes.QueuedDelivery,
            **dict.fromkeys((*_READING, 409), PROBLEM),
        },
    )
    def post(
        self, request: Request, tenant_id: UUID, endpoint_id: UUID, delivery_id: UUID
    ) -> Response:
        services.replay(tenant_at(request, tenant_id), endpoint_id, delivery_id)
        return Response({"delivery_id": delivery_id}, status=202)


class ReplayFailed(APIView):
    needs = {"POST": Scope.ADMIN}

    @extend_schema(
        operation_id="replay_failed_webhook_deliveries",
        description="Send everything again that has failed of the events since a time.",
        request=shapes.ReplaySince,
        responses={202: shapes.Replayed, **dict.fromkeys((*_WRITING, 409), PROBLEM)},
    )
    def post(self, request: Request, tenant_id: UUID, endpoint_id: UUID) -> Response:
        tenant = tenant_at(request, tenant_id)
        since = options(request, shapes.ReplaySince)["since"]
        count = services.replay_failed(tenant, endpoint_id, since)
        return Response({"replayed": count}, status=202)
