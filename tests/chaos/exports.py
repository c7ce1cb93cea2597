"""Invariants 7 and 8 of exports: their parts are there, and hold what the tables do.

Of which state an export is cannot be seen afterwards. So rows are compared where all of its
tenant's work had ended before it was begun; of what was filtered, of Parquet, and of files for
spreadsheets, only the parts are looked at.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from headrace.entities import BY_NAME
from headrace.pipeline.formats import FORMATS
from tests.chaos import lines
from tests.chaos.evidence import Evidence, Row, broken, moment

FOLDER = "exports/"
OTHER_WORK = ("export", "cleanup", "rollup")  # changes no row of a record type
ACTIVE = ("queued", "running")
UTC_ZONE = ZoneInfo("UTC")


def check(evidence: Evidence, grace_seconds: float) -> Iterator[str]:
    named: set[str] = set()
    for export in evidence.table("exports"):
        parts = json.loads(export["parts"])
        named |= {part["key"] for part in parts}
        if export["state"] == "completed":
            yield from _parts(evidence, export, parts)
            if _is_after_all_else(evidence, export) and _can_be_read(export):
                yield from _rows(evidence, export, _bytes(evidence, parts))
        elif export["state"] not in ACTIVE and parts:
            yield broken(8, _label(export), "no parts", f"{len(parts)} parts")
    yield from _orphans(evidence, named, grace_seconds)


def _label(export: Row) -> str:
    return f"export {export['id']} of table {export['entity']} of tenant {export['tenant_id']}"


def _parts(evidence: Evidence, export: Row, parts: list[Row]) -> Iterator[str]:
    where = _label(export)
    for part in parts:
        expected = f"{part['bytes']} bytes of digest {part['sha256'][:12]}"
        path = evidence.objects.get(part["key"])
        if path is None:
            yield broken(7, f"{where}, part {part['key']}", expected, "none")
            continue
        data = path.read_bytes()
        found = f"{len(data)} bytes of digest {hashlib.sha256(data).hexdigest()[:12]}"
        if found != expected:
            yield broken(7, f"{where}, part {part['key']}", expected, found)
    for name in ("rows", "bytes"):
        together = sum(part[name] for part in parts)
        if together != export[name]:
            yield broken(8, where, f"{export[name]} {name}", f"{together} in its parts")
    if hashlib.sha256(_bytes(evidence, parts)).hexdigest() != export["sha256"]:
        yield broken(8, where, f"digest {export['sha256'][:12]}", "another")


def _bytes(evidence: Evidence, parts: list[Row]) -> bytes:
    there = (evidence.objects.get(part["key"]) for part in parts)
    return b"".join(path.read_bytes() for path in there if path)


def _is_after_all_else(evidence: Evidence, export: Row) -> bool:
    began, tenant = moment(export["started_at"]), export["tenant_id"]
    times = [
        row["ended_at"] or datetime.max.replace(tzinfo=UTC)
        for row in evidence.table("jobs")
        if row["tenant_id"] == tenant and row["kind"] not in OTHER_WORK
    ]
    calls = evidence.table("idempotency_keys")
    times += [row["created_at"] for row in calls if row["tenant_id"] == tenant]
    return all(moment(when) < began for when in times)


def _can_be_read(export: Row) -> bool:
    is_whole = not json.loads(export["filters"]) and not export["is_safe"]
    return is_whole and export["format"] in FORMATS


def _rows(evidence: Evidence, export: Row, data: bytes) -> Iterator[str]:
    entity, wanted = BY_NAME[export["entity"]], json.loads(export["columns"])
    fields = [field for field in entity.fields if field.name in wanted]
    kept = Counter(
        lines.spelled({field.name: lines.stored(field, row[field.name]) for field in fields})
        for row in evidence.table(entity.name)
        if row["tenant_id"] == export["tenant_id"]
    )
    try:
        told = Counter(_told(export, data))
    except (lines.Damaged, ValueError) as error:
        yield broken(8, _label(export), f"a file of {export['format']}", type(error).__name__)
        return
    if kept != told:
        missing, strange = (kept - told).total(), (told - kept).total()
        found = f"{told.total()} rows, {strange} of which it has not, and {missing} missing"
        yield broken(8, _label(export), f"the {kept.total()} rows of its table", found)
    if told.total() != export["rows"]:
        yield broken(8, _label(export), f"{export['rows']} rows", told.total())


def _told(export: Row, data: bytes) -> Iterator[str]:
    entity: Any = BY_NAME[export["entity"]]
    for line in lines.split(data, {**export, "delimiter": ","}) or ():
        if not lines.is_blank(line):
            yield lines.spelled(lines.record(entity, line, UTC_ZONE))


def _orphans(evidence: Evidence, named: set[str], grace_seconds: float) -> Iterator[str]:
    at_work = {row["id"] for row in evidence.table("exports") if row["state"] in ACTIVE}
    for key, path in evidence.objects.items():
        if not key.startswith(FOLDER) or key in named:
            continue
        age = time.time() - path.stat().st_mtime
        if key.split("/")[2].replace("-", "") not in at_work and age > grace_seconds:
            expected = f"an export, or less than {grace_seconds} s"
            yield broken(7, f"object {key}", expected, f"{age:.0f} s of age")
