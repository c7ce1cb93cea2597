"""What a generated dataset's truth file says, and whether the road says the same of every line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from headrace.client import plan
from headrace.synth.faults.truth import TRUTH
from tests import road

FORMATS = ["ndjson", "csv", "tsv"]
DELIMITERS = {".csv": ",", ".tsv": "\t"}
SHOWN = 20


class Told(NamedTuple):
    """The answer to one physical line; no outcome for what is no record."""

    outcome: str | None
    code: str = ""
    field: str = ""
    parent: str = ""
    key: str = ""


PLAIN = Told("inserted")
NO_RECORD = Told(None)


def entries(folder: Path) -> list[dict[str, Any]]:
    """The lines of a dataset's truth file."""
    return [json.loads(line) for line in (folder / TRUTH).read_bytes().splitlines()]


def read(folder: Path) -> dict[str, dict[int, Told]]:
    """By file and physical line what must be answered; lines left out must be PLAIN."""
    told: dict[str, dict[int, Told]] = {}
    for entry in entries(folder):
        answer = Told(**{name: entry[name] for name in Told._fields if name in entry})
        told.setdefault(entry["file"], {})[entry["line"]] = answer
    return told


def land(
    database: road.Database, folder: Path, scratch: Path
) -> Iterator[tuple[plan.DataFile, road.LocalLedger]]:
    """Every file of the dataset down the road once, tenant by tenant, in load order."""
    for tenant in plan.read(folder).tenants:
        database.tenant = UUID(tenant.tenant_id)
        for number, file in enumerate(tenant.files, 1):
            facts = {"tenant": database.tenant, "number": number, **_format(file.name)}
            yield file, road.land(database, scratch, file.entity, file.path.read_bytes(), **facts)


def _format(name: str) -> dict[str, str]:
    """What a load must be told of a file that is not NDJSON."""
    found = [delimiter for ending, delimiter in DELIMITERS.items() if ending in name]
    return {"format": "csv", "delimiter": found[0]} if found else {}


def differences(database: road.Database, folder: Path, scratch: Path) -> list[str]:
    """Land a dataset and say of which lines the road and the truth differ, the first of each file.

    The tables of the dataset's tenants must be empty.
    """
    truth = read(folder)
    found = []
    for file, ledger in land(database, folder, scratch):
        found += _differences(file.name, truth.pop(file.name, {}), answers(ledger))
    return found + [f"{name}: is told of, and was not landed" for name in truth]


def _differences(name: str, told: dict[int, Told], found: dict[int, Told]) -> list[str]:
    expected = dict.fromkeys(found, PLAIN)
    if _format(name):
        expected[1] = NO_RECORD  # the header
    expected |= told
    lines = [line for line in expected if found.get(line) != expected[line]]
    return [
        f"{name}, line {line}: expected {expected[line]}, found {found.get(line)}"
        for line in lines[:SHOWN]
    ]


def answers(ledger: road.LocalLedger) -> dict[int, Told]:
    """What the road said of each physical line."""
    found = {line: Told(outcome) for line, outcome in enumerate(ledger.outcome_by_line(), 1)}
    for reject in ledger.rejects:
        found[reject.line] = found[reject.line]._replace(code=reject.code, field=reject.field)
    for parked in ledger.parked:
        told = {"field": parked.field, "parent": parked.entity, "key": parked.key}
        found[parked.line] = found[parked.line]._replace(**told)
    return found
