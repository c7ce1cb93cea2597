"""Which intervals are refused, as it is meant: lists that are searched from end to end.

headrace/pipeline/overlaps.py must say the same. Spans are dialects.base.Span.
"""

from collections import defaultdict
from typing import Any

from headrace.pipeline.dialects.base import Span


def refused_lines(spans: list[Span]) -> list[int]:
    """The lines of staged spans that are refused, given the stored ones (line 0) too."""
    stored = {span.id: span for span in spans if not span.line}
    lines: dict[Any, list[Span]] = defaultdict(list)
    for span in sorted(spans, key=lambda span: span.line):
        if span.line:
            lines[span.id].append(span)
    replacing = {
        id_
        for id_, span in stored.items()
        if any(line.owner == span.owner for line in lines.get(id_, ()))
    }
    order = sorted(lines, key=lambda id_: (id_ not in replacing, lines[id_][0].line))
    refused = []
    certain = {id_: _certain(span, lines.get(id_, [])) for id_, span in stored.items()}
    held = dict(certain)
    waiting = set(order)
    while waiting:
        id_ = next(one for one in order if one in waiting)
        waiting.remove(id_)
        others = [span for other in held if other != id_ for span in held[other]]
        while lines[id_] and not _fits(lines[id_][-1], others):
            refused.append(lines[id_].pop())
        held[id_] = lines[id_][-1:]
        if id_ not in stored or [span.owner for span in held[id_]] == [stored[id_].owner]:
            continue
        for other in others:
            if other.line and overlap(other, stored[id_]):
                refused.append(lines[other.id].pop())
                held[other.id] = certain[other.id]
                waiting.add(other.id)
        held[id_] = [*held[id_], stored[id_]]
    return sorted(span.line for span in refused)


def _certain(stored: Span, lines: list[Span]) -> list[Span]:
    """The part of its place that an interval keeps, whichever of its lines is taken."""
    lines = [span for span in lines if not is_empty(span)]
    if any(span.owner != stored.owner for span in lines):
        return [stored]
    part = stored
    for span in lines:
        ends = [end for end in (part.end, span.end) if end is not None]
        part = part._replace(start=max(part.start, span.start), end=min(ends, default=None))
    return [] if is_empty(part) else [part]


def _fits(span: Span, others: list[Span]) -> bool:
    return not is_empty(span) and not any(overlap(span, other) for other in others)


def is_empty(span: Span) -> bool:
    return span.end is not None and not span.start < span.end


def overlap(one: Span, other: Span) -> bool:
    return (
        one.owner == other.owner
        and (other.end is None or one.start < other.end)
        and (one.end is None or other.start < one.end)
    )
