"""What test_races.py has done inside a process: two workers meet at chosen places.

Places are reached by wrapping functions of the service, which then do what they always do.
"""

import json
import math
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

from django.db import connection
from django.db.models import F
from django.test import Client

from apps.catalog.models import MODELS
from apps.core import idempotency, jobs, worker
from apps.core.isolation import tenant_reading
from apps.core.models import Job
from apps.ingestions import accounts, ledger, older_files, parking, processing, retention
from apps.ingestions.models import Chunk, ParkedLine
from apps.tenants import keys
from apps.tenants.models import Tenant
from headrace.pipeline import run
from headrace.pipeline.load import LINE_BITS
from headrace.pipeline.report import LineOutcomes

LINES = 30
SEGMENT = 10


class Shop:
    """A tenant who sends files past the network."""

    def __init__(self) -> None:
        Job.objects.all().delete()
        type(ledger.dialect()).segment_rows = SEGMENT
        self._key = keys.mint(Tenant.objects.create(name="A shop"))
        self._http = Client()

    def send(self, name: str, records: list[dict], token: str = "", key: str = "") -> Any:
        headers = {
            "X-API-Key": self._key,
            "X-Filename": name,
            "Idempotency-Key": key or uuid4().hex,
            **({"Upload-Token": token} if token else {}),
        }
        data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
        return self._http.post(
            "/api/v1/ingest/comprehensive/",
            data,
            content_type="application/x-ndjson",
            headers=headers,
        )

    def call(self, method: str, path: str) -> dict:
        response = self._http.generic(
            method,
            f"/api/v1/ingest/sessions/{path}",
            data="{}" if method == "POST" else "",
            content_type="application/json",
            headers={"X-API-Key": self._key},
        )
        assert response.status_code in (200, 201), response.content
        return response.json()


def claim() -> jobs.Lease:
    lease = jobs.Claims("worker").next()
    assert lease is not None
    return lease


def work_off() -> None:
    claims = jobs.Claims("honest")
    while (lease := claims.next()) is not None:
        worker.execute(lease)


@contextmanager
def wrapped(owner: Any, name: str, around: Callable[[Callable, tuple], Any]) -> Any:
    """`around` is called instead of a function, with it and its arguments."""
    original = getattr(owner, name)
    setattr(owner, name, lambda *given: around(original, given))
    try:
        yield
    finally:
        setattr(owner, name, original)


def aside(step: Callable[[], object]) -> threading.Thread:
    """Start a step of another worker in a thread of its own."""

    def run() -> None:
        step()
        connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def orders(buyers: list[str]) -> list[dict]:
    placed = {"total_amount": 1, "order_date": "2024-01-01T00:00:00Z"}
    return [
        {"order_id": str(uuid4()), "external_order_id": buyer, "customer_id": buyer, **placed}
        for buyer in buyers
    ]


def cancelled_after_a_segment() -> tuple[Shop, str, list[str]]:
    """A file of orders without customers, cancelled when its first segment has landed."""
    shop, buyers = Shop(), [str(uuid4()) for _ in range(LINES)]
    token = shop.call("POST", "")["upload_token"]
    assert shop.send("orders.ndjson", orders(buyers), token).status_code == 201

    def rest(original: Callable, given: tuple) -> None:
        shop.call("POST", f"{token}/cancel/")
        original(*given)

    with wrapped(ledger.ChunkLedger, "rest", rest):
        worker.execute(claim())
    return shop, token, buyers


def account(shop: Shop, token: str) -> dict:
    """The upload's state, and the outcomes of its lines told in both ways."""
    status = shop.call("GET", f"{token}/status/")
    chunk = Chunk.objects.get(entity="orders")
    by_line = LineOutcomes.unpack(bytes(chunk.outcomes)).counts()
    return {
        "status": status["status"],
        "by counter": {name: lines for name, lines in status["outcomes"].items() if lines},
        "by line": {name.value: lines for name, lines in by_line.items() if lines},
    }


def resume_while_a_wake_runs() -> dict:
    """The wake has landed its first lines when the sender resumes; a worker takes the file up.

    It parks more lines, and their customers come before it ends.
    """
    shop, token, buyers = cancelled_after_a_segment()
    first = waited_for()
    shop.send("customers.ndjson", [{"customer_id": buyer} for buyer in first])
    worker.execute(claim())
    looks: list[int] = []

    def lines(original: Callable, given: tuple) -> Any:
        if given[1] is parking._ready:
            looks.append(1)
            if len(looks) == 2:
                assert shop.call("POST", f"{token}/resume/")["resumed"] == 1
                with wrapped(ledger.ChunkLedger, "finish", lambda *_: None):
                    handle_without_end(claim())
                rest = set(buyers) - set(first)
                shop.send("customers.ndjson", [{"customer_id": buyer} for buyer in rest])
                worker.execute(claim())
        return original(*given)

    with wrapped(parking, "_lines", lines):
        worker.execute(claim())
    Job.objects.filter(state="running").update(state="queued", epoch=F("epoch") + 1)
    work_off()
    return account(shop, token)


