"""The job that erases a tenant. What is left is found by asking again: a kill may end it anywhere.

It belongs to nobody, as a cleanup does, or it would erase itself. First it ends the tenant's keys
and its jobs, whose holders lose their effects at the fence, and waits until requests that were let
in before have noticed. Then it counts, removes in batches that end with the fence, and counts anew
in the transaction that removes the tenant's own row and ends the job: what is proved there is what
committed.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, QuerySet
from django.db.models.functions import Coalesce, Now
from redis import RedisError

from apps.core import dialect, jobs, limits, objects
from apps.core.isolation import tenant_transaction
from apps.core.jobs import Lease
from apps.core.models import Job, JobState
from apps.exports import writing
from apps.ingestions import sources
from apps.lifecycle import history, tables
from apps.lifecycle.models import ACTIVE, Erasure, ErasureState
from apps.tenants import keys
from apps.tenants.models import Tenant
from headrace.pipeline.errors import Permanent, Retryable
from headrace.storage.base import ObjectStore, StoreRefused, StoreUnavailable

ERASE = "erase"
KEYS = 200  # objects
ROUNDS = 5  # after which what is left is looked at by somebody
Counts = dict[str, Any]


class Stored(NamedTuple):
    """Where tenants have objects: in a folder of a store, unless another database has a tenant's
    part of it. Whether the service's own store is ours is asked before.
    """

    store: Callable[[], ObjectStore]
    folder: str
    is_ours: Callable[[UUID], bool] = lambda tenant: True


#: All such places. Apps with others add them.
STORED = [Stored(objects.store, sources.FOLDER), Stored(objects.store, writing.FOLDER)]


def process(lease: Lease) -> None:
    """Erase the tenant of the job's erasure, and write down that nothing is left."""
    erasure = Erasure.objects.get(pk=lease.subject)
    _stop_work(erasure, lease)
    if (rest := _seconds_to_wait(erasure)) > 0:
        lease.put_off(rest)
        return
    if not objects.is_ours():
        raise Retryable("the object store is another database's: see docs/retention.md")
    _count_before(erasure, lease)
    for _ in range(ROUNDS):
        if _is_proved(erasure, lease):
            return
        for _ in _removals(erasure, lease):
            lease.check()
            if lease.is_tired:
                raise jobs.GiveBack
            time.sleep(dialect.current().pause_seconds)
    raise _stuck(erasure, lease, "something comes back, or cannot be removed")


def _stuck(erasure: Erasure, lease: Lease, why: str) -> Retryable:
    """The operator is told why; the job is tried again after a while."""
    with transaction.atomic(durable=True):
        _ours(erasure, lease).update(message=f"It will be tried again: {why}.")
    return Retryable(why)


def give_up(lease: Lease, failure: Permanent) -> None:
    """What was removed is gone; asked for again, the erasure goes on."""
    with transaction.atomic(durable=True):
        Erasure.objects.filter(pk=lease.subject, state__in=ACTIVE).update(
            state=ErasureState.FAILED, code=failure.code, message=str(failure), ended_at=Now()
        )
        lease.end(jobs.state_after(failure), failure.code)


def _stop_work(erasure: Erasure, lease: Lease) -> None:
    with transaction.atomic(durable=True):
        jobs.stop_all(erasure.tenant_id, "its tenant is erased")
        keys.end_all(erasure.tenant_id)  # or each call that is refused would leave an audit entry
        _ours(erasure, lease).update(
            state=ErasureState.RUNNING, started_at=Coalesce("started_at", Now())
        )
        lease.fence()


def _seconds_to_wait(erasure: Erasure) -> float:
    """Until requests of before have noticed: on the database's clock, from the first claim on."""
    row = Erasure.objects.annotate(now=Now()).get(pk=erasure.pk)
    assert row.started_at is not None
    since: float = (row.now - row.started_at).total_seconds()
    return settings.HEADRACE_ERASE_QUIET_SECONDS - since


def _ours(erasure: Erasure, lease: Lease) -> QuerySet[Erasure]:
    return Erasure.objects.filter(Exists(lease.held()), pk=erasure.pk, state__in=ACTIVE)


def _count_before(erasure: Erasure, lease: Lease) -> None:
    """Once: a claim that goes on with what another began does not count what that one has left."""
    if erasure.before is None:
        found = counted(erasure.tenant_id)
        with transaction.atomic(durable=True):
            _ours(erasure, lease).update(before=found)
            lease.fence()


