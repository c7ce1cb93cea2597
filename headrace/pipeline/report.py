"""Outcomes, rejects and the sums over them: what a load says about every line it received."""

import zlib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

Lines = npt.NDArray[np.int64]  #: physical line numbers, from 1
NO_LINES: Lines = np.empty(0, np.int64)
PAGE_ROWS = 2_000
MAX_GROUPS = 200  # of a chunk; a repeated key may have any name
_STEP = 1 << 14  # bytes of a page that are unpacked at once
_ENCODER = msgspec.json.Encoder()


def among(lines: Lines, chosen: Lines) -> Lines:
    """Those of the lines that are chosen. No line stands twice in either."""
    return lines[np.isin(lines, chosen, assume_unique=True)]


def without(lines: Lines, others: Lines) -> Lines:
    """The lines that are not among the others. No line stands twice in either."""
    return lines[np.isin(lines, others, assume_unique=True, invert=True)] if len(others) else lines


class Outcome(StrEnum):
    """What became of a line; exactly one each. `letter` is its spelling in the compact form."""

    def __new__(cls, name: str, letter: str, about: str) -> "Outcome":
        member = str.__new__(cls, name)
        member._value_ = name
        member.letter = ord(letter)
        member.about = about
        return member

    letter: int
    about: str

    INSERTED = "inserted", "i", "a new row"
    UPDATED = "updated", "u", "a row that was there and differed"
    UNCHANGED = "unchanged", "n", "a row that was there and is equal"
    SUPERSEDED = "superseded", "s", "a newer record of the same key won"
    REJECTED = "rejected", "r", "refused, with a code"
    PARKED = "parked", "p", "waits for the row it refers to"
    UNPROCESSED = "unprocessed", "x", "not reached: the chunk failed or was cancelled"


Counts = dict[Outcome, int]
_BLANK = ord(" ")


def no_counts() -> Counts:
    """A zero for every outcome."""
    return dict.fromkeys(Outcome, 0)


class LineOutcomes:
    """One character a physical line; one on which no record begins, is a space.

    The compact form compresses about a hundredfold: 200,000 outcomes take 2 kB.
    """

    def __init__(self, letters: bytearray | None = None) -> None:
        self._letters = bytearray() if letters is None else letters

    @classmethod
    def unpack(cls, blob: bytes) -> "LineOutcomes":
        """The outcomes that `pack` wrote."""
        return cls(bytearray(zlib.decompress(blob)))

    def pack(self) -> bytes:
        return zlib.compress(bytes(self._letters), 6)

    def append_lines(self, lines: int, blanks: list[int], gaps: list[range]) -> None:
        """Count `lines` more physical lines, none decided yet.

        On those of `blanks` and `gaps` no record begins.
        """
        self._letters += bytes([Outcome.UNPROCESSED.letter]) * lines
        for line in blanks:
            self._letters[line - 1] = _BLANK
        for gap in gaps:
            self._letters[gap.start - 1 : gap.stop - 1] = bytes([_BLANK]) * len(gap)

    def mark(self, lines: Lines, outcome: Outcome) -> None:
        """Decide these lines."""
        np.frombuffer(self._letters, dtype=np.uint8)[lines - 1] = outcome.letter

    def lines_of(self, outcome: Outcome) -> Lines:
        """The lines of that outcome, in order."""
        return np.flatnonzero(np.frombuffer(self._letters, np.uint8) == outcome.letter) + 1

    def counts(self) -> Counts:
        return {outcome: self._letters.count(outcome.letter) for outcome in Outcome}

    def outcome_of(self, line: int) -> Outcome | None:
        """The outcome of a physical line; None for one on which no record begins."""
        letter = self._letters[line - 1]
        return next((outcome for outcome in Outcome if outcome.letter == letter), None)

    @property
    def records(self) -> int:
        """How many lines are records."""
        return len(self._letters) - self._letters.count(_BLANK)

    @property
    def physical_lines(self) -> int:
        return len(self._letters)


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with a record: where, what stood there, what was expected."""

    code: str
    field: str
    value: str
    message: str


class Reject(msgspec.Struct, frozen=True, omit_defaults=True):
    """A refused line with its first fault; `more` has the others."""

    line: int
    offset: int
    stage: str
    code: str
    field: str
    value: str
    message: str
    more: tuple[Fault, ...] = ()

    @classmethod
    def of(cls, line: int, offset: int, stage: str, faults: tuple[Fault, ...]) -> "Reject":
        """The reject of a line with at least one fault."""
        first, *more = faults
        return cls(
            line,
            offset,
            stage,
            first.code,
            first.field,
            first.value,
            f"line {line}, {first.field or 'record'}: {first.message}",
            tuple(more),
        )


class Parked(msgspec.Struct, frozen=True):
    """A line that waits: `field` refers to the `key` of a row of `entity` that is not there."""

    line: int
    offset: int
    field: str
    entity: str
    key: str


class Group(msgspec.Struct):
    """Rejected lines whose first fault has this code and field; `line` is one of them."""

    code: str
    field: str
    lines: int
    line: int
    value: str
    message: str


class Groups:
    """Rejects grouped by code and field; beyond MAX_GROUPS the field is not told apart."""

    def __init__(self, groups: Iterable[Group] = ()) -> None:
        self._found = {(group.code, group.field): group for group in groups}

    def __iter__(self) -> Iterator[Group]:
        """The largest first."""
        return iter(sorted(self._found.values(), key=lambda group: -group.lines))

    def add(self, reject: Reject) -> None:
        sample = (reject.line, reject.value, reject.message)
        self.join(Group(reject.code, reject.field, 1, *sample))

    def join(self, group: Group) -> None:
        """Count in a group that was found elsewhere."""
        is_known = (group.code, group.field) in self._found
        field = group.field if is_known or len(self._found) < MAX_GROUPS else ""
        known = self._found.get((group.code, field))
        if known is None:
            self._found[group.code, field] = msgspec.structs.replace(group, field=field)
        else:
            known.lines += group.lines


class RejectPage(msgspec.Struct, frozen=True):
    """Up to PAGE_ROWS rejects, compressed; a million rejects take some 20 MB."""

    first_line: int
    rows: int
    groups: list[Group]
    blob: bytes


def pages(rejects: Iterable[Reject]) -> Iterator[RejectPage]:
    """The rejects, in the order given, as pages."""
    batch: list[Reject] = []
    for reject in rejects:
        batch.append(reject)
        if len(batch) == PAGE_ROWS:
            yield _page(batch)
            batch = []
    if batch:
        yield _page(batch)


def _page(batch: list[Reject]) -> RejectPage:
    groups = Groups()
    for reject in batch:
        groups.add(reject)
    blob = zlib.compress(_ENCODER.encode_lines(batch))
    first_line = min(reject.line for reject in batch)
    return RejectPage(first_line, len(batch), list(groups), blob)


def rejects_of(blob: bytes) -> Iterator[Reject]:
    """The rejects of a page's blob, unpacked bit by bit: hundreds of pages are open at once."""
    decode, unpacked = msgspec.json.Decoder(Reject).decode, zlib.decompressobj()
    packed, rest = blob, b""
    while packed:
        rest += unpacked.decompress(packed, _STEP)
        packed = unpacked.unconsumed_tail
        *lines, rest = rest.split(b"\n")
        yield from map(decode, lines)
    yield from map(decode, (rest + unpacked.flush()).splitlines())


