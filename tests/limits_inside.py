"""What test_limits.py has done inside a process that Django is set up in."""

import time
from typing import Any
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from apps.core import jobs, limits, retention, table_buckets
from apps.core.buckets import WHOLE, Bucket, Store
from apps.core.models import Job, RateLimit
from apps.core.redis_buckets import RedisBuckets
from apps.tenants.models import Tenant


def remove_what_is_idle() -> dict[str, int]:
    """More rows than a batch, full long ago, and three that are not."""
    RateLimit.objects.all().delete()
    long_ago = int((time.time() - 2 * retention.IDLE_SECONDS) * 1e6)
    RateLimit.objects.bulk_create(
        RateLimit(tenant_id=uuid4(), product_id=uuid4(), full_at=long_ago) for _ in range(1_200)
    )
    limits.check(uuid4(), uuid4())
    limits.check(uuid4())
    before = RateLimit.objects.count()
    Job.objects.all().delete()
    retention.sweep()
    lease = jobs.Claims("cleaner").next()
    assert lease is not None
    retention.process(lease)
    return {"before": before, "after": RateLimit.objects.count()}


def clock_set_back() -> list[str]:
    """What calls are told where a bucket will be full tomorrow, or in a minute and a half."""
    return [_told(86_400), _told(90)]


def _told(seconds: int) -> str:
    tenant = uuid4()
    limits.check(tenant)
    full_at = int((time.time() + seconds) * 1e6)
    RateLimit.objects.filter(tenant_id=tenant).update(full_at=full_at)
    try:
        return limits.check(tenant).headers()["RateLimit"]
    except limits.QuotaExceeded as exceeded:
        return exceeded.headers["RateLimit"]


def overrides() -> dict[str, list[Any]]:
    """The policies of tenants by what their rows say, and how many buckets they then have."""
    rows = {
        "unset": (None, None),
        "own": (3, 2),
        "no limit of products": (3, 0),
        "none": (0, 0),
    }
    return {name: _policy(*numbers) for name, numbers in rows.items()}


def _policy(calls: int | None, of_product: int | None) -> list[Any]:
    columns = {"max_calls_per_minute": calls, "max_product_calls_per_minute": of_product}
    tenant = Tenant.objects.create(name="A shop", **columns).pk
    with CaptureQueriesContext(connection) as captured:
        headers = limits.check(tenant, uuid4()).headers()
    if connection.vendor != "postgresql":  # whose statement goes past Django
        assert any("rate_limits" in str(one) for one in captured) == bool(headers)
    buckets = RateLimit.objects.filter(tenant_id=tenant).count()
    return [headers.get("RateLimit-Policy"), buckets]


def take_from_one_bucket_twice() -> list[str]:
    """What the stores say; that of Redis needs none to say it."""
    nowhere = RedisBuckets("redis://127.0.0.1:1/0")
    return [_refusal(store, uuid4()) for store in (table_buckets.store(), nowhere)]


def _refusal(store: Store, product: UUID) -> str:
    try:
        store.take(uuid4(), [Bucket(one, 1, 10) for one in (WHOLE, product, product)])
    except ValueError as error:
        return str(error)
    return ""


def count_in_a_transaction() -> str:
    with transaction.atomic():
        try:
            limits.check(uuid4())
        except RuntimeError as error:
            return str(error)
    return ""
