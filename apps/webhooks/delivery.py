"""The job that sends what is due, to all tenants' endpoints: many at once, one at a time to each.

Threads send and touch no database; the job's own thread reads and writes in short transactions,
each of which ends with the fence. A worker that is killed between a sending and its record has the
event sent again, with the same webhook-id.
"""

import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import close_old_connections, transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Now

from apps.audit import services as audit
from apps.audit.models import Action
from apps.core import jobs, metrics, worker
from apps.core.isolation import tenant_reading, tenant_transaction
from apps.core.jobs import Lease
from apps.core.models import Job, JobState, Priority
from apps.core.retention import ago
from apps.webhooks import outbox, schedule, sending, signing
from apps.webhooks.models import Attempt, Delivery, DeliveryState, Endpoint, Event, Lane
from apps.webhooks.sending import Result
from headrace.pipeline.errors import Permanent

log = logging.getLogger(__name__)
PARALLEL = 32
TURN_SECONDS = 10.0  # then others have the worker; what is under way ends first
LOOK_SECONDS = 0.5
LATE_SECONDS = 10.0
SLOW_REST_SECONDS = 300.0  # for which a slow lane makes room for files that wait


class Sending(NamedTuple):
    """A delivery that is to be sent, with all that this takes."""

    delivery: UUID
    tenant: UUID
    endpoint: UUID
    attempts: int
    url: str
    headers: dict[str, str]
    body: bytes


def process(lease: Lease) -> None:
    """The job: send until nothing is due. Raises GiveBack when others should have a turn."""
    lease.held().update(priority=Priority.LOW)  # what the sweep raised, it raised for one turn
    if not _others_run(lease):
        with ThreadPoolExecutor(PARALLEL, "webhook") as pool:
            is_done = _Turn(lease, pool).run()
        if not is_done:
            raise jobs.GiveBack("others wait")
    with transaction.atomic(durable=True):
        lease.end(JobState.DONE)
    if due().exists():  # since the last look, and who put it saw us at work
        outbox.ring()


def give_up(lease: Lease, failure: Permanent) -> None:
    """The deliveries stay due, and the sweep queues another job."""
    with transaction.atomic(durable=True):
        lease.end(jobs.state_after(failure), failure.code)


def sweep() -> None:
    """Queue the job where something is due; one that has waited takes turns with files."""
    if due().exists():
        outbox.ring()
        queued = Job.objects.filter(kind=outbox.DELIVER, state=JobState.QUEUED)
        late = queued.filter(priority=Priority.LOW, run_after__lt=ago(seconds=LATE_SECONDS))
        late.update(priority=Priority.NORMAL)


def due() -> QuerySet[Lane]:
    """Lanes that have something to send now; `next` is what has waited longest."""
    own = Delivery.objects.filter(
        endpoint_id=OuterRef("endpoint_id"), state=DeliveryState.PENDING, due_at__lte=Now()
    )
    oldest = own.order_by("due_at", "delivery_id").values("delivery_id")[:1]
    is_free = Q(held_until=None) | Q(held_until__lte=Now())
    lanes = Lane.objects.filter(is_free, Exists(own), is_open=True)
    return lanes.annotate(next=Subquery(oldest))


def _others_run(lease: Lease) -> bool:
    """Whether another worker is at it. Two who begin at once both see each other, and end."""
    return jobs.running().filter(kind=lease.kind).exclude(pk=lease.job).exists()


