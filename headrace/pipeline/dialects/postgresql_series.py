"""What a process remembers of its last segments, to guess about the next ones."""

from uuid import UUID


class Series:
    """The tenants and record types of which this process has last landed new rows only.

    No more than a guess about the next rows: it may be forgotten, and be wrong.
    """

    MOST = 1_000

    def __init__(self) -> None:
        self._known: set[tuple[UUID, str]] = set()

    def __contains__(self, series: tuple[UUID, str]) -> bool:
        return series in self._known

    def note(self, series: tuple[UUID, str], *, is_new: bool) -> None:
        """Remember whether nothing was stored of a segment's rows."""
        if not is_new:
            self._known.discard(series)
            return
        if len(self._known) >= self.MOST:
            self._known.clear()
        self._known.add(series)
