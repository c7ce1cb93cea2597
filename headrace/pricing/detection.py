"""Whether a change of a price is an anomaly: how grave, and for which reasons.

Three looks at a change from an old to a new price, of which the gravest decides:

1. Documented thresholds on the percentage. 50 % and more is extreme, 25 % significant, 10 %
   notable if the old price is over 100 (in the price's own unit). Compared exactly, in decimals,
   against the old price: both directions alike, though +100 % and -50 % are each other's way back.
2. A robust score of the logarithm of new/old: the modified z-score 0.6745 * (x - median) / MAD,
   an outlier beyond 3.5. Source: B. Iglewicz and D. C. Hoaglin, "How to Detect and Handle
   Outliers", ASQC Basic References in Quality Control 16, 1993. MAD is the median of the absolute
   deviations from the median; 0.6745 is its size in standard deviations of a normal distribution.
   Median and MAD stay where they are while fewer than half of the changes are wrong ones, so
   earlier faults in the history do not hide the next. A ratio of prices has no currency and no
   size, and its logarithm makes a rise as far as the fall that undoes it.
   The history is the product's; if it is short, the category's, then the tenant's.
3. A slipped decimal point: new/old is 10, 100, 1/10 or 1/100 times an ordinary change.

Figures behind the constants, and what they cost in false alarms, are in docs/anomalies.md.
"""

import math
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

import msgspec


class Severity(StrEnum):
    """How grave a change is, in rising order."""

    NONE = "none"  #: an ordinary change
    NOTABLE = "notable"  #: worth a look when there is time
    SIGNIFICANT = "significant"  #: worth a look
    EXTREME = "extreme"  #: probably a mistake


class Threshold(NamedTuple):
    """A change of `percent` and more has this severity, if the old price is above `above`."""

    percent: int
    above: int
    severity: Severity


#: The documented ones, the gravest first.
THRESHOLDS = (
    Threshold(50, 0, Severity.EXTREME),
    Threshold(25, 0, Severity.SIGNIFICANT),
    Threshold(10, 100, Severity.NOTABLE),
)

Z_THRESHOLD = 3.5  #: beyond it Iglewicz and Hoaglin label outliers
_MAD_IN_DEVIATIONS = 0.6745

# A product whose changes are nearly all the same has a MAD near 0, and the next cent would be an
# outlier. With 0.02 nothing is one that is less than 3.5 * 0.02 / 0.6745 = 0.104 from the median:
# about 10 %, below which the documented thresholds find nothing worth a word either.
# Nor is the MAD taken for less than the median's own size (`_spread`).
MAD_FLOOR = 0.02

#: How many changes of a level make a scale. The MAD of few changes is rough: of those that vary by
#: 8 %, 2.2 in 100 are beyond 3.5 by the MAD of 8 others, and 0.9 by that of 20 (docs/anomalies.md).
#: Categories and tenants mix products that move differently, and ask for more.
MINIMUM_CHANGES = {"product": 20, "category": 30, "tenant": 50}

PRODUCT_PRICES = 60  #: a product's last prices that its scale is made from

#: What a misplaced point multiplies a price by, as it is told.
SHIFTS = {"10": 1, "100": 2, "0.1": -1, "0.01": -2}
# The price that was meant is an ordinary change away from the old one: one of less than 50 %, which
# leaves room for a sale, or up to the edge of the outliers where more is usual; but never one to
# the double or to half.
LEAST_SHIFT_TOLERANCE = math.log(1.5)
LARGEST_SHIFT_TOLERANCE = math.log(2)

_STEPS_A_UNIT = Decimal(10_000)  # prices have four decimals at most
_RATIO = Context(prec=40)  # whatever the context of the caller's thread is
_PERCENT_STEP = Decimal("0.0001")


class Scale(NamedTuple):
    """What is usual: median and MAD of the logarithms of `changes` price changes of a level."""

    level: str  #: a key of MINIMUM_CHANGES
    changes: int
    median: float
    mad: float  #: as it is, without the floor


class Reason(msgspec.Struct, frozen=True):
    """Why a change is an anomaly.

    `numbers` has what led to it and goes into JSON as it is: whole numbers, finite floats, and
    texts for amounts and percentages, which are exact.
    """

    code: str
    message: str
    numbers: dict[str, Any]
    severity: Severity


class Verdict(NamedTuple):
    """What is said of a change.

    `pct_change` is signed, rounded to 4 decimals (severities follow from the exact value), and as
    large as 10**21; None from a price of 0. `reasons` are the gravest first.
    """

    pct_change: Decimal | None
    severity: Severity
    reasons: tuple[Reason, ...]

    @property
    def is_anomaly(self) -> bool:
        return self.severity is not Severity.NONE


def log_changes(prices: Sequence[Decimal]) -> list[float]:
    """The natural logarithms of the changes between prices of one product, oldest first.

    Prices of 0 have no ratio and are left out, and a price that is repeated is no change.
    """
    positive = [steps for steps in map(_steps, prices) if steps]
    return [math.log(new / old) for old, new in pairwise(positive) if old != new]


def scale_of(level: str, changes: Sequence[float]) -> Scale | None:
    """The scale of these logarithms; None if there are fewer than MINIMUM_CHANGES of the level.

    Raises KeyError for a level that is none.
    """
    if len(changes) < MINIMUM_CHANGES[level]:
        return None
    middle = median(changes)
    return Scale(level, len(changes), middle, median(abs(change - middle) for change in changes))


