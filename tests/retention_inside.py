"""What test_retention.py has done inside processes that have Django set up for a database.

Every function prints nothing and returns what json can say.
"""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

from django.conf import settings
from django.db.models import F
from django.db.models.functions import Now

from apps.core import jobs, objects, retention, worker
from apps.core.isolation import tenant_reading, tenant_transaction
from apps.core.jobs import Claims, Lease
from apps.core.models import IdempotencyKey, Job, JobState, Priority
from apps.ingestions import retention as ingestion_retention
from apps.ingestions.models import Chunk, ChunkState, RejectRows, Segment, Upload
from headrace.pipeline.errors import LeaseLost

MINUTE = 1 / 24 / 60  # of a day
WEEK = 7.0


def chunk(tenant: UUID, number: int = 1, *, days: float, dropped: float | None = None, **more: Any):
    """A chunk that settled so long ago, with all that retention may ever drop."""
    own = uuid5(tenant, str(number))
    row = Chunk.objects.create(
        id=own,
        upload=Upload.objects.create(id=uuid5(own, "upload"), tenant_id=tenant),
        tenant_id=tenant,
        number=number,
        entity="customers",
        filename="customers.ndjson",
        source=_object(f"sources/{tenant}/{own}"),
        bytes=1,
        is_planned=True,
        outcomes=b"" if dropped else b"letters",
        lines_received=9,
        **{"state": ChunkState.COMPLETED, "ended_at": Now(), "inserted": 9, **more},
    )
    _set_back(row, settled_at=days, details_dropped_at=dropped)
    if not dropped:
        _add_details(row)
    return row


def _object(key: str, hours: float = 240) -> str:
    """An object that was written so long ago."""
    path = settings.HEADRACE_HOME / "objects" / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")  # the store would flush each of thousands to the disk
    _age(path, hours)
    return key


def _age(path: Path, hours: float) -> None:
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))


def _set_back(row: Any, **days: float | None) -> None:
    ages = {name: age and Now() - timedelta(days=age) for name, age in days.items()}
    type(row)._base_manager.filter(pk=row.pk).update(**ages)


def _add_details(row: Chunk) -> None:
    Segment.objects.create(chunk=row, number=0, low="", high="", report=b"report")
    with tenant_transaction(row.tenant_id):
        RejectRows.objects.bulk_create(
            RejectRows(
                chunk=row, tenant_id=row.tenant_id, first_line=1, rows=1, codes=[], blob=b"x" * 100
            )
            for _ in range(row.rejected)
        )


def clean() -> None:
    """One whole cleanup, as a worker does it."""
    Job.objects.filter(kind=retention.CLEANUP).delete()
    retention.sweep()
    while (lease := Claims("worker").next()) is not None:
        worker.execute(lease)
    assert [job.state for job in Job.objects.filter(kind=retention.CLEANUP)] == [JobState.DONE]


def kept(row: Chunk) -> str:
    """What is left of a chunk, in words."""
    row.refresh_from_db()
    with tenant_reading(row.tenant_id):
        rejects = RejectRows.objects.filter(chunk=row).count()
    found = {
        "outcomes": row.outcomes,
        "rejects": rejects,
        "segments": row.segments.exists(),
        "dropped": row.details_dropped_at,
        "source": row.source,
        "object": _objects().get(str(row.pk)),
        "counters": row.inserted == row.lines_received == 9,
    }
    return " ".join(name for name, value in found.items() if value)


def _objects() -> dict[str, Path]:
    found = (settings.HEADRACE_HOME / "objects" / "sources").rglob("*")
    return {path.name: path for path in found if path.is_file()}


