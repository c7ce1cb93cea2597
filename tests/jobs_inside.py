"""What test_jobs.py has done inside processes that have Django set up for a database.

Every function prints nothing and returns what json can say.
"""

import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Length, Now

from apps.core import jobs, objects, worker
from apps.core.idempotency import Key
from apps.core.jobs import Claims, Handler, Lease
from apps.core.models import Job, JobState, Priority
from apps.exports import writing
from apps.exports.models import Export, ExportState
from apps.ingestions import ledger, processing, services, sessions, sources
from apps.ingestions.models import Chunk, ChunkState, Segment
from apps.moving import rows
from apps.tenants import quotas
from apps.tenants.models import Tenant
from headrace.entities import BY_NAME
from headrace.pipeline import run, verify
from headrace.pipeline.errors import FailureCode, LeaseLost, Permanent, Retryable
from headrace.pipeline.formats import NDJSON
from headrace.pipeline.scratch import Bounds
from headrace.reading import documents

KIND = "test"


def queue(tenant: UUID, number: int = 1, **more: Any) -> None:
    for _ in range(number):
        jobs.enqueue(KIND, uuid4(), tenant, **more)


def clear() -> None:
    Job.objects.all().delete()


def handle(run_: Callable[[Lease], None], give_up: Callable[..., None] | None = None) -> None:
    """Let jobs of KIND be run like this; they end as failed when they are given up."""
    jobs.HANDLERS[KIND] = Handler(run_, give_up or _fail)


def _fail(lease: Lease, failure: Permanent) -> None:
    lease.end(JobState.FAILED, f"{failure.code}: {failure}")


def let_expire(lease: Lease) -> None:
    expired = Now() - timedelta(seconds=1)
    Job.objects.filter(pk=lease.job).update(lease_expires=expired)


def write_and_fence(lease: Lease, name: str) -> str:
    """A transaction with an effect; says how it ended."""
    try:
        with transaction.atomic():
            Tenant.objects.create(name=name)
            lease.fence()
    except LeaseLost:
        return "lost"
    return "kept"


def fill_queue(tenants: str, each: str) -> None:
    clear()
    for _ in range(int(tenants)):
        queue(uuid4(), int(each))


