"""Which intervals of a segment must be refused so that no two of an owner overlap.

Stored intervals that staged lines replace leave their places, all at once: a file may move each to
where another was. Whose lines are all refused stays where it is, and lines that counted on its
place are refused, too. So of lines that overlap none of each other only those are refused that
have to be, whatever their order. Of those that do, the ones that replace a stored interval go
first, then by line: a file may open the next interval before the line that ends the last one.
"""

import heapq
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from headrace.pipeline.dialects.base import Span


def overlapping(spans: list[Span]) -> list[Span]:
    """The staged spans that must be refused, by line; `spans` has all of their owners, stored ones
    included, which overlap none of each other.

    Of the spans of one id the last that fits is kept, and those before it are left to be
    superseded. Takes some n log n comparisons of n spans.
    """
    return sorted(_Settlement(spans).refused(), key=lambda span: span.line)


class _Settlement:
    """Ids that look for a place, one after the other."""

    def __init__(self, spans: list[Span]) -> None:
        self._refused: list[Span] = []
        self._stored = {span.id: span for span in spans if not span.line}
        self._staged: dict[Any, list[Span]] = defaultdict(list)
        for span in sorted(spans, key=lambda span: span.line):
            if span.line:
                self._staged[span.id].append(span)
        self._ranks = {id_: self._rank(id_) for id_ in self._staged}
        self._places: dict[Any, _Places] = defaultdict(_Places)
        self._held: dict[Any, list[Span]] = defaultdict(list)
        self._cores = {id_: self._core(span) for id_, span in self._stored.items()}
        for id_, core in self._cores.items():
            self._hold(id_, core)

    def refused(self) -> list[Span]:
        self._waiting = [(rank, id_) for id_, rank in self._ranks.items()]
        heapq.heapify(self._waiting)
        while self._waiting:
            _, id_ = heapq.heappop(self._waiting)
            self._settle(id_)
        return self._refused

    def _rank(self, id_: Any) -> tuple[bool, int]:
        """Those that replace a stored span of their owner before the others, then by first line."""
        staged, stored = self._staged[id_], self._stored.get(id_)
        replaces = stored is not None and any(span.owner == stored.owner for span in staged)
        return not replaces, staged[0].line

    def _core(self, stored: Span) -> list[Span]:
        """What an id holds while it waits: the part of its place that it has wherever it settles.

        Who moves to another owner holds all of it until the segment has landed. The other owner
        may be in a segment of its own, and whether that lands is not known here.
        """
        own = [stored, *filter(_lasts, self._staged.get(stored.id, ()))]
        if len({span.owner for span in own}) > 1:
            return [stored]
        ends = [span.end for span in own if span.end is not None]
        start, end = max(span.start for span in own), min(ends, default=None)
        common = stored._replace(start=start, end=end)
        return [common] if _lasts(common) else []

    def _settle(self, id_: Any) -> None:
        staged, stored = self._staged[id_], self._stored.get(id_)
        while staged and not self._fits(staged[-1]):
            self._refused.append(staged.pop())
        settled = staged[-1:]
        if stored and not any(span.owner == stored.owner for span in settled):
            self._evict_others(stored)
            settled.append(stored)
        self._hold(id_, settled)

    def _fits(self, span: Span) -> bool:
        met = self._places[span.owner].meeting(span)
        return _lasts(span) and all(other.id == span.id for other in met)

    def _evict_others(self, stored: Span) -> None:
        """Whoever has settled where a stored span stays after all has to look for a place again."""
        for other in list(self._places[stored.owner].meeting(stored)):
            if other.line and other.id != stored.id:
                self._refused.append(self._staged[other.id].pop())
                self._hold(other.id, self._cores[other.id])
                heapq.heappush(self._waiting, (self._ranks[other.id], other.id))

    def _hold(self, id_: Any, spans: list[Span]) -> None:
        for span in self._held[id_]:
            self._places[span.owner].remove(span)
        for span in spans:
            self._places[span.owner].add(span)
        self._held[id_] = spans


class _Places:
    """Spans of an owner that overlap none of each other, by their starts: neighbours are all that
    a span can meet."""

    def __init__(self) -> None:
        self._starts: list[Any] = []
        self._spans: list[Span] = []

    def meeting(self, span: Span) -> Iterator[Span]:
        """Those that overlap a span."""
        at = bisect_right(self._starts, span.start)
        if at and _is_before(span.start, self._spans[at - 1].end):
            yield self._spans[at - 1]
        while at < len(self._spans) and _is_before(self._starts[at], span.end):
            yield self._spans[at]
            at += 1

    def add(self, span: Span) -> None:
        at = bisect_left(self._starts, span.start)
        self._starts.insert(at, span.start)
        self._spans.insert(at, span)

    def remove(self, span: Span) -> None:
        at = bisect_left(self._starts, span.start)
        del self._starts[at], self._spans[at]


def _lasts(span: Span) -> bool:
    return _is_before(span.start, span.end)


def _is_before(moment: Any, end: Any) -> bool:
    """Whether a moment comes before an end, which is None if there is none."""
    return bool(end is None or moment < end)