def rules() -> dict[str, str]:
    """What is left of chunks of every kind on both sides of their time."""
    young, old = WEEK - MINUTE, WEEK + MINUTE
    cases: dict[str, dict[str, Any]] = {
        "clean, young": {"days": young},
        "clean, old": {"days": old},
        "rejected, young": {"days": young, "rejected": 2},
        "rejected, old": {"days": old, "rejected": 2},
        "rejected, dropped lately": {"days": 2 * WEEK, "rejected": 2, "dropped": young},
        "rejected, dropped long ago": {"days": 2 * WEEK, "rejected": 2, "dropped": old},
        "parked, old": {"days": 2 * WEEK, "parked": 1},
        "running, old": {"days": 2 * WEEK, "state": ChunkState.PROMOTING, "ended_at": None},
        "resumed, old": {"days": 2 * WEEK, "state": ChunkState.RECEIVED, "ended_at": None},
        "failed, young": {"days": young, "state": ChunkState.FAILED},
        "failed, old": {"days": old, "state": ChunkState.FAILED},
        "cancelled with rejects, old": {
            "days": old,
            "rejected": 1,
            "state": ChunkState.CANCELLED,
        },
    }
    tenants = (uuid4(), uuid4())
    rows = {
        name: chunk(tenants[number % 2], number, **case)
        for number, (name, case) in enumerate(cases.items())
    }
    clean()
    return {name: kept(row) for name, row in rows.items()}


def short_sources() -> dict[str, str]:
    """Chunks of three days, for settings that keep sources for two."""
    tenant = uuid4()
    rows = {
        "clean": chunk(tenant, 1, days=3),
        "rejected": chunk(tenant, 2, days=3, rejected=1),
    }
    clean()
    return {name: kept(row) for name, row in rows.items()}


def rows_by_age() -> dict[str, list[str]]:
    """The keys, jobs and uploads that are left, by what they were."""
    tenant, hour = uuid4(), 1 / 24
    for name, age in {"young": 1 - MINUTE, "old": 1 + MINUTE}.items():
        facts = {"fingerprint": "", "status": 201, "location": "", "body": ""}
        _set_back(
            IdempotencyKey.objects.create(tenant_id=tenant, scope="file", key=name, **facts),
            created_at=age,
        )
    for name, state, age in (
        ("young", JobState.DONE, WEEK - MINUTE),
        ("old", JobState.DONE, WEEK + MINUTE),
        ("failed, old", JobState.FAILED, WEEK + MINUTE),
        ("cancelled, old", JobState.CANCELLED, WEEK + MINUTE),
    ):
        job = Job.objects.create(
            kind="t", subject=uuid4(), tenant_id=tenant, state=state, error=name
        )
        _set_back(job, ended_at=age)
    waits = Job.objects.create(kind="t", subject=uuid4(), tenant_id=tenant, error="waits, old")
    _set_back(waits, created_at=2 * WEEK, run_after=-1)
    for name, created, expires in (
        ("young", WEEK - hour, None),
        ("old", WEEK + hour, None),
        ("old, expired lately", 2 * WEEK, WEEK - hour),
        ("expired long ago", 2 * WEEK, WEEK + hour),
        ("with a file", 2 * WEEK, WEEK + hour),
    ):
        upload = Upload.objects.create(tenant_id=tenant, token=f"{tenant} {name}")
        _set_back(upload, created_at=created, expires_at=expires)
    file = chunk(tenant, days=1)
    Chunk.objects.filter(pk=file.pk).update(
        upload=Upload.objects.get(token=f"{tenant} with a file")
    )
    clean()
    own = {"tenant_id": tenant}
    uploads = Upload.objects.filter(token__startswith=f"{tenant} ")
    return {
        "keys": sorted(IdempotencyKey.objects.filter(**own).values_list("key", flat=True)),
        "jobs": sorted(Job.objects.filter(**own).values_list("error", flat=True)),
        "uploads": sorted(upload.token.partition(" ")[2] for upload in uploads),
    }