def claim_everything(ends: str) -> list[tuple[int, int]]:
    """Claim in eight threads until nothing is left; the jobs and epochs of all claims."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: _claim_until_empty(ends == "end"), range(8)))
    return [claim for claims in found for claim in claims]


def _claim_until_empty(ends: bool) -> list[tuple[int, int]]:
    claims, found = Claims(threading.current_thread().name), []
    while Job.objects.filter(state=JobState.QUEUED).exists():
        if (lease := claims.next()) is not None:
            found.append((lease.job, lease.epoch))
            if ends:
                lease.end(JobState.DONE)
    connection.close()
    return found


def retake_an_expired_lease() -> dict[str, Any]:
    clear()
    queue(uuid4())
    first = Claims("first").next()
    claims = Claims("second")
    early = claims.next()
    end = time.monotonic() + 60
    while (second := claims.next()) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    effects = {
        "old holder": write_and_fence(first, f"old {first.job}"),
        "new holder": write_and_fence(second, f"new {first.job}"),
    }
    ends = []
    for lease in (first, second):
        try:
            lease.end(JobState.DONE)
            ends.append("ended")
        except LeaseLost:
            ends.append("lost")
    written = Tenant.objects.filter(name__endswith=f" {first.job}").values_list("name", flat=True)
    return {
        "taken early": early is not None,
        "epochs": [first.epoch, second.epoch],
        "effects": effects,
        "written": [name.split()[0] for name in written],
        "ends": ends,
        "state": Job.objects.get(pk=first.job).state,
    }


def keep_by_heartbeat() -> dict[str, Any]:
    clear()
    queue(uuid4())
    lease = Claims("first").next()
    with jobs.heartbeat(lease):
        taken = [_taken_within(1.5 * settings.HEADRACE_LEASE_SECONDS)]
        Job.objects.update(epoch=F("epoch") + 1)
        end = time.monotonic() + 60
        while not lease.lost and time.monotonic() < end:
            time.sleep(0.05)
    try:
        lease.check()
    except LeaseLost:
        taken.append("noticed")
    taken.append(_taken_within(60))
    return {"taken": taken}


def _taken_within(seconds: float) -> bool:
    end = time.monotonic() + seconds
    claims = Claims("another")
    while time.monotonic() < end:
        if claims.next() is not None:
            return True
        time.sleep(0.05)
    return False


WHOLE = "whole"


def handle_whole(run_: Callable[[Lease], None]) -> None:
    """Let jobs of WHOLE be run like this, which cannot give their claim back."""
    jobs.HANDLERS[WHOLE] = Handler(run_, _fail, is_whole=True)


def claim_in_turn() -> dict[str, list[str]]:
    """The order in which jobs come, by what orders them."""
    clear()
    one, two, three = (uuid4() for _ in range(3))
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        queue(one, 2, priority=priority)
    by_priority = [str(job.priority) for job in _claimed_jobs()]
    clear()
    for tenant in (one, two, three):
        queue(tenant, 3)
    names = {one: "a", two: "b", three: "c"}
    by_tenant = [names[job.tenant_id] for job in _claimed_jobs()]
    clear()
    handle_whole(lambda lease: None)
    queue(one, 4)
    for _ in range(2):
        jobs.enqueue(WHOLE, uuid4(), one)
    by_kind = [job.kind for job in _claimed_jobs()]
    return {"by priority": by_priority, "by tenant": by_tenant, "by kind": by_kind}


def make_room(seconds: str) -> dict[str, Any]:
    """One worker, a whole job that has something to do for so many seconds, and what comes
    meanwhile: small ones, one that takes longer than a turn, and what can wait.
    """
    clear()
    settings.HEADRACE_CLAIM_SECONDS, tenant, log = 60, uuid4(), []
    slow, lazy = uuid4(), uuid4()

    def whole(lease: Lease) -> None:
        interludes, own = worker.Interludes(), 0.0
        while own < float(seconds):
            began = time.monotonic()
            time.sleep(0.1)
            own += time.monotonic() - began
            interludes.give()
        log.append(("whole", time.monotonic()))
        lease.end(JobState.DONE)

    def other(lease: Lease) -> None:
        time.sleep(0.7 if lease.subject == slow else 0.01)
        log.append((str(lease.subject), time.monotonic()))
        lease.end(JobState.DONE)

    handle(other)
    handle_whole(whole)
    jobs.enqueue(WHOLE, uuid4(), tenant)
    stop = threading.Event()
    thread = threading.Thread(target=_work, args=(stop,))
    thread.start()
    while not jobs.running().exists():
        time.sleep(0.01)
    arrived = time.monotonic()
    jobs.enqueue(KIND, lazy, tenant, priority=Priority.LOW)
    jobs.enqueue(KIND, slow, tenant)
    queue(tenant, 5)
    while Job.objects.filter(state__in=jobs.ACTIVE).exists():
        assert time.monotonic() < arrived + 120
        time.sleep(0.02)
    stop.set()
    thread.join()
    names = [{str(slow): "slow", str(lazy): "lazy"}.get(name, name) for name, _ in log]
    first = names.index("whole")
    return {
        "before": sorted(name for name in names[:first] if len(name) < 10),
        "small before": sum(len(name) > 10 for name in names[:first]),
        "last": names[-1],
    }


def export_beside_a_file(lines: str) -> dict[str, Any]:
    """One worker, whose export of so many lines takes seconds, and a small file meanwhile."""
    clear()
    settings.HEADRACE_CLAIM_SECONDS = 60
    chunk = receive_a_file(lines=int(lines))
    worker.execute(_claim())
    _slow_blocks(0.05)
    columns = [field.name for field in BY_NAME[chunk.entity].kept]
    asked = {"entity": chunk.entity, "format": NDJSON, "columns": columns}
    export = Export.objects.create(tenant_id=chunk.tenant_id, **asked)
    jobs.enqueue(writing.EXPORT, export.pk, chunk.tenant_id)
    stop = threading.Event()
    thread = threading.Thread(target=_work, args=(stop,))
    thread.start()
    while not Export.objects.filter(pk=export.pk, state=ExportState.RUNNING).exists():
        time.sleep(0.01)
    began, small = time.monotonic(), receive_a_file(lines=10)
    while not Chunk.objects.filter(pk=small.pk, state=ChunkState.COMPLETED).exists():
        assert time.monotonic() < began + 90
        time.sleep(0.02)
    landed = time.monotonic() - began
    while Export.objects.filter(pk=export.pk, state=ExportState.RUNNING).exists():
        time.sleep(0.02)
    whole = time.monotonic() - began
    stop.set()
    thread.join()
    export.refresh_from_db()
    ended = [export.state, export.rows]
    return {"landed after": landed, "exported after": whole, "export": ended}


def _slow_blocks(seconds: float) -> None:
    """Exports on a disk that takes so long for a block of few rows."""
    blocks, documents.ROWS = writing.blocks, 10

    def slow(*given: Any) -> Any:
        for block in blocks(*given):
            time.sleep(seconds)
            yield block

    writing.blocks = slow


def _claimed_jobs() -> list[Job]:
    claims, found = Claims("worker"), []
    while (lease := claims.next()) is not None:
        found.append(Job.objects.get(pk=lease.job))
        lease.end(JobState.DONE)
    return found


def wait_for_lower_ranks() -> list[str]:
    """What can be claimed in an upload of four files, as its files end one by one."""
    clear()
    tenant, upload, other = uuid4(), uuid4(), uuid4()
    for rank in (2, 1, 0, 0):
        queue(tenant, group=upload, rank=rank)
    first, second = _claim(), _claim()
    told = [first, second, _claim()]
    queue(tenant, group=other, rank=9)
    told.append(_claim())
    first.end(JobState.DONE)
    told.append(_claim())
    second.end(JobState.FAILED)
    assert jobs.freed_by(first, 9) == jobs.freed_by(second, 9) == _queued_of_rank(1)
    third = _claim()
    told += [third, _claim()]
    third.release(0, "", is_passing=False)
    told.append(_claim())
    told[-1].end(JobState.DONE)
    told.append(_claim())
    return ["nothing" if lease is None else f"rank {_rank(lease)}" for lease in told]


def _queued_of_rank(rank: int) -> list[int]:
    waiting = Job.objects.filter(rank=rank, state=JobState.QUEUED)
    return list(waiting.values_list("pk", flat=True))


def _claim() -> Lease | None:
    return Claims("worker").next()


def _rank(lease: Lease) -> int:
    return Job.objects.get(pk=lease.job).rank


def delay_of_a_small_tenant(workers: str) -> dict[str, Any]:
    """Workers are busy with a thousand jobs of one tenant when another's job arrives."""
    clear()
    crowd, single, log = uuid4(), uuid4(), []

    def run_(lease: Lease) -> None:
        log.append((time.monotonic(), lease.tenant))
        time.sleep(0.02)
        lease.end(JobState.DONE)

    handle(run_)
    waiting = [Job(kind=KIND, subject=uuid4(), tenant_id=crowd) for _ in range(1_000)]
    Job.objects.bulk_create(waiting, batch_size=100)
    stop = threading.Event()
    threads = [threading.Thread(target=_work, args=(stop,)) for _ in range(int(workers))]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    queue(single)
    arrived = time.monotonic()
    while single not in [tenant for _, tenant in log] and time.monotonic() < arrived + 60:
        time.sleep(0.005)
    stop.set()
    for thread in threads:
        thread.join()
    started = next(at for at, tenant in log if tenant == single)
    between = sum(arrived < at < started for at, _ in log)
    left = Job.objects.filter(tenant_id=crowd, state=JobState.QUEUED).count()
    return {"seconds": started - arrived, "jobs of the crowd between": between, "left": left}


