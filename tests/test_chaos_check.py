"""The checker of invariants is checked: it is silent about what is sound, and names each fault."""

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from headrace.entities import ENTITIES
from headrace.pipeline.formats import FORMATS, JSON, NDJSON
from headrace.pipeline.formats.compression import zstd
from tests import prices, service
from tests.chaos import check
from tests.chaos.evidence import Evidence
from tests.conftest import DIALECTS
from tests.exports import Exporter
from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import customer, order, order_item, product
from tests.stock import Till, event

COMPRESSIONS = ("gzip", "zstd")
NOBODY = "f" * 32
CANARY = "canary-of-the-first-shop"
TEA, COFFEE = product(), product(name="Coffee")
GENERATED = "986cead5-6ca8-4ee8-9021-8631431ac7ba"


@dataclass(frozen=True)
class Loaded:
    """What a service left behind, and what may be asked of it."""

    home: Path
    url: str | None
    canaries: dict[str, str]

    @property
    def journal(self) -> Path:
        return self.home / "answers.jsonl"

    @property
    def files(self) -> Path:
        return self.home / "sent"

    def violations(self, **more: Any) -> list[str]:
        return check.violations(
            self.home,
            self.url,
            files=self.files,
            journal=self.journal,
            canaries=self.canaries,
            **more,
        )


class Sender:
    """Sends files and keeps them, and writes down every answer."""

    def __init__(self, merchant: Merchant) -> None:
        self.merchant = merchant
        self._home = merchant.service.home
        (self._home / "sent").mkdir(exist_ok=True)

    def send(self, name: str, data: bytes, *, times: int = 1) -> str:
        """Send a file, all times with the same key; its upload's token."""
        (self._home / "sent" / f"{self.merchant.tenant}_{name}").write_bytes(data)
        key = uuid4().hex
        for _ in range(times):
            response = self.merchant.send(name, data, key=key)
            assert response.status_code == 201, response.text
            self._write_down(key, response.status_code, response.text)
        return response.json()["upload_token"]

    def _write_down(self, key: str, status: int, body: str) -> None:
        answer = {"key": key, "status": status, "body": body, "tenant": str(self.merchant.tenant)}
        with (self._home / "answers.jsonl").open("a") as journal:
            journal.write(json.dumps(answer) + "\n")


