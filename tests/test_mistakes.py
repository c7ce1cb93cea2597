"""Mistakes that systems of this kind were seen to make (the list is in docs/guarantees.md).

Each test fails when its mistake is put back.
"""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from headrace.entities.orders import ORDERS
from tests import prices, reading, stock, tables
from tests import test_idempotency as idempotency
from tests import test_ingestion_http as ingestion
from tests import test_metrics as metrics
from tests import test_price_storms as storms
from tests import test_tenants_http as tenants
from tests.conftest import on_every_database
from tests.exports import Exporter
from tests.records import example, key
from tests.road import ndjson
from tests.service import ROOT, Merchant, Service
from tests.shop import ask, customer, order, order_item, product
from tests.stock import Till


@pytest.fixture(scope="module")
def shop(running_service: Service) -> Merchant:
    """One merchant for the tests that need no empty one."""
    return running_service.add_tenant()


def test_1_the_stored_hash_of_a_key_is_not_a_key(shop):
    tenants.assert_hashes_are_no_keys(shop)


def test_2_a_view_is_closed_by_default_and_known_to_the_authorisation_table(shop):
    tenants.assert_every_route_is_known(shop.service)
    tenants.assert_closed_without_a_key(shop)


FOREIGN_NAMES = (
    *("tenant_id", "source_sequence", "*", "count(*)", "orders.order_id", "customer__email"),
    *("customer_id__email", "customers.email", "(SELECT secret_hash FROM api_keys LIMIT 1)"),
    *("order_id FROM api_keys --", 'order_id"', "order_id AS email", "pk", "secret_hash"),
)


@on_every_database
def test_3_fields_and_filters_name_columns_of_the_record_type_and_nothing_else(stocked):
    for name in FOREIGN_NAMES:
        for path in ("orders/", "orders/search", f"orders/{key('orders', 1)}/"):
            for asked in ({"fields": f"order_id,{name}"}, {name: "x"}):
                answer = reading.ask(stocked, path, **asked)
                assert answer.status_code == 400, (path, asked, answer.text)
                assert answer.json()["code"] == "invalid_request", (path, asked)
    own = {"order_id", "order_date", "kind"}
    for path in ("orders/", "orders/search"):
        told = reading.ask(stocked, path, fields="kind,order_date", limit=3).text
        rows = json.loads(told)["data"] if path == "orders/" else told.split("\n")[:3]
        found = [row if path == "orders/" else json.loads(row) for row in rows]
        assert [set(row) for row in found] == [own] * 3


@on_every_database
def test_4_a_tenant_cannot_overwrite_or_block_rows_of_another_with_the_same_id(merchant, stranger):
    tenants.assert_equal_ids_stay_apart(merchant, stranger)
    goods, bought = product(), order()
    merchant.load("products.ndjson", ndjson(goods))
    stranger.load("orders.ndjson", ndjson(bought))
    items = [order_item(bought["order_id"], goods["product_id"])]
    status = stranger.load("orders.ndjson", ndjson(order(), order(customer_id=str(uuid4()))))
    assert status["outcomes"] == ingestion.outcomes(inserted=1, parked=1)
    status = stranger.load("order_items.ndjson", ndjson(*items))
    assert status["outcomes"] == ingestion.outcomes(parked=1)


def test_5_nothing_of_a_truncated_gzip_file_is_applied(merchant):
    ingestion.assert_nothing_of_a_damaged_file_lands(merchant, "cut in the middle")
    assert tables.rows(merchant.service, merchant.tenant, "customers") == []
    assert len(ingestion.stored_objects(merchant)) == 1


@contextmanager
def more_workers(running: Service, number: int) -> Iterator[None]:
    command = [sys.executable, "manage.py", "worker"]
    processes = [
        subprocess.Popen(command, cwd=ROOT, env=running.environment) for _ in range(number)
    ]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(90)


@on_every_database
def test_6_staged_rows_are_private_to_the_worker_that_staged_them(merchant, stranger):
    files = [ndjson(*(customer() for _ in range(2_000))) for _ in range(4)]

    def load(merchant: Merchant) -> dict[str, int]:
        token = merchant.open_upload()
        for number, data in enumerate(files):
            merchant.send(f"customers_{number}.ndjson", data, token=token)
        return merchant.wait(token)["outcomes"]

    with more_workers(merchant.service, 2), ThreadPoolExecutor(2) as pool:
        found = list(pool.map(load, (merchant, stranger)))
        assert found == [ingestion.outcomes(inserted=8_000)] * 2
        assert not [name for name in lasting_tables(merchant.service) if "staging" in name]


