"""Products, and what orders, prices and stock need to know of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from headrace.entities.products import PRODUCTS
from headrace.synth import draws
from headrace.synth.cells import (
    Cells,
    Integers,
    Pool,
    as_pool,
    joined,
    money,
    pick,
    pool,
    timestamps,
    uuids,
    whole,
)
from headrace.synth.plan import Plan
from headrace.synth.records import Records
from headrace.synth.vocabulary import CATEGORIES, NOUNS_PER_CATEGORY, Vocabulary

CATEGORY_WEIGHTS = (20, 18, 12, 10, 9, 9, 7, 6, 5, 4)
TYPICAL_PRICES = np.array([120, 45, 60, 35, 50, 18, 25, 30, 12, 8])  #: median units a category
PRICE_SPREAD = 0.8  #: sigma of the logarithm: one price in forty is five times the median
DEAREST = 9_999  #: units
PRICE_ENDINGS = np.array([99, 95, 50, 0])  #: cents
ENDING_WEIGHTS = (6, 2, 1, 1)
ACTIVE = pool([b"true", b"false"])
ACTIVE_WEIGHTS = (92, 8)


@dataclass(frozen=True, slots=True)
class Products:
    """Every product of a tenant, 60 bytes each; index = number of the product.

    `ranking[r]` is the number of the product that sells r-th best.
    """

    ids: Pool
    cents: Integers
    created: Integers
    categories: Integers
    ranking: Integers


def draw(plan: Plan) -> Products:
    """All products of the tenant."""
    rng = plan.stream("products")
    count = plan.sizes.products
    categories = draws.weighted(rng, CATEGORY_WEIGHTS, count)
    return Products(
        ids=as_pool(uuids(rng, count)),
        cents=_prices(rng, categories),
        created=rng.integers(plan.signup_from, plan.orders_from, count),
        categories=categories,
        ranking=rng.permutation(count),
    )


def _prices(rng: np.random.Generator, categories: Integers) -> Integers:
    """Log-normal around what is typical of the category, in cents; at least 0.99."""
    count = len(categories)
    factor = rng.lognormal(0, PRICE_SPREAD, count)
    units = np.clip(TYPICAL_PRICES[categories] * factor, 1, DEAREST).astype(np.int64)
    endings = PRICE_ENDINGS[draws.weighted(rng, ENDING_WEIGHTS, count)]
    return (units - 1) * 100 + np.where(units == 1, 99, endings)


def blocks(plan: Plan, products: Products) -> Iterator[Records]:
    """The products' records, block by block."""
    rng = plan.stream("product details")
    template = plan.template(PRODUCTS)
    category_ids = as_pool(uuids(rng, len(CATEGORIES)))
    ranks = np.argsort(products.ranking)
    numbers = _numbers_within_category(products.categories)
    for block in draws.blocks(plan.sizes.products):
        categories = products.categories[block]
        rows = len(categories)
        yield template.records(
            {
                "product_id": pick(products.ids[block], np.arange(rows)),
                "sku": _skus(plan.words, categories, numbers[block]),
                "name": _names(rng, plan.words, categories),
                "price": money(products.cents[block]),
                "category_id": pick(category_ids, categories),
                "active": pick(ACTIVE, draws.weighted(rng, ACTIVE_WEIGHTS, rows)),
                "created_at": timestamps(products.created[block]),
            },
            spared=draws.is_popular(ranks[block], plan.sizes.products),
        )


def _numbers_within_category(categories: Integers) -> Integers:
    """1, 2, 3 … for the products of each category, in their order."""
    numbers = np.empty_like(categories)
    for category in range(len(CATEGORIES)):
        members = np.flatnonzero(categories == category)
        numbers[members] = np.arange(1, len(members) + 1)
    return numbers


def _skus(words: Vocabulary, categories: Integers, numbers: Integers) -> Cells:
    return joined(len(numbers), pick(words.sku_prefixes, categories), whole(numbers, 6))


def _names(rng: np.random.Generator, words: Vocabulary, categories: Integers) -> Cells:
    rows = len(categories)
    nouns = categories * NOUNS_PER_CATEGORY + rng.integers(0, NOUNS_PER_CATEGORY, rows)
    return joined(
        rows,
        pick(words.qualities, rng.integers(0, len(words.qualities), rows)),
        b" ",
        pick(words.colours, rng.integers(0, len(words.colours), rows)),
        b" ",
        pick(words.nouns, nouns),
    )