@pytest.fixture(scope="module")
def generated(tmp_path_factory) -> dict[str, bytes]:
    """A small shop, children before their parents."""
    folder = tmp_path_factory.mktemp("generated")
    sizes = ["--tenants", "1", "--products-per-tenant", "20", "--orders-per-tenant", "60"]
    sizes += ["--customers-per-tenant", "15", "--stock-events-per-product", "3"]
    command = [sys.executable, "-m", "headrace", "generate", "--chunk-size", "100"]
    subprocess.run(
        [*command, *sizes, "--output-dir", str(folder)],
        cwd=service.ROOT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    order_of_sending = ("order_items", "stock", "price", "orders", "products", "customers")
    paths = (path for name in order_of_sending for path in sorted(folder.glob(f"{name}*.ndjson")))
    return {path.name.replace(GENERATED, "shop"): path.read_bytes() for path in paths}


def faulty() -> dict[str, bytes]:
    """Files with every outcome in them; both shops send them, so their ids are equal."""
    buyer, tea, coffee, sale = customer(), TEA, COFFEE, order()
    item = order_item(sale["order_id"], tea["product_id"])
    late = customer()
    waiting = order(customer_id=late["customer_id"])
    price = {"id": str(uuid4()), "product_id": tea["product_id"], "price": 2}
    broken = [b"{not json", b"", b'{"name": "no id"}', b" \t", ndjson(product(price="NaN")).strip()]
    counted = [
        event(tea["product_id"], delta=5, resulting_level=5),
        event(tea["product_id"], delta=0),
        event(tea["product_id"], set=12, expected=5, source="count"),
        event(tea["product_id"], set=12, source="again"),
        event(tea["product_id"], delta=-2, resulting_level=99),
        event(coffee["product_id"], delta=3),
        event(coffee["product_id"], delta=-4),  # the second shop allows it
    ]
    rows = [
        "",
        "customer_id,email,metadata,name",
        f'{late["customer_id"]},,"{{""n"": 1.5}}","L\n\nou"',
        "ragged,x",
        "",
        f'{uuid4()},"",{{}},5" of rain',
        f'{uuid4()},"","{{}}","5"" of\r\nrain"',
    ]
    table = "".join(f"{row}\r\n" for row in rows).encode()
    return {
        "orders_waiting.ndjson": ndjson(sale, waiting, order(customer_id=str(uuid4()))),
        "stock_events_counted.ndjson": ndjson(*counted),
        "products_coffee.ndjson": ndjson(coffee),
        "customers_first.ndjson.gz": gzip.compress(ndjson(buyer, buyer, customer())),
        "products.ndjson": b"\xef\xbb\xbf" + ndjson(tea, product(sku=tea["sku"]), product()),
        "products_broken.ndjson": b"\n".join([*broken, ndjson(product())]),
        "customers_partial.ndjson": ndjson(
            {"customer_id": buyer["customer_id"], "email": "ada@example.org"},
            {**buyer, "name": "Ada L.", "metadata": {"n": 1.50, "more": [1e2, None, True]}},
            {**late, "created_at": "2024-05-06T07:08:09+02:00"},
        ),
        "price_history.ndjson": ndjson(
            {**price, "effective_from": "2024-01-01"},
            {**price, "id": str(uuid4()), "effective_from": "2024-02-01"},
            {**price, "effective_from": "2024-01-01", "effective_to": "2024-03-01T00:00:00"},
            {**price, "id": str(uuid4()), "effective_from": "2024-03-01"},
        ),
        "order_items.ndjson": ndjson(item, {**item, "quantity": 3, "line_total": "7.50"}),
        "customers_table.csv.zst": zstd.compress(table),
        "products_array.json": json.dumps([product(name="a\nb"), 5, product()], indent=1).encode(),
        "stock_events_again.ndjson": ndjson(*counted, {**counted[0], "delta": 6}),
        "orders_again.ndjson": ndjson({**sale, "order_status": "paid"}, sale, order()),
    }


def call(sender: Sender) -> None:
    """Calls between files: of movements, by key and by id, and of prices; each sent twice."""
    till, counted = Till(sender.merchant), event(COFFEE["product_id"], set=9)
    nameless = {"product_id": TEA["product_id"], "delta": 4}
    sold = event(TEA["product_id"], stock_event_id=TEA["product_id"], delta=-1)
    refused = event(COFFEE["product_id"], delta=-900)
    for _ in range(2):
        for key, events in {
            "receipt": [nameless, sold],
            "count": [counted],
            "theft": [refused],
        }.items():
            assert till.update(events, key=key).status_code == 200
    for number, price in enumerate(("2.75", "3", "3")):
        for drink in (TEA, COFFEE):
            reprice(sender.merchant, drink, price, f"{drink['name']} {number}")
    sender.send("products_after.ndjson", ndjson({**TEA, "price": "2"}, {**COFFEE, "name": "Mocha"}))
    token = sender.send("stock_events_after.ndjson", ndjson(counted, counted))
    sender.merchant.wait(token)
    reprice(sender.merchant, COFFEE, "5", "late")


def reprice(merchant: Merchant, drink: dict, price: str, key: str) -> None:
    for _ in range(2):
        answer = prices.send(merchant, drink["product_id"], {"new_price": price}, key=key)
        assert answer.status_code == 201, answer.text


def load(running: Service, generated: dict[str, bytes]) -> Loaded:
    shops = [
        running.add_tenant(name=name, negative_levels=policy)
        for name, policy in (("First", "reject"), ("Second", "allow"))
    ]
    files = faulty()
    tokens = []
    for merchant in shops:
        sender = Sender(merchant)
        for name, data in generated.items():
            mine = data.replace(GENERATED.encode(), str(merchant.tenant).encode())
            tokens.append((merchant, sender.send(name, mine)))
        for name, data in files.items():
            tokens.append((merchant, sender.send(name, data, times=2)))
        sound = ndjson(*(customer() for _ in range(500)))
        tokens.append((merchant, sender.send("customers_cut.ndjson.gz", gzip.compress(sound)[:-9])))
    secret = ndjson(customer(name=CANARY), customer(name=CANARY * 20))
    tokens.append((shops[0], Sender(shops[0]).send("customers_secret.ndjson", secret)))
    for merchant, token in tokens:
        merchant.wait(token)
    call(Sender(shops[0]))
    url = running.environment.get("DATABASE_URL")
    assert check.wait_for_rest(running.home, url)
    export(shops[0])
    return Loaded(running.home, url, {str(shops[0].tenant): CANARY})


def export(merchant: Merchant) -> None:
    """Every record type, in all formats and compressions by turns, and a part of one."""
    exporter, formats, compressions = Exporter(merchant), cycle(FORMATS), cycle(COMPRESSIONS)
    for number, entity in enumerate(ENTITIES):
        compression = next(compressions) if number % 3 else "none"
        exporter.made(entity=entity.name, format=next(formats), compression=compression)
    exporter.made(entity="customers", format=NDJSON)
    exporter.made(entity="orders", columns=["order_id", "total_amount"], format=JSON)
    exporter.made(entity="orders", filters={"order_status": "paid"})
    leave_a_cancelled_one(exporter)


def leave_a_cancelled_one(exporter: Exporter) -> None:
    """An export may have ended before its cancel comes."""
    for _ in range(50):
        export = exporter.order(entity="customers").json()["export_id"]
        exporter.merchant.request("POST", f"{exporter.base}/{export}/cancel/")
        if exporter.wait(export)["status"] == "cancelled":
            return
    raise AssertionError("every export had ended before it could be cancelled")


def status_of(running: Service) -> Callable[[str, str], dict]:
    def ask(tenant: str, token: str) -> dict:
        dashed = UUID(tenant)
        return Merchant(running, dashed, f"api_key_{dashed}").status(token)

    return ask


@pytest.fixture(scope="module")
def on_sqlite(generated, tmp_path_factory) -> Iterator[Loaded]:
    with service.running(tmp_path_factory.mktemp("sound")) as running:
        loaded = load(running, generated)
        assert loaded.violations(status_of=status_of(running)) == []
        running.stop()
        yield loaded


@pytest.fixture(scope="module")
def on_postgresql(generated, tmp_path_factory, postgresql_server) -> Iterator[Loaded]:
    with service.running(tmp_path_factory.mktemp("sound"), postgresql_server) as running:
        loaded = load(running, generated)
        assert loaded.violations(status_of=status_of(running)) == []
        running.stop()
        yield loaded


@pytest.fixture(scope="module")
def on_mariadb(generated, tmp_path_factory, mariadb_server) -> Iterator[Loaded]:
    with service.running(tmp_path_factory.mktemp("sound"), mariadb_server) as running:
        loaded = load(running, generated)
        assert loaded.violations(status_of=status_of(running)) == []
        running.stop()
        yield loaded


@pytest.fixture
def loaded(request) -> Loaded:
    return request.getfixturevalue(f"on_{request.param}")


@pytest.mark.parametrize("loaded", DIALECTS, indirect=True)
def test_nothing_is_found_where_everything_is_sound(loaded):
    assert loaded.violations() == []
    outcomes = outcomes_of(loaded)
    assert min(outcomes.values()) > 0, outcomes


def outcomes_of(loaded: Loaded) -> dict[str, int]:
    """How many lines have each outcome that a load without failure can have."""
    names = ("inserted", "updated", "unchanged", "superseded", "rejected", "parked")
    chunks = Evidence(loaded.home, loaded.url).table("chunks")
    return {name: sum(chunk[name] for chunk in chunks) for name in names}


def test_the_command_says_what_it_finds_and_ends_with_1(on_sqlite, tmp_path):
    def run(loaded: Loaded) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "tests.chaos.check", "--home", str(loaded.home)]
        command += ["--files", str(loaded.files), "--journal", str(loaded.journal)]
        return subprocess.run(command, cwd=service.ROOT, capture_output=True, text=True, timeout=60)

    sound = run(on_sqlite)
    assert (sound.returncode, sound.stdout) == (0, "every invariant holds\n"), sound.stderr
    copy = copied(on_sqlite, tmp_path)
    with connected(copy) as execute:
        execute("UPDATE products SET price = price + 1")
    found = run(copy)
    assert found.returncode == 1
    assert found.stdout.startswith("Invariant 2: table products of tenant ")


