"""Invariants 2, 4 and 5: the target tables are what the files make of them."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

from headrace.entities import BY_NAME, ENTITIES, TABLES
from headrace.schema import SERVER_NOW, Entity, Interval
from tests.chaos import lines
from tests.chaos.accounts import ENDED
from tests.chaos.calls import Calls, landed, named
from tests.chaos.evidence import Evidence, Row, broken
from tests.chaos.lines import OUTCOMES, Damaged
from tests.records import Record
from tests.reference import SentLine, final_rows

LINE_BITS = 32
MAY_HAVE_WRITTEN = ("inserted", "updated", "unchanged")  # an equal row takes the newer sequence
LANDS = (*MAY_HAVE_WRITTEN, "superseded")


class Place(NamedTuple):
    """A tenant's part of a table."""

    tenant: str
    entity: str

    def __str__(self) -> str:
        return f"table {self.entity} of tenant {self.tenant}"


def check(evidence: Evidence, found: "Found") -> Iterator[str]:
    yield from _tables(found)
    yield from _rows(found)
    yield from _references(evidence)
    yield from _strays(evidence)
    for entity in ENTITIES:
        if entity.interval is not None:
            yield from _intervals(entity, entity.interval, evidence.table(entity.name))


class Found:
    """Rows and lines of every place, in the one form in which equal values are equal.

    `undecided` are places of which a file's bytes or outcomes are gone: nothing can be said of
    them but that their rows name a file.
    """

    def __init__(self, evidence: Evidence) -> None:
        self.tenants = {row["tenant_id"]: row for row in evidence.table("tenants")}
        self.chunks = {
            (chunk["tenant_id"], chunk["number"]): chunk for chunk in evidence.chunks.values()
        }
        self.calls = Calls(evidence)
        self.lines: dict[Place, dict[int, SentLine]] = defaultdict(dict)
        self.rows: dict[Place, dict[str, Row]] = defaultdict(dict)
        self.undecided: set[Place] = set()
        for chunk in evidence.chunks.values():
            self._read(evidence, chunk)
        for entity in ENTITIES:
            for row in evidence.table(entity.name):
                self.rows[Place(row["tenant_id"], entity.name)][row[entity.key]] = row

    def _read(self, evidence: Evidence, chunk: Row) -> None:
        place = Place(chunk["tenant_id"], chunk["entity"])
        if not chunk["is_planned"] or chunk["state"] not in ENDED:
            return
        try:
            physical = lines.physical_lines(evidence, chunk)
        except Damaged:
            return  # then nothing of it may have landed
        if physical is None or not chunk["outcomes"]:
            self.undecided.add(place)
            return
        zone = _zone(self.tenants.get(place.tenant, {}).get("time_zone", "UTC"))
        letters = lines.letters(chunk)
        for number, (letter, line) in enumerate(zip(letters, physical, strict=False), 1):
            outcome = OUTCOMES.get(letter)
            if outcome in LANDS:
                values = lines.record(BY_NAME[place.entity], line, zone)
                if chunk["event_key"]:
                    values.setdefault(BY_NAME[place.entity].key, named(chunk, number))
                sequence = (chunk["number"] << LINE_BITS) + number
                self.lines[place][sequence] = SentLine(sequence, outcome, values)

    def of_calls(self, place: Place) -> set[str]:
        """The keys of the movements that stock calls brought, as far as can be told."""
        entity = BY_NAME[place.entity]
        if entity.levels is None:
            return set()
        sent = self.lines[place]
        of_files = {line.values[entity.key] for line in sent.values() if line.outcome == "inserted"}
        return {
            key
            for key, row in self.rows[place].items()
            if key not in of_files
            and not _is_of_line(entity, key, sent.get(row["source_sequence"]))
            and self.calls.may_have_made(place.tenant, entity, row)
        }


def _is_of_line(entity: Entity, key: str, line: SentLine | None) -> bool:
    return line is not None and bool(line.values[entity.key] == key)


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _tables(found: Found) -> Iterator[str]:
    for place in sorted({*found.lines, *found.rows} - found.undecided):
        entity = BY_NAME[place.entity]
        rows, sent = found.rows[place], list(found.lines[place].values())
        yield from _inserted_once(place, entity, sent, found.of_calls(place))
        sent = found.calls.last_word(place.tenant, entity, rows, sent)
        expected = final_rows(entity, sent)
        found.calls.apply(place.tenant, entity, expected, rows)
        stored = {
            key: {field.name: lines.stored(field, row[field.name]) for field in entity.as_sent}
            for key, row in rows.items()
        }
        if entity.levels is not None:
            yield from _movements_of_calls(found, place)
            expected |= {key: stored[key] for key in found.of_calls(place) - expected.keys()}
        for key in expected.keys() & stored.keys():
            _leave_out_what_the_server_chose(entity, expected[key], stored[key])
        if _digest(expected) != _digest(stored):
            yield broken(2, str(place), *_difference(expected, stored))


def _movements_of_calls(found: Found, place: Place) -> Iterator[str]:
    least, most = landed(found.calls.movements[place.tenant])
    rows = len(found.of_calls(place))
    if not least <= rows <= most:
        yield broken(2, str(place), f"{least} to {most} events of stock calls", rows)


def _inserted_once(
    place: Place, entity: Entity, sent: list[SentLine], of_calls: set[str]
) -> Iterator[str]:
    times: dict[str, int] = {line.values[entity.key]: 0 for line in sent}
    for line in sent:
        times[line.values[entity.key]] += line.outcome == "inserted"
    still = _may_change_nothing(entity, sent) | of_calls
    for key, number in times.items():
        if number != 1 and not (number == 0 and key in still):
            yield broken(2, f"{place}, key {key}", "one line that inserted it", number)


