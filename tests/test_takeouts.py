"""What a takeout has beside record types: all that the tables have of the tenant, and no secret."""

import hashlib
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from headrace.entities import BY_NAME, ENTITIES
from headrace.recognitions.schema import TABLES as OF_RECOGNITIONS
from headrace.recognitions.schema import Layer
from tests import prices
from tests.conftest import on_every_database
from tests.hooks import Hooks
from tests.operators import Operator
from tests.road import ndjson
from tests.servers import free_port
from tests.service import ROOT, Merchant, Service
from tests.shop import ask, customer
from tests.test_isolation import on_sqlite
from tests.test_keys import mint
from tests.test_lifecycle import catalogue, grows_by_itself, problem, wait_for_takeout

OF_ADMINS = (
    *("api_keys", "webhook_endpoints", "webhook_lanes", "webhook_deliveries", "webhook_attempts"),
    "audit_log",
)
OF_ALL = ("tenants", "uploads", "chunks", "price_events")
HIDDEN = {
    "api_keys": {"secret_hash"},
    "webhook_endpoints": {"salt", "old_salt"},
    "uploads": {"token"},
    "chunks": {"source", "outcomes"},
}
DECLARED = """
import json
from apps.lifecycle.taken import LEFT_OUT, TAKEN
print(json.dumps([[one.name for one in TAKEN], dict(LEFT_OUT)]))
"""
RECORD_TYPES = [entity.name for entity in ENTITIES]
#: The files of recognitions as they came, which are in the tar.
IN_THE_TAR = {table.flat_name for table in OF_RECOGNITIONS if table.layer is Layer.RAW}
ON_MARIADB = {"price_history_turns"}
MANY = 1_201  # rows: more than two pages


@on_every_database
def test_every_table_with_rows_of_a_tenant_is_in_a_takeout_or_left_out_for_a_reason(
    running_service,
):
    told = running_service.manage("shell", "-v", "0", "-c", DECLARED).stdout
    taken, left_out = json.loads(told)
    assert all(left_out.values())
    known = [*RECORD_TYPES, *IN_THE_TAR, *taken, *left_out]
    assert len(set(known)) == len(known)
    owned, refers = catalogue(running_service)
    found = owned | {name for name, parent in refers if parent in owned}
    assert found - set(known) == set(), "say in apps/lifecycle/taken.py what becomes of it"
    assert set(known) - found <= ON_MARIADB
    page = Path(ROOT, "docs", "tenants.md").read_text()
    assert [name for name in (*taken, *left_out) if f"`{name}`" not in page] == []
    most = len([*RECORD_TYPES, "recognitions", *taken])
    assert f"up to {most}," in Path(ROOT, "docs", "exports.md").read_text()


def stock(merchant: Merchant) -> set[str]:
    """Rows in all that a takeout has; what of them is secret."""
    hooks = Hooks(merchant)
    endpoint, secret = hooks.make(f"http://127.0.0.1:{free_port()}/{uuid4().hex}")
    again = hooks.call("POST", f"{endpoint}/rotate/", json={})["secret"]
    hooks.call("POST", f"{endpoint}/test/", status=202)
    hooks.attempted(endpoint)
    loaded = merchant.load("customers.ndjson", ndjson(customer(), customer(), customer(name=7)))
    assert loaded["status"] == "completed_with_rejects"
    [goods] = prices.add_products(merchant)
    changed = {"new_price": 2500, "source": "a till", "metadata": {"by": "Ada", "at": 1.10}}
    assert prices.send(merchant, goods, changed).json()["anomaly_detected"]
    minted = mint(merchant, "read", label="till 7")
    kept = {minted.key, minted.key.split("_")[2], secret, again}
    return kept | {text.removeprefix("whsec_") for text in (secret, again)} | hidden(merchant)


