"""How entries leave the log: by age, and when their tenant is erased. There is no other way."""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Max

from apps.audit import services
from apps.audit.models import AuditEntry, AuditErasure
from apps.core import dialect, retention
from apps.core.isolation import tenant_reading, tenant_transaction
from apps.core.jobs import Lease
from apps.tenants.models import Tenant


def remove_old(lease: Lease) -> bool:
    """A step: entries older than HEADRACE_AUDIT_DAYS, of each tenant and of nobody.

    True where it stopped for others to have a turn.
    """
    until = datetime.now(UTC) - timedelta(days=settings.HEADRACE_AUDIT_DAYS)
    # Tenant by tenant, because no transaction sees the rows of two. What is due of one that has
    # been erased was written after that.
    tenants = Tenant.objects.values_list("pk", flat=True)
    tenants = tenants.union(AuditErasure.objects.values_list("tenant_id", flat=True))
    for tenant in [services.NOBODY, *tenants]:
        lease.check()
        # Only after a batch: a cleanup that tired of tenants without any would never be through.
        while remove_until(tenant, until, lease):
            if lease.is_tired:
                return True
            time.sleep(dialect.current().pause_seconds)
    return False


def erase(tenant: UUID, lease: Lease) -> bool:
    """Remove a batch of the log of a tenant that is being erased; False once there was none.

    It orders the erasure first, and anew where something was recorded since.
    """
    with tenant_reading(tenant):
        newest = AuditEntry.objects.aggregate(Max("recorded_at"))["recorded_at__max"]
    if newest is None:
        return False
    orders = AuditErasure.objects.filter(tenant_id=tenant, ordered_at__gte=newest)
    until = orders.values_list("ordered_at", flat=True).order_by("ordered_at").first()
    return remove_until(tenant, until or services.allow_erasure(tenant, newest), lease) > 0


def remove_until(tenant: UUID, until: datetime, lease: Lease) -> int:
    """Remove up to a batch of a tenant's oldest entries up to a time; how many they were.

    The database refuses it (ProgrammingError or IntegrityError) for entries that are neither old
    enough for anybody (`guards.KEPT_DAYS`) nor freed by `services.allow_erasure`.
    """
    with tenant_transaction(tenant):
        removed = _remove(until)
        if removed:
            lease.fence()
    return removed


def _remove(until: datetime) -> int:
    if connection.vendor == "postgresql":  # where the serving role may not delete
        with connection.cursor() as cursor:
            cursor.execute("SELECT headrace_audit_remove(%s, %s)", [until, retention.BATCH])
            return int(cursor.fetchone()[0])
    due = AuditEntry.objects.filter(recorded_at__lte=until).order_by("id")
    keys = list(due.values_list("pk", flat=True)[: retention.BATCH])
    AuditEntry.objects.filter(pk__in=keys)._raw_delete(AuditEntry.objects.db)
    return len(keys)