def _may_change_nothing(entity: Entity, sent: list[SentLine]) -> set[str]:
    """The keys of events of which no line says a change: they may all be `unchanged`."""
    if entity.levels is None:
        return set()
    changes = {line.values[entity.key] for line in sent if line.values.get(entity.levels.change)}
    return {line.values[entity.key] for line in sent} - changes


def _leave_out_what_the_server_chose(entity: Entity, expected: Record, stored: Record) -> None:
    """Times, and the change that leads to a level that was said: levels.py looks at that."""
    change = entity.levels.change if entity.levels else ""
    for field in entity.as_sent:
        is_ours = field.default is SERVER_NOW or field.name == change
        if is_ours and expected[field.name] is None:
            stored[field.name] = None


def _digest(table: dict[str, Record]) -> str:
    texts = (f"{key} {lines.spelled(values)}\n" for key, values in sorted(table.items()))
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def _difference(expected: dict[str, Record], stored: dict[str, Record]) -> tuple[str, str]:
    """Both tables in a few words, with what differs in the first row that does."""
    keys = sorted({*expected, *stored})
    differing = [
        key for key in keys if lines.spelled(expected.get(key)) != lines.spelled(stored.get(key))
    ]
    first = differing[0]
    one, other = expected.get(first), stored.get(first)
    both = f"{len(differing)} rows differ, the first at key {first}"
    return (
        f"{len(expected)} rows of hash {_digest(expected)[:12]}, {_cells(one, other)}",
        f"{len(stored)} of hash {_digest(stored)[:12]}, {_cells(other, one)} ({both})",
    )


def _cells(row: Record | None, other: Record | None) -> str:
    """The cells of a row that are not those of the other."""
    if row is None or other is None:
        return "no row" if row is None else "a row"
    return lines.spelled({name: row[name] for name in row if row[name] != other[name]})


def _rows(found: Found) -> Iterator[str]:
    for place, rows in found.rows.items():
        if place.tenant not in found.tenants:
            yield broken(4, str(place), "rows of known tenants only", f"{len(rows)} rows")
        of_calls = found.of_calls(place)
        for key, row in rows.items():
            expected = None if key in of_calls else _origin(found, place, key, row)
            if expected is not None:
                number, line = divmod(row["source_sequence"], 1 << LINE_BITS)
                named = f"line {line} of file {number}"
                yield broken(4, f"{place}, key {key}", expected, named)


def _origin(found: Found, place: Place, key: str, row: Row) -> str | None:
    """What is expected of the line that a row names, if it is not so."""
    entity = BY_NAME[place.entity]
    if entity.levels is None and found.calls.may_have_made(place.tenant, entity, row):
        return None
    chunk = found.chunks.get((place.tenant, row["source_sequence"] >> LINE_BITS))
    if chunk is None or chunk["entity"] != place.entity:
        return f"a file of {place.entity} of its tenant"
    if place in found.undecided:
        return None
    line = found.lines[place].get(row["source_sequence"])
    if line is None or line.outcome not in MAY_HAVE_WRITTEN:
        return f"a line that is one of {MAY_HAVE_WRITTEN}"
    if line.values[BY_NAME[place.entity].key] != key:
        return "a line with its key"
    return None


def _references(evidence: Evidence) -> Iterator[str]:
    for entity in TABLES.values():
        for reference in entity.references:
            key = BY_NAME[reference.entity].key
            there = {(row["tenant_id"], row[key]) for row in evidence.table(reference.entity)}
            for row in evidence.table(entity.name):
                wanted = row[reference.field]
                if wanted is not None and (row["tenant_id"], wanted) not in there:
                    where = f"{Place(row['tenant_id'], entity.name)}, key {row[entity.key]}"
                    expected = f"a row of {reference.entity} of its tenant"
                    yield broken(4, where, expected, f"{reference.field} {wanted}")


def _strays(evidence: Evidence) -> Iterator[str]:
    """Rejects and parked lines of a chunk that is not there, or is another tenant's."""
    for table in ("rejects", "parked"):
        for row in evidence.table(table):
            chunk = evidence.chunks.get(row["chunk_id"])
            if chunk is None or chunk["tenant_id"] != row["tenant_id"]:
                where = f"{table}, row {row['id']} of tenant {row['tenant_id']}"
                yield broken(4, where, "a chunk of its tenant", f"chunk {row['chunk_id']}")


def _intervals(entity: Entity, interval: Interval, rows: list[Row]) -> Iterator[str]:
    owners = defaultdict(list)
    start, end = entity.field(interval.start), entity.field(interval.end)
    for row in rows:
        span = (lines.stored(start, row[start.name]), lines.stored(end, row[end.name]))
        owners[row["tenant_id"], row[interval.owner]].append((*span, row[entity.key]))
    for (tenant, owner), spans in owners.items():
        where = f"{Place(tenant, entity.name)}, {interval.owner} {owner}"
        ordered = sorted(spans, key=lambda span: (span[0], span[2]))
        for one, other in pairwise(ordered):
            if one[1] is None or other[0] < one[1]:
                yield broken(5, where, "intervals apart", f"{one[2]} and {other[2]} that overlap")
        still_open = [key for _, until, key in spans if until is None]
        if len(still_open) > 1:
            yield broken(5, where, "at most one open interval", still_open)
