"""Customers, and what orders need to know of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from headrace.entities.customers import CUSTOMERS
from headrace.synth import draws
from headrace.synth.cells import (
    Cells,
    Integers,
    Pool,
    as_pool,
    joined,
    pick,
    pool,
    timestamps,
    uuids,
    whole,
)
from headrace.synth.plan import Plan
from headrace.synth.records import Records
from headrace.synth.vocabulary import LOCALES, NAMES_PER_LOCALE, Vocabulary

LOCALE_WEIGHTS = (5, *(1 for _ in LOCALES[1:]))
NICKNAMES = pool([b"", rb" \"Ace\"", rb" \"Bo\""])  # quotes must survive the way to the database
NICKNAME_WEIGHTS = (98, 1, 1)
DOMAINS = pool([b"example.com", b"example.org", b"example.net"])  # RFC 2606: nobody's
DOMAIN_WEIGHTS = (6, 2, 2)
LOYALTY_TIERS = pool([b"bronze", b"silver", b"gold", b"platinum"])
LOYALTY_WEIGHTS = (50, 30, 15, 5)
SIGNUP_SOURCES = pool([b"web", b"mobile", b"store", b"referral"])
SIGNUP_WEIGHTS = (45, 30, 15, 10)


@dataclass(frozen=True, slots=True)
class Customers:
    """Every customer of a tenant, about 150 bytes each; index = number of the customer."""

    ids: Pool
    names: Pool
    emails: Pool


def draw(plan: Plan) -> Customers:
    """All customers of the tenant. E-mails are unique because each ends in its number."""
    rng = plan.stream("customers")
    count, words = plan.sizes.customers, plan.words
    locale = draws.weighted(rng, LOCALE_WEIGHTS, count)
    first = locale * NAMES_PER_LOCALE + rng.integers(0, NAMES_PER_LOCALE, count)
    last = locale * NAMES_PER_LOCALE + rng.integers(0, NAMES_PER_LOCALE, count)
    return Customers(
        ids=as_pool(uuids(rng, count)),
        names=as_pool(_names(rng, words, first, last)),
        emails=as_pool(_emails(rng, words, first, last)),
    )


def _names(rng: np.random.Generator, words: Vocabulary, first: Integers, last: Integers) -> Cells:
    nickname = draws.weighted(rng, NICKNAME_WEIGHTS, len(first))
    given, family = pick(words.first_names, first), pick(words.last_names, last)
    return joined(len(first), given, pick(NICKNAMES, nickname), b" ", family)


def _emails(rng: np.random.Generator, words: Vocabulary, first: Integers, last: Integers) -> Cells:
    count = len(first)
    given, family = pick(words.first_mailboxes, first), pick(words.last_mailboxes, last)
    number = whole(np.arange(1, count + 1))
    domain = pick(DOMAINS, draws.weighted(rng, DOMAIN_WEIGHTS, count))
    return joined(count, given, b".", family, number, b"@", domain)


def blocks(plan: Plan, customers: Customers) -> Iterator[Records]:
    """The customers' records, block by block."""
    rng = plan.stream("customer details")
    template = plan.template(CUSTOMERS)
    for block in draws.blocks(plan.sizes.customers):
        rows = block.stop - block.start
        created = rng.integers(plan.signup_from, plan.orders_from, rows)
        chosen = np.arange(block.start, block.stop)
        yield template.records(
            {
                "customer_id": pick(customers.ids, chosen),
                "name": pick(customers.names, chosen),
                "email": pick(customers.emails, chosen),
                "metadata": _metadata(rng, plan.words, rows),
                "created_at": timestamps(created),
            },
            spared=draws.is_popular(chosen, plan.sizes.customers),
        )


def _metadata(rng: np.random.Generator, words: Vocabulary, rows: int) -> Cells:
    return joined(
        rows,
        b'{"phone":"+1-555-',
        whole(rng.integers(0, 10_000, rows), 4),
        b'","address":"',
        whole(rng.integers(1, 1_000, rows)),
        b" ",
        pick(words.streets, rng.integers(0, len(words.streets), rows)),
        b'","loyalty_tier":"',
        pick(LOYALTY_TIERS, draws.weighted(rng, LOYALTY_WEIGHTS, rows)),
        b'","signup_source":"',
        pick(SIGNUP_SOURCES, draws.weighted(rng, SIGNUP_WEIGHTS, rows)),
        b'"}',
    )