def orphans() -> dict[str, list[str]]:
    """The objects that are left, by what they were."""
    tenant, folder = uuid4(), f"sources/{uuid4()}"
    named = chunk(tenant, days=1, rejected=1)
    shared = chunk(tenant, 2, days=1)
    Chunk.objects.filter(pk=shared.pk).update(source=_object(f"{folder}/named by another id"))
    _object("others/old", 25)
    for name, hours in {"young": 23.9, "old": 24.1}.items():
        _object(f"{folder}/{name}", hours)
        _object(f"{folder}/{uuid5(tenant, name)}", hours)
        _object(f"{folder}/{name}.0123.part", hours)
    names = {str(uuid5(tenant, "young")): "young id", str(named.pk): "named"}
    clean()
    left = {names.get(name, name) for name in _objects()}
    return {
        "sources": sorted(left),
        "others": [path.name for path in (settings.HEADRACE_HOME / "objects/others").iterdir()],
    }


def another_database() -> list[bool]:
    """Whether an old orphan is left in a store that belongs to another database, and in ours."""
    _object(key := f"sources/{uuid4()}/orphan")
    path = settings.HEADRACE_HOME / "objects" / key
    objects.store().put(objects.OWNER, [b"2001-01-01T00:00:00+00:00"])
    clean()
    is_left = [path.exists()]
    objects.store().delete(objects.OWNER)
    clean()
    return [*is_left, path.exists()]


def scratch() -> list[str]:
    """The scratch folders that are left, by what they were."""
    kinds = {}
    for name, state, hours in (
        ("done", JobState.DONE, 1.1),
        ("done, young", JobState.DONE, 0.9),
        ("queued", JobState.QUEUED, 9),
        ("running", JobState.RUNNING, 9),
    ):
        job = Job.objects.create(kind="t", subject=uuid4(), tenant_id=uuid4(), state=state)
        _set_back(job, run_after=-1)
        kinds[_scratch_folder(str(job.pk), hours)] = name
    kinds[_scratch_folder("123456789", 2)] = "job removed"
    kinds[_scratch_folder("notes", 2)] = "not ours"
    clean()
    return sorted(name for path, name in kinds.items() if path.exists())


def _scratch_folder(name: str, hours: float) -> Path:
    folder = settings.HEADRACE_HOME / "scratch" / name
    (folder / "claim").mkdir(parents=True)
    (folder / "claim" / "segment.rows").write_bytes(b"x")
    _age(folder, hours)
    return folder


def old_holder() -> dict[str, Any]:
    """What a worker still does to each step's matter after another took its job over."""
    old, tenant = WEEK + 1, uuid4()
    with_rejects, without = chunk(tenant, 1, days=old, rejected=1), chunk(tenant, 2, days=old)
    _object(key := f"sources/{tenant}/orphan")
    Job.objects.filter(kind=retention.CLEANUP).delete()
    retention.sweep()
    lease = Claims("first").next()
    Job.objects.filter(pk=lease.job).update(epoch=F("epoch") + 1)
    ends = [_end(lease, step) for step in retention.STEPS]
    return {
        "ends": sorted(set(ends)),
        "kept": [kept(with_rejects), kept(without), objects.store().open(key).read().decode()],
    }


def _end(lease: Lease, step: Callable[[Lease], bool]) -> str:
    try:
        return f"left {step(lease)}"
    except LeaseLost:
        return "lost"


def sweeps() -> dict[str, list[Any]]:
    """The cleanup jobs after each of several situations and another sweep."""
    own = Job.objects.filter(kind=retention.CLEANUP)
    own.delete()
    told = {}

    def look(situation: str) -> None:
        retention.sweep()
        listed = own.order_by("id").values_list("state", "priority")
        told[situation] = [f"{state} {Priority(rank).name}" for state, rank in listed]

    look("none")
    look("queued")
    lease = Claims("worker").next()
    look("running")
    lease.end(JobState.DONE)
    look("ended now")
    own.update(ended_at=Now() - timedelta(minutes=59))
    look("ended 59 minutes ago")
    own.update(ended_at=Now() - timedelta(minutes=61))
    look("ended 61 minutes ago")
    own.filter(state=JobState.QUEUED).update(created_at=Now() - timedelta(minutes=61))
    look("queued 61 minutes ago")
    job = own.first()
    return told | {"whose": [str(job.tenant_id), job.subject == retention.SUBJECT]}


