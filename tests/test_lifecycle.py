"""Tenants in an operator's hands: made, suspended, limited, taken out, and erased with a proof."""

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from httpx2 import Response

from headrace.entities import ENTITIES
from tests import prices, tables
from tests.conftest import DIALECTS, PARTITIONED, on_every_database
from tests.exports import Exporter
from tests.operators import Operator, hurry
from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import ask, customer
from tests.stock import Till, event
from tests.test_isolation import fill, on_sqlite
from tests.test_keys import id_of, mint, revoke
from tests.test_tenants_http import call, load_shop, needing, shop_files

KEPT = {"erasures", "audit_erasures"}  # the proofs


@pytest.fixture(scope="module")
def operator(running_service: Service) -> Operator:
    return Operator(running_service)


def problem(answer) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


# Erasing

CATALOGUE = """
import json
import os
import signal
from django.db import connection
inspector = connection.introspection
with connection.cursor() as cursor:
    names = inspector.table_names(cursor)
    owned = [name for name in names
             if any(column.name == "tenant_id"
                    for column in inspector.get_table_description(cursor, name))]
    refers = [(name, parent) for name in names
              for _, parent in inspector.get_relations(cursor, name).values()]
print(json.dumps([owned, refers]))
"""


def catalogue(running: Service) -> tuple[set[str], list[tuple[str, str]]]:
    """The tables with a tenant, and which table refers to which, as the database says."""
    owned, refers = json.loads(running.manage("shell", "-v", "0", "-c", CATALOGUE).stdout)
    return set(owned), [tuple(pair) for pair in refers]


def rows_of(running: Service, table: str, tenant: UUID) -> list:
    own = running.spelled(tenant)
    return sorted(map(repr, ask(running, f"SELECT * FROM {table} WHERE tenant_id = {own}")))


def tables_with_rows(running: Service, tenant: UUID) -> set[str]:
    owned, _ = catalogue(running)
    return {table for table in owned - KEPT if rows_of(running, table, tenant)}


def digest_of(running: Service, owned: set[str], tenant: UUID) -> dict[str, str]:
    """Of each table at rest the tenant's rows as one hash, and the same of its files."""
    found = {
        table: "".join(rows_of(running, table, tenant))
        for table in owned
        if not grows_by_itself(table)
    }
    found |= {str(path): path.read_bytes().hex() for path in files_of(running, tenant)}
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in found.items()}


def grows_by_itself(table: str) -> bool:
    """What is recorded of an operator's steps, and of webhooks that nobody answers."""
    return table == "audit_log" or table.startswith("webhook_")


def files_of(running: Service, tenant: UUID) -> list[Path]:
    found = (running.home / "objects").glob(f"*/{tenant}/**/*")
    return sorted(path for path in found if path.is_file())


def stock_up(merchant: Merchant) -> Merchant:
    """Rows in every table that tenants have rows in, some of them with ids that others have too."""
    fill(merchant)
    load_shop(merchant, shop_files("Ada & Co"))
    merchant.open_upload()
    asked = merchant.request("POST", f"/tenants/{merchant.tenant}/reports/takeouts", json={})
    assert asked.status_code == 202, asked.text
    wait_for_takeout(merchant, asked)
    wait_until_idle(merchant)
    return merchant


def wait_for_takeout(merchant: Merchant, asked) -> dict:
    path = asked.headers["Location"].removeprefix("/api/v1")
    while (found := merchant.request("GET", path).json())["status"] == "running":
        time.sleep(0.1)
    return found


def wait_until_idle(merchant: Merchant) -> None:
    own = f"tenant_id = {merchant.service.spelled(merchant.tenant)}"
    while ask(
        merchant.service,
        f"SELECT id FROM jobs WHERE {own} AND state IN ('queued', 'running')",
    ):
        time.sleep(0.1)


def all_of(counts: dict) -> list[int]:
    """Every number of a count."""
    found = []
    for value in counts.values():
        found += all_of(value) if isinstance(value, dict) else [value]
    return found