def lasting_tables(running: Service) -> list[str]:
    """The tables that more than one connection sees."""
    statements = {
        "postgresql": "SELECT relname FROM pg_class WHERE relkind = 'r' AND relpersistence <> 't'",
        "mariadb": "SELECT table_name FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'",
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table'",
    }
    return [name for (name,) in ask(running, statements[running.dialect])]


@contextmanager
def refusing(running: Service, name: str) -> Iterator[None]:
    """A database that refuses customers of this name, as it would for a check of its own."""
    make, drop = REFUSALS[running.dialect]
    ask(running, make.replace("NAME", name))
    try:
        yield
    finally:
        ask(running, drop)


REFUSALS = {
    "postgresql": (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE check_violation; END $$;"
        " CREATE TRIGGER refuse BEFORE INSERT ON customers FOR EACH ROW"
        " WHEN (NEW.name = 'NAME') EXECUTE FUNCTION refuse()",
        "DROP TRIGGER refuse ON customers; DROP FUNCTION refuse()",
    ),
    "mariadb": (
        "ALTER TABLE customers ADD CONSTRAINT refuse CHECK (name IS NULL OR name <> 'NAME')",
        "ALTER TABLE customers DROP CONSTRAINT refuse",
    ),
    "sqlite": (
        "CREATE TRIGGER refuse BEFORE INSERT ON customers"
        " WHEN NEW.name = 'NAME' BEGIN SELECT RAISE(ABORT, 'refused'); END",
        "DROP TRIGGER refuse",
    ),
}


@on_every_database
def test_7_a_database_error_is_told_for_its_line_and_stops_no_other(merchant):
    name = uuid4().hex
    rows = [customer() for _ in range(100)]
    rows[40]["name"] = name
    with refusing(merchant.service, name):
        status = merchant.load("customers.ndjson", ndjson(*rows))
    assert status["status"] == "completed_with_rejects"
    assert status["outcomes"] == ingestion.outcomes(inserted=99, rejected=1)
    (reject,) = merchant.rejects(status["upload_token"])
    assert (reject["line"], reject["code"]) == (41, "database_refused")
    assert len(tables.rows(merchant.service, merchant.tenant, "customers")) == 99


def test_8_a_chunk_is_done_only_when_its_rows_are_and_one_left_behind_is_taken_up(merchant):
    data = ndjson(*(customer() for _ in range(20_000)))
    merchant.load("products.ndjson", ndjson(product()))
    token = merchant.send("customers.ndjson", data).json()["upload_token"]
    while (state := merchant.status(token)["chunks"][0]["status"]) in ("received", "verifying"):
        time.sleep(0.002)
    (victim,) = merchant.service.worker_pids()
    os.kill(victim, signal.SIGKILL)
    if state == "completed":  # so says the status: then the rows are there
        assert len(tables.rows(merchant.service, merchant.tenant, "customers")) == 20_000
    ask(merchant.service, "UPDATE jobs SET lease_expires = '2000-01-01' WHERE state = 'running'")
    status = merchant.wait(token)
    assert (status["status"], status["outcomes"]["inserted"]) == ("completed", 20_000)
    assert len(tables.rows(merchant.service, merchant.tenant, "customers")) == 20_000


def test_9_a_second_upload_with_the_same_key_returns_the_first(merchant):
    data, key = ndjson(customer()), uuid4().hex
    answers = [merchant.send("customers.ndjson", data, key=key) for _ in range(2)]
    idempotency.assert_one_effect(merchant, answers, 0)
    openings = [idempotency.open_upload(merchant, key) for _ in range(2)]
    idempotency.assert_replayed(*openings)


@on_every_database
def test_10_identical_requests_at_once_have_one_effect_and_one_answer(shop):
    idempotency.assert_one_effect_of_requests_at_once(shop, 6)


@on_every_database
def test_10_identical_price_calls_at_once_have_one_effect_and_one_answer(running_service):
    storms.assert_one_effect_of_calls_at_once(prices.add_shop(running_service), 6)