def waited_for() -> list[str]:
    chunk = Chunk.objects.get(entity="orders")
    with tenant_reading(chunk.tenant_id):
        return [str(key) for key in ParkedLine.objects.values_list("key", flat=True)]


def handle_without_end(lease: jobs.Lease) -> None:
    """Run a job as a worker who is killed at its end."""
    jobs.HANDLERS[lease.kind].run(lease)


def wake_while_a_file_sums_up() -> dict:
    """A wake that began before the resume tries to land while the file ends."""
    shop, token, buyers = cancelled_after_a_segment()
    shop.send("customers.ndjson", [{"customer_id": buyer} for buyer in buyers])
    worker.execute(claim())
    wake, sums, threads = claim(), threading.Event(), []

    def lines(original: Callable, given: tuple) -> Any:
        if given[1] is parking._ready and not threads:
            assert shop.call("POST", f"{token}/resume/")["resumed"] == 1
            threads.append(aside(lambda: worker.execute(claim())))
            sums.wait(30)
        return original(*given)

    def check(original: Callable, given: tuple) -> None:
        original(*given)
        if not sums.is_set():
            sums.set()
            time.sleep(1)  # in which the wake tries to land

    with wrapped(parking, "_lines", lines), wrapped(accounts, "check_sums", check):
        worker.execute(wake)
        threads[0].join()
    work_off()
    return account(shop, token)


def a_stalled_worker_begins_late() -> dict:
    """It stood still before it showed its file at work; another has ended the cancelled file."""
    shop = Shop()
    token = shop.send("orders.ndjson", orders([str(uuid4())])).json()["upload_token"]
    stalled = claim()

    def begin(original: Callable, given: tuple) -> None:
        Job.objects.filter(pk=stalled.job).update(lease_expires="2020-01-01T00:00:00Z")
        shop.call("POST", f"{token}/cancel/")
        worker.execute(claim())
        original(*given)

    with wrapped(processing, "_begin", begin):
        worker.execute(stalled)
    work_off()
    return account_without_lines(shop, token)


def account_without_lines(shop: Shop, token: str) -> dict:
    status = shop.call("GET", f"{token}/status/")
    counts = {name: lines for name, lines in status["outcomes"].items() if lines}
    return {"status": status["status"], "by counter": counts}


def resume_while_a_cancel_ends() -> dict:
    """The worker has noticed the cancel, and the sender resumes before the file has ended."""
    shop = Shop()
    token = shop.send("orders.ndjson", orders([str(uuid4())])).json()["upload_token"]
    shop.call("POST", f"{token}/cancel/")
    resumed = []

    def count(original: Callable, given: tuple) -> Any:
        resumed.append(shop.call("POST", f"{token}/resume/")["resumed"])
        return original(*given)

    with wrapped(processing, "_lines_received", count):
        worker.execute(claim())
    work_off()
    return {"resumed": resumed, **account_without_lines(shop, token)}


def the_slower_of_two_equal_requests() -> list:
    """Its twin has been answered, and the upload completed, while its body came in."""
    shop = Shop()
    token = shop.call("POST", "")["upload_token"]
    records = orders([str(uuid4())])
    first = shop.send("orders.ndjson", records, token, "once")
    shop.call("POST", f"{token}/complete/")
    looks: list[int] = []

    def is_known(original: Callable, given: tuple) -> bool:
        looks.append(1)
        return len(looks) > 1 and original(*given)

    with wrapped(idempotency, "is_known", is_known):
        second = shop.send("orders.ndjson", records, token, "once")
    return [second.status_code, second.content == first.content, Chunk.objects.count()]


def an_equal_file_comes_while_an_older_one_is_at_work() -> dict:
    """The older changes the first ten of twenty customers; it is planned when the newer begins."""
    shop, buyers = Shop(), [str(uuid4()) for _ in range(20)]
    same = [{"customer_id": buyer, "name": "as it was"} for buyer in buyers]
    shop.send("customers.ndjson", same)
    work_off()
    shop.send("customers.ndjson", [record | {"name": "late"} for record in same[:SEGMENT]])
    older = claim()
    newer: list[dict] = []

    def land(original: Callable, given: tuple) -> None:
        if not newer:
            newer.append(shop.send("customers.ndjson", same).json())
            worker.execute(claim())
        original(*given)

    with wrapped(run, "_land_segment", land):
        worker.execute(older)
    work_off()
    chunks = Chunk.objects.order_by("number")
    with tenant_reading(chunks[0].tenant_id):
        rows = MODELS["customers"].objects.values_list("customer_id", "name", "source_sequence")
        found = {str(key): (name, sequence >> LINE_BITS) for key, name, sequence in rows}
    numbers = [chunk.number for chunk in chunks]
    return {
        "outcomes": [{o: n for o, n in chunk.counts.items() if n} for chunk in chunks],
        "names": sorted({name for name, _ in found.values()}),
        "written by": [numbers.index(found[buyer][1]) for buyer in buyers],
    }


