"""What calls wrote beside the files: prices, as their events tell, and movements of stock.

A price call marks its rows as the last line of the tenant's last file, which no file has. A stock
call numbers its events as if they were lines of that file; which they were is told by the answers
under idempotency keys, so that calls without a key (or whose key is kept no longer) are strays.
"""

import json
from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from headrace.entities import BY_NAME
from headrace.schema import Entity
from tests.chaos import lines
from tests.chaos.evidence import Evidence, Row
from tests.records import Record
from tests.reference import SentLine

LINE_BITS = 32
LAST_LINE = (1 << LINE_BITS) - 1
PRICES = {"products": "product_id", "price_history": "product_id"}  #: what a price call writes to
_EVENTS = UUID("6f6f1c2e-9a52-5a0e-8d0f-2c1f0a6f3b57")


class Price(NamedTuple):
    """A price that a call has set, and when."""

    since: Any
    price: Decimal


class Calls:
    """The effects of calls, by tenant."""

    def __init__(self, evidence: Evidence) -> None:
        self.last_numbers = {
            row["tenant_id"]: row["last_number"] for row in evidence.table("tenants")
        }
        self.prices = _prices(evidence.table("price_events"))
        self.movements = _movements(evidence.table("idempotency_keys"))

    def may_have_made(self, tenant: str, entity: Entity, row: Row) -> bool:
        """Whether a row that no line of a file is the origin of can be a call's."""
        number, line = divmod(row["source_sequence"], 1 << LINE_BITS)
        if not 0 <= number <= self.last_numbers.get(tenant, -1):
            return False
        if entity.levels is not None:
            return line > 0 and sum(self.movements[tenant].values()) > 0
        return line == LAST_LINE and bool(self.prices_of(tenant, entity, row))

    def prices_of(self, tenant: str, entity: Entity, row: Row) -> list[Price]:
        """The prices that calls have set for the product of a row, oldest first."""
        product = PRICES.get(entity.name)
        return self.prices[tenant, row[product]] if product else []

    def last_word(
        self, tenant: str, entity: Entity, rows: dict[str, Row], sent: list[SentLine]
    ) -> list[SentLine]:
        """The lines without those that a call may have outrun: they changed nothing."""
        priced = {key for key, row in rows.items() if self.prices_of(tenant, entity, row)}
        return [
            line
            for line in sent
            if line.outcome != "superseded" or line.values[entity.key] not in priced
        ]

    def apply(
        self,
        tenant: str,
        entity: Entity,
        expected: dict[str, Record],
        rows: dict[str, Row],
    ) -> None:
        """Change what is expected by the files' lines alone to what is with the calls."""
        if entity.name == "products":
            self._reprice(tenant, entity, expected, rows)
        elif entity.name == "price_history":
            self._cut_and_open(tenant, entity, expected, rows)

    def _reprice(self, tenant: str, entity: Entity, expected, rows: dict[str, Row]) -> None:
        price = entity.field("price")
        for key in expected.keys() & rows.keys():
            if prices := self.prices_of(tenant, entity, rows[key]):
                last, row = prices[-1].price, rows[key]
                is_of_call = row["source_sequence"] & LAST_LINE == LAST_LINE
                if is_of_call or lines.stored(price, row["price"]) == last:
                    expected[key]["price"] = last

    def _cut_and_open(self, tenant: str, entity: Entity, expected, rows: dict[str, Row]) -> None:
        by_start = {}
        for key, row in rows.items():
            stored = {field.name: lines.stored(field, row[field.name]) for field in entity.as_sent}
            by_start[row["product_id"], stored["effective_from"]] = stored
            moments = {price.since for price in self.prices_of(tenant, entity, row)}
            if key in expected and stored["effective_to"] in moments:
                expected[key]["effective_to"] = stored["effective_to"]
        for (owner, product), prices in self.prices.items():
            for since, price in prices if owner == tenant else ():
                opened = by_start.get((product, since), {entity.key: f"of {since}"})
                span = {"product_id": product, "price": price, "effective_from": since}
                own = {**opened, **span, "effective_to": opened.get("effective_to")}
                expected.setdefault(opened[entity.key], own)


def named(chunk: Row, number: int) -> str:
    """The id of an event without one, in a stock call that was queued: by its key and its line."""
    namespace = uuid5(_EVENTS, chunk["tenant_id"])
    return uuid5(namespace, f"{number} {chunk['event_key']}").hex


def _prices(events: list[Row]) -> dict[tuple[str, str], list[Price]]:
    price = BY_NAME["products"].field("price")
    moment = BY_NAME["price_history"].field("effective_from")
    found: dict[tuple[str, str], list[Price]] = defaultdict(list)
    for event in events:
        if event["status"] == "processed":
            set_ = Price(
                lines.stored(moment, event["processed_at"]), lines.stored(price, event["new_price"])
            )
            found[event["tenant_id"], event["product_id"]].append(set_)
    for prices in found.values():
        prices.sort()
    return found


def _movements(keys: list[Row]) -> dict[str, Counter[str]]:
    """How many events of stock calls have each outcome, by tenant."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for key in keys:
        if key["scope"] == "stock":
            found[key["tenant_id"]].update(json.loads(key["body"]).get("outcomes", {}))
    return found


def landed(outcomes: Counter[str]) -> tuple[int, int]:
    """The least and the most rows that these events left: setting a level may change nothing."""
    return outcomes["inserted"], outcomes["inserted"] + outcomes["unchanged"]