@on_every_database
def test_10_identical_stock_calls_at_once_have_one_effect_and_one_answer(merchant):
    till, key = Till(merchant), uuid4().hex
    cup = till.product()
    call = [{"product_id": cup, "delta": 5}]
    answers = idempotency.at_once(6, lambda: till.update(call, key=key))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer.content for answer in answers}) == 1
    assert till.levels() == {cup: 5}


@on_every_database
def test_11_exactly_so_many_calls_pass_a_limit_and_refused_ones_do_not_extend_it(running_service):
    limited = running_service.add_tenant(max_product_calls_per_minute=10)
    [item] = prices.add_products(limited)
    began = time.monotonic()
    with ThreadPoolExecutor(12) as pool:
        calls = pool.map(lambda at: prices.send(limited, item, {"new_price": at}), range(1, 41))
        found = Counter(answer.status_code for answer in calls)
    ended = asked = time.monotonic()
    assert sum(found.values()) == 40
    assert found[201] in range(10, 11 + int((ended - began) / 6))  # one comes back every 6 s
    while (answer := prices.send(limited, item, {"new_price": 50})).status_code == 429:
        assert asked - ended < 6.2
        asked = time.monotonic()
    assert answer.status_code == 201


NO_PRICES = [b"NaN", b'"NaN"', b"Infinity", b"-Infinity", b'"-inf"', b"1e400", b"1e16", b"1.23456"]


def test_12_a_price_that_is_no_exact_finite_number_is_a_reject_without_database_text(merchant):
    lines = [ndjson(product(price="PRICE")).replace(b'"PRICE"', text) for text in NO_PRICES]
    status = merchant.load("products.ndjson", b"".join(lines))
    assert status["outcomes"] == ingestion.outcomes(rejected=len(NO_PRICES))
    found = merchant.rejects(status["upload_token"])
    assert {(reject["stage"], reject["code"]) for reject in found} == {("verify", "bad_number")}
    told = json.dumps([reject["message"] for reject in found]).lower()
    for word in ("numeric", "sqlite", "psycopg", "overflow", "traceback", "constraint"):
        assert word not in told
    assert tables.rows(merchant.service, merchant.tenant, "products") == []


@on_every_database
def test_12_a_price_call_that_is_no_exact_finite_number_is_told_so_in_words(running_service):
    caller = prices.add_shop(running_service)
    [item] = prices.add_products(caller)
    for text in [*NO_PRICES, b"1e12", b"-1", b"true", b"null"]:
        answer = prices.send(caller, item, b'{"new_price": %s}' % text)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_value"), text
        assert answer.json()["errors"][0]["field"] == "new_price"
        for word in ("numeric", "sqlite", "psycopg", "overflow", "traceback", "constraint"):
            assert word not in answer.text.lower()
    assert prices.price_of(caller, item) == 100
    assert prices.events(caller) == 0


@on_every_database
def test_13_a_stock_file_counts_once_however_often_it_is_sent(merchant):
    till, key = Till(merchant), uuid4().hex
    cup = till.product()
    call = [{"product_id": cup, "delta": 5}, {"product_id": cup, "delta": 5}]
    for _ in range(3):
        assert till.update(call, key=key).status_code == 200
        till.forget(key)
    named = ndjson(*(stock.event(cup, delta=1) for _ in range(3)))
    for _ in range(2):
        till.send(named)
        merchant.load("stock_events.ndjson", named)
    assert (till.levels(), len(till.events())) == ({cup: 13}, 5)


@on_every_database
@pytest.mark.parametrize(("policy", "left"), [("reject", 3), ("allow", -2)])
def test_13_a_level_is_the_sum_of_its_deltas_and_never_cut_off_at_0(running_service, policy, left):
    till = Till(running_service.add_tenant(negative_levels=policy))
    cup = till.product()
    for delta in (3, -5):
        till.update([stock.event(cup, delta=delta)])
    assert till.levels() == {cup: left}
    assert sum(movement["delta"] for movement in till.events()) == left


def test_13_no_line_of_a_stock_file_is_dropped_without_a_word(merchant):
    till = Till(merchant)
    cup = till.product()
    lines = [stock.event(cup, delta=1), {"delta": 2}, {}, 5, None, stock.event(None, delta=1)]
    answer = till.update([*lines, stock.event(str(uuid4()), delta=1)]).json()
    told = {conflict["line"]: conflict["code"] for conflict in answer["conflicts"]}
    assert (answer["total_events_processed"], sorted(told)) == (1, [2, 3, 4, 5, 6, 7])
    assert answer["events_received"] == 7


