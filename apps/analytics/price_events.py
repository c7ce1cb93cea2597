"""A price event: the product's new price, its history and what is said of the change, at once."""

from decimal import Decimal
from uuid import UUID, uuid4

from apps.analytics import price_statements, price_wire, scales
from apps.analytics.price_requests import PriceRequest
from apps.analytics.price_rows import Event, Found, Move, Outcome
from apps.core import attempts
from apps.core.idempotency import Answer, Key
from apps.core.problems import Problem
from apps.webhooks import kinds, outbox
from headrace.pricing import detection
from headrace.pricing.detection import Verdict

PROCESSED, UNCHANGED = "processed", "unchanged"


class PriceChanged(Exception):
    """The caller wanted another price to be there than `price`, which is."""

    def __init__(self, price: Decimal) -> None:
        super().__init__()
        self.price = price


def accept(tenant: UUID, product: UUID, key: Key, asked: PriceRequest) -> Answer:
    """Take in a price, once for its idempotency key. Raises Problem and PriceChanged.

    If only the acknowledgement of a commit was lost, the next try finds the key.
    """
    print_ = asked.fingerprint(str(product))

    def transaction() -> tuple[Answer, bool]:
        with price_statements.current().transaction(tenant):
            return _accept(tenant, product, key, print_, asked)

    answer, is_told = attempts.until_done(transaction)
    if is_told:  # Django may know nothing of the transaction, and rings after its own
        outbox.ring()
    return answer


def _accept(
    tenant: UUID, product: UUID, key: Key, print_: str, asked: PriceRequest
) -> tuple[Answer, bool]:
    """The answer, and whether an event was put into the outbox."""
    statements = price_statements.current()
    found = statements.look(tenant, product, key)
    if found is None:
        raise Problem("not_found", "Check the address and whose it is.")
    if found.kept is not None:
        return found.kept.answer(print_), False
    if asked.strict and asked.old_price != found.price:
        # Not kept under the key: it has no effect, and the same request may succeed later.
        raise PriceChanged(found.price)
    verdict = _verdict(tenant, found, asked.new_price)
    event = _event(tenant, product, found, asked, verdict)
    is_told = verdict.is_anomaly and _tell(event)
    answer = Answer(201, price_wire.encode(price_wire.told(event)).decode(), location="")
    move = None if event.status == UNCHANGED else _move(found)
    statements.write(
        Outcome(event, move, verdict.is_anomaly, key, print_, answer, found.has_old_answer)
    )
    return answer, is_told


def _tell(event: Event) -> bool:
    told = price_wire.told(event)
    return outbox.put(event.tenant_id, kinds.PRICE_ANOMALY, told, event.product_id)


def _verdict(tenant: UUID, found: Found, new: Decimal) -> Verdict:
    is_change = new != found.price
    scale = scales.usual(tenant, found.category, found.prices) if is_change else None
    return detection.judge(found.price, new, scale)


def _event(
    tenant: UUID, product: UUID, found: Found, asked: PriceRequest, verdict: Verdict
) -> Event:
    percent = verdict.pct_change
    return Event(
        event_id=uuid4(),
        tenant_id=tenant,
        product_id=product,
        old_price=found.price,
        new_price=asked.new_price,
        claimed_old_price=asked.old_price,
        pct_change=None if percent is None else price_wire.digits(percent),
        severity=verdict.severity.value,
        reasons=price_wire.encode(verdict.reasons).decode(),
        source=asked.source,
        metadata=asked.metadata,
        status=UNCHANGED if asked.new_price == found.price else PROCESSED,
        processed_at=found.moment,
    )


def _move(found: Found) -> Move:
    """From now to where the interval ends that is cut, or else to where the next one begins."""
    end = found.current.end if found.current else found.next_start
    return Move(interval=uuid4(), sequence=found.sequence, end=end, cut=found.current)