@on_every_database
def test_an_erased_tenant_leaves_its_proof_and_its_neighbour_everything(running_service, operator):
    neighbour, leaver = operator.new(), operator.new()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(stock_up, (neighbour, leaver)))
    owned, refers = catalogue(running_service)
    before = digest_of(running_service, owned, neighbour.tenant)
    held = {table: len(rows_of(running_service, table, leaver.tenant)) for table in owned - KEPT}
    held_bytes = sum(path.stat().st_size for path in files_of(running_service, leaver.tenant))
    proof = operator.erase(leaver)
    # The proof counts every table that the database's own catalogue has of tenants.
    counted = set(proof["before"]["rows"])
    assert owned - KEPT <= counted
    assert {name for name, parent in refers if parent in owned - KEPT - {"tenants"}} <= counted
    found = {name: proof["before"]["rows"][name] for name in held}
    for name in filter(grows_by_itself, held):
        assert found.pop(name) >= held[name]
    assert found == {name: held[name] for name in found}
    assert [name for name, number in held.items() if not number] == sometimes_empty(held)
    assert sum(one["bytes"] for one in proof["before"]["objects"].values()) == held_bytes > 0
    assert set(all_of(proof["after"])) == {0}
    assert set(proof["after"]["rows"]) == counted
    # And the database says the same.
    assert tables_with_rows(running_service, leaver.tenant) == set()
    assert [*(running_service.home / "objects").glob(f"*/{leaver.tenant}")] == []
    assert digest_of(running_service, owned, neighbour.tenant) == before
    assert set(filter(grows_by_itself, held)) <= tables_with_rows(running_service, neighbour.tenant)
    assert leaver.request("GET", "/whoami/").status_code == 401
    assert operator.request("GET", f"/tenants/{leaver.tenant}/").status_code == 404
    assert proof["asked_by"] == operator.key.split("_")[1]


def sometimes_empty(held: dict[str, int]) -> list[str]:
    """Those that a shop at rest has no rows in: days are listed until they are summed up, segments
    until their file has landed, and calls are counted for a while, or in Redis."""
    return [name for name in held if name in ("dirty_days", "rate_limits") and not held[name]]


@on_every_database
def test_nothing_that_races_with_an_erasure_leaves_a_row(running_service, operator):
    leaver = operator.new()
    till = Till(leaver)
    goods = till.products(3)
    ends = count()
    stop = []

    def upload() -> None:
        told.append(leaver.send("customers.ndjson", ndjson(customer())).status_code)

    def sell() -> None:
        told.append(till.update([event(goods[next(ends) % 3], delta=1)]).status_code)

    def open_upload() -> None:
        told.append(leaver.request("POST", "/ingest/sessions/", json={}).status_code)

    def reprice() -> None:
        told.append(prices.send(leaver, goods[0], {"new_price": "5.5"}).status_code)

    def order_export() -> None:
        path = f"/tenants/{leaver.tenant}/reports/export"
        told.append(leaver.request("POST", path, json={"entity": "products"}).status_code)

    def go_on(call) -> None:
        while not stop:
            call()

    told: list[int] = []
    calls = (upload, upload, sell, open_upload, reprice, order_export)
    with ThreadPoolExecutor(len(calls)) as pool:
        running = [pool.submit(go_on, call) for call in calls]
        time.sleep(0.5)
        try:
            proof = operator.erase(leaver)
            time.sleep(0.3)
        finally:
            stop.append(True)
        for one in running:
            one.result()
    assert set(told) <= {200, 201, 202, 401, 403, 404, 429}, set(told)
    assert {201, 403, 401} <= set(told)
    assert set(all_of(proof["after"])) == {0}
    assert tables_with_rows(running_service, leaver.tenant) == set()
    assert files_of(running_service, leaver.tenant) == []


def sent_slowly(merchant: Merchant, meanwhile: Callable[[], object]) -> Response:
    """The answer to a file that would take a minute, during which something happens."""
    line = ndjson(customer())
    began = time.monotonic()

    def slowly() -> Iterator[bytes]:
        yield line
        meanwhile()
        while time.monotonic() - began < 60:
            time.sleep(0.1)
            yield line * 100

    headers = {"X-Filename": "customers.ndjson", "Idempotency-Key": uuid4().hex}
    answer = merchant.request("POST", "/ingest/comprehensive/", content=slowly(), headers=headers)
    assert time.monotonic() - began < 60
    assert files_of(merchant.service, merchant.tenant) == []
    return answer


