"""Many tills that call at once, and the look past the service at what they have done."""

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import httpx2

from headrace.pipeline import owners
from tests.service import Merchant
from tests.stock import Till

Answer = Any
Rows = list[tuple]


class Call(NamedTuple):
    """A request: with a key, or with ids of its own for every event."""

    events: list[dict[str, Any]]
    key: str | None

    @property
    def content(self) -> bytes:
        return json.dumps(self.events).encode()

    def ids(self, tenant: UUID) -> list[tuple[str, str]]:
        """Product and id of each event."""
        name = owners.event_names(tenant, self.key or "")
        return [
            (event["product_id"], event.get("stock_event_id") or str(name(line)))
            for line, event in enumerate(self.events, start=1)
        ]


def calls(rng: random.Random, goods: list[str], number: int) -> list[Call]:
    """Requests of 1 to 10 events of up to 5 products.

    Those without a key cannot be refused: what was refused may be possible the next time, and
    only a key holds on to the answer.
    """
    return [_call(rng, goods) for _ in range(number)]


def _call(rng: random.Random, goods: list[str]) -> Call:
    chosen = rng.sample(goods, rng.randint(1, 5))
    key = None if rng.random() < 0.3 else str(UUID(int=rng.getrandbits(128)))
    return Call([_event(rng, rng.choice(chosen), key) for _ in range(rng.randint(1, 10))], key)


def _event(rng: random.Random, product: str, key: str | None) -> dict[str, Any]:
    kinds: list[dict[str, int]] = [
        {"delta": rng.randint(1, 9)},
        {"set": rng.randint(0, 60)},
        {"delta": -rng.randint(1, 9)},
        {"set": rng.randint(0, 60), "expected": rng.randint(0, 60)},
    ]
    weights = [6, 1, 6, 1] if key else [6, 1, 0, 0]
    (moved,) = rng.choices(kinds, weights)
    named = {} if key and rng.random() < 0.7 else {"stock_event_id": str(uuid4())}
    return {"product_id": product, **moved, **named}


class Journal:
    """The answers to the calls of a storm."""

    def __init__(self, merchant: Merchant) -> None:
        self.answers: dict[int, Answer] = {}
        self.broken = 0
        self.seconds: list[float] = []
        self._till = Till(merchant)

    def send(self, number: int, call: Call) -> Answer | None:
        began = time.perf_counter()
        try:
            answer = self._till.send(call.content, key=call.key)
        except httpx2.TransportError:
            self.broken += 1
            return None
        self.seconds.append(time.perf_counter() - began)
        self.answers[number] = answer
        return answer

    def told(self, wall: float) -> str:
        times = sorted(self.seconds)
        at = {share: 1e3 * times[int(len(times) * share)] for share in (0.5, 0.95, 0.99)}
        statuses = dict(Counter(answer.status_code for answer in self.answers.values()))
        return (
            f"{len(times):,} calls in {wall:.1f} s, {len(times) / wall:,.0f}/s, p50"
            f" {at[0.5]:.0f} ms, p95 {at[0.95]:.0f} ms, p99 {at[0.99]:.0f} ms, {statuses}"
        )


def storm(
    merchant: Merchant, plan: list[list[Call]], beside: Callable[[], None] = lambda: None
) -> Journal:
    """Let a client a list send its calls one after the other, and do something `beside`."""
    journal = Journal(merchant)
    began = time.perf_counter()
    with ThreadPoolExecutor(len(plan)) as pool:
        clients = [pool.submit(_client, journal, *client) for client in enumerate(plan)]
        beside()
        for client in clients:
            client.result()
    if journal.seconds:
        print(f"\n{merchant.service.dialect}: {journal.told(time.perf_counter() - began)}")
    return journal


def _client(journal: Journal, place: int, own: list[Call]) -> None:
    for number, call in enumerate(own):
        journal.send(place * 10_000 + number, call)


class Ledger(NamedTuple):
    """What the database holds of a tenant, read past the service."""

    movements: Rows  #: id, product, sequence, delta, level, by product and sequence
    levels: Rows  #: product, level, sequence


def ledger(merchant: Merchant) -> Ledger:
    service = merchant.service
    mine = f"tenant_id = {service.spelled(merchant.tenant)}"
    columns = "stock_event_id, product_id, sequence, delta, resulting_level"
    movements = service.ask(f"SELECT {columns} FROM stock_events WHERE {mine}")
    levels = service.ask(f"SELECT product_id, level, sequence FROM stock_levels WHERE {mine}")
    return Ledger(sorted(movements, key=lambda row: row[1:3]), sorted(levels))


def assert_adds_up(found: Ledger) -> None:
    """Levels are the sums of their movements, which are numbered from 1 without gaps."""
    by_product: dict[str, Rows] = defaultdict(list)
    for row in found.movements:
        by_product[row[1]].append(row)
    for product, level, sequence in found.levels:
        rows = by_product.pop(product, [])
        assert [row[2] for row in rows] == list(range(1, len(rows) + 1)), product
        running = 0
        for _, _, _, delta, resulting in rows:
            running += delta
            assert (resulting, resulting >= 0) == (running, True), product
        assert (level, sequence) == (running, len(rows)), product
    assert by_product == {}


def effects(tenant: UUID, told: Iterable[tuple[Call, Answer]]) -> list[str]:
    """The ids of all events that answers say are applied, sorted."""
    found = []
    for call, answer in told:
        body = answer.json()
        applied = {row["product_id"] for row in body["applied"]}
        refused = {row["product_id"] for row in body["conflicts"]}
        assert applied.isdisjoint(refused), body
        found += [UUID(key).hex for product, key in call.ids(tenant) if product in applied]
    return sorted(found)