@on_every_database
def test_16_the_id_of_a_row_never_changes(merchant):
    first = product()
    again = product(sku=first["sku"], name="Other tea")
    merchant.load("products.ndjson", ndjson(first))
    status = merchant.load("products.ndjson", ndjson({**first, "name": "Green tea"}, again))
    assert status["outcomes"] == ingestion.outcomes(updated=1, rejected=1)
    ((key, sku, name, *_),) = tables.rows(merchant.service, merchant.tenant, "products")
    assert str(key).replace("-", "") == first["product_id"].replace("-", "")
    assert (sku, name) == (first["sku"], "Green tea")


def generated(folder: Path, seed: int) -> dict[str, bytes]:
    sizes = ["--tenants", "1", "--products-per-tenant", "40", "--orders-per-tenant", "120"]
    command = [sys.executable, "-m", "headrace", "generate", "--seed", str(seed), *sizes]
    command += ["--customers-per-tenant", "30", "--output-dir", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.*"))}


def test_17_received_files_and_exports_leave_by_their_downloads_only(merchant, stranger):
    """Neither has an address of its own, wherever in the store it lies."""
    exporter = Exporter(merchant)
    exporter.stock(range(3))
    export = exporter.made(entity="customers")["export_id"]
    home = merchant.service.home
    kept = [path for path in (home / "objects").rglob("*") if path.is_file()]
    assert {path.relative_to(home).parts[1] for path in kept} >= {"sources", "exports"}
    for path in kept:
        below = path.relative_to(home)
        for address in (below, Path("static") / below, Path("media") / below, Path(path.name)):
            for caller in (merchant, stranger):
                headers = {"X-API-Key": caller.key}
                found = caller.service.request("GET", f"/{address}", headers=headers)
                assert found.status_code == 404, address
    address = f"/api/v1{exporter.base}/{export}/download"
    assert merchant.service.request("GET", address).status_code == 401
    theirs = {"X-API-Key": stranger.key}
    assert stranger.service.request("GET", address, headers=theirs).status_code == 404
    assert exporter.download(export).status_code == 200


@on_every_database
def test_18_an_export_has_what_was_asked_for_once_or_is_refused_at_once(merchant):
    """Filters are heeded, a continued download repeats nothing, an unknown format is told."""
    exporter = Exporter(merchant)
    exporter.stock(range(8))
    refused = exporter.order(format="xlsx")
    assert refused.status_code == 400
    assert idempotency.code(refused) == (400, "invalid_request")
    assert merchant.request("GET", exporter.base).json()["data"] == []
    last = example(ORDERS, 5)["order_date"]
    status = exporter.made(format="ndjson", filters={"order_date": {"from": last}})
    whole = exporter.download(status["export_id"])
    rows = [json.loads(line)["order_id"] for line in whole.text.splitlines()]
    assert sorted(rows) == sorted(example(ORDERS, number)["order_id"] for number in (5, 6, 7))
    start = len(whole.content) // 2
    headers = {"Range": f"bytes={start}-", "If-Range": whole.headers["ETag"]}
    rest = exporter.download(status["export_id"], **headers)
    assert whole.content[:start] + rest.content == whole.content


@on_every_database
def test_19_sales_of_products_are_those_of_their_lines_and_of_this_tenant(merchant, stranger):
    """One order of 100 with three lines is no 300, and a neighbour's categories are not ours."""
    [tea, cup], lines = [product(category_id=str(uuid4())) for _ in range(2)], []
    bought = order(total_amount="100", order_status="delivered")
    for goods, total in ((tea, "10.5"), (tea, "0.25"), (cup, "80")):
        lines.append(order_item(bought["order_id"], goods["product_id"], line_total=total))
    theirs = [{**goods, "category_id": str(uuid4())} for goods in (tea, cup)]
    stranger.load("products.ndjson", ndjson(*theirs))
    for name, records in (("products", [tea, cup]), ("orders", [bought]), ("order_items", lines)):
        merchant.load(f"{name}.ndjson", ndjson(*records))
    metrics.wait_for_figures(merchant)
    told = metrics.ask_sales(merchant, group_by="product", **metrics.SPRING)
    assert {row["product_id"]: row["total_revenue"] for row in told["data"]} == {
        tea["product_id"]: Decimal("10.75"),
        cup["product_id"]: 80,
    }
    told = metrics.ask_sales(merchant, group_by="category", **metrics.SPRING)
    assert {row["category_id"]: row["total_revenue"] for row in told["data"]} == {
        tea["category_id"]: Decimal("10.75"),
        cup["category_id"]: 80,
    }
    [total] = told["totals"]
    assert (total["total_revenue"], total["line_revenue"]) == (100, Decimal("90.75"))
    assert metrics.ask_sales(stranger, group_by="category", **metrics.SPRING)["data"] == []


@on_every_database
def test_19_hours_and_days_are_never_added_together_and_nothing_is_estimated(merchant):
    placed = [f"2025-03-0{day}T{hour:02}:30:00Z" for day in (1, 2) for hour in (0, 9, 23)]
    orders = [order(order_date=at, total_amount="1.01", order_status="shipped") for at in placed]
    merchant.load("orders.ndjson", ndjson(*orders))
    metrics.wait_for_figures(merchant)
    for grouped, rows in (("day", 2), ("hour", 6)):
        told = metrics.ask_sales(
            merchant, group_by=grouped, precision="approximate", **metrics.SPRING
        )
        assert (told["precision"], len(told["data"])) == ("exact", rows)
        revenue = [row["total_revenue"] for row in told["data"]]
        assert sum(revenue) == told["totals"][0]["total_revenue"] == Decimal("6.06")
        assert "error" not in json.dumps(told, default=str)


def test_20_generated_data_is_the_same_for_the_same_seed_and_its_totals_are_true(tmp_path):
    one, same, other = (
        generated(tmp_path / name, seed) for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    assert one == same
    assert len(one) == len(other) > 6
    assert one != other
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for item in records(one, "order_items"):
        sums[item["order_id"]] += item["line_total"]
    totals = {row["order_id"]: row["total_amount"] for row in records(one, "orders")}
    assert totals == sums
    assert all(totals.values())


def records(files: dict[str, bytes], entity: str) -> list[dict]:
    """All records of an entity, by the beginning of the file names, numbers exact."""
    mine = [data for name, data in files.items() if entity_of(name) == entity]
    lines = b"".join(mine).splitlines()
    return [json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in lines]


def entity_of(name: str) -> str:
    known = ("customers", "products", "orders", "order_items", "price_history", "stock_events")
    return max((entity for entity in known if name.startswith(entity)), key=len, default="")


DOCUMENTED = {
    ("POST", "/ingest/comprehensive/"): 400,
    ("POST", "/ingest/orders/"): 400,
    ("POST", "/ingest/sessions/"): 201,
    ("GET", "/ingest/sessions/"): 200,
    ("GET", "/ingest/sessions/{token}/status/"): 200,
    ("GET", "/ingest/sessions/{token}/rejects/"): 200,
    ("POST", "/tenants/{tenant}/stock/bulk_update"): 400,
    ("PUT", "/tenants/{tenant}/stock/bulk_update"): 400,
    ("GET", "/tenants/{tenant}/stock/levels"): 200,
    ("GET", "/tenants/{tenant}/metrics/sales"): 200,
    ("GET", "/tenants/{tenant}/stock/events"): 200,
}


def test_21_documented_addresses_answer_where_they_are_documented(merchant):
    token = merchant.open_upload()
    found = {
        (method, path): merchant.request(
            method, path.format(token=token, tenant=merchant.tenant)
        ).status_code
        for method, path in DOCUMENTED
    }
    assert found == DOCUMENTED
    prefixes = [route.count("/api/v1") for route in tenants.routes_of(merchant.service)]
    assert max(prefixes) == 1


SOURCES = sorted((ROOT / "tests").rglob("*.py"))


def test_21_every_test_asserts_something():
    functions = [
        (path.name, node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    asserting = {"raises"}
    for _ in range(3):  # helpers of helpers assert too
        asserting |= {node.name for _, node in functions if asserts(node, asserting)}
    tests = [(name, node.name) for name, node in functions if node.name.startswith("test_")]
    assert len(tests) > 50
    assert [test for test in tests if test[1] not in asserting] == []


def asserts(function: ast.FunctionDef, asserting: set[str]) -> bool:
    """Whether a function has an assert, or calls one of those that have."""
    names = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(function)
        if isinstance(node, ast.Call)
    }
    has_own = any(isinstance(node, ast.Assert) for node in ast.walk(function))
    return has_own or not names.isdisjoint(asserting)
