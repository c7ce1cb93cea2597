"""Who calls: the tenant of a key, and nobody else. Every view is closed unless it says so."""

from typing import Any
from uuid import UUID

from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from apps.core import logs
from apps.tenants import keys


class Caller:
    """The authenticated side of a request: a tenant."""

    is_authenticated = True

    def __init__(self, tenant: UUID) -> None:
        self.tenant = tenant


class KeyAuthentication(BaseAuthentication):
    """`X-API-Key: <key>` or `Authorization: Bearer <key>`."""

    def authenticate(self, request: Request) -> tuple[Caller, None] | None:
        key = _key(request)
        if key is None:
            return None
        tenant = keys.tenant_of(key)
        if tenant is None:
            raise exceptions.AuthenticationFailed
        logs.bind(tenant=tenant)
        return Caller(tenant), None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="headrace"'


def _key(request: Request) -> str | None:
    if key := request.headers.get("X-API-Key"):
        return key.strip()
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def tenant_of(request: Request) -> UUID:
    """The tenant of an authenticated request."""
    caller = request.user
    assert isinstance(caller, Caller)
    return caller.tenant


class HasTenant(BasePermission):
    """Deny by default: only callers with a tenant pass."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.user, Caller)