def _work(stop: threading.Event) -> None:
    worker.Worker(stop).run()
    connection.close()


class File:
    """A body as a request brings it."""

    filename, content_type = "customers.ndjson", ""

    def __init__(self, lines: int) -> None:
        self._lines = lines

    def option(self, name: str) -> None:
        """None is given: the name says all."""

    def blocks(self) -> list[bytes]:
        return [b'{"customer_id": "%s"}\n' % str(uuid4()).encode() for _ in range(self._lines)]


def receive_a_file(lines: int) -> Chunk:
    return receive(File(lines))


def receive(file: File, **facts: Any) -> Chunk:
    tenant = Tenant.objects.create(name="A shop", **facts)
    key = Key(tenant.tenant_id, "file", uuid4().hex)
    services.receive(services.Delivery(tenant.tenant_id, key, None, "", 0, file))
    return Chunk.objects.get(tenant_id=tenant.tenant_id)


class Poisoned(ledger.ChunkLedger):
    """A ledger whose worker dies after the plan was kept."""

    def pending(self) -> list[int]:
        raise SystemExit


def _plan_and_die(chunk: Chunk) -> None:
    lease = _claim()
    poisoned = Poisoned(chunk, lease, processing.wake_others)
    try:
        with sources.scratch(lease.job) as folder:
            run.run(ledger.load_of(chunk), ledger.dialect(), poisoned, folder)
    except SystemExit:
        let_expire(lease)