def counted(tenant: UUID) -> Counts:
    """What there is of a tenant: rows by table, objects and bytes by folder, buckets, scratch."""
    with tenant_transaction(tenant):
        rows = _rows(tenant)
    return _with_rest(tenant, rows)


def _with_rest(tenant: UUID, rows: Counts) -> Counts:
    return {
        "rows": rows,
        "objects": {place.folder: _objects(place, tenant) for place in STORED},
        "scratch_folders": len(sources.scratch_of(_jobs(tenant))),
        "redis_keys": _redis_keys(tenant),
    }


def _rows(tenant: UUID) -> Counts:
    """By table, in the transaction of the tenant."""
    rows = {table.name: tables.count(table, tenant) for table in tables.of_tenants()}
    rows[history.TABLE] = history.count(tenant)
    rows[tables.ROOT] = Tenant.objects.filter(pk=tenant).count()
    return rows


def _objects(place: Stored, tenant: UUID) -> dict[str, int]:
    """Raises Retryable."""
    try:
        found = place.store().sizes(f"{place.folder}/{tenant}") if place.is_ours(tenant) else ()
        sizes = [size for _, size in found]
    except (StoreUnavailable, StoreRefused) as error:
        raise Retryable(f"the store of {place.folder} does not answer") from error
    return {"objects": len(sizes), "bytes": sum(sizes)}


def _jobs(tenant: UUID) -> list[int]:
    return list(Job.objects.filter(tenant_id=tenant).values_list("pk", flat=True))


def _redis_keys(tenant: UUID) -> int:
    try:
        return limits.held_in_redis(tenant)
    except RedisError as error:
        raise Retryable("Redis does not answer") from error


def _removals(erasure: Erasure, lease: Lease) -> Iterator[None]:
    """Everything but the tenant's own row, a batch at a time. Raises Retryable."""
    tenant = erasure.tenant_id
    with transaction.atomic(durable=True):
        jobs.stop_all(tenant, "its tenant is erased")  # what an operator has queued again
        lease.fence()
    yield from _remove_objects(erasure, lease)
    for folder in sources.scratch_of(_jobs(tenant)):
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            raise _stuck(erasure, lease, f"scratch folder {folder.name} cannot be removed")
        yield
    yield from history.remove(tenant, lease)
    for table in tables.of_tenants():
        while tables.remove(table, tenant, lease):
            yield
    _forget_buckets(tenant)


def _remove_objects(erasure: Erasure, lease: Lease) -> Iterator[None]:
    for place in STORED:
        if not place.is_ours(erasure.tenant_id):
            continue
        store, own = place.store(), f"{place.folder}/{erasure.tenant_id}"
        keys = (key for key, _ in store.sizes(own))
        while batch := list(islice(keys, KEYS)):
            with transaction.atomic(durable=True):
                lease.fence()
            if resisting := objects.delete(batch, store):
                raise _stuck(erasure, lease, f"object {resisting[0]} cannot be removed")
            yield
        store.prune(own)


def _forget_buckets(tenant: UUID) -> None:
    try:
        limits.forget_in_redis(tenant)
    except RedisError as error:
        raise Retryable("Redis does not answer") from error


def _is_proved(erasure: Erasure, lease: Lease) -> bool:
    """Whether nothing was left but the tenant's own row; then that is gone too, and all has ended.

    The row is held, so that nobody who holds it to write comes between the count and the commit.
    """
    tenant = erasure.tenant_id
    with tenant_transaction(tenant):
        Tenant.objects.select_for_update().filter(pk=tenant).first()
        found = _with_rest(tenant, _rows(tenant))
        if not _is_empty({**found, "rows": {**found["rows"], tables.ROOT: 0}}):
            return False
        own = Tenant.objects.filter(pk=tenant)
        own._raw_delete(own.db)
        after = _with_rest(tenant, _rows(tenant))
        Erasure.objects.filter(pk=erasure.pk).update(
            state=ErasureState.DONE, after=after, code="", message="", ended_at=Now()
        )
        lease.end(JobState.DONE)
    return True


def _is_empty(found: Any) -> bool:
    if isinstance(found, dict):
        return all(map(_is_empty, found.values()))
    return not found
