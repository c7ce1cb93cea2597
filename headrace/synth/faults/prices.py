"""Faults that no checker of lines can see: a sound record whose price has a slipped point.

The road inserts such a line. What tells it is the product's history (headrace.pricing).
"""

from collections.abc import Sequence
from decimal import Decimal

from headrace.pipeline.report import Outcome
from headrace.schema import Entity, Money
from headrace.synth.faults.kinds import Answer, Kind, Line, Target

#: What each kind multiplies a price by.
FACTORS = {
    "price_times_10": Decimal(10),
    "price_times_100": Decimal(100),
    "price_tenth": Decimal("0.1"),
    "price_hundredth": Decimal("0.01"),
}


def _kind(name: str, factor: Decimal) -> Kind:
    def lines(target: Target) -> list[Line] | None:
        price = Decimal(target.value.decode()) * factor
        if not _is_another_price(price, target.field.type):
            return None
        return [target.line({target.place: f"{price:f}".encode()}, Answer(Outcome.INSERTED))]

    about = f"a price times {factor} in a history: sound in itself"
    return Kind(name, about, _prices_of_intervals, lines, (Outcome.INSERTED,))


def _is_another_price(price: Decimal, kind: object) -> bool:
    """Whether the price is not 0 and has no more decimals than the type."""
    assert isinstance(kind, Money)
    return price != 0 and price == round(price, kind.scale)


def _prices_of_intervals(entity: Entity) -> Sequence[str]:
    """The amounts that a history is of."""
    if entity.interval is None:
        return ()
    return [field.name for field in entity.fields if isinstance(field.type, Money)]


KINDS = tuple(_kind(name, factor) for name, factor in FACTORS.items())
