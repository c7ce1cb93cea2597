"""Writing the audit log: in the transaction of what is recorded, or in one of its own.

Stock and price calls are not recorded one by one: each leaves a row that says what it did, and
they are counted in microseconds.
"""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from apps.audit import numbers
from apps.audit.models import Action, AuditEntry, AuditErasure
from apps.core import isolation, origins
from apps.core.logs import redacted

NOBODY = UUID(
    int=0
)  #: whose log has what is done to nobody's: operators' keys, jobs of the service
MOST_DETAILS = 4_000  #: characters


def record(tenant: UUID, action: Action, subject: object = "", **details: object) -> None:
    """Add an entry to a tenant's log: what was done, to what, and what else is worth knowing.

    Who did it and from where is taken from what runs in this thread (`apps.core.origins`). Inside
    of a transaction the entry is part of it, whether that is bound to the tenant or to nobody;
    outside it gets one of its own. Secrets are taken out of the details; do not give any.

    Raises NoTenant inside of another tenant's transaction.
    """
    _insert(tenant, action, str(subject), details, origins.current())


def _insert(
    tenant: UUID,
    action: Action,
    subject: str,
    details: Mapping[str, object],
    origin: origins.Origin,
) -> None:
    moment = time.time_ns()
    entry = AuditEntry(
        id=numbers.at(moment),
        tenant_id=tenant,
        recorded_at=datetime.fromtimestamp(moment // 1_000 / 1e6, UTC),
        action=action,
        actor_kind=origin.kind,
        actor=_fitting(origin.actor, 150),
        address=_fitting(origin.address, 64),
        request_id=origin.request_id,
        subject=_fitting(subject, 100),
        details=_text(details),
    )
    with isolation.tenant_part(tenant):
        entry.save(force_insert=True)


def allow_erasure(tenant: UUID, least: datetime | None = None) -> datetime:
    """Let what the tenant's log has by now, and up to `least`, be removed by `retention`, for ever;
    the time until which. For the job that erases a tenant, and nobody else: the order stays.
    """
    origin, now = origins.current(), datetime.now(UTC)
    order = AuditErasure.objects.create(
        tenant_id=tenant,
        ordered_at=max(now, least or now),
        actor=_fitting(origin.actor, 150),
        address=_fitting(origin.address, 64),
    )
    return order.ordered_at


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Of each value that is another now, both: details of a change."""
    return {
        name: [before.get(name), value]
        for name, value in after.items()
        if before.get(name) != value
    }


def _text(details: Mapping[str, object]) -> str:
    told = redacted(json.dumps(details, default=str, ensure_ascii=False))
    return told if len(told) <= MOST_DETAILS else json.dumps({"cut": told[: MOST_DETAILS // 4]})


def _fitting(text: str, most: int) -> str:
    """Without what PostgreSQL keeps in no text, nor a secret, nor more than fits."""
    return redacted(text.replace("\0", ""))[:most]