def nearest_scale(samples: Iterable[tuple[str, Sequence[float]]]) -> Scale | None:
    """The first scale that these levels give, None if all histories are too short.

    Samples are (level, logarithms), the product's first. They are taken one by one, so a generator
    queries a category only for a product without a history of its own.
    """
    for level, changes in samples:
        scale = scale_of(level, changes)
        if scale is not None:
            return scale
    return None


def judge(old: Decimal, new: Decimal, scale: Scale | None) -> Verdict:
    """What to say of a change from `old` to `new`, two prices ≥ 0 as a money column holds them.

    `scale` is what was usual before the change; without one there is no robust score. A price that
    stays is no change, whatever is usual. The way back from a wrong price is judged like any
    change: it is as large, and which of the two prices was wrong is for a person to say.
    """
    if old == new:
        return Verdict(Decimal(0), Severity.NONE, ())
    if old == 0:
        return _verdict(None, [_from_zero(new)])
    found = [_percent_change(old, new)]
    if new > 0:
        change = math.log(_steps(new) / _steps(old))
        found = [_decimal_shift(old, new, change, scale), *found, _robust_score(change, scale)]
    return _verdict(_percent(old, new), [reason for reason in found if reason])


def _verdict(percent: Decimal | None, reasons: list[Reason]) -> Verdict:
    reasons.sort(key=lambda reason: _RANKS[reason.severity], reverse=True)
    severity = reasons[0].severity if reasons else Severity.NONE
    return Verdict(percent, severity, tuple(reasons))


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


def _steps(price: Decimal) -> int:
    # Whole numbers have the same ratio to the last bit in any unit, as decimals have, and the 59
    # changes of a product take 35 µs of CPU where quotients of decimals took 80.
    return int(price * _STEPS_A_UNIT)


def _percent(old: Decimal, new: Decimal) -> Decimal:
    exact = _RATIO.divide(100 * (new - old), old)
    return exact.quantize(_PERCENT_STEP, ROUND_HALF_EVEN, _RATIO)


def _percent_change(old: Decimal, new: Decimal) -> Reason | None:
    distance = 100 * abs(new - old)  # at most 22 digits: exact, as is the product below
    for percent, above, severity in THRESHOLDS:
        if old > above and distance >= percent * old:
            changed = _percent(old, new)
            numbers = {"percent": str(changed), "threshold": percent, "old_price": _plain(old)}
            numbers |= {"over": above} if above else {}
            return Reason(
                "percent_change", _percent_message(changed, percent, above), numbers, severity
            )
    return None


def _percent_message(changed: Decimal, percent: int, above: int) -> str:
    verb = "rose" if changed > 0 else "fell"
    condition = f" for prices over {above}" if above else ""
    return f"the price {verb} by {abs(changed):,.2f} %; the threshold is {percent} %{condition}"


def _from_zero(new: Decimal) -> Reason:
    message = f"the price was 0 and is {_plain(new)} now: more than any percentage"
    return Reason(
        "from_zero", message, {"old_price": "0", "new_price": _plain(new)}, Severity.EXTREME
    )


def _robust_score(change: float, scale: Scale | None) -> Reason | None:
    if scale is None:
        return None
    spread = _spread(scale)
    score = _MAD_IN_DEVIATIONS * (change - scale.median) / spread
    if abs(score) <= Z_THRESHOLD:
        return None
    numbers = {
        "z": round(score, 4),
        "threshold": Z_THRESHOLD,
        "log_change": round(change, 6),
        "median": round(scale.median, 6),
        "mad": round(scale.mad, 6),
        "mad_used": round(spread, 6),
        "changes": scale.changes,
        "level": scale.level,
    }
    message = (
        f"the change is unusual for the {scale.level}: its modified z-score by {scale.changes} "
        f"earlier changes is {score:.2f}; the threshold is {Z_THRESHOLD}"
    )
    return Reason("robust_score", message, numbers, Severity.NOTABLE)


def _spread(scale: Scale) -> float:
    # Prices that go up and down by like steps have a median of one step up, if there are a few more
    # rises, and a MAD that is only the spread among rises: every fall would be an outlier.
    return max(scale.mad, abs(scale.median), MAD_FLOOR)


def _decimal_shift(old: Decimal, new: Decimal, change: float, scale: Scale | None) -> Reason | None:
    tolerance = _shift_tolerance(scale)
    for factor, places in SHIFTS.items():
        rest = change - places * math.log(10)
        if abs(rest) <= tolerance:
            suspected = _plain(new.scaleb(-places, _RATIO))
            numbers = {
                "factor": factor,
                "suspected_price": suspected,
                "old_price": _plain(old),
                "new_price": _plain(new),
                "log_change_without_factor": round(rest, 6),
                "tolerance": round(tolerance, 6),
            }
            message = (
                f"the price is about {factor} times the one before: {suspected} was probably "
                "meant, unless the one before was the mistake"
            )
            return Reason("decimal_shift", message, numbers, Severity.EXTREME)
    return None


def _plain(amount: Decimal) -> str:
    """Without an exponent, and without the zeros that fill a column's decimals."""
    return f"{amount.normalize(_RATIO):f}"


def _shift_tolerance(scale: Scale | None) -> float:
    if scale is None:
        return LEAST_SHIFT_TOLERANCE
    usual = abs(scale.median) + Z_THRESHOLD * _spread(scale) / _MAD_IN_DEVIATIONS
    return min(max(LEAST_SHIFT_TOLERANCE, usual), LARGEST_SHIFT_TOLERANCE)