def hidden(merchant: Merchant) -> set[str]:
    """What the database has of the tenant that opens something, or was an answer to it."""
    columns = {
        "api_keys": ("secret_hash",),
        "webhook_endpoints": ("salt", "old_salt"),
        "uploads": ("token",),
        "chunks": ("source",),
        "idempotency_keys": ("body",),
    }
    found = set()
    own = f"tenant_id = {merchant.service.spelled(merchant.tenant)}"
    for table, names in columns.items():
        for name in names:
            texts = {
                text for (text,) in ask(merchant.service, f"SELECT {name} FROM {table} WHERE {own}")
            }
            assert any(texts), (table, name)
            found |= texts - {""}
    return found


def order(merchant: Merchant, **asked: str) -> dict:
    """The manifest of a new takeout, once all of it is there."""
    path = f"/tenants/{merchant.tenant}/reports/takeouts"
    answer = merchant.request("POST", path, json=asked)
    assert answer.status_code == 202, answer.text
    manifest = wait_for_takeout(merchant, answer)
    assert manifest["status"] == "completed", manifest
    return manifest


def fetched(merchant: Merchant, manifest: dict) -> Iterator[tuple[str, bytes]]:
    """The files by their entity, each as the manifest says that it is."""
    for file in manifest["files"]:
        data = merchant.request("GET", file["download_url"].removeprefix("/api/v1")).content
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
        assert file["rows"] == data.count(b"\n")
        yield file["entity"], data


def rows_of(data: bytes) -> list[dict]:
    return [json.loads(line, parse_float=Decimal) for line in data.splitlines()]


def columns_of(running: Service, table: str) -> set[str]:
    with running.owner() as connection:
        cursor = connection.cursor()
        cursor.execute(f"SELECT * FROM {table} WHERE 1 = 0")
        return {column[0] for column in cursor.description}


@on_every_database
def test_a_takeout_has_what_the_tables_have_of_the_tenant_and_no_secret(running_service):
    merchant, stranger = running_service.add_tenant(), running_service.add_tenant()
    secrets = stock(merchant)
    stock(stranger)
    manifest = order(merchant)
    assert (manifest["withheld"], manifest["rows"] > 20) == ([], True)
    found = dict(fetched(merchant, manifest))
    assert list(found)[: len(RECORD_TYPES)] == RECORD_TYPES
    assert set(found) == {*RECORD_TYPES, *OF_ADMINS, *OF_ALL}
    assert {file["entity"] for file in manifest["files"] if file["resendable"]} == set(BY_NAME)
    everything = b"".join(found.values()) + json.dumps(manifest).encode()
    assert [secret for secret in secrets if secret.encode() in everything] == []
    told = {name: rows_of(found[name]) for name in (*OF_ADMINS, *OF_ALL)}
    own = f"tenant_id = {running_service.spelled(merchant.tenant)}"
    for name, rows in told.items():
        columns = columns_of(running_service, name) - HIDDEN.get(name, set())
        [(there,)] = ask(running_service, f"SELECT count(*) FROM {name} WHERE {own}")
        assert 0 < len(rows) <= there, name
        assert len(rows) == there or grows_by_itself(name), name
        for row in rows:
            assert set(row) == columns, name
            assert row["tenant_id"] == str(merchant.tenant), name
    assert_rows_say_what_happened(told)


def assert_rows_say_what_happened(told: dict[str, list[dict]]) -> None:
    [price] = told["price_events"]
    assert price["metadata"] == {"by": "Ada", "at": Decimal("1.1")}
    assert (price["source"], price["feed_number"]) == ("a till", 1)
    assert (price["severity"] != "none", price["pct_change"]) == (True, 2400)
    assert price["reasons"][0]["message"]
    assert (price["old_price"], price["new_price"]) == (100, 2500)
    assert price["processed_at"].endswith("Z")
    [file] = [one for one in told["chunks"] if one["entity"] == "customers"]
    assert (file["lines_received"], file["inserted"], file["rejected"]) == (3, 2, 1)
    assert (file["filename"], file["state"]) == ("customers.ndjson", "completed_with_rejects")
    assert file["reject_groups"][0]["field"] == "name"
    assert file["upload_id"] in {one["id"] for one in told["uploads"]}
    [till] = [one for one in told["api_keys"] if one["label"] == "till 7"]
    assert (till["scopes"], till["revoked_at"], till["is_demo"]) == ("read", None, False)
    [endpoint], [lane] = told["webhook_endpoints"], told["webhook_lanes"]
    assert endpoint["url"].startswith("http://127.0.0.1:")
    assert (lane["endpoint_id"], lane["is_open"]) == (endpoint["endpoint_id"], True)
    assert lane["events"]
    sent = {one["delivery_id"] for one in told["webhook_deliveries"]}
    assert {one["delivery_id"] for one in told["webhook_attempts"]} <= sent
    entries = {one["action"]: one for one in told["audit_log"]}
    assert {"tenant.created", "webhook.rotated", "key.minted", "file.received"} <= set(entries)
    assert entries["key.minted"]["details"]["scopes"]
    # Whose machine a command ran on is not the tenant's matter.
    assert [entries[name]["address"] for name in ("tenant.created", "key.minted")] == [
        "",
        "127.0.0.1",
    ]