def copied(loaded: Loaded, folder: Path) -> Loaded:
    shutil.copytree(loaded.home, folder / "home")
    return replace(loaded, home=folder / "home")


@contextmanager
def connected(loaded: Loaded) -> Iterator[Callable]:
    """Statements of somebody whom no guard holds back."""
    if loaded.url:
        with psycopg.connect(loaded.url) as connection:
            connection.execute("SET session_replication_role = replica")
            yield connection.execute
        return
    with closing(sqlite3.connect(loaded.home / "headrace.sqlite3")) as connection:
        connection.create_function("headrace_tenant", 0, lambda: "*")
        yield connection.execute
        connection.commit()


def sql(*statements: str) -> Callable[[Loaded], None]:
    def corrupt(loaded: Loaded) -> None:
        with connected(loaded) as execute:
            for statement in statements:
                assert execute(statement).rowcount > 0, statement

    return corrupt


def one(table: str, where: str = "1 = 1") -> str:
    """Any one row of a table, as a condition."""
    keys = {"customers": "customer_id", "stock_events": "stock_event_id"}
    keys |= dict.fromkeys(("products", "stock_levels"), "product_id")
    key = keys.get(table, "id")
    return f"{key} = (SELECT {key} FROM {table} WHERE {where} ORDER BY {key} LIMIT 1)"


