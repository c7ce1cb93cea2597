"""What test_erasing.py has done inside a process that Django is set up in."""

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db.models.functions import Now

from apps.audit import services as audit
from apps.core import interventions, jobs, limits, objects
from apps.core.jobs import Claims
from apps.core.models import Job
from apps.core.problems import Problem
from apps.core.worker import execute
from apps.ingestions import sources
from apps.ingestions.models import Chunk, Upload
from apps.lifecycle import erasing, selectors, services
from apps.lifecycle.models import Erasure
from apps.tenants import issuing
from apps.tenants.models import Tenant, TenantState
from headrace.pipeline.errors import LeaseLost


def _tenant(name: str = "Leaver") -> UUID:
    """A suspended tenant, with a stored file, its chunk, and a job that waits."""
    tenant = services.create({"name": name}).tenant.pk
    _upload(tenant, name)
    services.suspend(tenant, TenantState.SUSPENDED)
    return tenant


def _upload(tenant: UUID, name: str) -> None:
    upload = Upload.objects.create(tenant_id=tenant)
    chunk = uuid4()
    source = f"{sources.FOLDER}/{tenant}/{chunk}"
    objects.store().put(source, [b"bytes"])
    facts = {"entity": "customers", "filename": f"{name}.ndjson", "bytes": 5}
    facts["number"] = Chunk.objects.filter(tenant_id=tenant).count() + 1
    Chunk.objects.create(id=chunk, upload=upload, tenant_id=tenant, source=source, **facts)
    jobs.enqueue("ingest", chunk, tenant, group=upload.pk)


def _work() -> None:
    while (lease := Claims("worker").next()) is not None:
        execute(lease)


def _erased(tenant: UUID) -> dict[str, Any]:
    asked = services.erase(tenant, str(tenant), "test")
    _work()
    found = selectors.erasure(asked.pk)
    return {name: found[name] for name in ("status", "before", "after")}


def buckets() -> list[Any]:
    """Keys in Redis of a tenant and of its neighbour: what the proof says, and what is left."""
    leaver, neighbour = _tenant(), _tenant("Neighbour")
    for tenant in (leaver, neighbour):
        limits.check(tenant, uuid4())
    proof = _erased(leaver)
    counts = [proof[when]["redis_keys"] for when in ("before", "after")]
    return [proof["status"], *counts, limits.held_in_redis(neighbour)]


def history() -> dict[str, list[str]]:
    """What the administration's history says of a tenant's rows, and what of others."""
    user = User.objects.create(username="operator")
    leaver, neighbour = _tenant(), _tenant("Neighbour")
    for tenant in (leaver, neighbour):
        rows = [Tenant.objects.get(pk=tenant), *Chunk.objects.filter(tenant_id=tenant)]
        for row in [*rows, *Job.objects.filter(tenant_id=tenant)]:
            LogEntry.objects.create(
                user=user,
                content_type=ContentType.objects.get_for_model(row),
                object_id=str(row.pk),
                object_repr=str(row)[:200],
                action_flag=2,
            )
    before = sorted(LogEntry.objects.values_list("object_repr", flat=True))
    proof = _erased(leaver)
    counted = proof["before"]["rows"]["django_admin_log"]
    after = sorted(LogEntry.objects.values_list("object_repr", flat=True))
    return {"counted": [str(counted)], "gone": sorted({*before} - {*after}), "kept": after}


def scratch() -> list[Any]:
    """Scratch folders of the tenant's jobs, and of another's."""
    leaver, neighbour = _tenant(), _tenant("Neighbour")
    folders = {}
    for tenant in (leaver, neighbour):
        job = Job.objects.get(tenant_id=tenant)
        folders[tenant] = settings.HEADRACE_HOME / "scratch" / str(job.pk) / "claim"
        folders[tenant].mkdir(parents=True)
        (folders[tenant] / "rows").write_bytes(b"a row")
        Job.objects.filter(pk=job.pk).update(state="done")  # so that nobody else clears it
    proof = _erased(leaver)
    left = [folder.parent.is_dir() for folder in folders.values()]
    shutil.rmtree(settings.HEADRACE_HOME / "scratch")
    return [proof["before"]["scratch_folders"], proof["after"]["scratch_folders"], left]


def beside_a_neighbour() -> list[Any]:
    """An erasure beside a neighbour with a job that waits, and an order for its own log that is
    newer than all: how it ends, and the neighbour's job.
    """
    leaver, neighbour = _tenant(), _tenant("Neighbour")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    Job.objects.filter(tenant_id=neighbour).update(run_after=tomorrow)
    audit.allow_erasure(neighbour, tomorrow)
    proof = _erased(leaver)
    return [proof["status"], [job.state for job in Job.objects.filter(tenant_id=neighbour)]]


