"""Invariant 1: one outcome a line, and the outcomes sum to the lines."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tests.chaos import lines
from tests.chaos.evidence import Evidence, Row, broken, label
from tests.chaos.lines import OUTCOMES, Damaged

LANDED = ("completed", "completed_with_rejects")
BROKEN = ("failed", "corrupt", "cancelled")
ENDED = (*LANDED, *BROKEN)
Status = Callable[[str, str], dict[str, Any]]


def check(evidence: Evidence) -> Iterator[str]:
    pages, waiting, segments = (
        _by_chunk(evidence.table(name)) for name in ("rejects", "parked", "segments")
    )
    for chunk in evidence.chunks.values():
        if chunk["state"] not in ENDED:
            continue
        yield from _sums(chunk)
        yield from _state(chunk)
        if chunk["state"] in LANDED and segments[chunk["id"]]:
            number = len(segments[chunk["id"]])
            yield broken(1, label(chunk), "no segment of a landed chunk", f"{number} of them")
        if not chunk["is_planned"]:
            yield from _nothing_landed(chunk)
        elif not chunk.get("details_dropped_at"):
            yield from _outcomes(evidence, chunk)
            yield from _kept(chunk, "r", "rejects", _rejected_lines(pages[chunk["id"]]))
            parked = [row["line"] for row in waiting[chunk["id"]]]
            yield from _kept(chunk, "p", "parked rows", parked)


def statuses(evidence: Evidence, status_of: Status) -> Iterator[str]:
    """Whether each upload's status is the sum of its chunks; `status_of` gives it over HTTP."""
    by_upload = defaultdict(list)
    for chunk in evidence.chunks.values():
        by_upload[chunk["upload_id"]].append(chunk)
    for upload in evidence.table("uploads"):
        own = by_upload[upload["id"]]
        sums = {name: sum(chunk[name] for chunk in own) for name in OUTCOMES.values()}
        expected = {"lines": sum(chunk["lines_received"] for chunk in own), **sums}
        status = status_of(upload["tenant_id"], upload["token"])
        found = {"lines": status["lines_received"], **status["outcomes"]}
        if found != expected:
            yield broken(1, f"status of upload {upload['token']}", expected, found)


def _by_chunk(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found = defaultdict(list)
    for row in rows:
        found[row["chunk_id"]].append(row)
    return found


def _sums(chunk: Row) -> Iterator[str]:
    counted = sum(chunk[name] for name in OUTCOMES.values())
    if counted != chunk["lines_received"]:
        expected = f"{chunk['lines_received']} lines by counter"
        yield broken(1, label(chunk), expected, counted)
    negative = {name: chunk[name] for name in OUTCOMES.values() if chunk[name] < 0}
    if negative:
        yield broken(1, label(chunk), "no counter below zero", negative)
    if "reject_groups" in chunk and not chunk.get("details_dropped_at"):
        grouped = sum(group["lines"] for group in json.loads(chunk["reject_groups"]))
        if grouped != chunk["rejected"]:
            yield broken(1, label(chunk), f"{chunk['rejected']} rejects by group", grouped)


def _state(chunk: Row) -> Iterator[str]:
    if chunk["state"] in LANDED:
        expected = LANDED[chunk["rejected"] > 0]
        if chunk["state"] != expected:
            found = f"{chunk['state']} with {chunk['rejected']} rejected"
            yield broken(1, label(chunk), f"state {expected}", found)
        if chunk["unprocessed"]:
            found = f"{chunk['state']} with {chunk['unprocessed']}"
            yield broken(1, label(chunk), "no unprocessed line of a landed chunk", found)
    if chunk["code"] == "sum_rule":
        yield broken(1, label(chunk), "outcomes that sum to the lines", chunk["message"])
    if chunk["state"] == "corrupt" and chunk["is_planned"]:
        yield broken(1, label(chunk), "no plan for a corrupt file", "one")


def _nothing_landed(chunk: Row) -> Iterator[str]:
    decided = {
        name: chunk[name] for name in OUTCOMES.values() if name != "unprocessed" and chunk[name]
    }
    if decided or chunk["outcomes"]:
        found = decided or "outcomes by line"
        yield broken(1, label(chunk), "no outcome in a file that was not read to its end", found)


def _outcomes(evidence: Evidence, chunk: Row) -> Iterator[str]:
    found = lines.letters(chunk)
    by_line = Counter(found)
    by_counter = {name: chunk[name] for name in OUTCOMES.values()}
    if by_counter != {name: by_line[letter] for letter, name in OUTCOMES.items()}:
        yield broken(1, label(chunk), f"counters {by_counter}", f"letters {dict(by_line)}")
    if unknown := by_line.keys() - OUTCOMES.keys() - {" "}:
        yield broken(1, label(chunk), f"letters of {''.join(OUTCOMES)}", sorted(unknown))
    try:
        physical = lines.physical_lines(evidence, chunk)
    except Damaged as damage:
        landed = sum(by_line[letter] for letter in "iuns")
        expected = f"nothing of a damaged file ({damage})"
        yield broken(1, label(chunk), expected, f"{landed} lines landed")
        return
    if physical is not None:
        yield from _second_count(chunk, found, physical)


def _second_count(chunk: Row, found: str, physical: list[bytes]) -> Iterator[str]:
    blank = [lines.is_blank(line) for line in physical]
    records = blank.count(False)
    if records != chunk["lines_received"]:
        yield broken(1, label(chunk), f"{records} lines of its source", chunk["lines_received"])
    if [letter == " " for letter in found] != blank:
        expected = f"an outcome for each of {records} records among {len(physical)} lines"
        yield broken(1, label(chunk), expected, f"{len(found)} letters that do not match them")


def _rejected_lines(pages: list[Row]) -> list[int]:
    return [reject["line"] for page in pages for reject in lines.rejects(page)]


def _kept(chunk: Row, letter: str, what: str, found: list[int]) -> Iterator[str]:
    """Whether the lines that have the letter are those that are kept, once each."""
    expected = [at for at, outcome in enumerate(lines.letters(chunk), 1) if outcome == letter]
    if sorted(found) != expected:
        differ = sorted((Counter(found) - Counter(expected)) + (Counter(expected) - Counter(found)))
        expected_lines = f"{what} for the {len(expected)} lines {OUTCOMES[letter]}"
        yield broken(1, label(chunk), expected_lines, f"{len(found)}; lines {differ[:5]} differ")
