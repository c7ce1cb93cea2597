"""What is usual for a product's category and its tenant, for products with a short history.

A scale is made from a sample that is bounded in rows, and is good for ten minutes in the process
that made it: what is usual changes slowly.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from apps.catalog.models import MODELS
from headrace.pricing import detection
from headrace.pricing.detection import Scale

SECONDS = 600
MOST = 10_000  # scales of a process, each below 500 bytes
LOOKED_THROUGH = 5_000  # products of the tenant that are looked at for those of a category
PRODUCTS = 100
PRICES = 3_000


class _Cache:
    """The values of the last SECONDS, MOST of them; the oldest go first."""

    def __init__(self) -> None:
        self._kept: dict[Any, tuple[float, Scale | None]] = {}
        self._lock = threading.Lock()

    def get(self, key: Any, make: Callable[[], Scale | None]) -> Scale | None:
        """What is kept for the key, or is made now. Two who ask at once both make it."""
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() < kept[0] + SECONDS:
            return kept[1]
        made = make()
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = time.monotonic(), made
            while len(self._kept) > MOST:
                del self._kept[next(iter(self._kept))]
        return made


_cache = _Cache()


def usual(tenant: UUID, category: UUID | None, prices: Sequence[Decimal]) -> Scale | None:
    """The scale of a product from its prices, oldest first, or else of what it belongs to.

    To be called in the tenant's transaction.
    """
    if len(prices) > detection.MINIMUM_CHANGES["product"]:
        own = detection.scale_of("product", detection.log_changes(prices))
        if own is not None:
            return own
    if category is not None:
        scale = _cache.get((tenant, category), lambda: _of_category(category))
        if scale is not None:
            return scale
    return _cache.get((tenant, None), _of_tenant)


def _of_category(category: UUID) -> Scale | None:
    """From products of it among the tenant's first. Ids have no order, so those are a sample."""
    first = MODELS["products"].objects.order_by("product_id")
    pairs = first.values_list("product_id", "category_id")[:LOOKED_THROUGH]
    wanted = [product for product, own in pairs if own == category][:PRODUCTS]
    rows = MODELS["price_history"].objects.filter(product_id__in=wanted) if wanted else None
    return detection.scale_of("category", _changes(rows))


def _of_tenant() -> Scale | None:
    return detection.scale_of("tenant", _changes(MODELS["price_history"].objects))


def _changes(rows: Any) -> list[float]:
    """The changes in the first PRICES prices of these intervals, each within its product."""
    if rows is None:
        return []
    ordered = rows.order_by("product_id", "effective_from").values_list("product_id", "price")
    prices = defaultdict(list)
    for product, price in ordered[:PRICES]:
        prices[product].append(price)
    return list(_pooled(prices.values()))


def _pooled(histories: Any) -> Iterator[float]:
    for prices in histories:
        yield from detection.log_changes(prices)
