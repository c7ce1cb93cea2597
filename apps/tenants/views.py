"""What a key may ask about itself, and what one with the scope admin does with its tenant's."""

from datetime import timedelta
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core import bodies, idempotency, pages
from apps.core.idempotency import Answer
from apps.core.wire import CURSOR, PROBLEM, idempotency_header, plain, sent, whole
from apps.tenants import (
    issuing,
    openapi,  # noqa: F401 - defining it registers it
    selectors,
)
from apps.tenants import serializers as shapes
from apps.tenants.authentication import holder_of, tenant_at
from apps.tenants.issuing import Terms
from apps.tenants.models import TenantState
from apps.tenants.scopes import ANY_KEY, Scope

IDEMPOTENCY = idempotency_header("a replay has null in the place of the key")


class Identity(serializers.Serializer):
    tenant_id = serializers.UUIDField(allow_null=True, help_text="null: the key of an operator")
    key_id = serializers.CharField()
    scopes = serializers.ListField(child=serializers.ChoiceField(Scope.choices))
    state = serializers.ChoiceField(TenantState.choices, allow_null=True)


class WhoAmI(APIView):
    needs = {"GET": ANY_KEY}

    @extend_schema(
        operation_id="whoami",
        description="Whose key this is and what it may do: the tenant, what addresses of a tenant"
        " are made of, and the quickest way to see that a key is valid.",
        responses={200: Identity, 401: PROBLEM},
    )
    def get(self, request: Request) -> Response:
        known = holder_of(request).known
        facts = {"key_id": known.key_id, "scopes": known.scopes, "state": known.state}
        return Response({"tenant_id": known.tenant and str(known.tenant), **facts})


class Keys(APIView):
    """Keys of the tenant."""

    needs = {"GET": Scope.ADMIN, "POST": Scope.ADMIN}
    parser_classes = ()  # bodies are read by us

    @extend_schema(
        operation_id="list_keys",
        description="The tenant's keys, the newest first, those that have ended too.",
        parameters=[
            CURSOR,
            whole("limit", 1, pages.MOST, f"keys of a page; {pages.USUAL}"),
        ],
        responses={200: shapes.KeyPage, **dict.fromkeys((400, 401, 404), PROBLEM)},
    )
    def get(self, request: Request, tenant_id: UUID) -> Response:
        tenant, asked = tenant_at(request, tenant_id), request.query_params
        pages.check(asked)
        behind = pages.cursor(asked, pages.NUMBER)
        rows, cursor = selectors.page(
            tenant, int(behind[0]) if behind else None, pages.limit(asked)
        )
        return Response({"data": rows, "next_cursor": cursor})

    @extend_schema(
        operation_id="make_key",
        description="A new key with these scopes, none of which the key that asks may lack. The"
        " answer shows it, and nothing shows it again.",
        parameters=[IDEMPOTENCY],
        request={"application/json": shapes.NewKey},
        responses={
            201: shapes.ShownKey,
            **dict.fromkeys((400, 401, 404, 408, 409, 413, 415, 422), PROBLEM),
        },
    )
    def post(self, request: Request, tenant_id: UUID) -> HttpResponse:
        tenant = tenant_at(request, tenant_id)
        key = idempotency.read_key(tenant, "key", request.headers.get("Idempotency-Key"))
        terms = Terms(**bodies.options(plain(request), shapes.NewKey))
        return _shown(issuing.ask_for(tenant, holder_of(request).key_id, terms, key))


class OneKey(APIView):
    needs = {"PATCH": Scope.ADMIN}
    parser_classes = ()  # bodies are read by us

    @extend_schema(
        operation_id="change_key",
        description="Change the terms of a key, whose text stays; null takes an end or a limit"
        " away, and what is not sent stays as it is. Less is always allowed, more only of what the"
        " key that asks could give a new one. A key that has ended or was rotated cannot be"
        " changed; the last one with the scope admin keeps it, and gets no earlier end.",
        request={"application/json": shapes.KeyChanges},
        responses={
            200: shapes.Key,
            **dict.fromkeys((400, 401, 404, 408, 409, 413, 415), PROBLEM),
        },
    )
    def patch(self, request: Request, tenant_id: UUID, key_id: str) -> Response:
        tenant = tenant_at(request, tenant_id)
        row = selectors.key_of(tenant, key_id)
        changes = bodies.options(plain(request), shapes.KeyChanges)
        issuing.change_for_tenant(tenant, holder_of(request).key_id, row, changes)
        return Response(selectors.facts(selectors.key_of(tenant, key_id)))


class RotateKey(APIView):
    needs = {"POST": Scope.ADMIN}
    parser_classes = ()  # bodies are read by us

    @extend_schema(
        operation_id="rotate_key",
        description="A new key in the place of this one, which works on for `overlap_seconds`. It"
        " has the same scopes, none of which the key that asks may lack, label and limit, and if"
        " the old one was made to expire it lives as long.",
        parameters=[IDEMPOTENCY],
        request={"application/json": shapes.Rotation},
        responses={
            201: shapes.ShownKey,
            **dict.fromkeys((400, 401, 404, 408, 409, 413, 415, 422), PROBLEM),
        },
    )
    def post(self, request: Request, tenant_id: UUID, key_id: str) -> HttpResponse:
        tenant = tenant_at(request, tenant_id)
        row = selectors.key_of(tenant, key_id)
        key = idempotency.read_key(tenant, "key", request.headers.get("Idempotency-Key"))
        asked = bodies.options(plain(request), shapes.Rotation)
        overlap = timedelta(seconds=asked["overlap_seconds"])
        asker = holder_of(request).key_id
        return _shown(issuing.ask_to_rotate(tenant, asker, row, overlap, key))


class RevokeKey(APIView):
    needs = {"POST": Scope.ADMIN}

    @extend_schema(
        operation_id="revoke_key",
        description="End a key: within a second nothing takes it any more. One that has ended"
        " stays as it is. The last key with the scope admin is kept.",
        request=None,
        responses={200: shapes.Key, **dict.fromkeys((401, 404, 409), PROBLEM)},
    )
    def post(self, request: Request, tenant_id: UUID, key_id: str) -> Response:
        tenant = tenant_at(request, tenant_id)
        row = selectors.key_of(tenant, key_id)
        issuing.revoke_for_tenant(tenant, holder_of(request).key_id, row)
        return Response(selectors.facts(selectors.key_of(tenant, key_id)))


def _shown(answer: Answer) -> HttpResponse:
    response = sent(answer)
    response["Cache-Control"] = "no-store"
    return response