def quarantine(planned: str) -> dict[str, Any]:
    """A chunk whose workers die, five claims in a row, and what the sixth makes of it."""
    clear()
    chunk = receive_a_file(lines=7)
    if planned == "planned":
        _plan_and_die(chunk)
    attempts = []
    for _ in range(5):
        lease = _claim()
        attempts.append(lease.attempts)
        let_expire(lease)
    worker.execute(_claim())
    chunk.refresh_from_db()
    job = Job.objects.get(subject=chunk.pk)
    return {
        "attempts": attempts,
        "chunk": [chunk.state, chunk.code, chunk.lines_received],
        "outcomes": {name.value: number for name, number in chunk.counts.items() if number},
        "job": [job.state, job.attempts],
        "claimable": _claim() is not None,
        "source kept": bool(objects.store().open(chunk.source).read()),
    }


def ends_of_jobs() -> dict[str, Any]:
    """How a job is after its handler did this."""

    def ends_well(lease: Lease) -> None:
        lease.end(JobState.DONE)

    def cannot(lease: Lease) -> None:
        raise Permanent(FailureCode.CORRUPT, "it is damaged")

    def cannot_now(lease: Lease) -> None:
        raise Retryable("deadlock")

    def is_defect(lease: Lease) -> None:
        raise ValueError("a secret text")

    def is_robbed(lease: Lease) -> None:
        Job.objects.filter(pk=lease.job).update(epoch=F("epoch") + 1)
        lease.fence()

    def is_robbed_and_cannot(lease: Lease) -> None:
        Job.objects.filter(pk=lease.job).update(epoch=F("epoch") + 1)
        raise Permanent(FailureCode.CORRUPT, "it is damaged")

    scenes = (ends_well, cannot, cannot_now, is_defect, is_robbed, is_robbed_and_cannot)
    return {scene.__name__: _end_after(scene) for scene in scenes} | {"unknown": _end_after(None)}


def _end_after(scene: Callable[[Lease], None] | None) -> list[Any]:
    clear()
    jobs.HANDLERS.pop(KIND, None)
    if scene is not None:
        handle(scene)
    queue(uuid4())
    worker.execute(_claim())
    job = Job.objects.get()
    return [job.state, job.error, _claim() is not None]


def progress_counts_claims_anew() -> list[int]:
    clear()
    queue(uuid4())
    seen = []
    for progress in (False, False, True, False):
        lease = _claim()
        if progress:
            lease.fence()
        seen.append(Job.objects.get().attempts)
        let_expire(lease)
    return seen


class Berlin(File):
    """Two lines with times of Berlin, of which there is only the second."""

    def __init__(self) -> None:
        super().__init__(2)

    def blocks(self) -> list[bytes]:
        when = ("2025-03-30T02:30:00", "2025-03-01T00:00:00")
        row = '{"customer_id": "%s", "created_at": "%s"}\n'
        return [(row % (uuid4(), one)).encode() for one in when]


def read_again(changed: str) -> dict[str, Any]:
    """A file whose worker dies when it is planned, and whose tenant moves to another zone; `file`
    tells that it is read as another version of the program might read it.
    """
    clear()
    chunk = receive(Berlin(), time_zone="Europe/Berlin")
    _plan_and_die(chunk)
    for note in settings.HEADRACE_HOME.glob("scratch/*/*/ready"):
        note.unlink()  # another machine has none
    Tenant.objects.filter(pk=chunk.tenant_id).update(time_zone="UTC")
    if changed == "file":
        Chunk.objects.filter(pk=chunk.pk).update(time_zone="UTC")
    worker.execute(_claim())
    ends = [_end_of(chunk)]
    if sessions.retry(chunk.pk):
        worker.execute(_claim())
        ends.append(_end_of(chunk))
    return {"ends": ends}


