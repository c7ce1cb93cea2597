"""How often a tenant may call: so many stock and price calls a minute, so many of one product.

A quota is there whole at the beginning, and then comes back evenly: of 100 a minute, 100 calls
pass at once and a further one every 0.6 s. Refused calls count for nothing. Settings say how
much, a tenant's row may say otherwise, and 0 is no limit, for which no store is asked.

Redis counts where it is configured and answers, else the database (`buckets` has the rule). They
do not know each other's counts: when one takes over, a tenant begins with a whole quota there.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple
from uuid import UUID, uuid5

from django.conf import settings
from django.db import connection
from redis import RedisError

from apps.core import table_buckets
from apps.core.briefly import Briefly
from apps.core.buckets import WHOLE, Bucket, Own, Taken
from apps.core.problems import Problem
from apps.core.redis_buckets import RedisBuckets

WINDOW_SECONDS = 60
_SECOND = 1_000_000
OVERRIDE_SECONDS = 5.0  # after which a limit that was changed is known to every process

Overrides = tuple[int | None, int | None]  #: of a tenant's row: calls, and calls of one product
_known: Briefly[UUID, Overrides] = Briefly(OVERRIDE_SECONDS)


class Level(NamedTuple):
    """A quota after a call: `remaining` calls, and more of them in so many whole `seconds`."""

    name: str
    quota: int
    remaining: int
    seconds: int


class Standing(NamedTuple):
    """What a caller has left; no levels where nothing is limited."""

    levels: tuple[Level, ...] = ()

    def headers(self) -> dict[str, str]:
        """RateLimit and RateLimit-Policy as in draft-ietf-httpapi-ratelimit-headers-10."""
        if not self.levels:
            return {}
        policies = (f'"{one.name}";q={one.quota};w={WINDOW_SECONDS}' for one in self.levels)
        limits = (f'"{one.name}";r={one.remaining};t={one.seconds}' for one in self.levels)
        return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(limits)}


class QuotaExceeded(Problem):
    """The answer to a call too many: when to come back, beside what every limited answer has."""

    def __init__(self, standing: Standing) -> None:
        empty = [level for level in standing.levels if not level.remaining]
        seconds = max(level.seconds for level in empty)
        whose = " and ".join(_WHOSE[level.name].format(level.quota) for level in empty)
        super().__init__("quota-exceeded", f"Send it again in {seconds} s: {whose} a minute pass.")
        self.headers = {"Retry-After": str(seconds), **standing.headers()}


_WHOSE = {
    "tenant": "{:,} calls",
    "product": "{:,} calls of a product",
    "key": "{:,} calls of this key",
}


def check(tenant: UUID, product: UUID | None = None, own: Own | None = None) -> Standing:
    """Count a call against its tenant's quota, that of its product and its key's own, if any.

    It is counted in all or in none. Raises QuotaExceeded, RuntimeError inside of a
    transaction, and OperationalError if neither Redis nor the database answers.
    """
    quotas = list(_quotas(tenant, product))
    if own is not None:  # buckets are locked in the order of their products
        quotas = sorted([*quotas, _of_key(own)], key=lambda quota: quota.product)
    return _count(tenant, quotas)


def check_key(tenant: UUID, own: Own) -> Standing:
    """Count a call that has no other quota than its key's own. Raises as `check` does."""
    return _count(tenant, [_of_key(own)])


def _count(tenant: UUID, quotas: "list[_Quota]") -> Standing:
    if not quotas:
        return Standing()
    if connection.in_atomic_block:
        raise RuntimeError("calls are counted before the transaction: its locks would last")
    taken = _take(tenant, [quota.bucket for quota in quotas])
    pairs = zip(quotas, taken.ahead, strict=True)
    standing = Standing(tuple(quota.level(ahead) for quota, ahead in pairs))
    if not taken.passed:
        raise QuotaExceeded(standing)
    return standing


class _Quota(NamedTuple):
    name: str
    product: UUID
    calls: int

    @property
    def bucket(self) -> Bucket:
        step = WINDOW_SECONDS * _SECOND // self.calls
        return Bucket(self.product, step, step * self.calls)

    def level(self, ahead: int) -> Level:
        """What is left where the bucket is full again in `ahead` microseconds."""
        _, step, depth = self.bucket
        left = (depth - ahead) // step
        until_more = ahead + (left + 1) * step - depth
        return Level(self.name, self.calls, left, -(-until_more // _SECOND))


def _quotas(tenant: UUID, product: UUID | None) -> Iterator[_Quota]:
    """Those that a call counts against."""
    of_tenant, of_product = _known.get_or_look_up(tenant, _overrides)
    if calls := _chosen(of_tenant, settings.HEADRACE_TENANT_PER_MINUTE):
        yield _Quota("tenant", WHOLE, calls)
    if product is None:
        return
    if calls := _chosen(of_product, settings.HEADRACE_PRODUCT_PER_MINUTE):
        yield _Quota("product", _place_of(product), calls)


# Holders can compute the id of their key's bucket, and any product may be in an address. So buckets
# of keys have ids of this version of UUIDs, which no product's bucket has.
_VERSION, _VERSION_AT = 8, 76


def _place_of(product: UUID) -> UUID:
    """The id of a product's bucket: its own, unless another kind of bucket may have it."""
    if product == WHOLE or product.int >> _VERSION_AT & 0xF == _VERSION:
        return uuid5(product, "product")
    return product


def _of_key(own: Own) -> _Quota:
    others = own.bucket.int & ~(0xF << _VERSION_AT)
    return _Quota("key", UUID(int=others | _VERSION << _VERSION_AT), own.calls)


def _chosen(own: int | None, usual: int) -> int:
    return usual if own is None else own


def _overrides(tenant: UUID) -> Overrides:
    from apps.tenants.models import Tenant  # noqa: PLC0415 - models must not load before the apps

    columns = ("max_calls_per_minute", "max_product_calls_per_minute")
    return Tenant.objects.filter(pk=tenant).values_list(*columns).first() or (None, None)


def _take(tenant: UUID, buckets: Sequence[Bucket]) -> Taken:
    remote = _redis()
    if remote is None or remote.is_resting:
        return table_buckets.store().take(tenant, buckets)
    try:
        return remote.take(tenant, buckets)
    except RedisError as error:
        remote.rest(error)
        return table_buckets.store().take(tenant, buckets)


def held_in_redis(tenant: UUID) -> int:
    """How many buckets Redis has of the tenant, 0 where there is none. Raises RedisError."""
    remote = _redis()
    return 0 if remote is None else len(remote.held(tenant))


def forget_in_redis(tenant: UUID) -> None:
    """Remove the tenant's buckets there; those of the database are rows. Raises RedisError."""
    if (remote := _redis()) is not None:
        remote.forget(tenant)


@cache
def _redis() -> RedisBuckets | None:
    return RedisBuckets(settings.HEADRACE_REDIS_URL) if settings.HEADRACE_REDIS_URL else None
