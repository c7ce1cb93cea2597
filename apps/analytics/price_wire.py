"""Price events as JSON: money as numbers with the digits that count, times in UTC."""

from decimal import Decimal
from typing import Any

import msgspec

from apps.core import wire

_NOTHING = msgspec.Raw(b"null")
encode = msgspec.json.Encoder().encode


def told(event: Any) -> dict[str, Any]:
    """The answer to a price call, from its event as a row or as a model."""
    reasons = msgspec.Raw(event.reasons.encode())
    return {
        "event_id": event.event_id,
        "product_id": event.product_id,
        "old_price": number(event.old_price),
        "new_price": number(event.new_price),
        "claimed_old_price": number(event.claimed_old_price),
        "pct_change": _raw(event.pct_change),
        "anomaly_detected": event.severity != "none",
        "anomaly_reason": _first_message(event),
        "reasons": reasons,
        "severity": event.severity,
        "status": event.status,
        "source": event.source,
        "processed_at": wire.instant(event.processed_at),
    }


def anomaly(event: Any) -> dict[str, Any]:
    """A line of the anomalies; its cursor is where to follow on behind it."""
    return {
        **told(event),
        "metadata": _raw(event.metadata),
        "cursor": str(event.feed_number),
    }


def _first_message(event: Any) -> str | None:
    """The gravest reason in words."""
    if event.severity == "none":
        return None
    return str(msgspec.json.decode(event.reasons)[0]["message"])


def number(amount: Decimal | None) -> msgspec.Raw:
    """A JSON number of exactly this value."""
    return _NOTHING if amount is None else msgspec.Raw(digits(amount).encode())


def digits(amount: Decimal) -> str:
    """Without an exponent, and without the zeros that fill a column's decimals."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _raw(text: str | None) -> msgspec.Raw:
    return _NOTHING if text is None else msgspec.Raw(text.encode())