@on_sqlite
def test_a_body_that_comes_in_while_its_tenant_is_suspended_is_cut(operator):
    leaver = operator.new()
    answer = sent_slowly(leaver, lambda: operator.suspend(leaver))
    assert problem(answer) == (403, "suspended")


@on_sqlite
def test_a_body_that_comes_in_while_its_key_is_revoked_is_cut(running_service, operator):
    owner = operator.new()
    clerk = mint(owner, "ingest")
    answer = sent_slowly(clerk, lambda: revoke(owner, id_of(clerk)))
    assert problem(answer) == (401, "unauthenticated")


@on_sqlite
def test_a_body_of_unknown_length_is_cut_where_its_tenant_may_keep_no_more(operator):
    small = operator.new()
    operator.limit(small, max_stored_bytes=2_000)
    assert problem(sent_slowly(small, lambda: None)) == (507, "storage_quota")


@on_sqlite
def test_no_more_uploads_are_open_and_empty_than_may_be_at_work(operator):
    opener = operator.new()
    operator.limit(opener, max_active_uploads=2)
    opened = [opener.request("POST", "/ingest/sessions/", json={}) for _ in range(3)]
    assert [answer.status_code for answer in opened] == [201, 201, 429]
    assert problem(opened[2]) == (429, "queue_full")
    token = opened[0].json()["upload_token"]
    assert opener.request("POST", f"/ingest/sessions/{token}/complete/").status_code == 200
    assert opener.request("POST", "/ingest/sessions/", json={}).status_code == 201


@on_sqlite
def test_a_name_that_a_terminal_would_take_for_more_is_shown_as_it_is(running_service, operator):
    operator.new("Shop [/b] & Co")
    assert "Shop [/b] & Co" in running_service.manage("tenants", "list").stdout
    told = operator.request("POST", "/tenants/", json={"name": "a\x1b[31mshop"})
    assert problem(told) == (400, "invalid_request")


def test_only_a_suspended_tenant_is_erased_and_only_by_its_name_or_id(running_service, operator):
    kept = operator.new("Kept & Co")
    path = f"/tenants/{kept.tenant}"
    right = {"confirm": "Kept & Co"}
    assert problem(operator.request("POST", f"{path}/erase/", json=right)) == (409, "not_suspended")
    operator.suspend(kept, "read_only")
    assert problem(operator.request("POST", f"{path}/erase/", json=right)) == (409, "not_suspended")
    operator.suspend(kept)
    for wrong in ("kept & co", "", str(uuid4())):
        answer = operator.request("POST", f"{path}/erase/", json={"confirm": wrong})
        assert answer.status_code == 400, answer.text
    operator.done("POST", f"{path}/resume/")
    assert kept.load("customers.ndjson", ndjson(customer()))["status"] == "completed"
    operator.suspend(kept)
    first, again = (operator.done("POST", f"{path}/erase/", json=right) for _ in range(2))
    assert first["erasure_id"] == again["erasure_id"]
    for step in ("resume/", "takeouts/"):
        answer = operator.request("POST", f"{path}/{step}", json={})
        assert problem(answer) == (409, "being_erased")
    half = operator.request("POST", f"{path}/suspend/", json={"state": "read_only"})
    assert problem(half) == (409, "being_erased")
    assert operator.suspend(kept)["state"] == "suspended"
    minted = running_service.manage("keys", "mint", "--tenant", kept.tenant, check=False)
    assert (minted.returncode, "does not come back" in minted.stderr) == (1, True), minted.stderr
    assert operator.proof(first["erasure_id"])["after"]["rows"]["tenants"] == 0
    listed = operator.done("GET", "/erasures/", params={"limit": 1000})["data"]
    assert first["erasure_id"] in {one["erasure_id"] for one in listed}


