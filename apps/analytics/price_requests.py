"""What a price call asks for: its body, checked field by field."""

from decimal import Decimal
from typing import Any, NamedTuple

from apps.core import idempotency
from apps.core.problems import Problem
from headrace.pipeline import inspection, values
from headrace.pipeline.errors import RejectCode
from headrace.pipeline.inspection import Unreadable
from headrace.pipeline.load import UTC
from headrace.pipeline.report import Fault
from headrace.pipeline.values import Refused
from headrace.schema import Boolean, Field, JsonObject, Money, Text

MOST_BYTES = 64 << 10
# Three digits fewer than a column of money has: a price of 10¹² is a mistake.
PRICE = Money(digits=16, scale=4, minimum=0)
FIELDS = (
    Field("new_price", PRICE, "what the product costs from now on", required=True),
    Field("old_price", PRICE, "what the caller believes that it cost", null=True),
    Field("source", Text(50), "who says so", default="api"),
    Field("metadata", JsonObject(), "kept with the event as it is", null=True),
    Field("strict", Boolean(), "refuse, if old_price is not ours", default=False),
)
_NAMES = frozenset(field.name for field in FIELDS)
UNKNOWN = "unknown_member"  # of files such a key is counted; a call is told
_UNREADABLE = (RejectCode.BAD_JSON, RejectCode.BAD_ENCODING)


class PriceRequest(NamedTuple):
    """A checked body; `metadata` is canonical JSON."""

    new_price: Decimal
    old_price: Decimal | None
    source: str
    metadata: str | None
    strict: bool

    def fingerprint(self, product: str) -> str:
        """The digest of what is asked for, however it is spelled."""
        told = (str(self.new_price), str(self.old_price), self.source, str(self.metadata))
        return idempotency.fingerprint("price", product, *told, str(self.strict))


def read(body: bytes) -> PriceRequest:
    """The request that a body makes. Raises Problem with every fault in it."""
    if not body.strip():
        raise Problem("invalid_request", "Send a JSON object with new_price: the body is empty.")
    try:
        record = inspection.read_object(inspection.decoded(body))
    except Unreadable as unreadable:
        raise _refusal(unreadable.faults) from None
    faults: list[Fault] = []
    texts = {field.name: _text(field, record, faults) for field in FIELDS}
    if texts["strict"] == "t" and record.get("old_price") is None:
        message = "expected the price to compare with, as strict is true"
        faults.append(Fault(RejectCode.REQUIRED, "old_price", "", message))
    faults += [_unknown(name) for name in record if name not in _NAMES]
    if faults:
        raise _refusal(faults)
    new, old = texts["new_price"], texts["old_price"]
    return PriceRequest(
        new_price=Decimal(new or 0),
        old_price=None if old is None else Decimal(old),
        source=texts["source"] or "",
        metadata=texts["metadata"],
        strict=texts["strict"] == "t",
    )


def _text(field: Field, record: dict[str, Any], faults: list[Fault]) -> str | None:
    if field.name in record:
        try:
            return values.parse(field, record[field.name], UTC)
        except Refused as refused:
            shown = values.shown(record[field.name])
            faults.append(Fault(refused.code, field.name, shown, refused.expected))
    elif field.required:
        message = f"expected {values.expectation(field.type)}, found no such member"
        faults.append(Fault(RejectCode.REQUIRED, field.name, "", message))
    return field.default if isinstance(field.default, str) else None


def _unknown(name: str) -> Fault:
    message = f"expected only {', '.join(field.name for field in FIELDS)}"
    return Fault(UNKNOWN, values.shown_key(name), "", message)


def _refusal(faults: Any) -> Problem:
    errors = [
        {
            "field": fault.field,
            "code": fault.code,
            "value": fault.value,
            "message": fault.message,
        }
        for fault in faults[: inspection.MAX_FAULTS]
    ]
    is_unreadable = faults[0].code in _UNREADABLE
    detail = "; ".join(_told(error) for error in errors)
    return Problem("invalid_request" if is_unreadable else "invalid_value", detail, errors=errors)


def _told(error: dict[str, str]) -> str:
    place = f"{error['field']}: " if error["field"] else ""
    got = f", got {error['value']}" if error["value"] else ""
    return f"{place}{error['message']}{got}"
