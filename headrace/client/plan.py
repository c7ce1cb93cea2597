"""What a folder holds to be sent: data files by tenant, in load order, and what is left out."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.entities import ENTITIES, entity_of_file
from headrace.pipeline import formats
from headrace.pipeline.formats import compression

TENANTS_FILE = "tenants.csv"
ENDINGS = tuple(
    ending + packed for ending in formats.ENDINGS for packed in ("", *compression.ENDINGS.values())
)
NAME_SHAPE = "<entity>_<tenant-uuid>[_chunk_NNNN].<ndjson, jsonl, json, csv or tsv>[.gz or .zst]"

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_REJECTS = r"(\.rejects(-\d+)?)?"  # refused lines that were mended (rejected.py)
_NAME = re.compile(
    rf"(?P<entity>.+?)_(?P<tenant>{_UUID})(_chunk_\d+)?{_REJECTS}(?P<ending>\..*)?", re.I
)
_HAS_UUID = re.compile(rf"_{_UUID}", re.I)
_LOAD_ORDER = {entity.name: number for number, entity in enumerate(ENTITIES)}


class PlanError(Exception):
    """The folder, or the choice made in it, gives nothing that could be sent."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file to send; `size` in bytes."""

    path: Path
    entity: str
    tenant_id: str
    size: int

    @property
    def name(self) -> str:
        return self.path.name


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is named like data and is not sent."""

    filename: str
    reason: str


@dataclass(frozen=True, slots=True)
class TenantFiles:
    """A tenant's files, parents before children. `name` is empty without a tenants.csv."""

    tenant_id: str
    name: str
    files: tuple[DataFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run would send from `data_dir`."""

    data_dir: Path
    tenants: tuple[TenantFiles, ...]
    skipped: tuple[Skipped, ...]

    @property
    def files(self) -> tuple[DataFile, ...]:
        return tuple(file for tenant in self.tenants for file in tenant.files)


def read(data_dir: Path, only_tenant: str | None = None) -> Plan:
    """The plan of a folder, for one tenant or for all.

    Tenants are those of tenants.csv, in its order, or those of the file names where there is
    no such file. Raises PlanError if there is no folder or nothing to send in it.
    """
    if not data_dir.is_dir():
        raise PlanError(f"data directory {data_dir} does not exist")
    try:
        found, skipped = _sorted_out(data_dir)
        names = _chosen_tenants(data_dir, found, only_tenant)
    except OSError as error:
        raise PlanError(f"cannot read {data_dir}: {error}") from error
    skipped += [
        Skipped(file.name, f"tenant {file.tenant_id} is not in {TENANTS_FILE}")
        for file in found
        if only_tenant is None and file.tenant_id not in names
    ]
    tenants = tuple(_tenants(names, found))
    if not tenants:
        raise PlanError(_nothing_to_send(data_dir, found, skipped, only_tenant))
    return Plan(data_dir, tenants, tuple(sorted(skipped, key=lambda one: one.filename)))


def _sorted_out(data_dir: Path) -> tuple[list[DataFile], list[Skipped]]:
    found: list[DataFile] = []
    skipped: list[Skipped] = []
    for path in sorted(data_dir.iterdir()):
        if path.is_file() and _looks_like_data(path.name):
            reason = _why_not(path.name)
            if reason:
                skipped.append(Skipped(path.name, reason))
            else:
                found.append(_data_file(path))
    return found, skipped


def _looks_like_data(name: str) -> bool:
    return bool(_HAS_UUID.search(name)) or entity_of_file(name) is not None


def _why_not(name: str) -> str:
    """Why a file named like data is none; empty if it is."""
    shape = _NAME.fullmatch(name)
    if shape is None:
        return f"its name is not of the form {NAME_SHAPE}"
    if shape["entity"].lower() not in _LOAD_ORDER:
        return f"unknown entity {shape['entity']!r}; known are {', '.join(_LOAD_ORDER)}"
    if (shape["ending"] or "").lower() not in ENDINGS:
        return f"unsupported ending {shape['ending'] or ''!r}; supported are {', '.join(ENDINGS)}"
    return ""


def _data_file(path: Path) -> DataFile:
    shape = _NAME.fullmatch(path.name)
    assert shape is not None
    return DataFile(path, shape["entity"].lower(), shape["tenant"].lower(), path.stat().st_size)


def _chosen_tenants(
    data_dir: Path, found: list[DataFile], only_tenant: str | None
) -> dict[str, str]:
    """Id to name of the tenants to send, in their order."""
    listed = _listed_tenants(data_dir / TENANTS_FILE)
    if only_tenant is not None:
        tenant = only_tenant.strip().lower()
        return {tenant: (listed or {}).get(tenant, "")}
    if listed is None:
        return dict.fromkeys(sorted({file.tenant_id for file in found}), "")
    return listed


def _listed_tenants(path: Path) -> dict[str, str] | None:
    if not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.DictReader(file)
        if "tenant_id" not in (rows.fieldnames or ()):
            raise PlanError(f"{path} has no column tenant_id")
        return {
            row["tenant_id"].strip().lower(): row.get("name") or ""
            for row in rows
            if row["tenant_id"]
        }


def _tenants(names: dict[str, str], found: list[DataFile]) -> Iterator[TenantFiles]:
    for tenant_id, name in names.items():
        files = [file for file in found if file.tenant_id == tenant_id]
        files.sort(key=lambda file: (_LOAD_ORDER[file.entity], file.name))
        if files:
            yield TenantFiles(tenant_id, name, tuple(files))


def _nothing_to_send(
    data_dir: Path, found: list[DataFile], skipped: list[Skipped], only_tenant: str | None
) -> str:
    where = f"in {data_dir}"
    if only_tenant is not None and found:
        others = ", ".join(sorted({file.tenant_id for file in found}))
        return f"no data files of tenant {only_tenant} {where}; there are files of {others}"
    reasons = "".join(f"\n  {one.filename}: {one.reason}" for one in skipped)
    return f"no data files {where}; they are named {NAME_SHAPE}{reasons}"
