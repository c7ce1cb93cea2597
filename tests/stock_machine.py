"""Stock calls, repeated, late, impossible and cut off at any point, against tests/stock_model.py.

The service's own code runs, on a database of its own. A crash is an exception that nothing
handles, as a process that dies handles none; then the caller sends the same call again.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock
from uuid import UUID, uuid4

import hypothesis
import psycopg
import pymysql
import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from apps.catalog.models import MODELS
from apps.core.idempotency import Answer, Key
from apps.core.isolation import tenant_reading, tenant_transaction
from apps.core.models import IdempotencyKey
from apps.core.problems import Problem
from apps.ingestions.services import Delivery
from apps.stocks import answers, services
from apps.tenants.models import Tenant
from headrace.pipeline import calls, owners
from headrace.pipeline.errors import Retryable
from tests import servers
from tests.stock_model import Said, Shelf

STEPS = 14
seen: Counter[str] = Counter()
PRODUCTS = 3


class Event(NamedTuple):
    """An event of a call; `again` names an earlier one, so many before, that it repeats."""

    product: int
    said: Said
    is_late: bool
    has_id: bool
    again: int | None


class Sent(NamedTuple):
    """A call as it was sent: for each event its product, its id, and what it says."""

    content: bytes
    key: str | None
    events: list[tuple[int, str, Said]]


small = st.integers(0, 4)
sayings = st.one_of(
    st.integers(1, 5).map(lambda number: Said(delta=number)),
    st.integers(-5, -1).map(lambda number: Said(delta=number)),
    small.map(lambda number: Said(set=number)),
    st.tuples(small, small).map(lambda two: Said(set=two[0], expected=two[1])),
)
troubles = st.sampled_from([None, None, None, *range(5)])
events = st.lists(
    st.builds(
        Event,
        st.integers(0, PRODUCTS - 1),
        sayings,
        st.booleans(),
        st.sampled_from([True, True, False]),
        st.sampled_from([None, None, None, 0, 1]),
    ),
    min_size=1,
    max_size=6,
)


class Body:
    """A call's body as a request brings it."""

    filename = content_type = ""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def option(self, name: str) -> None:
        """None is given."""

    def blocks(self) -> list[bytes]:
        return [self._content]


class Crash(BaseException):
    """The process died."""


class Till(RuleBasedStateMachine):
    """One tenant, some products, and all that a caller can do to them."""

    def __init__(self) -> None:
        super().__init__()
        self._tenant = Tenant.objects.create(name="A shop").tenant_id
        self._goods = [uuid4() for _ in range(PRODUCTS)]
        with tenant_transaction(self._tenant), connection.cursor() as cursor:
            for product in self._goods:
                row = [self._tenant.hex, product.hex, product.hex]
                cursor.execute(
                    "INSERT INTO products (tenant_id, product_id, sku, name, price,"
                    " source_sequence) VALUES (%s, %s, %s, 'Cup', 1, 0)",
                    row,
                )
        self._shelves = [Shelf() for _ in self._goods]
        self._sent: list[Sent] = []
        self._answers: dict[str, tuple[bytes, str]] = {}
        seen["sequences"] += 1

    @rule(
        chosen=events, has_key=st.booleans(), crash=st.sampled_from([None, None, None, *range(5)])
    )
    def call(self, chosen: list[Event], has_key: bool, crash: int | None) -> None:
        self._sent.append(self._written(chosen, has_key))
        self._deliver(self._sent[-1], crash)

    @precondition(lambda self: self._sent)
    @rule(which=st.integers(0, 50), crash=troubles)
    def repeat(self, which: int, crash: int | None) -> None:
        seen["repetitions"] += 1
        self._deliver(self._sent[which % len(self._sent)], crash)

    @precondition(lambda self: self._answers)
    @rule(which=st.integers(0, 50), chosen=events)
    def reuse_a_key(self, which: int, chosen: list[Event]) -> None:
        key = [*self._answers][which % len(self._answers)]
        other = self._written(chosen, True)
        with pytest.raises(Problem, match="Use a new key"):
            self._update(other._replace(key=key, content=other.content + b" "))
        seen["keys used again"] += 1

    @precondition(lambda self: self._answers)
    @rule(which=st.integers(0, 50))
    def let_a_key_expire(self, which: int) -> None:
        key = [*self._answers][which % len(self._answers)]
        rows = IdempotencyKey.objects.filter(tenant_id=self._tenant, key=key)
        assert rows.update(created_at="2020-01-01T00:00:00Z") == 1
        del self._answers[key]
        seen["keys that expired"] += 1

    @invariant()
    def the_ledger_is_that_of_the_model(self) -> None:
        with tenant_reading(self._tenant):
            levels = dict(MODELS["stock_levels"].objects.values_list("product_id", "level"))
            names = ("product_id", "sequence", "delta", "resulting_level", "stock_event_id")
            rows = list(MODELS["stock_events"].objects.order_by(*names[:2]).values_list(*names))
        for product, shelf in zip(self._goods, self._shelves, strict=True):
            own = [row[1:] for row in rows if row[0] == product]
            assert levels.get(product, 0) == shelf.level == sum(row[1] for row in own)
            assert [row[0] for row in own] == list(range(1, len(own) + 1))
            assert {str(row[3]) for row in own} == set(shelf.known)

    def _written(self, chosen: list[Event], has_key: bool) -> Sent:
        key = uuid4().hex if has_key else None
        name = owners.event_names(self._tenant, key or "")
        earlier = [event for sent in self._sent for event in sent.events][::-1]
        records, told = [], []
        for line, event in enumerate(chosen, start=1):
            product, said, id_ = event.product, event.said, str(uuid4())
            has_id = event.has_id or not has_key
            if event.again is not None and event.again < len(earlier):
                has_id, (product, id_, said_before) = True, earlier[event.again]
                said = said_before if event.is_late else said
            id_ = id_ if has_id else str(name(line))
            record = {"product_id": str(self._goods[product]), **_present(said)}
            record |= {"stock_event_id": id_} if has_id else {}
            # Which events are late is told by their ids: the same event never has two times.
            record |= {"event_time": "2001-01-01"} if UUID(id_).int % 2 else {}
            records.append(record)
            told.append((product, id_, said))
            seen["late events"] += "event_time" in record
        return Sent(json.dumps(records).encode(), key, told)

    def _deliver(self, sent: Sent, crash: int | None) -> None:
        """Send a call, once more after a crash, and compare what came of it."""
        if crash is not None and not (crash == 4 and connection.vendor == "sqlite"):
            seen[f"troubles {CRASHES[crash].__name__}"] += 1
            with CRASHES[crash]():
                try:
                    self._update(sent)
                except Crash:
                    connection.close()  # as the end of a process does
        first = self._answers.get(sent.key or "")
        answer = self._update(sent)
        if sent.key and first:
            assert (answer.body, answer.replayed) == (first[1], True)
            seen["replays"] += 1
            return
        body = json.loads(answer.body)
        count = {row["product_id"]: row["events_processed"] for row in body["applied"]}
        for place, (product, shelf) in enumerate(zip(self._goods, self._shelves, strict=True)):
            own = [(name, said) for at, name, said in sent.events if at == place]
            counted = shelf.take(own)
            assert counted == count.get(str(product), 0), (own, shelf, body)
            seen["products refused"] += counted < len(own)
        if sent.key:
            self._answers[sent.key] = (sent.content, answer.body)

    def _update(self, sent: Sent) -> Answer:
        key = Key(self._tenant, "stock", sent.key) if sent.key else None
        length = len(sent.content)
        body = Body(sent.content)
        return services.update(Delivery(self._tenant, key, None, "", length, body, services.DOOR))