class _Turn:
    """What a worker does between a claim and its end."""

    def __init__(self, lease: Lease, pool: ThreadPoolExecutor) -> None:
        self._lease = lease
        self._pool = pool
        self._under_way: dict[Future[Result], Sending] = {}
        self._stops = False
        self._error: Exception | None = None

    def run(self) -> bool:
        """Send; False if it stopped for others, and something may still be due.

        An error ends the turn, but what is under way then is recorded before it is raised: else
        its receivers would get it again.
        """
        self._try(self._begin_fairly)
        while self._under_way:
            self._record_ended()
            self._try(self._go_on)
        if self._error is not None:
            raise self._error
        return not self._stops

    def _try(self, step: Callable[[], None]) -> None:
        """Nothing more is begun after an error."""
        if self._error is None:
            self._heed(step)

    def _heed(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:
            self._error = self._error or error
            close_old_connections()  # one that broke would fail for the others, too

    def _begin_fairly(self) -> None:
        lanes = due()
        if jobs.is_urgent_work_waiting():
            lanes = lanes.filter(_is_quick())
        self._begin(lanes)

    def _go_on(self) -> None:
        self._lease.check()
        self._stops = self._should_stop()
        if not self._stops:
            self._begin(due())

    def _should_stop(self) -> bool:
        is_over = self._lease.age > TURN_SECONDS or worker.STOPPING.is_set()
        return is_over or jobs.is_urgent_work_waiting()

    def _begin(self, lanes: QuerySet[Lane]) -> None:
        """Take as many of these lanes as threads are free: those first that were served longest
        ago, so that many with much to tell leave room for others.
        """
        busy = {one.endpoint for one in self._under_way.values()}
        free = PARALLEL - len(busy)
        chosen = lanes.exclude(pk__in=busy).order_by("served_at", "endpoint_id")
        for lane in chosen[:free] if free else ():
            if one := _prepared(lane):
                self._under_way[self._pool.submit(_send, one)] = one

    def _record_ended(self) -> None:
        ended, _ = wait(self._under_way, LOOK_SECONDS, FIRST_COMPLETED)
        for future in ended:
            one = self._under_way.pop(future)
            self._heed(partial(_record, self._lease, one, future.result()))


def _is_quick() -> Q:
    """Lanes for which files may wait: a slow one only if it was not served for long."""
    slow = Q(milliseconds__gt=schedule.SLOW_SECONDS * 1_000)
    return ~slow | Q(served_at__lte=ago(seconds=SLOW_REST_SECONDS))


def _prepared(lane: Any) -> Sending | None:
    """What is to be sent in a lane; None if it is not there any more."""
    with tenant_reading(lane.tenant_id):
        delivery = Delivery.objects.filter(pk=lane.next, state=DeliveryState.PENDING).first()
        endpoint = Endpoint.objects.annotate(now=Now()).filter(pk=lane.endpoint_id).first()
        event = Event.objects.filter(pk=delivery.event_id).first() if delivery else None
    if delivery is None or endpoint is None or event is None:
        _fail(Delivery.objects.filter(pk=lane.next))  # or it would be found again and again
        return None
    body = event.body.encode()
    whose = endpoint.endpoint_id, salts(endpoint), event.event_id
    return Sending(
        delivery=delivery.delivery_id,
        tenant=lane.tenant_id,
        endpoint=lane.endpoint_id,
        attempts=delivery.attempts,
        url=endpoint.url,
        headers=signing.headers(*whose, int(time.time()), body),
        body=body,
    )


def salts(endpoint: Any) -> Iterable[str]:
    """Those of the secrets that sign at `endpoint.now`: the new one, and for a while the old."""
    yield endpoint.salt
    if endpoint.old_until is not None and endpoint.old_until > endpoint.now:
        yield endpoint.old_salt


def _send(one: Sending) -> Result:
    """An error of ours with one endpoint must not keep the events of all others."""
    try:
        return sending.post(
            one.url,
            one.headers,
            one.body,
            https_only=settings.PRODUCTION,
            allowed=settings.HEADRACE_WEBHOOK_ALLOW,
        )
    except Exception:
        log.exception("delivery %s could not be sent", one.delivery)
        return Result(None, 0, "internal")


def _record(lease: Lease, one: Sending, result: Result) -> None:
    with tenant_transaction(one.tenant):
        # The lane first, as whoever changes or removes an endpoint does: no two wait in a circle.
        lane = Lane.objects.select_for_update().filter(pk=one.endpoint).first()
        # Of one that is not there any more, as its tenant is not, no attempt may be left behind.
        if Delivery.objects.select_for_update().filter(pk=one.delivery).first():
            _keep(one, result)
            if lane is not None and _is_still_at(lane, one.url):
                _settle_lane(lane, result)
        metrics.when_committed(metrics.WEBHOOKS.labels(result.error or "taken").inc)
        lease.fence()


def _is_still_at(lane: Lane, url: str) -> bool:
    """What an address answers says nothing of the one that its tenant has moved to meanwhile."""
    return Endpoint.objects.filter(pk=lane.pk, url=url).exists()


def _keep(one: Sending, result: Result) -> None:
    Attempt.objects.create(
        tenant_id=one.tenant,
        delivery_id=one.delivery,
        status=result.status,
        milliseconds=result.milliseconds,
        error=result.error,
        answer=result.answer,
    )
    own = Delivery.objects.filter(
        pk=one.delivery, state=DeliveryState.PENDING, attempts=one.attempts
    )
    own.update(attempts=F("attempts") + 1, **_after(one, result))


def _after(one: Sending, result: Result) -> dict[str, Any]:
    """What a delivery becomes."""
    if not result.error:
        return {"state": DeliveryState.DELIVERED, "ended_at": Now()}
    wait = None if result.error == "gone" else schedule.wait_after(one.attempts)
    if wait is None:
        return {"state": DeliveryState.FAILED, "ended_at": Now()}
    return {"due_at": _in(wait)}


def _settle_lane(lane: Lane, result: Result) -> None:
    failures = lane.failures + 1 if result.error else 0
    rest = schedule.rest_after(failures, result.milliseconds / 1_000)
    Lane.objects.filter(pk=lane.pk).update(
        served_at=Now(),
        milliseconds=result.milliseconds,
        failures=failures,
        held_until=_in(rest) if rest else None,
    )
    if result.error == "gone":
        close(lane.pk, "gone")
        audit.record(lane.tenant_id, Action.WEBHOOK_CHANGED, lane.pk, disabled_because="gone")


def close(endpoint: UUID, because: str) -> None:
    """Send nothing more to an endpoint; what waits for it has failed, and can be replayed."""
    Lane.objects.filter(pk=endpoint).update(is_open=False, closed_because=because)
    _fail(Delivery.objects.filter(endpoint_id=endpoint))


def _fail(deliveries: QuerySet[Delivery]) -> None:
    waiting = deliveries.filter(state=DeliveryState.PENDING)
    waiting.update(state=DeliveryState.FAILED, ended_at=Now())


def _in(seconds: float) -> CombinedExpression:
    return Now() + Value(timedelta(seconds=seconds))
