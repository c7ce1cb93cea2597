"""What is counted of an hour, and of a day from its hours."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import numpy as np

from apps.metrics import customer_sets, statements

SMALLEST = Decimal("0.0001")
Hour = tuple[date, int, str]  #: with a currency
Day = tuple[date, str]


@dataclass
class Tally:
    """Sums by kind of order: how many, what they come to, pieces, what their lines come to."""

    orders: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    amounts: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    pieces: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    lines: Decimal = Decimal(0)
    customers: list[customer_sets.Numbers] = field(default_factory=list)

    def add_orders(self, kind: str, count: int, amount: Decimal, numbers: Any) -> None:
        self.orders[kind] += count
        self.amounts[kind] += amount
        if kind == "sale":
            self.customers.append(numbers)

    def add_lines(self, kind: str, pieces: int, amount: Decimal) -> None:
        self.pieces[kind] += pieces
        self.lines += amount

    def add(self, other: "Tally") -> None:
        for kind, count in other.orders.items():
            self.orders[kind] += count
            self.amounts[kind] += other.amounts[kind]
        for kind, pieces in other.pieces.items():
            self.pieces[kind] += pieces
        self.lines += other.lines
        self.customers += other.customers

    def buyers(self) -> customer_sets.Numbers:
        """The numbers of the customers of sales, each once."""
        own = self.customers
        together = own[0] if len(own) == 1 else np.concatenate([np.empty(0, np.uint32), *own])
        return np.unique(together)

    def figures(self) -> dict[str, Any]:
        """The columns of models.Figures but for its key and its customers."""
        return {
            "order_count": self.orders["sale"],
            "total_revenue": sum(self.amounts.values(), Decimal(0)),
            "gross_sales": self.amounts["sale"],
            "return_count": self.orders["return"],
            "returned_amount": -self.amounts["return"],
            "adjustment_count": self.orders["adjustment"],
            "adjusted_amount": self.amounts["adjustment"],
            "item_count": self.pieces["sale"],
            "returned_items": -self.pieces["return"],
            "line_revenue": self.lines,
        }


def tallies(rows: Iterable[tuple[Any, ...]]) -> dict[Hour, Tally]:
    """The rows of statements.hours by hour."""
    found: dict[Hour, Tally] = defaultdict(Tally)
    for what, hour, currency, kind, sign, count, amount, numbers in rows:
        tally = found[(*_hour(hour), currency)]
        amount_of_hour = money(amount) * sign
        if what == "orders":
            tally.add_orders(kind, int(count), amount_of_hour, _numbers(numbers))
        else:
            tally.add_lines(kind, int(count) * sign, amount_of_hour)
    return found


def by_day(hours: dict[Hour, Tally]) -> dict[Day, Tally]:
    """The days of these hours."""
    found: dict[Day, Tally] = defaultdict(Tally)
    for (day, _, currency), tally in hours.items():
        found[day, currency].add(tally)
    return found


def money(told: Any) -> Decimal:
    """A sum as statements.Spelling.total tells it: of SQLite two parts, in ten-thousandths."""
    if isinstance(told, str):
        high, low = map(int, told.split(","))
        return Decimal(high * statements.PART + low).scaleb(-4)
    return Decimal(told)


def average(amount: Decimal, number: int) -> Decimal | None:
    """To four decimals, half a unit upwards; None of nothing."""
    return (amount / number).quantize(SMALLEST, ROUND_HALF_UP) if number else None


def _hour(value: datetime | str) -> tuple[date, int]:
    if isinstance(value, str):
        return date.fromisoformat(value[:10]), int(value[11:])
    return value.date(), value.hour


def _numbers(listed: bytes | str | None) -> customer_sets.Numbers:
    """What a database lists as bytes or as text."""
    if not listed:
        return np.empty(0, np.uint32)
    if isinstance(listed, str):
        return np.array(listed.split(","), np.uint32)
    return np.frombuffer(listed, ">u4").astype(np.uint32)