def _present(said: Said) -> dict[str, int]:
    return {name: value for name, value in said._asdict().items() if value is not None}


@contextmanager
def before_it_lands() -> Iterator[None]:
    with mock.patch.object(calls, "land", side_effect=Crash):
        yield


@contextmanager
def after_it_landed() -> Iterator[None]:
    with mock.patch.object(answers, "told", side_effect=Crash):
        yield


@contextmanager
def before_the_commit() -> Iterator[None]:
    def died() -> None:
        connection.close()  # or Django would put the open transaction in order
        raise Crash

    with mock.patch.object(connection, "commit", died):
        yield


@contextmanager
def behind_the_commit() -> Iterator[None]:
    """The commit succeeds, and its acknowledgement is lost: the service itself tries again."""
    commit, lost = connection.commit, []

    def committed() -> None:
        commit()
        if not lost:
            lost.append(True)
            raise Retryable("lost")

    with mock.patch.object(connection, "commit", committed):
        yield


@contextmanager
def by_losing_the_connection() -> Iterator[None]:
    """The server ends the connection once the events are written: the service tries again."""
    told, done = answers.told, []

    def after_a_kill(*arguments: Any) -> Any:
        if not done:
            done.append(True)
            _kill(connection.connection)
            connection.cursor().execute("SELECT 1")
        return told(*arguments)

    with mock.patch.object(answers, "told", after_a_kill):
        yield


def _kill(victim: Any) -> None:
    url = os.environ.get("DATABASE_URL", "")
    if connection.vendor == "postgresql":
        with psycopg.connect(url, autocommit=True) as owner:
            owner.execute("SELECT pg_terminate_backend(%s, 5000)", [victim.info.backend_pid])
    elif connection.vendor == "mysql":
        with pymysql.connect(**servers.mysql_parts(url)) as owner:
            owner.cursor().execute(f"KILL {victim.thread_id()}")


CRASHES: list[Callable[[], Any]] = [
    before_it_lands,
    after_it_landed,
    before_the_commit,
    behind_the_commit,
    by_losing_the_connection,
]


def run(sequences: str, seed: str) -> dict[str, int]:
    """How often what was done; raises where the service and the model differ."""
    machine = hypothesis.seed(int(seed))(Till)
    run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=int(sequences),
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            phases=[Phase.generate],  # to shrink a failure takes as long as all of it
            suppress_health_check=list(HealthCheck),
        ),
    )
    return dict(seen)
