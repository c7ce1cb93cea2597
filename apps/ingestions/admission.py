"""Who may bring how much at once: refused before a body is read, not when the disk is full."""

import shutil
from uuid import UUID

from django.conf import settings
from django.db.models import Count, Q, Sum

from apps.core.problems import Problem
from apps.ingestions.models import Chunk
from apps.tenants import doors, quotas
from apps.tenants.models import Tenant


def check_tenant(tenant: UUID, token: str | None, size: int) -> None:
    """Raises Problem if the tenant has too much waiting to take in `size` bytes more.

    It holds under concurrency in the transaction that holds the tenant's row; before a body is
    read it is a first look.
    """
    others = Count("upload", distinct=True, filter=~Q(upload__token=token or ""))
    waiting = Chunk.objects.filter(tenant_id=tenant, ended_at=None).aggregate(
        bytes=Sum("bytes", default=0), uploads=others
    )
    own = doors.writer(tenant)
    most_bytes = _limit(own.max_queued_bytes, settings.HEADRACE_MAX_QUEUED_BYTES)
    if waiting["bytes"] and waiting["bytes"] + size > most_bytes:
        raise Problem("queue_full", f"Wait until less than {most_bytes:,} bytes are queued.")
    most = most_uploads(own)
    if waiting["uploads"] >= most:
        raise Problem("queue_full", f"Wait until fewer than {most:,} uploads are at work.")
    quotas.check_bytes(own, size)


def most_uploads(tenant: Tenant) -> int:
    """How many uploads of the tenant may be at work at once, and as many open and empty."""
    return _limit(tenant.max_active_uploads, settings.HEADRACE_MAX_ACTIVE_UPLOADS)


def _limit(own: int | None, usual: int) -> int:
    return usual if own is None else own


def check_room(size: int) -> None:
    """Raises Problem if `size` bytes more would eat into the reserve of the disk."""
    free = shutil.disk_usage(settings.HEADRACE_HOME).free
    if free - size < settings.HEADRACE_DISK_RESERVE_BYTES:
        raise Problem("store_full", "Try again later, or ask the operator for room.")