@on_every_database
def test_many_rows_come_page_by_page_each_once(running_service):
    merchant, stranger = running_service.add_tenant(), running_service.add_tenant()
    keys = add_lanes(merchant, MANY)
    add_lanes(stranger, 100)
    found = dict(fetched(merchant, order(merchant)))
    told = [row["endpoint_id"] for row in rows_of(found["webhook_lanes"])]
    assert told == sorted(keys)


def add_lanes(merchant: Merchant, number: int) -> list[str]:
    """Rows past the service, which takes no more than a few; their ids."""
    spelled, tenant = merchant.service.spelled, merchant.service.spelled(merchant.tenant)
    keys = [str(uuid4()) for _ in range(number)]
    rows = ", ".join(f"({spelled(key)}, {tenant}, '[]', TRUE, '', 0, 0)" for key in keys)
    names = "endpoint_id, tenant_id, events, is_open, closed_because, failures, milliseconds"
    ask(merchant.service, f"INSERT INTO webhook_lanes ({names}) VALUES {rows}")
    return keys


@on_sqlite
def test_what_needs_the_scope_admin_elsewhere_needs_it_in_a_takeout_too(running_service):
    merchant = running_service.add_tenant()
    clerk, admin = mint(merchant, "export"), mint(merchant, "export", "admin")
    least = order(clerk)
    assert set(least["withheld"]) == set(OF_ADMINS)
    assert {file["entity"] for file in least["files"]} == {*RECORD_TYPES, *OF_ALL}
    assert len(dict(fetched(clerk, least))) == len(least["files"])
    whole = order(admin)
    assert whole["withheld"] == []
    assert len(dict(fetched(admin, whole))) == len(whole["files"])
    for file in whole["files"]:
        answer = clerk.request("GET", file["download_url"].removeprefix("/api/v1"))
        if file["entity"] in OF_ADMINS:
            assert problem(answer) == (403, "wrong_scope"), file
            assert answer.json()["needed"] == "admin"
        else:
            assert answer.status_code == 200, file
    path = f"/tenants/{merchant.tenant}/reports/takeouts"
    only = mint(merchant, "admin").request("POST", path, json={})
    assert problem(only) == (403, "wrong_scope")


@on_sqlite
@pytest.mark.parametrize("format", ["csv", "json"])
def test_what_is_no_record_type_is_ndjson_whatever_the_format_and_counts_as_stored(
    running_service, format
):
    operator = Operator(running_service)
    shop = operator.new()
    before = operator.used(shop)["stored_bytes"]
    manifest = order(shop, format=format, compression="gzip")
    endings = {file["entity"]: file["filename"].partition(".")[2] for file in manifest["files"]}
    assert {name for name, ending in endings.items() if ending == f"{format}.gz"} == set(BY_NAME)
    assert {endings[name] for name in (*OF_ADMINS, *OF_ALL)} == {"ndjson.gz"}
    assert operator.used(shop)["stored_bytes"] == before + manifest["bytes"]
    assert {file["entity"] for file in manifest["files"] if file["resendable"]} == set(BY_NAME)
