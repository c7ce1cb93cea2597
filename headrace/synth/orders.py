"""Orders together with their lines, so that totals are sums and no order has to be remembered."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.entities.order_items import ORDER_ITEMS
from headrace.entities.orders import KINDS, ORDERS, STATUSES
from headrace.synth import draws
from headrace.synth.cells import (
    DAY,
    Cells,
    Integers,
    as_pool,
    joined,
    json_pool,
    money,
    pick,
    pool,
    signed,
    timestamps,
    uuids,
    whole,
)
from headrace.synth.customers import Customers
from headrace.synth.plan import Plan
from headrace.synth.products import Products
from headrace.synth.records import Records

KIND_WEIGHTS = draws.weights_of(KINDS, {"sale": 95, "return": 4, "adjustment": 1})
KIND_POOL = json_pool(KINDS)
STATUS_POOL = json_pool(STATUSES)
STATUS_WEIGHTS = {  # a sale may have any status, a correction only those that close it
    "sale": draws.weights_of(
        STATUSES, {"delivered": 45, "completed": 25, "shipped": 8, "paid": 6, "cancelled": 4}, 1
    ),
    "return": draws.weights_of(STATUSES, {"returned": 6, "refunded": 4}),
    "adjustment": draws.weights_of(STATUSES, {"completed": 1}),
}
QUANTITY_WEIGHTS = (0, 60, 22, 10, 5, 3)  #: of 0, 1, 2 … pieces a line
HOUR_WEIGHTS = (2, 1, 1, 1, 1, 2, 4, 6, 8, 10, 11, 12, 12, 11, 10, 10, 11, 12, 14, 15, 14, 11, 7, 4)
WEEKDAY_FACTORS = np.array([1.0, 0.95, 0.95, 1.0, 1.15, 1.3, 1.2])  #: Monday first
YEARLY_SWING = 0.25  #: more in winter, less in summer
GROWTH = 0.5  #: from the first day to the last

FIRST_NUMBER = 10_000_000  #: of EXT########
SOURCES = {"web": 50, "mobile": 35, "store": 10, "marketplace": 5}
CAMPAIGNS = {
    "null": 50,
    '"summer_sale"': 15,
    '"black_friday"': 15,
    '"newsletter"': 12,
    '"spring_promo"': 8,
}
DISCOUNTS = {"null": 70, '"SAVE10"': 15, '"SAVE20"': 10, '"WELCOME5"': 5}
PAYLOADS = pool(
    f'{{"source":"{source}","campaign":{campaign},"discount_code":{code}}}'.encode()
    for source in SOURCES
    for campaign in CAMPAIGNS
    for code in DISCOUNTS
)


@dataclass(frozen=True, slots=True)
class Heads:
    """What identifies the orders of a block."""

    ids: Cells
    numbers: Integers
    kinds: Integers
    dates: Integers


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a block of orders; `order` is the order's number within the block."""

    order: Integers
    product: Integers
    quantity: Integers
    unit_cents: Integers
    totals: Integers  #: cents, one an order


def blocks(
    plan: Plan, customers: Customers, products: Products
) -> Iterator[tuple[Records, Records]]:
    """The records of the orders and of all their lines, block by block, in order of date."""
    rng = plan.stream("orders")
    dates = _dates(rng, plan)
    for block in draws.blocks(plan.sizes.orders):
        heads = Heads(
            ids=uuids(rng, len(dates[block])),
            numbers=FIRST_NUMBER + np.arange(block.start, block.stop),
            kinds=draws.weighted(rng, KIND_WEIGHTS, len(dates[block])),
            dates=dates[block],
        )
        lines = _lines(rng, plan, products, heads.kinds)
        yield (
            _orders(rng, plan, customers, heads, lines.totals),
            _items(rng, plan, products, heads.ids, lines),
        )