def _end_of(chunk: Chunk) -> list[Any]:
    chunk.refresh_from_db()
    counts = {name.value: number for name, number in chunk.counts.items() if number}
    return [chunk.state, chunk.code, counts]


def end_a_move() -> list[int]:
    """The rows counted today of a tenant that has moved here, and of one that was here before."""
    moved, other = Tenant.objects.create(name="moved"), uuid4()
    with tempfile.TemporaryDirectory() as home:
        path = Path(home, "control")
        rows.write_control(path)
        Tenant.objects.create(tenant_id=other, name="was here")
        for tenant in (moved.pk, other):
            quotas.take_rows(tenant, 7)
        rows.read_control(path, is_over=True)
    return [quotas.day_of(tenant).rows for tenant in (moved.pk, other)]


def plan_many_keys(rows: str) -> list[int]:
    """Keep a plan whose segments remember so many keys in all; how many bytes each has kept."""
    clear()
    chunk = receive_a_file(lines=1)
    own = ledger.ChunkLedger(chunk, _claim(), processing.wake_others)
    with sources.scratch(Job.objects.get().pk) as folder:
        verified = verify.verify(ledger.load_of(chunk), folder, lambda records: None)
    each = 50_000
    number = -(-int(rows) // each)
    edges = ["", *(f"{at:036}" for at in range(1, number)), ""]
    digests = (os.urandom(8 * each) for _ in range(number))
    own.record_plan(verified, [Bounds(*pair) for pair in pairwise(edges)], digests)
    kept = Segment.objects.filter(chunk=chunk).order_by("number")
    return list(kept.values_list(Length("digests"), flat=True))


class Vanishing(ledger.ChunkLedger):
    """A ledger whose process dies when the plan and the scratch files are complete."""

    def pending(self) -> list[int]:
        print("null", flush=True)
        os._exit(0)


def vanish_after_pass_a() -> None:
    clear()
    chunk = receive_a_file(lines=12)
    lease = _claim()
    with sources.scratch(lease.job) as folder:
        own = Vanishing(chunk, lease, processing.wake_others)
        run.run(ledger.load_of(chunk), ledger.dialect(), own, folder)


def take_over(boot: str) -> dict[str, Any]:
    """What the next claim does, on the same boot of the machine or after another one."""
    if boot == "another":
        for note in settings.HEADRACE_HOME.glob("scratch/*/*/ready"):
            note.write_text(note.read_text().replace("-", "0"))
    readings = _counted_readings()
    job = Job.objects.get()
    Job.objects.update(lease_expires=Now() - timedelta(seconds=1))
    worker.execute(_claim())
    chunk = Chunk.objects.get(pk=job.subject)
    left = list(settings.HEADRACE_HOME.glob("scratch/*"))
    return {"readings": len(readings), "state": chunk.state, "rows": chunk.inserted, "left": left}


def _counted_readings() -> list[int]:
    """Grows by one whenever pass A reads a file."""
    found, verify = [], run.verify

    def counted(*given: Any) -> Any:
        found.append(1)
        return verify(*given)

    run.verify = counted
    return found


def take_turns() -> dict[str, Any]:
    """Two tenants' files of three segments each, and a worker whose patience is over at once."""
    clear()
    settings.HEADRACE_CLAIM_SECONDS = 0
    type(ledger.dialect()).segment_rows = 4
    readings = _counted_readings()
    names = {receive_a_file(lines=12).pk: name for name in ("a", "b")}
    claims, order = Claims("worker"), []
    while (lease := claims.next()) is not None:
        order.append(names[lease.subject])
        worker.execute(lease)
    ended = Job.objects.values_list("state", "attempts")
    chunks = Chunk.objects.filter(pk__in=names).values_list("state", "inserted")
    return {
        "order": "".join(order),
        "readings": len(readings),
        "jobs": sorted(set(ended)),
        "chunks": sorted(set(chunks)),
    }
