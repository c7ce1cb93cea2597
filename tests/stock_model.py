"""What stock calls must come to, in few lines: a product, its level, and the events that count."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Said(NamedTuple):
    """What an event says: a change, or a level and perhaps which one it expects to find."""

    delta: int | None = None
    set: int | None = None
    expected: int | None = None

    def contradicts(self, other: "Said") -> bool:
        """What is left out contradicts nothing."""
        return any(mine not in (None, its) for mine, its in zip(self, other, strict=True))


@dataclass
class Shelf:
    """A product; `known` has what each event that counts did."""

    level: int = 0
    known: dict[str, Said] = field(default_factory=dict)

    def take(self, events: list[tuple[str, Said]]) -> int:
        """Apply the events of a call that are new, all of them or none; how many count now."""
        level, said_now, did = self.level, dict[str, Said](), dict[str, Said]()
        stands = True
        for name, said in events:
            if (before := self.known.get(name) or said_now.get(name)) is not None:
                stands &= not said.contradicts(before)
            else:
                found, level = level, level + said.delta if said.set is None else said.set
                stands &= level >= 0 and said.expected in (None, found)
                said_now[name], did[name] = said, Said(level - found, level, found)
        if stands:
            self.level, self.known = level, self.known | did
            return len(events)
        return sum(
            name in self.known and not said.contradicts(self.known[name]) for name, said in events
        )