def told_beside_a_neighbour() -> list[Any]:
    """What is told of a tenant before and after a neighbour gets keys, files and an erasure; and
    whether the tenant then gets an erasure of its own, which no other waits for.
    """
    own, neighbour = _tenant(), _tenant("Neighbour")
    before = selectors.tenant(own)
    issuing.make(Tenant.objects.get(pk=neighbour), issuing.Terms(scopes=("read",)))
    _upload(neighbour, "More")
    theirs = services.erase(neighbour, str(neighbour), "test")
    after, is_free = selectors.tenant(own), not services.is_erasing(own)
    ours = services.erase(own, str(own), "test")
    return [before == after, is_free, ours.pk != theirs.pk, ours.tenant_id == own]


def resisting_scratch() -> list[Any]:
    """A scratch folder that is not removed at first, by claims that tire at once: what the
    operator is told, and the end.
    """
    tenant = _tenant()
    job = Job.objects.get(tenant_id=tenant)
    Job.objects.filter(pk=job.pk).update(state="done")  # so that nobody else clears it
    folder, elsewhere = (settings.HEADRACE_HOME / name for name in (f"scratch/{job.pk}", "disk"))
    folder.parent.mkdir(exist_ok=True)
    elsewhere.mkdir()
    folder.symlink_to(elsewhere)  # which rmtree refuses, to root too
    asked = services.erase(tenant, str(tenant), "test")
    _work()
    stuck = selectors.erasure(asked.pk)
    folder.unlink()
    shutil.rmtree(folder.parent)
    Job.objects.filter(subject=asked.pk).update(run_after=Now())
    _work()
    proof = selectors.erasure(asked.pk)
    told = stuck["message"].replace(str(job.pk), "JOB")
    return [stuck["status"], told, proof["status"], proof["message"]]


def old_holder() -> list[Any]:
    """A worker that lost the job to another removes nothing any more."""
    tenant = _tenant()
    services.erase(tenant, str(tenant), "test")
    Job.objects.exclude(kind=erasing.ERASE).delete()
    stale = Claims("stale").next()
    assert stale is not None
    assert stale.kind == erasing.ERASE
    jobs.expire(Job.objects.get(pk=stale.job))
    taken = Claims("other").next()
    assert taken is not None
    try:
        erasing.process(stale)
    except LeaseLost:
        lost = True
    kept = Chunk.objects.filter(tenant_id=tenant).count(), Tenant.objects.filter(pk=tenant).count()
    execute(taken)
    return [lost, kept, Tenant.objects.filter(pk=tenant).count()]


def failed() -> list[str]:
    """An erasure whose job was taken out: what it says, and what the same request does then."""
    tenant = _tenant()
    asked = services.erase(tenant, str(tenant), "test")
    interventions.quarantine(Job.objects.get(subject=asked.pk))
    told = [Erasure.objects.get(pk=asked.pk).state]
    try:
        services.resume(tenant)
    except Problem as problem:
        told.append(problem.code)
    again = services.erase(tenant, str(tenant), "test")
    # Taken out once more, and this time an operator retries the job.
    job = Job.objects.get(subject=asked.pk, state__in=jobs.ACTIVE)
    interventions.quarantine(job)
    job.refresh_from_db()
    interventions.retry(job)
    _work()
    found = Erasure.objects.get(pk=asked.pk)
    return [*told, str(again.pk == asked.pk), found.state, str(found.before is not None)]


def another_database() -> list[Any]:
    """A store that belongs to another database: nothing is erased."""
    tenant = _tenant()
    owner = settings.HEADRACE_HOME / "objects" / objects.OWNER
    own = owner.read_bytes()
    owner.write_bytes(b"another database")
    try:
        services.erase(tenant, str(tenant), "test")
    except Problem as problem:
        return [problem.code, Chunk.objects.filter(tenant_id=tenant).count()]
    finally:
        owner.write_bytes(own)
    return []


def a_job_of_before() -> list[Any]:
    """A worker that holds a job of the tenant when it is erased: its next effect is refused."""
    Job.objects.all().delete()
    tenant = _tenant()
    held = Claims("holder").next()
    assert held is not None
    assert held.tenant == tenant
    proof = _erased(tenant)
    try:
        held.fence()
    except LeaseLost:
        return [proof["status"], "lost", Job.objects.filter(tenant_id=tenant).count()]
    return []


def resisting() -> list[Any]:
    """An object that cannot be removed at first: what the operator is told, and the end."""
    leaver = _tenant()
    asked = services.erase(leaver, str(leaver), "test")
    [path] = (settings.HEADRACE_HOME / "objects" / sources.FOLDER / str(leaver)).iterdir()
    subprocess.run(["chattr", "+i", path], check=True)
    try:
        _work()
        stuck = selectors.erasure(asked.pk)
    finally:
        subprocess.run(["chattr", "-i", path], check=True)
    Job.objects.filter(subject=asked.pk).update(run_after=Now())
    _work()
    proof = selectors.erasure(asked.pk)
    return [stuck["status"], stuck["message"], proof["status"], proof["message"], path.exists()]