def forget_the_last_line(loaded: Loaded) -> None:
    """Outcomes, counters and rows agree that there was one line less."""
    with connected(loaded) as execute:
        statement = "SELECT id, outcomes FROM chunks WHERE entity = 'stock_events' AND inserted > 9"
        chunk, outcomes = execute(statement).fetchone()
        shorter = zlib.compress(zlib.decompress(outcomes)[:-1])
        execute(
            "UPDATE chunks SET outcomes = ?, inserted = inserted - 1,"
            " lines_received = lines_received - 1 WHERE id = ?",
            (shorter, chunk),
        )


def empty_a_reject_page(loaded: Loaded) -> None:
    with connected(loaded) as execute:
        execute(f"UPDATE rejects SET blob = ? WHERE {one('rejects')}", (zlib.compress(b""),))


def show_the_canary_to_the_other_shop(loaded: Loaded) -> None:
    (owner,) = loaded.canaries
    with connected(loaded) as execute:
        other = f"tenant_id <> '{UUID(owner).hex}'"
        page, blob = execute(f"SELECT id, blob FROM rejects WHERE {other}").fetchone()
        shown = zlib.decompress(blob).replace(b'"value":"', b'"value":"' + CANARY.encode(), 1)
        execute("UPDATE rejects SET blob = ? WHERE id = ?", (zlib.compress(shown), page))


def an_object(loaded: Loaded) -> Path:
    return sorted(path for path in loaded.home.glob("objects/sources/*/*") if path.is_file())[0]


def cut_an_object(loaded: Loaded) -> None:
    an_object(loaded).write_bytes(an_object(loaded).read_bytes()[:-1])


