"""What a process remembers of its last segments, to guess about the next ones."""

from uuid import UUID

_Series = tuple[UUID, str, int]


class Series:
    """The tenants, record types and masks of which this process has last landed new rows only.

    No more than a guess about the next rows: it may be forgotten, and be wrong.
    """

    MOST = 1_000

    def __init__(self) -> None:
        self._known: set[_Series] = set()

    def __contains__(self, series: _Series) -> bool:
        return series in self._known

    def note(self, series: _Series, *, is_new: bool) -> None:
        """Remember whether nothing was stored of a segment's rows."""
        if not is_new:
            self._known.discard(series)
            return
        if len(self._known) >= self.MOST:
            self._known.clear()
        self._known.add(series)