def _dates(rng: np.random.Generator, plan: Plan) -> Integers:
    """An instant for every order, ascending: 8 bytes an order, all that is held for all orders."""
    count = plan.sizes.orders
    days = np.arange(plan.orders_from // DAY, plan.until // DAY)
    per_day = rng.multinomial(count, _day_shares(days))
    hours = draws.weighted(rng, HOUR_WEIGHTS, count)
    instants = np.repeat(days, per_day) * DAY + hours * 3600 + rng.integers(0, 3600, count)
    instants.sort()
    return instants


def _day_shares(days: Integers) -> NDArray[np.float64]:
    weekly = WEEKDAY_FACTORS[(days + 3) % 7]  # 1970-01-01 was a Thursday
    yearly = 1 + YEARLY_SWING * np.cos(2 * np.pi * days / 365.25)
    trend = np.linspace(1, 1 + GROWTH, len(days))
    shares: NDArray[np.float64] = weekly * yearly * trend
    shares /= shares.sum()
    return shares


def _lines(rng: np.random.Generator, plan: Plan, products: Products, kinds: Integers) -> Lines:
    counts = 1 + rng.poisson(plan.sizes.items_per_order - 1, len(kinds))
    order = np.repeat(np.arange(len(kinds)), counts)
    product = products.ranking[draws.popular(rng, len(products.ids), len(order))]
    quantity = draws.weighted(rng, QUANTITY_WEIGHTS, len(order)) * _signs(rng, kinds)[order]
    cents = products.cents[product]
    first_lines = np.cumsum(counts) - counts
    totals = np.add.reduceat(quantity * cents, first_lines)
    return Lines(order, product, quantity, cents, totals)


def _signs(rng: np.random.Generator, kinds: Integers) -> Integers:
    """1 for sales, -1 for returns, either for adjustments."""
    either_way = rng.integers(0, 2, len(kinds)) * 2 - 1
    signs = np.where(kinds == KINDS.index("adjustment"), either_way, 1)
    return np.where(kinds == KINDS.index("return"), -1, signs)


def _orders(
    rng: np.random.Generator, plan: Plan, customers: Customers, heads: Heads, totals: Integers
) -> Records:
    rows = len(heads.ids)
    customer = draws.popular(rng, len(customers.ids), rows)
    placed = timestamps(heads.dates)
    return plan.template(ORDERS).records(
        {
            "order_id": heads.ids,
            "external_order_id": joined(rows, b"EXT", whole(heads.numbers)),
            "kind": pick(KIND_POOL, heads.kinds),
            "customer_id": pick(customers.ids, customer),
            "customer_name_snapshot": pick(customers.names, customer),
            "customer_email_snapshot": pick(customers.emails, customer),
            "total_amount": money(totals),
            "currency": plan.currency.encode(),
            "order_status": pick(STATUS_POOL, _statuses(rng, heads.kinds)),
            "order_date": placed,
            "raw_payload": _payloads(rng, rows),
            "created_at": placed,
        }
    )


def _statuses(rng: np.random.Generator, kinds: Integers) -> Integers:
    statuses = np.empty_like(kinds)
    for number, kind in enumerate(KINDS):
        of_kind = np.flatnonzero(kinds == number)
        statuses[of_kind] = draws.weighted(rng, STATUS_WEIGHTS[kind], len(of_kind))
    return statuses


def _payloads(rng: np.random.Generator, rows: int) -> Cells:
    source = draws.weighted(rng, list(SOURCES.values()), rows)
    campaign = draws.weighted(rng, list(CAMPAIGNS.values()), rows)
    discount = draws.weighted(rng, list(DISCOUNTS.values()), rows)
    return pick(PAYLOADS, (source * len(CAMPAIGNS) + campaign) * len(DISCOUNTS) + discount)


def _items(
    rng: np.random.Generator, plan: Plan, products: Products, order_ids: Cells, lines: Lines
) -> Records:
    return plan.template(ORDER_ITEMS).records(
        {
            "order_item_id": uuids(rng, len(lines.order)),
            "order_id": pick(as_pool(order_ids), lines.order),
            "product_id": pick(products.ids, lines.product),
            "quantity": signed(lines.quantity),
            "unit_price": money(lines.unit_cents),
            "line_total": money(lines.quantity * lines.unit_cents),
        }
    )
