"""The account of a run, as data; `tables` shows it to people."""

import sys
from collections.abc import Iterable
from typing import Any

import msgspec

from headrace.client.answers import EntityStatus, Outcomes
from headrace.client.errors import KeyRefused
from headrace.client.ingestion import Ingestion
from headrace.client.plan import DataFile, Plan, Skipped
from headrace.client.tenant_run import CHUNK_FAILED, Failure, TenantRun

LANDED = 0
NOT_ALL = 1
USAGE = 2
CANNOT_CONNECT = 3
KEY_REFUSED = 4
INTERRUPTED = 130


class EntityAccount(msgspec.Struct):
    """`files` and `bytes` as sent; lines and outcomes are None while nobody waited for them."""

    files: int
    bytes: int
    lines_received: int | None = None
    outcomes: Outcomes | None = None
    balanced: bool | None = None


class FileTally(msgspec.Struct):
    """How many files there were and how each came to the server, or did not."""

    found: int = 0
    sent: int = 0
    already_accepted: int = 0
    failed: int = 0


class TenantAccount(msgspec.Struct):
    """What became of one tenant's files. `status` is the server's word, None if not waited for."""

    tenant_id: str
    name: str
    upload_token: str
    continued: bool
    status: str | None
    rejects_url: str
    rejects_files: list[str]
    journal: str
    files: FileTally
    entities: dict[str, EntityAccount]
    totals: EntityAccount
    reject_codes: dict[str, int]
    level_mismatches: int
    failed_files: list[Failure]


class Account(msgspec.Struct):
    """What `--json` prints. `seconds` is this run's wall clock; the rate is lines over it."""

    api_url: str
    data_dir: str
    waited: bool
    exit_code: int
    error: dict[str, Any] | None
    seconds: float
    rows_per_second: float | None
    tenants: list[TenantAccount]
    totals: EntityAccount
    skipped: list[Skipped]


def account(ingestion: Ingestion) -> Account:
    """The account of a run that has ended."""
    tenants = [_tenant(run) for run in ingestion.runs]
    totals = _sum(tenant.totals for tenant in tenants)
    lines = totals.lines_received
    seconds = round(ingestion.seconds, 3)
    error = ingestion.halted
    return Account(
        api_url=ingestion.options.api_url,
        data_dir=str(ingestion.plan.data_dir),
        waited=ingestion.options.wait,
        exit_code=exit_code(ingestion),
        error={"code": error.code, "message": error.detail} if error else None,
        seconds=seconds,
        rows_per_second=round(lines / max(seconds, 0.001), 1) if lines is not None else None,
        tenants=tenants,
        totals=totals,
        skipped=list(ingestion.plan.skipped),
    )


def exit_code(ingestion: Ingestion) -> int:
    """0 all landed or accepted, 1 not all, 3 cannot connect, 4 a key was refused."""
    if ingestion.halted is not None:
        return CANNOT_CONNECT
    if any(isinstance(run.refusal, KeyRefused) for run in ingestion.runs):
        return KEY_REFUSED
    landed = all(_is_whole(run, ingestion.options.wait) for run in ingestion.runs)
    return LANDED if landed else NOT_ALL


def dry_run(plan: Plan) -> dict[str, Any]:
    """What `--dry-run --json` prints: every file that would be sent, `order` from 1 a tenant."""
    return {
        "dry_run": True,
        "data_dir": str(plan.data_dir),
        "tenants": [
            {
                "tenant_id": tenant.tenant_id,
                "name": tenant.name,
                "files": [_planned(number, file) for number, file in enumerate(tenant.files, 1)],
            }
            for tenant in plan.tenants
        ],
        "totals": {"files": len(plan.files), "bytes": sum(file.size for file in plan.files)},
        "skipped": plan.skipped,
    }


def write_json(document: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")


def _planned(number: int, file: DataFile) -> dict[str, Any]:
    return {"order": number, "filename": file.name, "entity": file.entity, "bytes": file.size}


def _is_whole(run: TenantRun, waited: bool) -> bool:
    if run.failures or not run.has_every_file:
        return False
    if not waited:
        return True
    status = run.status
    if status is None or status.files.failed or not status.balanced:
        return False
    outcomes = status.outcomes
    return status.status == "completed" and not (
        outcomes.rejected or outcomes.parked or outcomes.unprocessed
    )


def _tenant(run: TenantRun) -> TenantAccount:
    entities = _entities(run)
    status = run.status
    failures = run.failures + _failed_chunks(run)
    return TenantAccount(
        tenant_id=run.tenant.tenant_id,
        name=run.tenant.name,
        upload_token=run.token,
        continued=run.continued,
        status=status.status if status else None,
        rejects_url=f"{run.client.base_url}/ingest/sessions/{run.token}/rejects/"
        if run.token
        else "",
        rejects_files=[str(path) for path in run.rejects_files],
        journal=str(run.journal.path),
        files=FileTally(
            len(run.tenant.files), len(run.sent), len(run.already_accepted), len(failures)
        ),
        entities=entities,
        totals=_sum(entities.values()),
        reject_codes=status.reject_codes if status else {},
        level_mismatches=status.level_mismatches if status else 0,
        failed_files=failures,
    )


def _entities(run: TenantRun) -> dict[str, EntityAccount]:
    accounts: dict[str, EntityAccount] = {}
    for file in run.tenant.files:
        mine = accounts.setdefault(file.entity, EntityAccount(0, 0))
        mine.files += 1
        mine.bytes += file.size
    landed = run.status.entities if run.status else {}
    return {name: _with_lines(mine, landed.get(name)) for name, mine in accounts.items()}


def _with_lines(mine: EntityAccount, status: EntityStatus | None) -> EntityAccount:
    if status is None:
        return mine
    balanced = status.outcomes.total == status.lines_received
    return EntityAccount(mine.files, mine.bytes, status.lines_received, status.outcomes, balanced)


def _sum(accounts: Iterable[EntityAccount]) -> EntityAccount:
    total = EntityAccount(0, 0)
    for one in accounts:
        total.files += one.files
        total.bytes += one.bytes
        if one.lines_received is not None and one.outcomes is not None:
            total.lines_received = (total.lines_received or 0) + one.lines_received
            total.outcomes = (total.outcomes or Outcomes()) + one.outcomes
            total.balanced = total.balanced is not False and bool(one.balanced)
    return total


def _failed_chunks(run: TenantRun) -> list[Failure]:
    """Files that were accepted and then could not be landed."""
    return [
        Failure(chunk.filename, chunk.code or chunk.status, chunk.message or "")
        for chunk in (run.status.chunks if run.status else [])
        if chunk.status in CHUNK_FAILED
    ]