@contextmanager
def stuck_halfway(running: Service, tenant: UUID) -> Iterator[None]:
    """Hold what an erasure removes last, from the moment on at which it is at work."""
    own = running.spelled(tenant)
    with running.owner() as connection:
        cursor = connection.cursor()
        if running.dialect == "sqlite":  # all of the database, once some rows have gone
            while len(rows_of(running, "customers", tenant)) == MANY:
                time.sleep(0.01)
            cursor.execute("BEGIN IMMEDIATE")
        else:
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT id FROM uploads WHERE tenant_id = {own} FOR UPDATE")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


MANY = 10_000


@pytest.mark.parametrize(
    "running_service", [*DIALECTS, PARTITIONED], indirect=True, scope="session"
)
def test_an_erasure_that_is_killed_goes_on(running_service, operator):
    leaver, neighbour = operator.new(), operator.new()
    files = shop_files("Ada & Co")
    for one in (leaver, neighbour):
        load_shop(one, files)
    crowd = ndjson(*(customer() for _ in range(MANY - 300)))
    assert leaver.load("customers.ndjson", crowd)["status"] == "completed"
    before = tables.contents(running_service, neighbour.tenant)
    operator.suspend(leaver)
    asked = operator.done(
        "POST", f"/tenants/{leaver.tenant}/erase/", json={"confirm": str(leaver.tenant)}
    )["erasure_id"]
    await_claim(running_service, asked)
    with ThreadPoolExecutor(1) as pool:
        hurried = pool.submit(hurry, running_service, asked)
        with stuck_halfway(running_service, leaver.tenant):
            if running_service.dialect != "sqlite":
                while rows_of(running_service, "customers", leaver.tenant):
                    time.sleep(0.02)
            [worker] = running_service.worker_pids()
            os.kill(worker, signal.SIGKILL)
        hurried.result()
    assert operator.done("GET", f"/erasures/{asked}/")["after"] is None
    own = f"kind = 'erase' AND subject = {running_service.spelled(asked)}"
    [(job, epoch)] = ask(running_service, f"SELECT id, epoch FROM jobs WHERE {own}")
    running_service.manage("jobs", "release", job)
    proof = operator.proof(asked)
    assert proof["before"]["rows"]["customers"] == MANY
    assert set(all_of(proof["after"])) == {0}
    [(state, later)] = ask(running_service, f"SELECT state, epoch FROM jobs WHERE {own}")
    assert (state, later > epoch) == ("done", True)
    assert tables.contents(running_service, neighbour.tenant) == before


def await_claim(running: Service, erasure: str) -> None:
    """Until a worker has stopped the tenant's work, and the job waits for the quiet to be over."""
    own = running.spelled(erasure)
    for sign in (
        f"SELECT id FROM erasures WHERE id = {own} AND started_at IS NOT NULL",
        f"SELECT id FROM jobs WHERE subject = {own} AND state = 'queued'",
    ):
        while not ask(running, sign):
            time.sleep(0.05)


# Quotas

CALLERS = """
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import UUID
from django.db import connection, transaction
from apps.core import attempts
from apps.tenants import quotas

def take(rows):
    def counted():
        with transaction.atomic():
            quotas.take_rows(UUID("TENANT"), rows)
            return rows
    try:
        return attempts.until_done(counted)
    except quotas.RowsExceeded:
        return 0
    finally:
        connection.close()

with ThreadPoolExecutor(8) as pool:
    print(json.dumps(list(pool.map(take, [7] * 40))))
"""


@on_every_database
def test_a_day_has_exactly_so_many_rows_however_many_come_at_once(running_service, operator):
    shop = operator.new()
    operator.limit(shop, max_rows_per_day=100)
    code = CALLERS.replace("TENANT", str(shop.tenant))
    taken = json.loads(running_service.manage("shell", "-v", "0", "-c", code).stdout)
    assert sorted(taken) == [0] * 26 + [7] * 14
    assert operator.used(shop)["rows_today"] == 98


def customers(number: int) -> bytes:
    return ndjson(*(customer() for _ in range(number)))


