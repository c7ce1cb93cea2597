"""Run inside of a process of its own, with Django set up for the database of a running service."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import IntegrityError, connection
from django.db.models.functions import Now

from apps.analytics import price_statements
from apps.core import jobs
from apps.core.idempotency import Key
from apps.core.isolation import tenant_reading, tenant_transaction
from apps.core.jobs import Claims, GiveBack, Lease
from apps.core.models import Job
from apps.core.retention import ago
from apps.ingestions import notices
from apps.ingestions.models import Chunk, ChunkState, Upload
from apps.webhooks import delivery, kinds, outbox, retention, schedule
from apps.webhooks.models import Attempt, Delivery, DeliveryState, Endpoint, Event, Lane


def fail(tenant: str, times: str) -> list[float]:
    """Let a tenant's only delivery fail so many times, at once after each other: how long it was
    to wait each time, in seconds.
    """
    return list(_failures(UUID(tenant), int(times)))


def _failures(tenant: UUID, times: int) -> Iterator[float]:
    for number in range(1, times + 1):
        yield _waited(tenant, number)
        hurry(tenant)


def _waited(tenant: UUID, number: int) -> float:
    end = time.monotonic() + 90
    while (row := Delivery.objects.get(tenant_id=tenant)).attempts < number:
        assert time.monotonic() < end, row
        time.sleep(0.02)
    with tenant_reading(tenant):
        last = Attempt.objects.filter(delivery_id=row.pk).latest("id")
    return (row.due_at - last.at).total_seconds()


def hurry(tenant: UUID | str) -> None:
    """Let time pass: what waits to be sent again is due."""
    Lane.objects.filter(tenant_id=tenant).update(held_until=None)
    waiting = Delivery.objects.filter(tenant_id=tenant, due_at__gt=Now())
    waiting.update(due_at=ago(seconds=1))
    outbox.ring()


class Undone(Exception):
    """The effect does not happen after all."""


def undo(tenant: str) -> list[Any]:
    """Put events and have their transactions fail: what is left, and what a good one leaves."""
    owner, data = UUID(tenant), {"product_id": uuid4(), "level": -1}
    with suppress(Undone), tenant_transaction(owner):
        assert outbox.put(owner, kinds.STOCK_NEGATIVE, data)
        raise Undone
    with suppress(Undone), price_statements.current().transaction(owner):
        price_statements.current().look(
            owner, uuid4(), Key(owner, "price", "any")
        )  # where a transaction begins
        assert outbox.put(owner, kinds.PRICE_ANOMALY, data)
        raise Undone
    left = _counts(owner)
    with tenant_transaction(owner):
        outbox.put(owner, kinds.STOCK_NEGATIVE, data)
    return [left, _counts(owner)]


def _counts(owner: UUID) -> list[int]:
    with tenant_reading(owner):
        return [Event.objects.count(), Delivery.objects.filter(tenant_id=owner).count()]


def end_at_once(tenant: str) -> list[dict[str, int]]:
    """Two files of an upload end in transactions that overlap: what is told of files."""
    owner = UUID(tenant)
    upload = Upload.objects.create(tenant_id=owner)
    chunks = [_unended(upload, number) for number in (1, 2)]
    has_begun = threading.Event()

    def end(chunk: Chunk, seconds: float) -> None:
        with tenant_transaction(owner):
            notices.await_others(chunk)
            Chunk.objects.filter(pk=chunk.pk).update(state=ChunkState.COMPLETED)
            notices.tell_of_a_files_end(chunk, Lease(0, 0, "ingest", chunk.pk, owner, 1))
            has_begun.set()
            time.sleep(seconds)
        connection.close()

    first, second = (threading.Thread(target=end, args=(one, 0.4)) for one in chunks)
    first.start()
    has_begun.wait(60)
    second.start()
    first.join()
    second.join()
    with tenant_reading(owner):
        bodies = list(Event.objects.order_by("created_at").values_list("body", flat=True))
    return [json.loads(body)["data"]["files"] for body in bodies]


def _unended(upload: Upload, number: int) -> Chunk:
    facts = {"entity": "customers", "filename": "x", "compression": "", "source": "x", "bytes": 1}
    return Chunk.objects.create(
        upload=upload, tenant_id=upload.tenant_id, number=number, sha256="x", **facts
    )


def take_turns(url: str) -> list[Any]:
    """Three turns of one sending each at three endpoints that have much to be told: to which it
    went, and the priorities that the job had after the sweep and at the end.
    """
    delivery.PARALLEL, delivery.TURN_SECONDS = 1, 0.0
    for number in range(3):
        _busy(f"{url}/{number}", 3)
    outbox.ring()
    Job.objects.update(run_after=ago(seconds=60))
    delivery.sweep()
    raised = Job.objects.get().priority
    for _ in range(3):
        _turn()
    served = Delivery.objects.filter(state=DeliveryState.DELIVERED).values_list("endpoint_id")
    return [len(set(served)), raised, Job.objects.get().priority]


def _busy(url: str, events: int) -> UUID:
    """A tenant of its own that has an endpoint with so many events."""
    tenant, endpoint = uuid4(), uuid4()
    with tenant_transaction(tenant):
        Endpoint.objects.create(endpoint_id=endpoint, tenant_id=tenant, url=url, salt="00" * 16)
        Lane.objects.create(endpoint_id=endpoint, tenant_id=tenant, events=[kinds.TEST])
        for _ in range(events):
            outbox.write(outbox.event_of(tenant, kinds.TEST, {}), [endpoint])
    return tenant


def _turn() -> None:
    lease = Claims("test").next()
    assert lease is not None
    with suppress(GiveBack):
        delivery.process(lease)
        return
    lease.give_back()


def fail_to_record(url: str) -> list[str]:
    """A turn in which the database refuses one record, and another sending ends after that: what
    became of the two.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON webhook_attempts WHEN NEW.status = 418"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    for name in ("refused", "slow"):
        _busy(f"{url}/{name}", 1)
    outbox.ring()
    with suppress(IntegrityError):
        _turn()
        raise AssertionError("nothing was raised")
    return sorted(Delivery.objects.values_list("state", flat=True))