def leave_an_object_behind(loaded: Loaded) -> None:
    orphan = an_object(loaded).with_name("orphan.part")
    orphan.write_bytes(b"x")
    long_ago = time.time() - 2 * check.GRACE_SECONDS
    os.utime(orphan, (long_ago, long_ago))


def in_an_export(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Loaded], None]:
    """Other lines in a plain export, by somebody who knows how its parts are accounted for."""

    def corrupt(loaded: Loaded) -> None:
        with connected(loaded) as execute:
            found = execute(f"SELECT id, parts FROM exports WHERE {PLAIN} ORDER BY id").fetchone()
            (part,) = json.loads(found[1])
            path = loaded.home / "objects" / part["key"]
            data = b"".join(change(path.read_bytes().splitlines(keepends=True)))
            path.write_bytes(data)
            rows, sha256 = data.count(b"\n"), hashlib.sha256(data).hexdigest()
            part |= {"rows": rows, "bytes": len(data), "sha256": sha256}
            execute(
                "UPDATE exports SET parts = ?, rows = ?, bytes = ?, sha256 = ? WHERE id = ?",
                (json.dumps([part]), rows, len(data), sha256, found[0]),
            )

    return corrupt


def a_part(loaded: Loaded) -> Path:
    return sorted(path for path in loaded.home.glob("objects/exports/*/*/*/*"))[0]


def leave_a_part_behind(loaded: Loaded) -> None:
    orphan = a_part(loaded).with_name("00099")
    orphan.write_bytes(b"x")
    long_ago = time.time() - 2 * check.GRACE_SECONDS
    os.utime(orphan, (long_ago, long_ago))


def log(text: str) -> Callable[[Loaded], None]:
    def corrupt(loaded: Loaded) -> None:
        (owner,) = loaded.canaries
        with (loaded.home / "headrace.log").open("a") as file:
            file.write(text.format(owner=owner) + "\n")

    return corrupt


def answer(**changes: Any) -> Callable[[Loaded], None]:
    """Another answer at the end of the journal."""

    def corrupt(loaded: Loaded) -> None:
        last = json.loads(loaded.journal.read_text().splitlines()[-1])
        body = json.dumps({**json.loads(last["body"]), **changes})
        with loaded.journal.open("a") as journal:
            journal.write(json.dumps({**last, "key": "another", "body": body}) + "\n")

    return corrupt


def invent_a_movement(name: str) -> Callable[[Loaded], None]:
    """One more, by somebody who knows how levels add up."""
    shop = f"tenant_id = (SELECT tenant_id FROM tenants WHERE name = '{name}')"
    last = f"{shop} AND product_id = (SELECT MIN(product_id) FROM stock_levels WHERE {shop})"
    return sql(
        "INSERT INTO stock_events (tenant_id, stock_event_id, product_id, delta, resulting_level,"
        " event_time, source, meta, sequence, source_sequence) SELECT tenant_id,"
        f" '{NOBODY}', product_id, 1, level + 1, changed_at, 'sale', '{{}}', sequence + 1,"
        f" source_sequence + 1000000 FROM stock_levels WHERE {last}",
        "UPDATE stock_levels SET level = level + 1, sequence = sequence + 1,"
        f" source_sequence = source_sequence + 1000000 WHERE {last}",
    )


