"""What may happen to files and workers, in any order, and what must come of it.

The service's own code runs: `services.receive`, `Claims.next`, `worker.execute`, the sweeps. The
machine has a single rule, whose deeds are weighted: Hypothesis switches half of the rules off
in each sequence, and without a worker that works nothing would be learnt.
"""

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import hypothesis
from django.conf import settings
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from apps.core import worker
from apps.core.idempotency import Answer, Key
from apps.core.jobs import Claims, Lease
from apps.ingestions import parking, services, sessions
from apps.ingestions.models import Chunk
from apps.tenants.models import Tenant
from tests.protocol import model
from tests.protocol.model import LINES, PARENTS, File, Line
from tests.protocol.observer import Observer
from tests.protocol.referee import BROKEN, ENDED, LANDED, Referee
from tests.protocol.turnstile import Defect, Order, Stepped

HOUR = 3600
FOREVER = 3_000  # steps; nothing comes near
FRESH_SWEEP = copy.copy(parking.sweep)  # which rests after each look
STATEMENT, WRITE, TRANSACTION, END = "statement", "write", "transaction", "end"
seen: Counter[str] = Counter()


class Parcel(NamedTuple):
    """A file that will be sent. One that joins goes into the upload of the file before."""

    entity: str
    parks: bool
    joins: bool
    lines: tuple[Line, ...]


parcels = st.builds(
    Parcel,
    st.sampled_from(["orders", "customers", "orders", "customers", "order_items", "order_items"]),
    st.sampled_from([True, True, True, False]),
    st.booleans(),
    st.lists(st.sampled_from(LINES), min_size=2, max_size=8).map(tuple),
)


class Body:
    """A file as a request brings it."""

    def __init__(self, file: File) -> None:
        self.filename, self.content_type = f"{file.entity}.ndjson", ""
        self._data = file.data

    def option(self, name: str) -> None:
        """None is given: the name says all."""

    def blocks(self) -> list[bytes]:
        return [self._data]


class Worker(Stepped):
    """A stepped worker and the lease that it believes it has."""

    def __init__(self, name: str, skew: float = 0) -> None:
        super().__init__(name, skew)
        self.lease: Lease | None = None
        self._claims = Claims(name)

    @property
    def is_before_read(self) -> bool:
        return self.at is not None and self.at.startswith("SELECT")

    @property
    def is_before_transaction(self) -> bool:
        return self.at is not None and self.at.startswith("BEGIN")

    def has_reached(self, until: str) -> bool:
        """Whether it stands before such a thing; a write counts once it holds a lease."""
        if until == WRITE:
            return self.lease is not None and not self.is_before_read
        return until == STATEMENT or (until == TRANSACTION and self.is_before_transaction)

    def work(self) -> None:
        """Begin to claim a job and run it."""
        self.lease = None
        self.start(self._work)

    def _work(self) -> None:
        self.lease = self._claims.next()
        if self.lease is not None:
            worker.execute(self.lease)


class Deed(NamedTuple):
    name: str
    weight: int
    is_possible: "Callable[[Protocol], Any]"
    do: "Callable[[Protocol, int], None]"


DEEDS: list[Deed] = []


def deed(weight: int, is_possible: "Callable[[Protocol], Any]") -> Callable[..., Any]:
    """A deed of the machine; its number picks whom it befalls."""

    def kept(do: "Callable[[Protocol, int], None]") -> "Callable[[Protocol, int], None]":
        DEEDS.append(Deed(do.__name__, weight, is_possible, do))
        return do

    return kept


def pick(among: list[Any], number: int) -> Any:
    return among[number % len(among)]