def test_a_file_that_a_day_has_no_room_for_lands_whole_on_another_one(running_service, operator):
    shop = operator.new()
    operator.limit(shop, max_rows_per_day=10)
    assert shop.load("customers.ndjson", customers(6))["outcomes"]["inserted"] == 6
    late = shop.load("customers.ndjson", customers(6) + ndjson(customer(name=7)))
    [chunk] = late["chunks"]
    assert (chunk["status"], chunk["code"]) == ("failed", "row_quota")
    assert "6 of 10 were taken" in chunk["message"]
    assert "00:00 UTC" in chunk["message"]
    assert late["lines_received"] == late["outcomes"]["unprocessed"] == 7
    assert operator.used(shop)["rows_today"] == 6
    # The next day, as far as the shop can tell.
    own = running_service.spelled(shop.tenant)
    ask(running_service, f"UPDATE tenant_days SET day = '2020-01-01' WHERE tenant_id = {own}")
    path = f"/ingest/sessions/{late['upload_token']}/resume/"
    assert shop.request("POST", path, json={}).json()["resumed"] == 1
    outcomes = shop.wait(late["upload_token"])["outcomes"]
    assert (outcomes["inserted"], outcomes["rejected"], outcomes["unprocessed"]) == (6, 1, 0)
    assert operator.used(shop)["rows_today"] == 6


def test_a_full_day_refuses_before_a_body_is_read_and_says_when_to_come(running_service, operator):
    shop = operator.new()
    operator.limit(shop, max_rows_per_day=5)
    shop.load("customers.ndjson", customers(5))
    answer = shop.send("customers.ndjson", customers(1))
    assert problem(answer) == (429, "row_quota")
    assert 0 < int(answer.headers["Retry-After"]) <= 86_400
    assert (answer.json()["rows_today"], answer.json()["most"]) == (5, 5)
    operator.limit(shop, max_rows_per_day=0)
    assert shop.load("customers.ndjson", customers(1))["status"] == "completed"
    operator.limit(shop, max_rows_per_day=None)
    assert shop.load("customers.ndjson", customers(1))["status"] == "completed"


def test_a_file_that_ends_with_nothing_landed_gives_its_rows_back(running_service, operator):
    shop, neighbour = operator.new(), operator.new()
    for one in (shop, neighbour):
        operator.limit(one, max_rows_per_day=10)
    assert neighbour.load("customers.ndjson", customers(9))["status"] == "completed"
    whole = shop.open_upload(error_policy="reject_all", on_missing_parent="reject")
    assert shop.load("customers.ndjson", customers(1))["status"] == "completed"
    sent = shop.send("customers.ndjson", customers(9) + ndjson(customer(name=7)), token=whole)
    assert sent.status_code == 201, sent.text
    assert shop.wait(whole)["chunks"][0]["code"] == "rejected_whole"
    assert operator.used(shop)["rows_today"] == 1
    assert operator.used(neighbour)["rows_today"] == 9


def test_events_of_stock_calls_count_for_a_tenant_whose_rows_are_limited(running_service, operator):
    shop = operator.new()
    till = Till(shop)
    goods = till.product()
    operator.limit(shop, max_rows_per_day=4)
    first = till.update([event(goods, delta=1), event(goods, delta=1)])
    assert first.status_code == 200, first.text
    key = uuid4().hex
    assert problem(till.update([event(goods, delta=5)] * 2, key=key)) == (429, "row_quota")
    assert till.update([event(goods, delta=1)], key=key).status_code == 200
    assert operator.used(shop)["rows_today"] == 4


@on_every_database
def test_bytes_are_kept_up_to_the_quota_however_many_come_at_once(running_service, operator):
    shop = operator.new()
    data = customers(10)
    operator.limit(shop, max_stored_bytes=2 * len(data) + 1)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: shop.send("customers.ndjson", data), range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [507] * 6
    refused = next(answer for answer in answers if answer.status_code == 507)
    assert refused.json()["code"] == "storage_quota"
    assert refused.json()["kept_bytes"] in (len(data), 2 * len(data))
    assert "Retry-After" in refused.headers
    assert operator.used(shop)["stored_bytes"] == 2 * len(data)
    assert len(files_of(running_service, shop.tenant)) == 2