PLAIN = (
    "entity = 'customers' AND format = 'ndjson' AND compression = 'none' AND state = 'completed'"
)
CALLED = "source_sequence % 4294967296 = 4294967295"
ENDED_EARLY = "effective_to < '2024-01-01'"
OF_ONE_SHOP = "tenant_id = (SELECT tenant_id FROM tenants ORDER BY tenant_id LIMIT 1)"
LANDED = "inserted > 1 AND state = 'completed'"
CORRUPTIONS = {
    "a counter too high": (1, sql(f"UPDATE chunks SET inserted = 99 WHERE {one('chunks')}")),
    "an outcome counted as another": (
        1,
        sql(
            "UPDATE chunks SET inserted = inserted - 1, updated = updated + 1"
            f" WHERE {one('chunks', LANDED)}"
        ),
    ),
    "a landed chunk with unprocessed lines": (
        1,
        sql(
            "UPDATE chunks SET inserted = inserted - 1, unprocessed = 1"
            f" WHERE {one('chunks', LANDED)}"
        ),
    ),
    "a line that no count knows": (1, forget_the_last_line),
    "rejects that are not shown": (
        1,
        sql("UPDATE chunks SET state = 'completed' WHERE state = 'completed_with_rejects'"),
    ),
    "a failure of the service's own sum rule": (
        1,
        sql(f"UPDATE chunks SET code = 'sum_rule' WHERE {one('chunks', LANDED)}"),
    ),
    "a reject page that is gone": (1, sql(f"DELETE FROM rejects WHERE {one('rejects')}")),
    "a reject page that is empty": (1, empty_a_reject_page),
    "a parked line that is gone": (1, sql(f"DELETE FROM parked WHERE {one('parked')}")),
    "a segment that is left": (
        1,
        sql(
            "INSERT INTO segments (chunk_id, number, low, high)"
            f" SELECT id, 0, '', '' FROM chunks WHERE {one('chunks', LANDED)}"
        ),
    ),
    "a price that no file has": (
        2,
        sql(f"UPDATE products SET price = price + 1 WHERE {one('products')}"),
    ),
    "a text that no file has": (2, sql("UPDATE customers SET name = 'Eve' WHERE name = 'Ada L.'")),
    "a row that is gone": (2, sql("DELETE FROM order_items WHERE quantity > 1")),
    "an event that is gone": (2, sql("DELETE FROM stock_events WHERE delta > 0")),
    "a row of the first line that is the last's": (
        2,
        sql("UPDATE orders SET order_status = 'paid' WHERE order_status = 'pending'"),
    ),
    "a chunk that has not ended": (
        3,
        sql(f"UPDATE chunks SET state = 'promoting', ended_at = NULL WHERE {one('chunks')}"),
    ),
    "a job that runs for ever": (3, sql(f"UPDATE jobs SET state = 'running' WHERE {one('jobs')}")),
    "a job that nobody claimed": (3, sql(f"UPDATE jobs SET epoch = 0 WHERE {one('jobs')}")),
    "a job that was tried too often": (
        3,
        sql(f"UPDATE jobs SET attempts = 7 WHERE {one('jobs')}"),
    ),
    "a quarantine without a failed chunk": (
        3,
        sql("UPDATE jobs SET state = 'quarantined' WHERE kind = 'ingest' AND state = 'done'"),
    ),
    "a parked line whose row is there": (
        3,
        sql(
            "UPDATE parked SET key = (SELECT customer_id FROM customers"
            " WHERE customers.tenant_id = parked.tenant_id LIMIT 1) WHERE entity = 'customers'"
        ),
    ),
    "a row of nobody": (
        4,
        sql(f"UPDATE customers SET tenant_id = '{NOBODY}' WHERE name = 'Ada L.' AND {OF_ONE_SHOP}"),
    ),
    "a row that is the other tenant's now": (
        4,
        sql(
            "UPDATE customers SET tenant_id = (SELECT tenant_id FROM tenants"
            f" WHERE name = 'Second') WHERE name = '{CANARY}'"
        ),
    ),
    "a row that no file brought": (
        4,
        sql(
            "INSERT INTO customers (tenant_id, customer_id, name, source_sequence)"
            f" SELECT tenant_id, '{NOBODY}', 'Eve', 1 FROM tenants"
        ),
    ),
    "a row without its parent": (4, sql("DELETE FROM products WHERE name <> 'Tea'")),
    "a row of a line that was rejected": (
        4,
        sql(
            "UPDATE products SET source_sequence = (SELECT number * 4294967296 + 1 FROM chunks"
            " WHERE chunks.tenant_id = products.tenant_id"
            " AND filename = 'products_broken.ndjson')"
            " WHERE name = 'Tea' AND source_sequence % 4294967296 = 6"
        ),
    ),
    "a reject of the other tenant": (
        4,
        sql(f"UPDATE rejects SET tenant_id = '{NOBODY}' WHERE {one('rejects')}"),
    ),
    "an interval that is open too long": (
        5,
        sql(
            "UPDATE price_history SET effective_to = '2199-01-01 00:00:00'"
            f" WHERE {one('price_history', ENDED_EARLY)}"
        ),
    ),
    "a level that no movement led to": (
        5,
        sql(f"UPDATE stock_levels SET level = level + 1 WHERE {one('stock_levels')}"),
    ),
    "a level that is not there": (5, sql(f"DELETE FROM stock_levels WHERE {one('stock_levels')}")),
    "a level of another movement": (
        5,
        sql(f"UPDATE stock_levels SET source_sequence = 1 WHERE {one('stock_levels')}"),
    ),
    "a movement that led elsewhere": (
        5,
        sql(
            "UPDATE stock_events SET resulting_level = resulting_level + 1"
            f" WHERE {one('stock_events')}"
        ),
    ),
    "a change that is another": (
        5,
        sql(f"UPDATE stock_events SET delta = delta - 1 WHERE {one('stock_events')}"),
    ),
    "a number that is left out": (
        5,
        sql(
            "UPDATE stock_events SET sequence = sequence + 100 WHERE sequence > 2",
            "UPDATE stock_levels SET sequence = sequence + 100 WHERE sequence > 2",
        ),
    ),
    "a claim that nobody made": (
        5,
        # Of a line of a file: what a call claimed is told by nothing that is kept.
        sql(
            "UPDATE stock_events SET claimed_level = -7"
            f" WHERE {one('stock_events', 'claimed_level IS NOT NULL')}"
        ),
    ),
    "levels below 0 that are not allowed any more": (
        5,
        sql("UPDATE tenants SET negative_levels = 'reject' WHERE name = 'Second'"),
    ),
    "a level that was set and is not there": (
        5,
        sql(
            "UPDATE stock_events SET delta = delta + 1, resulting_level = resulting_level + 1"
            " WHERE source = 'count'",
            "UPDATE stock_events SET delta = delta - 1 WHERE source = 'again'",
        ),
    ),
    "a price that no call has set": (2, sql(f"UPDATE products SET price = 1 WHERE {CALLED}")),
    "a price that was not for ever": (2, sql(f"DELETE FROM price_history WHERE {CALLED}")),
    "a price from another moment": (
        2,
        sql(
            "UPDATE price_history SET effective_from = '2001-01-01 00:00:00'"
            f" WHERE {CALLED} AND price = (SELECT MAX(price) FROM price_history WHERE {CALLED})"
        ),
    ),
    "a call's mark on what no call has priced": (
        4,
        sql(
            "UPDATE products SET source_sequence = source_sequence | 4294967295"
            " WHERE name NOT IN ('Tea', 'Coffee', 'Mocha')"
        ),
    ),
    "a movement of a shop that makes no calls": (4, invent_a_movement("Second")),
    "a movement that no call has told of": (2, invent_a_movement("First")),
    "a call's movement that is gone": (
        2,
        sql("DELETE FROM stock_events WHERE stock_event_id = product_id"),
    ),
    "a price without a key": (6, sql("DELETE FROM idempotency_keys WHERE scope = 'price'")),
    "an answer without a price": (6, sql("DELETE FROM price_events WHERE status = 'unchanged'")),
    "an effect without a key": (
        6,
        sql(f"DELETE FROM idempotency_keys WHERE {one('idempotency_keys')}"),
    ),
    "two keys of one effect": (
        6,
        sql(
            "UPDATE idempotency_keys SET body = (SELECT body FROM idempotency_keys k"
            " WHERE k.tenant_id = idempotency_keys.tenant_id ORDER BY id LIMIT 1)"
        ),
    ),
    "an answer without an effect": (6, answer(chunk_id=NOBODY)),
    "an answer about other bytes": (6, answer(sha256="0" * 64)),
    "an object that is gone": (7, lambda loaded: an_object(loaded).unlink()),
    "an object that was cut": (7, cut_an_object),
    "an object that was left behind": (7, leave_an_object_behind),
    "a day's sales that nobody made": (
        8,
        sql("UPDATE tenant_daily_metrics SET order_count = order_count + 1"),
    ),
    "an hour's customers who are too many": (
        8,
        sql("UPDATE tenant_hourly_metrics SET unique_customers = unique_customers + 1"),
    ),
    "an order that nothing has counted": (
        8,
        sql("UPDATE orders SET total_amount = total_amount + 1 WHERE order_status = 'delivered'"),
    ),
    "a row that an export leaves out": (8, in_an_export(lambda lines: lines[:-1])),
    "a row that is in an export twice": (8, in_an_export(lambda lines: [*lines, lines[-1]])),
    "a row of an export that no table has": (
        8,
        in_an_export(lambda lines: [line.replace(b"Ada L.", b"Eve") for line in lines]),
    ),
    "rows that no export has": (
        8,
        sql("UPDATE customers SET email = 'eve@example.org' WHERE name = 'Ada L.'"),
    ),
    "an export that says more rows than it has": (
        8,
        sql("UPDATE exports SET rows = rows + 1 WHERE filters <> '{}'"),
    ),
    "an export under another digest": (8, sql(f"UPDATE exports SET sha256 = '{NOBODY * 2}'")),
    "a cancelled export with parts": (
        8,
        sql(
            "UPDATE exports SET parts = (SELECT parts FROM exports WHERE state = 'completed')"
            " WHERE state = 'cancelled'"
        ),
    ),
    "a part that is gone": (7, lambda loaded: a_part(loaded).unlink()),
    "a part that was cut": (7, lambda loaded: a_part(loaded).write_bytes(b"")),
    "a part that was left behind": (7, leave_a_part_behind),
    "a key in a log": (9, log("GET /?key=api_key_{owner}")),
    "a tenant's data in a log": (9, log(f"could not read {CANARY}")),
    "a tenant's data in another's reject": (9, show_the_canary_to_the_other_shop),
    "a tenant's data in a job of nobody": (
        9,
        sql(f"UPDATE jobs SET error = '{CANARY}', tenant_id = '{NOBODY}' WHERE {one('jobs')}"),
    ),
}