def crowd(tenants: str, chunks: str) -> None:
    """Many old and young chunks of many tenants, the same in every database."""
    for number in range(int(tenants)):
        _crowd_of_one(uuid5(retention.NOBODY, str(number)), int(chunks))


def _crowd_of_one(tenant: UUID, chunks: int) -> None:
    upload = Upload.objects.create(id=tenant, tenant_id=tenant)
    rows = [
        Chunk(
            id=(own := uuid5(tenant, str(number))),
            upload=upload,
            tenant_id=tenant,
            number=number,
            entity="customers",
            state=ChunkState.COMPLETED,
            source=_object(f"sources/{tenant}/{own}"),
            bytes=1,
            outcomes=b"letters",
            rejected=2 * (number % 4 == 1),
            parked=number % 4 == 2,
            ended_at=Now(),
            settled_at=Now() - timedelta(days=8 - 2 * (number % 4 == 3)),
        )
        for number in range(chunks)
    ]
    Chunk.objects.bulk_create(rows, batch_size=500)
    with tenant_transaction(tenant):
        RejectRows.objects.bulk_create(
            RejectRows(chunk=row, tenant_id=tenant, first_line=1, rows=1, codes=[], blob=b"x")
            for row in rows
            for _ in range(row.rejected)
        )
    for name in ("a", "b"):
        _object(f"sources/{tenant}/orphan {name}")


def everything() -> list[list[Any]]:
    """All that is left, in a form in which two databases can be compared."""
    objects = _objects()
    found: list[list[Any]] = [[name for name in sorted(objects) if "orphan" in name]]
    for row in Chunk.objects.order_by("pk"):
        has = (row.outcomes, row.details_dropped_at, row.source, str(row.pk) in objects)
        found.append([str(row.pk), *map(bool, has)])
    for tenant in Upload.objects.order_by("pk").values_list("tenant_id", flat=True):
        with tenant_reading(tenant):
            found.append([str(tenant), RejectRows.objects.count()])
    return found


def clean_when_told(number: str) -> str:
    """One cleanup of several at once, each a job of its own."""
    jobs.enqueue(retention.CLEANUP, retention.SUBJECT, retention.NOBODY)
    claims, ends = Claims(f"worker {number}"), []
    while (lease := claims.next()) is not None:
        worker.execute(lease)
        ends.append(Job.objects.get(pk=lease.job).state)
    return " ".join(sorted(set(ends)))


def claims_of_a_tired_cleanup() -> list[Any]:
    """The state of the job after each claim, in a process whose claims tire at once."""
    tenant = uuid4()
    rows = [chunk(tenant, number, days=8) for number in range(2)]
    Job.objects.filter(kind=retention.CLEANUP).delete()
    retention.sweep()
    states = []
    while (lease := Claims("worker").next()) is not None:
        worker.execute(lease)
        job = Job.objects.get(pk=lease.job)
        states.append([job.state, job.attempts, job.error])
    return [states[0], states[-1][0], len(states) > 2, [kept(row) for row in rows]]


def too_much_for_one_transaction() -> dict[str, Any]:
    """A chunk with one page of rejects more than a transaction removes, batch by batch."""
    row = chunk(uuid4(), days=8, rejected=ingestion_retention.PAGES + 1)
    retention.sweep()
    lease = Claims("worker").next()
    ingestion_retention.drop_details(lease)
    begun = kept(row)
    with tenant_reading(row.tenant_id):
        rejects = RejectRows.objects.filter(chunk=row).count()
    while ingestion_retention.drop_details(lease):
        pass
    return {
        "after a batch": begun.replace("rejects ", ""),
        "rejects then": rejects,
        "at the end": kept(row),
    }


def carried_over(key: str) -> dict[str, Any]:
    """What the second migration made of a chunk of the first."""
    row = Chunk.objects.get(pk=key)
    return {
        "reject_groups": row.reject_groups,
        "settled": row.settled_at == row.ended_at is not None,
        "dropped": row.details_dropped_at,
        "rejected": row.rejected,
    }