def rest(url: str) -> list[float]:
    """A receiver that takes what it is sent, slowly: for how long it rests after that, in seconds;
    and how many lanes are for a worker that files wait for.
    """
    _busy(url, 1)
    outbox.ring()
    _turn()
    lane = Lane.objects.get()
    return [
        (lane.held_until - lane.served_at).total_seconds(),
        Lane.objects.filter(delivery._is_quick()).count(),
    ]


def forget() -> list[Any]:
    """Of two tenants each has three deliveries, with an attempt each: one that ended long ago, one
    that ended lately, one that waits. How many steps it took to remove what is too old, and how
    many deliveries, attempts and events either has left.
    """
    owners = [_busy(f"https://example.org/{number}", 3) for number in range(2)]
    for owner in owners:
        old, late, _ = Delivery.objects.filter(tenant_id=owner).order_by("pk")
        _end(old, days=settings.HEADRACE_WEBHOOK_DAYS + 1)
        _end(late, days=settings.HEADRACE_WEBHOOK_DAYS - 1)
        with tenant_transaction(owner):
            for row in Delivery.objects.filter(tenant_id=owner):
                Attempt.objects.create(tenant_id=owner, delivery_id=row.pk, milliseconds=1)
    lease, steps = _held(), 0
    while retention.remove_deliveries(lease):
        steps += 1
    return [steps, *map(_left, owners)]


def expire() -> list[str]:
    """What becomes of two deliveries that wait, one for longer than any schedule."""
    _busy("https://example.org", 2)
    first, _ = Delivery.objects.order_by("pk")
    longest = sum(schedule.WAITS)
    Delivery.objects.filter(pk=first.pk).update(due_at=ago(seconds=longest + 60))
    Delivery.objects.exclude(pk=first.pk).update(due_at=ago(seconds=longest - 60))
    lease = _held()
    assert [retention.expire(lease), retention.expire(lease)] == [True, False]
    return list(Delivery.objects.order_by("pk").values_list("state", flat=True))


def _end(row: Delivery, days: float) -> None:
    ended = {"state": DeliveryState.DELIVERED, "ended_at": ago(days=days)}
    Delivery.objects.filter(pk=row.pk).update(**ended)


def _left(owner: UUID) -> list[int]:
    own = Delivery.objects.filter(tenant_id=owner).count()
    with tenant_reading(owner):
        return [own, Attempt.objects.count(), Event.objects.count()]


def _held() -> Lease:
    """The right to work on a job that no worker will claim."""
    job = Job.objects.create(kind="none", subject=uuid4(), tenant_id=uuid4())
    lease = jobs.seize(job)
    assert lease is not None
    return lease


def order_of_ties() -> str:
    """How the database finds the next of many deliveries that are due at the same time."""
    own = Delivery.objects.filter(endpoint_id=uuid4(), state=DeliveryState.PENDING)
    return own.filter(due_at__lte=Now()).order_by("due_at", "delivery_id")[:1].explain()