class Protocol(RuleBasedStateMachine):
    observer: Observer
    workers: list[Worker]

    @initialize(sent=st.lists(parcels, min_size=3, max_size=6))
    def begin(self, sent: list[Parcel]) -> None:
        seen["sequences"] += 1
        self.observer.clear()
        self.tenant = Tenant.objects.create(name="A shop").tenant_id
        self.observer.stock(self.tenant)
        self.referee = Referee(self.observer)
        self.deliveries: list[tuple[services.Delivery, Answer]] = []
        self.unsent = list(sent)
        self.receive(0)
        self.receive(0)

    @rule(deed=st.integers(0, 999), who=st.integers(0, 5))
    def step(self, deed: int, who: int) -> None:
        chosen = pick(
            [one for one in DEEDS if one.is_possible(self) for _ in range(one.weight)], deed
        )
        hypothesis.note(f"# {chosen.name}")
        seen[chosen.name] += 1
        chosen.do(self, who)

    @property
    def idle(self) -> list[Worker]:
        return [one for one in self.workers if one.at is None]

    @property
    def busy(self) -> list[Worker]:
        return [one for one in self.workers if one.at is not None]

    @property
    def running(self) -> list[int]:
        return [job.id for job in self.referee.seen.jobs.values() if job.state == "running"]

    @property
    def delayed(self) -> list[int]:
        found = self.referee.seen.jobs.values()
        return [job.id for job in found if job.state == "queued" and not job.is_due]

    @property
    def parked(self) -> list[str]:
        return [chunk.id for chunk in self.referee.seen.chunks.values() if chunk.parked]

    @property
    def broken(self) -> list[str]:
        found = self.referee.seen.chunks.values()
        return [chunk.id for chunk in found if chunk.state in BROKEN]

    @property
    def going(self) -> list[str]:
        found = self.referee.seen.chunks.values()
        return [chunk.id for chunk in found if chunk.state not in ENDED]

    # Files

    @deed(3, lambda self: self.unsent)
    def receive(self, _: int) -> None:
        parcel = self.unsent.pop(0)
        before = Chunk.objects.select_related("upload").order_by("-number").first()
        is_open = before and before.upload.cancelled_at is None
        joined = before.upload.token if before and parcel.joins and is_open else None
        parks = self.referee.files[before.id.hex].parks if before and joined else parcel.parks
        file = File(parcel.entity, len(self.referee.files) + 1, parcel.lines, parks)
        key = Key(self.tenant, "file", uuid4().hex)
        delivery = services.Delivery(
            tenant=self.tenant, key=key, token=joined, encoding="", length=0, body=Body(file)
        )
        answer = services.receive(delivery)
        chunk = Chunk.objects.get(tenant_id=self.tenant, number=file.number)
        if not parks:
            self.observer.refuse_orphans(chunk.id.hex)
        self.deliveries.append((delivery, answer))
        self.referee.add(chunk.id, file)
        self.referee.witness("the server")

    @deed(1, lambda self: self.deliveries)
    def receive_the_same_again(self, which: int) -> None:
        delivery, answer = self.deliveries.pop(which % len(self.deliveries))
        again = services.receive(delivery)
        assert (again.status, again.body, again.replayed) == (answer.status, answer.body, True)
        assert self.observer.look() == self.referee.seen, "a repeated request had an effect"

    # Work

    @deed(1, lambda self: not self.busy and not self._claimable())
    def wait(self, _: int) -> None:
        """Nothing is left to do."""

    @deed(6, lambda self: self.idle and self._claimable())
    def claim(self, who: int) -> None:
        self._work(pick(self.idle, who), pick([TRANSACTION, WRITE, STATEMENT], who))

    @deed(1, lambda self: len(self.idle) > 1 and self._claimable())
    def claim_at_once(self, who: int) -> None:
        """Two have seen the same job waiting."""
        rivals = [pick(self.idle, who), pick(self.idle, who + 1)]
        for one in rivals:
            one.work()
            while one.at is not None and not one.at.startswith("UPDATE"):
                self._step(one)
        for one in rivals:
            self._advance(one, TRANSACTION)

    @deed(2, lambda self: self.idle and self._claimable())
    def claim_and_finish(self, who: int) -> None:
        self._work(pick(self.idle, who), END)

    @deed(1, lambda self: self.idle and self.busy and not self._claimable())
    def answer_a_second_doorbell(self, who: int) -> None:
        self._work(pick(self.idle, who), END)

    @deed(4, lambda self: self.busy)
    def advance_to_a_transaction(self, who: int) -> None:
        self._advance(pick(self.busy, who), TRANSACTION)

    @deed(2, lambda self: self.busy)
    def advance_to_a_write(self, who: int) -> None:
        self._advance(pick(self.busy, who), WRITE)

    @deed(1, lambda self: self.busy)
    def advance_a_statement(self, who: int) -> None:
        self._advance(pick(self.busy, who), STATEMENT)

    @deed(2, lambda self: self.busy)
    def advance_to_the_end(self, who: int) -> None:
        self._advance(pick(self.busy, who), END)

    @deed(1, lambda self: self.busy)
    def tire(self, who: int) -> None:
        """The claim has lasted long enough."""
        lease = pick(self.busy, who).lease
        if lease is not None:
            lease.taken = float("-inf")

    # Senders

    @deed(1, lambda self: self.going)
    def cancel(self, which: int) -> None:
        chunk = Chunk.objects.select_related("upload").get(pk=UUID(pick(self.going, which)))
        sessions.cancel(chunk.upload)
        self.referee.witness("the sender")

    @deed(3, lambda self: self.broken)
    def resume(self, which: int) -> None:
        chunk = Chunk.objects.select_related("upload").get(pk=UUID(pick(self.broken, which)))
        sessions.resume(chunk.upload, {})
        self.referee.witness("the sender")

    # Mishaps

    @deed(3, lambda self: self.idle and any(one.lease for one in self.busy))
    def stall_and_be_overtaken(self, who: int) -> None:
        stalled = pick([one for one in self.busy if one.lease], who)
        self._expire(stalled.lease.job)
        self._work(pick(self.idle, who), pick([TRANSACTION, END], who))

    @deed(1, lambda self: self.running)
    def let_a_lease_expire(self, which: int) -> None:
        self._expire(pick(self.running, which))

    @deed(1, lambda self: self.busy)
    def beat(self, who: int) -> None:
        lease = pick(self.busy, who).lease
        if lease is not None:
            lease.keep()
            self.referee.look_again()

    @deed(1, lambda self: self.busy)
    def die(self, who: int) -> None:
        self._step(pick(self.busy, who), Order.DIE)

    @deed(1, lambda self: self.busy)
    def die_before_a_commit(self, who: int) -> None:
        self._befall_transaction(pick(self.busy, who), Order.DIE_INSIDE)

    @deed(1, lambda self: self.busy)
    def lose_an_acknowledgement(self, who: int) -> None:
        self._step(pick(self.busy, who), Order.LOSE)

    @deed(3, lambda self: self.busy)
    def lose_the_acknowledgement_of_a_commit(self, who: int) -> None:
        self._befall_transaction(pick(self.busy, who), Order.LOSE)

    @deed(1, lambda self: self.busy)
    def find_the_database_busy(self, who: int) -> None:
        self._step(pick(self.busy, who), Order.FAIL)

    @deed(1, lambda self: self.busy)
    def find_the_database_busy_at_a_commit(self, who: int) -> None:
        self._befall_transaction(pick(self.busy, who), Order.FAIL)

    @deed(1, lambda self: self.busy)
    def run_into_a_defect(self, who: int) -> None:
        self._step(pick(self.busy, who), Order.BREAK)

    @deed(1, lambda self: self.idle and self._claimable())
    def claim_and_die_repeatedly(self, who: int) -> None:
        chosen = pick(self.idle, who)
        for _ in range(pick([5, 4, 1], who)):
            self._work(chosen, STATEMENT)
            while chosen.at is not None and chosen.lease is None:
                self._step(chosen)
            if chosen.at is not None:
                self._step(chosen, Order.DIE)
            if chosen.lease is not None:
                self._expire(chosen.lease.job)

    # Time

    @deed(1, lambda self: self.delayed)
    def let_delays_pass(self, _: int) -> None:
        self.observer.make_due()
        self.referee.look_again()

    @deed(1, lambda self: self.parked)
    def sweep(self, _: int) -> None:
        copy.copy(FRESH_SWEEP)()
        self.referee.witness("the sweep")

    @deed(1, lambda self: self.parked)
    def let_parked_lines_expire(self, which: int) -> None:
        chunk = pick(self.parked, which)
        self.observer.expire_parked(chunk)
        file = self.referee.files[chunk]
        file.expired |= file.with_outcome(model.PARKED)

    # The end

    def teardown(self) -> None:
        if not hasattr(self, "referee"):
            return
        try:
            self._bury()
            self._work_until_quiet()
            self._check_wakes()
            self.sweep(0)
            self._work_until_quiet()
            self._check_end()
        finally:
            self._bury()

    def _bury(self) -> None:
        """All workers die where they stand."""
        for one in self.busy:
            one.step(Order.DIE)

    def _work_until_quiet(self) -> None:
        honest = self.workers[0]
        while any(job.is_active for job in self.referee.seen.jobs.values()):
            for job in self.running:
                self._expire(job)
            self.let_delays_pass(0)
            self._work(honest, END)
            assert honest.lease is not None, "a job is left that nobody can claim"

    def _check_wakes(self) -> None:
        """Nobody swept: whose parent has landed was woken by those who landed it.

        A job that gave up, and lines that waited for one that was itself parked, may need the
        sweep.
        """
        if self.referee.has_given_up:
            return
        for chunk, file in self.referee.files.items():
            if PARENTS[file.entity] not in self.referee.woken:
                assert not self._ready(file), f"a wake of {chunk} was lost"

    def _check_end(self) -> None:
        sight, files = self.referee.seen, self.referee.files
        assert sight.rows == model.newest(list(files.values())), "tables are not the newest lines"
        for number, chunk in sight.chunks.items():
            file = files[number]
            assert chunk.state in ENDED, f"a chunk is {chunk.state} for ever"
            if chunk.state in LANDED:
                assert not file.with_outcome(model.UNPROCESSED)
            if not self._is_hopeless(number):
                assert not self._ready(file), "a line waits for a row that is there"
                assert not file.expired & file.with_outcome(model.PARKED), "a line waits too long"

    def _ready(self, file: File) -> set[int]:
        parked = file.with_outcome(model.PARKED)
        parent = PARENTS[file.entity]
        return {line for line in parked if self.referee.shop.has(parent, file.parent(line))}

    def _is_hopeless(self, chunk: str) -> bool:
        """Its last wake ended badly: it is not woken any more."""
        wakes = [job for job in self.referee.seen.jobs.values() if job.subject == chunk]
        last = max(wakes, key=lambda job: job.id)
        return last.kind == "wake" and last.state in ("quarantined", "failed")

    # Steps

    def _work(self, chosen: Worker, until: str) -> None:
        before, free = self.referee.changes, self._claimable()
        chosen.work()
        self._advance(chosen, until)
        was_alone = until == END or self.referee.changes == before
        if free and was_alone and chosen.at is None:
            assert chosen.lease is not None, f"jobs {free} can run but none was claimed"

    def _advance(self, chosen: Worker, until: str) -> None:
        for _ in range(FOREVER):
            if chosen.at is None:
                return
            self._step(chosen)
            if chosen.has_reached(until):
                return
        raise AssertionError(f"{chosen.name} does not come to an end")

    def _befall_transaction(self, chosen: Worker, order: Order) -> None:
        if not chosen.is_before_transaction:
            self._advance(chosen, TRANSACTION)
        if chosen.at is not None:
            self._step(chosen, order)

    def _step(self, chosen: Worker, order: Order = Order.GO) -> None:
        claims, statement = chosen.lease is None, chosen.at
        chosen.step(order)
        if statement is None or not statement.startswith("SELECT"):
            seen["transactions"] += 1
            self.referee.witness(chosen.name, chosen.lease, claims=claims)
        if chosen.at is None and chosen.failure is not None:
            # The worker's loop waits for a database that is away; a defect ends the process.
            assert isinstance(chosen.failure, worker.Error | Defect), chosen.failure

    def _expire(self, job: int) -> None:
        self.observer.expire_lease(job)
        self.referee.look_again()

    def _claimable(self) -> list[int]:
        found = self.referee.seen.jobs.values()
        ahead = [(job.group, job.rank) for job in found if job.is_active and job.group]
        return [
            job.id
            for job in found
            if job.is_claimable
            and not any(group == job.group and rank < job.rank for group, rank in ahead)
        ]


def run(sequences: int, steps: int, number: int) -> None:
    """Run so many sequences from a seed. Raises what was found, with the shortest way to it."""
    Protocol.observer = Observer(settings.DATABASES["default"]["NAME"])
    Protocol.workers = [
        Worker("honest"),
        Worker("early", skew=HOUR),
        Worker("late", skew=-HOUR),
    ]
    chosen = hypothesis.settings(
        max_examples=sequences,
        stateful_step_count=steps,
        phases=[Phase.generate, Phase.shrink],
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(hypothesis.seed(number)(Protocol), settings=chosen)