class Fall(NamedTuple):
    """A level that was not below 0 before a segment's movements, and is after them."""

    owner: str
    level: int


class SegmentReport(msgspec.Struct):
    """What became of the lines of one segment.

    `mismatches` counts lines that landed and claim another level than the one they led to; `falls`
    are those that the load watches for.
    """

    outcomes: dict[Outcome, Lines] = msgspec.field(default_factory=dict)
    rejects: list[Reject] = msgspec.field(default_factory=list)
    parked: list[Parked] = msgspec.field(default_factory=list)
    mismatches: int = 0
    falls: list[Fall] = msgspec.field(default_factory=list)

    def add(self, outcome: Outcome, lines: Lines) -> None:
        if len(lines):
            known = self.outcomes.get(outcome)
            self.outcomes[outcome] = lines if known is None else np.concatenate((known, lines))

    def merge(self, other: "SegmentReport") -> None:
        """Take over what another part of the same segment found."""
        for outcome, lines in other.outcomes.items():
            self.add(outcome, lines)
        self.rejects += other.rejects
        self.parked += other.parked
        self.mismatches += other.mismatches
        self.falls += other.falls

    @property
    def counts(self) -> Counts:
        return no_counts() | {outcome: len(lines) for outcome, lines in self.outcomes.items()}

    def pack(self) -> bytes:
        """The lines of each outcome, delta-coded and compressed."""
        parts = [
            bytes([outcome.letter]) + len(lines).to_bytes(4, "little") + _deltas(lines)
            for outcome, lines in self.outcomes.items()
        ]
        return zlib.compress(b"".join(parts), 1)


def unpack_segment(blob: bytes) -> Iterator[tuple[Outcome, Lines]]:
    """What `SegmentReport.pack` wrote."""
    data = zlib.decompress(blob)
    by_letter = {outcome.letter: outcome for outcome in Outcome}
    position = 0
    while position < len(data):
        size = int.from_bytes(data[position + 1 : position + 5], "little")
        deltas = np.frombuffer(data, dtype="<u4", count=size, offset=position + 5)
        yield by_letter[data[position]], np.cumsum(deltas, dtype=np.int64)
        position += 5 + 4 * size


def _deltas(lines: Lines) -> bytes:
    ordered = np.sort(lines)
    return np.diff(ordered, prepend=0).astype("<u4").tobytes()