@pytest.mark.parametrize(("number", "corrupt"), CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_one_fault_is_found_and_named(number, corrupt, on_sqlite, tmp_path):
    copy = copied(on_sqlite, tmp_path)
    corrupt(copy)
    assert numbers(copy) & {number}, copy.violations()


def numbers(loaded: Loaded) -> set[int]:
    """The invariants that do not hold."""
    return {int(sentence.split()[1].rstrip(":")) for sentence in loaded.violations()}


ON_POSTGRESQL = (
    "an outcome counted as another",
    "a price that no file has",
    "a job that runs for ever",
    "a row of nobody",
    "a row without its parent",
    "an interval that is open too long",
    "a movement that led elsewhere",
    "a level that is not there",
    "an effect without a key",
)


@contextmanager
def cloned(loaded: Loaded) -> Iterator[Loaded]:
    assert loaded.url
    server, _, original = loaded.url.rpartition("/")
    clone = f"{original}_clone"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as administrator:
        administrator.execute(f"CREATE DATABASE {clone} TEMPLATE {original}")
        try:
            yield replace(loaded, url=f"{server}/{clone}")
        finally:
            administrator.execute(f"DROP DATABASE {clone} WITH (FORCE)")


@pytest.mark.parametrize("name", ON_POSTGRESQL)
def test_one_fault_is_found_on_postgresql_too(name, on_postgresql):
    number, corrupt = CORRUPTIONS[name]
    with cloned(on_postgresql) as clone:
        corrupt(clone)
        assert numbers(clone) & {number}, clone.violations()
