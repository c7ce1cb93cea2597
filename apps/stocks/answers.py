"""What a stock call is answered: every event of it counted, by product."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from headrace.pipeline.calls import Call
from headrace.pipeline.errors import FailureCode, Permanent, RejectCode
from headrace.pipeline.report import Outcome, Reject, SegmentReport

SHOWN_FAULTS = 20  # lines of a product that are told one by one
_PROCESSED = (Outcome.INSERTED, Outcome.UNCHANGED)


def processed(call: Call, report: SegmentReport) -> Counter[str]:
    """How many events of each product count now, by ascending first line."""
    found = (report.outcomes[outcome] for outcome in _PROCESSED if outcome in report.outcomes)
    lines = sorted(line for lines in found for line in lines.tolist())
    return Counter(call.owners[line] for line in lines)


def told(
    call: Call, report: SegmentReport, events: Counter[str], levels: Mapping[UUID, int]
) -> dict[str, Any]:
    """The answer; `levels` has that of every product of `events` after them.

    Raises Permanent if an event is not accounted for.
    """
    conflicts = _conflicts(call.owners, report.rejects)
    refused = sum(conflict["events_refused"] for conflict in conflicts)
    if events.total() + refused != call.received:
        told = f"{events.total()} events count and {refused} do not, of {call.received}"
        raise Permanent(FailureCode.SUM_RULE, told)
    counts = report.counts
    return {
        "status": "partial_success" if conflicts else "success",
        "applied": [
            {
                "product_id": product,
                "events_processed": number,
                "final_level": levels[UUID(product)],
            }
            for product, number in events.items()
        ],
        "conflicts": conflicts,
        "total_events_processed": events.total(),
        "events_received": call.received,
        "outcomes": {outcome.value: counts[outcome] for outcome in (*_PROCESSED, Outcome.REJECTED)},
        "level_mismatches": report.mismatches,
        "unknown_keys": call.unknown_keys,
    }


def _conflicts(owners: Mapping[int, str], rejects: Iterable[Reject]) -> list[dict[str, Any]]:
    """One for each product with refused events, one for each event whose product is not known."""
    found: dict[tuple[str | None, int], list[Reject]] = defaultdict(list)
    for reject in sorted(rejects, key=lambda reject: reject.line):
        product = owners.get(reject.line)
        found[product, 0 if product else reject.line].append(reject)
    return [_conflict(product, refused) for (product, _), refused in found.items()]


def _conflict(product: str | None, refused: list[Reject]) -> dict[str, Any]:
    """Told by the first event that is at fault itself; others were refused along with it."""
    own = [reject for reject in refused if reject.code != RejectCode.REFUSED_TOGETHER] or refused
    first = own[0]
    return {
        "product_id": product,
        "reason": first.message,
        **_place(first),
        "events_refused": len(refused),
        "faults": [{**_place(reject), "message": reject.message} for reject in own[:SHOWN_FAULTS]],
        "more_faults": max(0, len(own) - SHOWN_FAULTS),
    }


def _place(reject: Reject) -> dict[str, Any]:
    return {
        "code": reject.code,
        "line": reject.line,
        "field": reject.field,
        "value": reject.value,
    }
