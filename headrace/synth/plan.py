"""One tenant to be generated: who it is and when things happen to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np

from headrace.schema import Entity
from headrace.synth import draws
from headrace.synth.cells import DAY, text_of, uuids
from headrace.synth.records import Template
from headrace.synth.settings import Settings, Sizes
from headrace.synth.vocabulary import Vocabulary, vocabulary

CURRENCIES = {"USD": 6, "EUR": 3, "GBP": 1}


@dataclass(frozen=True, slots=True)
class Plan:
    """A tenant's identity and calendar. Instants are seconds since 1970.

    Tenants begin in the year up to `signup_from`; customers and products are made between
    `signup_from` and `orders_from`; orders, prices and stock move until `until`. So whatever an
    order points at is older than the order.
    """

    seed: int
    number: int
    sizes: Sizes
    tenant_id: str
    name: str
    currency: str
    words: Vocabulary
    created_at: int
    signup_from: int
    orders_from: int
    until: int

    def stream(self, purpose: str) -> np.random.Generator:
        """This tenant's random numbers for `purpose`; from the start at every call."""
        return draws.stream(self.seed, self.number, purpose)

    def template(self, entity: Entity) -> Template:
        """The records of `entity` for this tenant."""
        return Template(entity, self.tenant_id.encode())


def plans(settings: Settings) -> Iterator[Plan]:
    """One plan for each tenant of the settings, in order."""
    for number in range(settings.sizes.tenants):
        yield _plan(settings, number)


def _plan(settings: Settings, number: int) -> Plan:
    rng = draws.stream(settings.seed, number, "tenant")
    words = vocabulary(settings.seed)
    until = (settings.until - date(1970, 1, 1)).days * DAY
    signup_from = until - 3 * 365 * DAY
    return Plan(
        seed=settings.seed,
        number=number,
        sizes=settings.sizes,
        tenant_id=text_of(uuids(rng, 1)).decode(),
        name=words.companies[number % len(words.companies)],
        currency=_currency(rng),
        words=words,
        created_at=signup_from - int(rng.integers(1, 365 * DAY)),
        signup_from=signup_from,
        orders_from=until - 2 * 365 * DAY,
        until=until,
    )


def _currency(rng: np.random.Generator) -> str:
    chosen = draws.weighted(rng, list(CURRENCIES.values()), 1)
    return list(CURRENCIES)[int(chosen[0])]
