"""Whether a tenant may write, asked again where it counts: in the transaction that writes.

A request is let in by what was known of its key up to a second ago, and its body may take an hour.
Whoever makes rows that no job will make anew looks again, in the transaction that commits them,
best with the tenant's row held: then an erasure that began before finds them, and one that begins
later refuses them.
"""

from collections.abc import Callable
from uuid import UUID
from zoneinfo import ZoneInfo

from apps.core.problems import Problem
from apps.tenants.models import NOBODY, Tenant, TenantState

#: Whether a tenant is being erased, as the app that erases tells.
ERASING: list[Callable[[UUID], bool]] = []


def check_new(tenant: UUID) -> None:
    """Raises Problem for an id that no tenant may have."""
    if tenant == NOBODY:
        raise Problem("invalid_value", f"{tenant} is the service's own id: choose another one.")


def check_stays(tenant: UUID) -> None:
    """Raises Problem for a tenant that is being erased."""
    if any(is_erasing(tenant) for is_erasing in ERASING):
        raise Problem("being_erased", "What has been erased does not come back.")


def hold(tenant: UUID) -> Tenant:
    """The tenant's row, held to the end of the transaction. Raises Problem where there is none."""
    found = Tenant.objects.select_for_update().filter(pk=tenant).first()
    if found is None:
        raise absent()
    return found


def zone_of(tenant: UUID) -> ZoneInfo:
    """The zone of a tenant's naive times. Raises Problem where there is no tenant any more."""
    found = Tenant.objects.filter(pk=tenant).values_list("time_zone", flat=True).first()
    if found is None:
        raise absent()
    return ZoneInfo(found)


def writer(tenant: UUID) -> Tenant:
    """The tenant's row. Raises Problem unless the tenant may write."""
    found = Tenant.objects.filter(pk=tenant).first()
    if found is None:
        raise absent()
    check_state(found.state)
    return found


def check_reader(tenant: UUID) -> None:
    """Raises Problem unless the tenant may read."""
    state = Tenant.objects.filter(pk=tenant).values_list("state", flat=True).first()
    if state is None:
        raise absent()
    check_reading(state)


def check_writing(tenant: UUID) -> None:
    """Raises Problem unless the tenant may write."""
    check_state(Tenant.objects.filter(pk=tenant).values_list("state", flat=True).first())


def check_state(state: str | None) -> None:
    """The same, of a state that was read; None is a tenant that is not there any more."""
    if state is None:
        raise absent()
    if state != TenantState.ACTIVE:
        raise refusal(state)


def check_reading(state: str) -> None:
    """Raises Problem unless a tenant in this state may read."""
    if state == TenantState.SUSPENDED:
        raise refusal(state)


def absent() -> Problem:
    """What is told to a caller whose tenant has been erased since its key was looked at."""
    return refusal(TenantState.SUSPENDED)


def refusal(state: str) -> Problem:
    """What is told to a caller who wants to write, of a tenant in this state."""
    if state == TenantState.READ_ONLY:
        return Problem("read_only", "Only read and export until whoever runs it ends this.")
    return Problem("suspended", "Ask whoever runs the service why, and when it ends.")
