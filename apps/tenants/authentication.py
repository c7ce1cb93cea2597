"""Who calls, and whether its key may. Every view is closed unless it says so."""

from typing import Any
from uuid import UUID

from rest_framework import exceptions
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from apps.core import limits, logs, strangers
from apps.core.buckets import Own
from apps.core.problems import Problem
from apps.tenants import doors, keys, scopes
from apps.tenants.keys import Known
from apps.tenants.models import TenantState


class Holder:
    """Who holds a valid key: a caller or an operator."""

    is_authenticated = True
    tenant: UUID | None = None

    def __init__(self, known: Known) -> None:
        self.known = known

    @property
    def key_id(self) -> str:
        return self.known.key_id

    @property
    def scopes(self) -> tuple[str, ...]:
        return self.known.scopes

    @property
    def quota(self) -> Own | None:
        """Its own calls a minute, which `Limited` counts together with others."""
        return self.known.quota


class Caller(Holder):
    """The authenticated side of a request: a tenant."""

    tenant: UUID

    def __init__(self, known: Known, tenant: UUID) -> None:
        self.known = known
        self.tenant = tenant


class Operator(Holder):
    """Whoever looks after all tenants, and is none."""


class KeyAuthentication(BaseAuthentication):
    """`X-API-Key: <key>` or `Authorization: Bearer <key>`."""

    def authenticate(self, request: Request) -> tuple[Holder, None] | None:
        key = _key(request)
        if key is None:
            return None
        strangers.check(request._request, key)
        known = keys.known(key)
        if known is None:
            strangers.count(request._request, key)
            raise exceptions.AuthenticationFailed
        strangers.trust(key)
        if known.tenant is None:
            logs.bind(key=known.key_id)
            return Operator(known), None
        logs.bind(tenant=known.tenant, key=known.key_id)
        return Caller(known, known.tenant), None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="headrace"'


def _key(request: Request) -> str | None:
    if key := request.META.get("HTTP_X_API_KEY"):
        return str(key).strip()
    scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def holder_of(request: Request) -> Holder:
    """Who holds the key of an authenticated request."""
    holder = request.user
    assert isinstance(holder, Holder)
    return holder


def tenant_of(request: Request) -> UUID:
    """The tenant of an authenticated request."""
    caller = request.user
    assert isinstance(caller, Caller)
    return caller.tenant


def tenant_at(request: Request, tenant_id: UUID) -> UUID:
    """The caller's tenant, if it is that of the address; another's is as absent as any unknown.

    Raises Problem.
    """
    tenant = tenant_of(request)
    if tenant != tenant_id:
        raise Problem("not_found", "Check the address and whose it is.")
    return tenant


class HasScope(BasePermission):
    """Deny by default: a key passes that has the scope which the view's method says it needs.

    It is asked before anything of the address is looked up, so the answer is the same whatever
    the address names. Raises Problem.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        holder = request.user
        if not isinstance(holder, Holder):
            return False
        known, method = holder.known, request._request.method or ""
        need = _need(view, method)
        if known.state == SUSPENDED and need != scopes.ANY_KEY:
            raise doors.refusal(known.state)
        if need is None:
            return False
        if need not in known.opens:
            raise scopes.refusal(need, known.scopes)
        if known.state == READ_ONLY and not _only_reads(method, need):
            raise doors.refusal(known.state)
        if known.quota is not None and need != scopes.ANY_KEY:
            _count(known, known.quota, view)
        return True


def check_scope(request: Request, need: str) -> None:
    """For what a view shows only to keys with another scope beside its own. Raises Problem."""
    known = holder_of(request).known
    if need not in known.opens:
        raise scopes.refusal(need, known.scopes)


READ_ONLY, SUSPENDED = TenantState.READ_ONLY.value, TenantState.SUSPENDED.value


def _need(view: Any, method: str) -> str | None:
    """What the method needs, None where that is not said. Raises MethodNotAllowed."""
    need = scopes.needed(view, method)
    if need is None and not hasattr(view, method.lower()):
        raise exceptions.MethodNotAllowed(method)
    return need


def _only_reads(method: str, need: str) -> bool:
    return method in SAFE_METHODS or need in scopes.READING


def _count(known: Known, quota: Own, view: Any) -> None:
    """Count a call of a key that has a quota of its own. Raises QuotaExceeded."""
    if known.tenant is not None and not getattr(view, "counts_calls", False):
        view.headers.update(limits.check_key(known.tenant, quota).headers())
