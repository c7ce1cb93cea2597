"""Run where Django is set up, in processes of their own: histories of loads and recomputations."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from apps.core import worker
from apps.core.idempotency import Key
from apps.core.jobs import Claims, Lease
from apps.core.models import Job, JobState, Priority
from apps.ingestions import services as files
from apps.metrics import jobs, services
from apps.tenants.models import Tenant
from headrace.pipeline.errors import LeaseLost
from tests import sales
from tests.road import ndjson
from tests.service import Service
from tests.shop import customer, order, order_item, product

SERVICE = Service(Path(os.environ["HEADRACE_HOME"]), dict(os.environ))
MOMENTS = ("2025-03-01T00:00:00Z", "2025-03-01T23:59:59.5Z", "2025-03-02T12:00:00Z", "2025-03-09")


class Body:
    """A file as a request brings it."""

    content_type = ""

    def __init__(self, entity: str, records: list[dict[str, Any]]) -> None:
        self.filename = f"{entity}.ndjson"
        self._data = ndjson(*records)

    def option(self, name: str) -> None:
        """None is given: the name says all."""

    def blocks(self) -> list[bytes]:
        return [self._data]


class Shop:
    """A tenant, a few keys, and files that say something about them."""

    def __init__(self) -> None:
        self.tenant: UUID = Tenant.objects.create(name="A shop").tenant_id
        self.buyers = [customer() for _ in range(3)]
        self.goods = [product() for _ in range(2)]
        self.orders = [order() for _ in range(4)]
        self.items = [order_item("", "") for _ in range(5)]
        self.send("customers", self.buyers)
        self.send("products", self.goods)
        drain()

    def send(self, entity: str, records: list[dict[str, Any]]) -> None:
        key = Key(self.tenant, "file", uuid4().hex)
        body = Body(entity, records)
        files.receive(files.Delivery(self.tenant, key, None, "", 0, body))

    def send_orders(self, draw: Callable[[Any], Any]) -> None:
        for changed in draw(st.lists(st.sampled_from(self.orders), min_size=1, unique_by=id)):
            kind = draw(st.sampled_from(["sale", "sale", "return", "adjustment"]))
            changed |= {
                "kind": kind,
                "order_status": draw(st.sampled_from(["delivered", "pending", "refunded"])),
                "total_amount": str(draw(st.integers(0 if kind == "sale" else -9, 9))),
                "order_date": draw(st.sampled_from(MOMENTS)),
                "currency": draw(st.sampled_from(["EUR", "USD"])),
                "customer_id": draw(
                    st.sampled_from([None, *(buyer["customer_id"] for buyer in self.buyers)])
                ),
            }
        self.send("orders", [sent for sent in self.orders if "kind" in sent])

    def send_items(self, draw: Callable[[Any], Any]) -> None:
        for changed in draw(st.lists(st.sampled_from(self.items), min_size=1, unique_by=id)):
            changed |= {
                "order_id": draw(st.sampled_from(self.orders))["order_id"],
                "product_id": draw(st.sampled_from(self.goods))["product_id"],
                "quantity": draw(st.sampled_from([-2, 1, 3])),
                "line_total": str(draw(st.integers(-9, 9))),
            }
        self.send("order_items", [sent for sent in self.items if sent["order_id"]])


def drain() -> None:
    """Run whatever can be run."""
    claims = Claims("drain")
    while (lease := claims.next()) is not None:
        worker.execute(lease)


def run_one() -> None:
    if (lease := Claims("one").next()) is not None:
        worker.execute(lease)


def twins() -> list[bool]:
    """Two tenants with rows of the same ids and other contents: whether the figures of each are
    those of its own rows, once when all are new and once when all are made anew.
    """
    own, other = Shop(), Shop()
    for shop, times in ((own, 1), (other, 10)):
        shop.send("customers", own.buyers)
        shop.send("products", own.goods)
        shop.send("orders", [_sale(own, place, times) for place in range(4)])
        shop.send("order_items", [_sold(own, place, times) for place in range(4)])
    drain()
    found = [_is_kept_right(shop) for shop in (own, other)]
    for shop in (own, other):
        services.list_all(shop.tenant)
        services.roll_up(shop.tenant)
    return [*found, *(_is_kept_right(shop) for shop in (own, other))]


def _sale(shop: Shop, place: int, times: int) -> dict[str, Any]:
    return shop.orders[place] | {
        "kind": "sale",
        "order_status": "delivered",
        "order_date": MOMENTS[0],
        "total_amount": str(times * (place + 1)),
        "customer_id": shop.buyers[place % 3]["customer_id"],
    }


def _sold(shop: Shop, place: int, times: int) -> dict[str, Any]:
    return shop.items[place] | {
        "order_id": shop.orders[place]["order_id"],
        "product_id": shop.goods[place % 2]["product_id"],
        "quantity": times,
        "line_total": str(times),
    }


def _is_kept_right(shop: Shop) -> bool:
    kept = sales.kept_days(SERVICE, shop.tenant)
    return bool(kept) and kept == sales.buckets(sales.orders(SERVICE, shop.tenant), sales.day)


def turns_of_a_rollup() -> list[str]:
    """A rollup beside a file that waits; late, beside another one; late; beside a neighbour's file.

    Of each the state that its claim left it in, and how many days it left listed.
    """
    shop, neighbour = Shop(), Shop()
    shop.orders[0] |= {"kind": "sale", "order_date": MOMENTS[0], "total_amount": "5"}
    shop.send("orders", shop.orders[:1])
    drain_ingestion()
    shop.send("customers", shop.buyers)  # waits for a worker all the time
    told = [_turn(shop)]
    ahead = Job.objects.create(kind=jobs.ROLLUP, subject=shop.tenant, tenant_id=shop.tenant)
    other = Claims("other")._take(ahead)
    told.append(_turn(shop, priority=Priority.NORMAL))
    other.end(JobState.DONE)
    told.append(_turn(shop, priority=Priority.NORMAL))
    shop.orders[0]["total_amount"] = "6"
    shop.send("orders", shop.orders[:1])
    drain_ingestion()
    neighbour.send("customers", neighbour.buyers)
    return [*told, _turn(shop)]


def _turn(shop: Shop, **changes: Any) -> str:
    own = Job.objects.filter(kind=jobs.ROLLUP, subject=shop.tenant, state=JobState.QUEUED)
    own.update(run_after=Now(), **changes)
    lease = _claimed(shop)
    worker.execute(lease)
    state = Job.objects.get(pk=lease.job).state
    return f"{state}, {sales.listed_days(SERVICE, shop.tenant)} listed"


def lose_a_lease(shop: Shop) -> None:
    """A worker recomputes while another takes its job over: nothing of it is kept."""
    jobs.queue(shop.tenant)
    lease = _claimed(shop)

    def fence() -> None:
        Job.objects.filter(pk=lease.job).update(epoch=F("epoch") + 1)
        lease.fence()

    try:
        services.roll_up(shop.tenant, 2, fence)
    except LeaseLost:
        held = Job.objects.filter(pk=lease.job)
        held.update(state=JobState.QUEUED, lease_expires=None, epoch=F("epoch") + 1)


def _claimed(shop: Shop) -> Lease:
    job = Job.objects.filter(kind=jobs.ROLLUP, subject=shop.tenant, state=JobState.QUEUED)
    lease = Claims("loser")._take(job.first())
    assert lease is not None
    return lease


def load_meanwhile(shop: Shop) -> None:
    """A load commits between what a recomputation has read and its commit.

    Where one writer has all it comes right behind it.
    """
    if connection.vendor == "sqlite":
        services.roll_up(shop.tenant, 1)
        drain_ingestion()
    else:
        services.roll_up(shop.tenant, 1, _in_a_thread(drain_ingestion))


def drain_ingestion() -> None:
    waiting = Job.objects.exclude(kind=jobs.ROLLUP).filter(state=JobState.QUEUED).order_by("id")
    for job in waiting:
        lease = Claims("loads")._take(job)
        if lease is not None:
            worker.execute(lease)


def _in_a_thread(step: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(_closing, step).result()

    return run


def _closing(step: Callable[[], None]) -> None:
    try:
        step()
    finally:
        connection.close()


def change_statuses(shop: Shop) -> None:
    """Another setting, as a restart brings it, and back."""
    for statuses in (("pending",), ("delivered", "shipped")):
        settings.HEADRACE_SALES_STATUSES = statuses
        jobs.queue(shop.tenant)
        if statuses == ("pending",):
            run_one()


STEPS = ("orders", "orders", "items", "items", "work", "work", "lose", "meanwhile", "statuses")


def random_histories(examples: str) -> int:
    """How many histories ended with the figures of their rows."""
    held = []

    @hypothesis_settings(
        max_examples=int(examples),
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def history(data: st.DataObject) -> None:
        shop = Shop()
        for step in data.draw(st.lists(st.sampled_from(STEPS), min_size=3, max_size=14)):
            _take(shop, step, data.draw)
        drain()
        assert sales.listed_days(SERVICE, shop.tenant) == 0
        found = sales.orders(SERVICE, shop.tenant)
        assert sales.kept_days(SERVICE, shop.tenant) == sales.buckets(found, sales.day)
        assert sales.kept_hours(SERVICE, shop.tenant) == sales.buckets(found, sales.hour)
        held.append(len(found))

    history()
    assert sum(held) > len(held), "hardly any history had orders"
    return len(held)


def _take(shop: Shop, step: str, draw: Callable[[Any], Any]) -> None:
    match step:
        case "orders":
            shop.send_orders(draw)
        case "items":
            shop.send_items(draw)
        case "work":
            run_one()
        case "lose":
            lose_a_lease(shop)
        case "meanwhile":
            load_meanwhile(shop)
        case "statuses":
            change_statuses(shop)
