"""Movements of stock: chronological for each product, their running sum never below 0."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import orjson

from headrace.entities.stock_events import STOCK_EVENTS
from headrace.synth import draws
from headrace.synth.cells import (
    Integers,
    Pool,
    json_pool,
    pick,
    pool,
    signed,
    timestamps,
    uuids,
    whole,
)
from headrace.synth.plan import Plan
from headrace.synth.products import Products
from headrace.synth.records import Records
from headrace.synth.vocabulary import Vocabulary

SOURCES: Mapping[str, int] = {"receipt": 18, "sale": 66, "adjustment": 6, "return": 10}
REASONS: Mapping[str, Sequence[str]] = {  # as many for each source, so that an index finds them
    "receipt": ("Weekly stock replenishment", "Supplier delivery", "Transfer from warehouse"),
    "sale": ("Online order", "Store sale", "Marketplace order"),
    "adjustment": ("Cycle count", "Damaged goods", "Found in stock"),
    "return": ("Customer return", 'Returned as "wrong size"', "Undeliverable parcel"),
}
REASONS_PER_SOURCE = 3
RECEIPT = 0  #: its place in SOURCES
SOURCE_POOL = json_pool(SOURCES)
RECEIVED = (20, 201)  #: pieces of a receipt
SOLD = (1, 13)
RETURNED = (1, 3)
FOUND_OR_LOST = (-5, 5)  #: 0 becomes 5


def blocks(plan: Plan, products: Products) -> Iterator[Records]:
    """The records of all products' events, product by product, each in order of time."""
    per_product = plan.sizes.stock_events_per_product
    if not per_product:
        return
    rng = plan.stream("stock events")
    template = plan.template(STOCK_EVENTS)
    metas = _metas(plan.words)
    for block in draws.blocks(len(products.ids), max(1, draws.BLOCK // per_product)):
        times = draws.ascending(rng, products.created[block], plan.until, per_product).reshape(-1)
        sources, deltas, levels = _movements(rng, block.stop - block.start, per_product)
        product = np.repeat(np.arange(block.start, block.stop), per_product)
        yield template.records(
            {
                "stock_event_id": uuids(rng, len(product)),
                "product_id": pick(products.ids, product),
                "delta": signed(deltas),
                "resulting_level": whole(levels),
                "event_time": timestamps(times),
                "source": pick(SOURCE_POOL, sources),
                "meta": pick(metas, _meta_index(rng, sources, plan.words)),
            },
            spared=deltas > 0,  # or what goes out later would be more than is there
        )


def _movements(
    rng: np.random.Generator, products: int, per_product: int
) -> tuple[Integers, Integers, Integers]:
    """Sources, deltas and resulting levels, product by product.

    Every product starts with a receipt; what would take more than there is becomes one too.
    """
    shape = (per_product, products)
    sources = draws.weighted(rng, list(SOURCES.values()), per_product * products).reshape(shape)
    sources[0] = RECEIPT
    receipts = rng.integers(*RECEIVED, shape)
    deltas = _deltas(rng, sources, receipts)
    levels = np.zeros(shape, dtype=np.int64)
    level = np.zeros(products, dtype=np.int64)
    for step in range(per_product):
        short = level + deltas[step] < 0
        sources[step, short] = RECEIPT
        deltas[step, short] = receipts[step, short]
        level = level + deltas[step]
        levels[step] = level
    return sources.T.reshape(-1), deltas.T.reshape(-1), levels.T.reshape(-1)


def _deltas(rng: np.random.Generator, sources: Integers, receipts: Integers) -> Integers:
    """What each source moves, in the order of SOURCES."""
    changes = rng.integers(*FOUND_OR_LOST, sources.shape)
    changes[changes == 0] = FOUND_OR_LOST[1]
    amounts = [
        receipts,
        -rng.integers(*SOLD, sources.shape),
        changes,
        rng.integers(*RETURNED, sources.shape),
    ]
    return np.choose(sources, amounts)


def _metas(words: Vocabulary) -> Pool:
    """Every combination of source, reason and operator as a JSON object."""
    return pool(
        b'{"reason":%s,"operator":"%s"}' % (orjson.dumps(reason), operator)
        for source in SOURCES
        for reason in REASONS[source]
        for operator in words.operators
    )


def _meta_index(rng: np.random.Generator, sources: Integers, words: Vocabulary) -> Integers:
    reasons = rng.integers(0, REASONS_PER_SOURCE, len(sources))
    operators = rng.integers(0, len(words.operators), len(sources))
    return (sources * REASONS_PER_SOURCE + reasons) * len(words.operators) + operators