def test_an_export_that_would_not_be_kept_ends_and_leaves_no_object(running_service, operator):
    shop = operator.new()
    exporter = Exporter(shop)
    shop.load("customers.ndjson", customers(50))
    held = operator.used(shop)["stored_bytes"]
    operator.limit(shop, max_stored_bytes=held + 100)
    failed = exporter.wait(exporter.order(entity="customers").json()["export_id"])
    assert (failed["status"], failed["code"]) == ("failed", "storage_quota")
    assert "max_stored_bytes" in failed["message"]
    assert len(files_of(running_service, shop.tenant)) == 1
    operator.limit(shop, max_stored_bytes=held)
    assert problem(exporter.order(entity="customers")) == (507, "storage_quota")
    taken = operator.done("POST", f"/tenants/{shop.tenant}/takeouts/", json={})
    path = f"/tenants/{shop.tenant}/takeouts/{taken['takeout_id']}/"
    while (manifest := operator.done("GET", path))["status"] == "running":
        time.sleep(0.1)
    assert manifest["status"] == "completed"
    operator.limit(shop, max_stored_bytes=None)
    assert exporter.made(entity="customers")["bytes"] > 100
    assert operator.used(shop)["stored_bytes"] > held + 100


# Everything out


def test_everything_of_a_suspended_tenant_comes_out_with_a_manifest(
    running_service, operator, tmp_path
):
    shop, stranger = operator.new(), operator.new()
    load_shop(shop, shop_files("Ada & Co"))
    operator.suspend(shop)
    path = f"/tenants/{shop.tenant}/takeouts/"
    asked = operator.request("POST", path, json={"format": "csv", "compression": "gzip"})
    assert asked.status_code == 202, asked.text
    where = asked.headers["Location"].removeprefix("/api/v1/operator")
    while (manifest := operator.done("GET", where))["status"] != "completed":
        assert manifest["status"] == "running"
        time.sleep(0.1)
    assert sum(file["rows"] for file in manifest["files"]) == manifest["rows"]
    records = [file for file in manifest["files"] if file["resendable"]]
    assert [file["entity"] for file in records] == [one.name for one in ENTITIES]
    assert sum(file["rows"] for file in records) == 1_200
    for file in manifest["files"]:
        url = file["download_url"].removeprefix("/api/v1/operator")
        data = operator.request("GET", url).content
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
    # Not by the address of another tenant.
    foreign = where.replace(str(shop.tenant), str(stranger.tenant))
    assert operator.request("GET", foreign).status_code == 404
    # The same by the command, into a folder.
    told = running_service.manage(
        *("tenants", "export", shop.tenant, "--json", "--out", tmp_path / "out")
    ).stdout
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == json.loads(told)
    for file in json.loads(told)["files"]:
        data = (tmp_path / "out" / file["filename"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == file["sha256"]


def test_a_tenant_takes_everything_out_itself_and_nobody_elses(operator):
    merchant, stranger = operator.new(), operator.new()
    load_shop(merchant, shop_files("Ada & Co"))
    asked = merchant.request("POST", f"/tenants/{merchant.tenant}/reports/takeouts", json={})
    assert asked.status_code == 202, asked.text
    manifest = wait_for_takeout(merchant, asked)
    assert manifest["status"] == "completed"
    assert sum(file["rows"] for file in manifest["files"] if file["resendable"]) == 1_200
    url = manifest["files"][0]["download_url"].removeprefix("/api/v1")
    assert merchant.request("GET", url).status_code == 200
    assert stranger.request("GET", url).status_code == 404
    own = asked.headers["Location"].removeprefix("/api/v1")
    theirs = own.replace(str(merchant.tenant), str(stranger.tenant))
    assert stranger.request("GET", theirs).status_code == 404


# By command and by API


def test_an_operator_makes_and_limits_a_tenant_whose_key_works(running_service, operator):
    name = f"Made {uuid4().hex[:8]}"
    made = operator.done("POST", "/tenants/", json={"name": name, "time_zone": "Europe/Berlin"})
    shop = Merchant(running_service, UUID(made["tenant_id"]), made["api_key"])
    assert shop.load("customers.ndjson", customers(2))["status"] == "completed"
    again = operator.request(
        "POST", "/tenants/", json={"name": "Other", "tenant_id": made["tenant_id"]}
    )
    assert problem(again) == (409, "tenant_exists")
    nobody = {"name": "Nobody", "tenant_id": str(UUID(int=0))}
    assert problem(operator.request("POST", "/tenants/", json=nobody)) == (400, "invalid_value")
    limited = operator.limit(shop, max_active_uploads=7)
    assert (limited["quotas"]["max_active_uploads"], limited["limits"]["max_queued_bytes"]) == (
        7,
        50 << 30,
    )
    assert limited["used"]["rows_today"] == 2
    for wrong in ({"max_rows_per_day": -1}, {"time_zone": "Mars"}, {"state": "active"}):
        answer = operator.request("PATCH", f"/tenants/{shop.tenant}/", json=wrong)
        assert problem(answer) == (400, "invalid_request")
    found: list[str] = []
    cursor = None
    while True:
        asked = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = operator.done("GET", "/tenants/", params=asked)
        found += [one["tenant_id"] for one in page["data"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert made["tenant_id"] in found
    assert found == sorted(set(found))


@on_every_database
def test_the_id_of_the_service_itself_is_no_tenants(running_service, tmp_path):
    file = tmp_path / "tenants.csv"
    file.write_text(f"tenant_id,name\n{UUID(int=0)},Nobody\n")
    refused = running_service.manage("load_tenants", "--file", file, check=False)
    assert (refused.returncode, "invalid_value" in refused.stderr) == (1, True), refused.stderr
    own = running_service.spelled(UUID(int=0))
    other = running_service.spelled(running_service.add_tenant().tenant)
    with pytest.raises(Exception, match="tenants_somebody"):
        ask(running_service, f"UPDATE tenants SET tenant_id = {own} WHERE tenant_id = {other}")


def test_the_operators_doors_are_closed_to_every_tenant(running_service, operator):
    merchant = operator.new()
    for operation in needing("operator"):
        answer = call(
            running_service, operation, str(merchant.tenant), **{"X-API-Key": merchant.key}
        )
        assert problem(answer) == (403, "wrong_scope"), operation
    nobodys = (one for one in needing("operator") if "{" in one[1])
    for operation in nobodys:
        answer = call(running_service, operation, str(uuid4()), **{"X-API-Key": operator.key})
        assert answer.status_code in (400, 404), (operation, answer.text)


@on_sqlite  # a process a step, and no SQL of its own
def test_the_command_does_the_same_and_says_by_its_exit_code_what_came_of_it(
    running_service, operator
):
    manage = running_service.manage
    made = manage("tenants", "create", "--name", "By hand", "--max-rows-per-day", 3, "--json")
    tenant = json.loads(made.stdout)["tenant_id"]
    quota = manage("tenants", "quota", tenant, "--max-rows-per-day", "", "--json").stdout
    assert json.loads(quota)["quotas"]["max_rows_per_day"] is None
    early = manage("tenants", "erase", tenant, "--confirm", tenant, check=False)
    assert (early.returncode, "not_suspended" in early.stderr) == (1, True)
    wrong = manage("tenants", "quota", tenant, "--max-rows-per-day", "x", check=False)
    assert (wrong.returncode, "max_rows_per_day" in wrong.stderr) == (2, True)
    manage("tenants", "suspend", tenant)
    asked = json.loads(manage("tenants", "erase", tenant, "--confirm", "By hand", "--json").stdout)
    assert asked["asked_by"] == "command"
    operator.proof(asked["erasure_id"])
    proof = json.loads(manage("tenants", "erasures", asked["erasure_id"], "--json").stdout)
    assert (proof["status"], set(all_of(proof["after"]))) == ("done", {0})
