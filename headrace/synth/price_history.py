"""What products cost: intervals without gap or overlap, the last one open."""

from collections.abc import Iterator

import numpy as np

from headrace.entities.price_history import PRICE_HISTORY
from headrace.synth import draws
from headrace.synth.cells import (
    Integers,
    money,
    pick,
    timestamps,
    uuids,
)
from headrace.synth.plan import Plan
from headrace.synth.products import Products
from headrace.synth.records import OrNull, Records

CHANGES = (0.88, 1.10)  #: a price divided by the one after it: prices rise a little on the whole


def blocks(plan: Plan, products: Products) -> Iterator[Records]:
    """The records of all products' intervals, product by product, each in order of time."""
    rng = plan.stream("price history")
    template = plan.template(PRICE_HISTORY)
    per_product = plan.sizes.price_intervals_per_product
    step = max(1, draws.BLOCK // per_product)
    for block in draws.blocks(len(products.ids), step):
        starts, ends = _bounds(rng, plan, products.created[block])
        prices = _prices(rng, products.cents[block], per_product)
        product = np.repeat(np.arange(block.start, block.stop), per_product)
        yield template.records(
            {
                "id": uuids(rng, len(product)),
                "product_id": pick(products.ids, product),
                "price": money(prices.reshape(-1)),
                "effective_from": timestamps(starts.reshape(-1)),
                "effective_to": _or_null(ends.reshape(-1), open_ones=per_product),
            }
        )


def _bounds(rng: np.random.Generator, plan: Plan, created: Integers) -> tuple[Integers, Integers]:
    """When intervals start and end; shape (products, intervals). The last end means nothing."""
    changes = plan.sizes.price_intervals_per_product - 1
    cuts = draws.ascending(rng, created + 1, plan.until, changes)
    open_end = np.full((len(created), 1), plan.until)
    return np.hstack([created[:, None], cuts]), np.hstack([cuts, open_end])


def _prices(rng: np.random.Generator, current: Integers, per_product: int) -> Integers:
    """Cents; shape (products, intervals). The last is the current price, at least 0.01 all."""
    factors = rng.uniform(*CHANGES, (len(current), per_product))
    factors[:, -1] = 1
    backwards = np.cumprod(factors[:, ::-1], axis=1)[:, ::-1]
    return np.maximum(1, np.rint(current[:, None] * backwards)).astype(np.int64)


def _or_null(ends: Integers, open_ones: int) -> OrNull:
    """The ends, null for every `open_ones`-th, which is a product's last."""
    return OrNull(timestamps(ends), np.arange(1, len(ends) + 1) % open_ones != 0)