def an_older_file_parks_its_lines_between_two_looks() -> list[str]:
    """The newer has listed the files at work when the older parks all; then its customer comes."""
    shop, ids, buyer = Shop(), [str(uuid4()) for _ in range(5)], str(uuid4())
    placed = {"total_amount": 1, "order_date": "2024-01-01T00:00:00Z"}
    same = [{"order_id": id_, "external_order_id": id_, **placed} for id_ in ids]
    shop.send("orders.ndjson", same)
    work_off()
    late = {"total_amount": 2, "customer_id": buyer}
    shop.send("orders.ndjson", [record | late for record in same])
    older, main = claim(), threading.main_thread()
    is_planned, may_land, has_parked = threading.Event(), threading.Event(), threading.Event()

    def land(original: Callable, given: tuple) -> None:
        if threading.current_thread() is not main:
            is_planned.set()
            may_land.wait(60)
        original(*given)

    def pending(original: Callable, given: tuple) -> Any:
        may_land.set()
        assert has_parked.wait(60)
        return original(*given)

    def park() -> None:
        worker.execute(older)
        has_parked.set()

    with wrapped(run, "_land_segment", land):
        thread = aside(park)
        assert is_planned.wait(60)
        shop.send("orders.ndjson", same)
        with wrapped(older_files, "_pending", pending):
            worker.execute(claim())
        thread.join()
    shop.send("customers.ndjson", [{"customer_id": buyer}])
    work_off()
    return amounts()


def amounts() -> list[str]:
    with tenant_reading(Chunk.objects.order_by("number")[0].tenant_id):
        return [str(row.total_amount) for row in MODELS["orders"].objects.all()]


def a_broken_file_is_resumed_whose_details_are_gone() -> dict:
    """It was planned and has landed in part; what retention leaves of it may come as a whole."""
    shop, buyers = Shop(), [str(uuid4()) for _ in range(2 * SEGMENT)]
    same = [{"customer_id": buyer, "name": "as it was"} for buyer in buyers]
    shop.send("customers.ndjson", same)
    work_off()
    token = shop.call("POST", "")["upload_token"]
    late = [record | {"name": "late"} for record in same]
    shop.send("customers.ndjson", [*late, {"customer_id": "bad"}], token)

    def rest(original: Callable, given: tuple) -> None:
        shop.call("POST", f"{token}/cancel/")
        original(*given)

    with wrapped(ledger.ChunkLedger, "rest", rest):
        worker.execute(claim())
    chunk = Chunk.objects.order_by("-number")[0]
    Chunk.objects.filter(pk=chunk.pk).update(settled_at="2020-01-01T00:00:00Z")
    while retention.drop_details(claim_of_nothing()):
        pass
    chunk.refresh_from_db()
    are_gone = chunk.details_dropped_at is not None and bool(chunk.source)
    shop.send("customers.ndjson", same)
    work_off()
    shop.call("POST", f"{token}/resume/")
    work_off()
    with tenant_reading(chunk.tenant_id):
        names = set(MODELS["customers"].objects.values_list("name", flat=True))
    return {"are gone": are_gone, "names": sorted(names)}


def claim_of_nothing() -> Any:
    """What retention asks of its claim: that it still holds."""
    return SimpleNamespace(fence=lambda: None)


def troubles_wait_longer_and_longer() -> list:
    """How long a job waits after each error that passes, and how often that counted."""
    from headrace.pipeline.errors import Retryable, TookTooLong  # noqa: PLC0415

    Shop()
    jobs.HANDLERS["test"] = jobs.Handler(lambda lease: raises(errors.pop(0)), processing.give_up)
    errors: list[Exception] = [Retryable("no room") for _ in range(9)]
    errors.append(TookTooLong("a statement"))
    jobs.enqueue("test", uuid4(), uuid4())
    waits = []
    while errors:
        Job.objects.update(run_after="2020-01-01T00:00:00Z")
        worker.execute(claim())
        job = Job.objects.annotate(wait=F("run_after") - jobs._in(0)).get()
        waits.append(math.ceil(job.wait.total_seconds()))  # some of it is over
    return [waits, job.attempts, job.troubles]


def raises(error: Exception) -> None:
    raise error


def sweeps_while_there_is_work() -> int:
    """How often a process sweeps: for ten jobs, for the cleanup that a sweep queues, at the end."""
    Shop()
    sweeps: list[int] = []
    jobs.SWEEPS.append(lambda: sweeps.append(1))
    jobs.HANDLERS["test"] = jobs.Handler(lambda lease: lease.end("done"), processing.give_up)
    for _ in range(10):
        jobs.enqueue("test", uuid4(), uuid4())
    turns = worker.Turns()
    while turns.take() is not None:
        pass
    return len(sweeps)
