"""Refused calls that a tenant wants to know of: a valid key that was not allowed to do something.

A call that is refused costs its sender nothing, so they are recorded sparingly: of a key and a
reason one entry a minute and process, which says how many there were since the last one. Calls
without a valid key are nobody's, and are counted by address (`apps.core.strangers`).
"""

import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import Error
from django.http import HttpResponse

from apps.audit import services
from apps.audit.models import Action
from apps.audit.sparingly import Sparingly
from apps.core import problems
from apps.core.problems import Problem
from apps.tenants.models import Tenant

log = logging.getLogger(__name__)
TOLD = ("wrong_scope", "suspended", "read_only", "forbidden")
_sparingly = Sparingly()


def answer(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """The response to any exception of a view, and an entry for some of them."""
    response = problems.answer(error, context)
    if isinstance(error, Problem) and error.code in TOLD:
        _record(error.code, context)
    return response


def _record(code: str, context: Mapping[str, Any]) -> None:
    """A refusal stays what it is if it cannot be recorded."""
    request = context["request"]
    tenant: UUID | None = getattr(request.user, "tenant", None)
    if tenant is None or not (times := _sparingly.count((request.user.key_id, code))):
        return
    view = type(context["view"]).__name__
    told = {"code": code, "method": request.method, "view": view, "times": times}
    try:
        if not Tenant.objects.filter(pk=tenant).exists():
            return  # it was erased meanwhile: nothing of it is written any more
        services.record(tenant, Action.CALL_REFUSED, request.user.key_id, **told)
    except Error:
        log.exception("a refused call could not be recorded")
