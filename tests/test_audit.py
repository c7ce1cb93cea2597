"""The audit log: what is in it, who reads it, and that nobody changes it."""

import json
import os
import sqlite3
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pymysql
import pytest

from tests.conftest import on_every_database
from tests.exports import Exporter
from tests.inside import Inside
from tests.operators import Operator
from tests.road import ndjson
from tests.service import Merchant
from tests.shop import ask, customer, product
from tests.test_isolation import as_server, either_way, on_postgresql
from tests.test_keys import SCOPES, mint
from tests.test_tenants_http import assert_same_absence

REFUSED = (psycopg.Error, sqlite3.Error, pymysql.MySQLError)


def log_of(merchant: Merchant, **parameters: object) -> list[dict]:
    """The merchant's entries, the oldest first."""
    answer = merchant.request("GET", f"/tenants/{merchant.tenant}/audit/", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"][::-1]


def made(merchant: Merchant, **parameters: object) -> list[str]:
    """The actions of its entries, without those that made the merchant itself."""
    actions = [entry["action"] for entry in log_of(merchant, **parameters)]
    return [action for action in actions if not action.startswith(("tenant.", "key."))]


@on_every_database
def test_an_upload_leaves_its_entries_and_their_order_is_that_of_time(merchant):
    token = merchant.open_upload()
    received = merchant.send("customers.ndjson", ndjson(customer()), token=token)
    for step in ("complete", "complete", "cancel", "resume", "resume"):
        assert merchant.request("POST", f"/ingest/sessions/{token}/{step}/").status_code == 200
    assert made(merchant) == [
        "upload.opened",
        "file.received",
        "upload.completed",
        "upload.cancelled",
        "upload.resumed",
    ]
    entry = log_of(merchant, action="file.received")[0]
    moment = datetime.fromisoformat(entry.pop("recorded_at"))
    assert abs(datetime.now(UTC) - moment) < timedelta(minutes=5)
    assert UUID(entry.pop("id")).version == 7
    sent = received.json()
    assert entry == {
        "action": "file.received",
        "actor_kind": "key",
        "actor": str(merchant.tenant),
        "address": "127.0.0.1",
        "request_id": received.headers["X-Request-Id"],
        "subject": sent["chunk_id"],
        "details": {
            "upload": f"{token[:11]}…",
            **{name: sent[name] for name in ("entity", "filename", "bytes", "sha256")},
        },
    }
    assert token not in json.dumps(log_of(merchant))


@on_every_database
def test_a_repetition_or_a_refusal_leaves_no_second_entry(merchant):
    for data in (ndjson(customer()), b""):
        key = uuid4().hex
        for _ in range(2):
            merchant.send("customers.ndjson", data, key=key)
    assert made(merchant) == ["file.received"]


@on_every_database
def test_no_row_of_the_log_can_be_changed_or_removed(running_service, merchant):
    merchant.open_upload()
    own = f"tenant_id = {running_service.spelled(merchant.tenant)}"
    before = ask(running_service, f"SELECT * FROM audit_log WHERE {own}")
    for statement in (
        f"UPDATE audit_log SET actor = 'nobody' WHERE {own}",
        f"DELETE FROM audit_log WHERE {own}",
    ):
        with pytest.raises(REFUSED, match="append-only"), running_service.owner() as connection:
            connection.cursor().execute(statement)
    assert ask(running_service, f"SELECT * FROM audit_log WHERE {own}") == before != []


@on_every_database
def test_another_tenant_reads_nothing_of_it(merchant, stranger):
    merchant.open_upload()
    theirs, nobodys = (
        stranger.request("GET", f"/tenants/{tenant}/audit/")
        for tenant in (merchant.tenant, uuid4())
    )
    assert_same_absence(theirs, nobodys)
    assert "upload.opened" not in made(stranger)


@on_every_database
def test_the_log_is_read_page_by_page_and_chosen_by_time_action_and_key(merchant):
    tokens = [merchant.open_upload() for _ in range(5)]
    merchant.request("POST", f"/ingest/sessions/{tokens[0]}/cancel/")
    own = {"key": str(merchant.tenant)}
    entries = log_of(merchant, **own)
    assert [entry["action"] for entry in entries] == ["upload.opened"] * 5 + ["upload.cancelled"]
    pages, cursor = [], None
    while cursor is not None or not pages:
        asked = {**own, "limit": 2, **({"cursor": cursor} if cursor else {})}
        answer = merchant.request("GET", f"/tenants/{merchant.tenant}/audit/", params=asked).json()
        pages.append(answer["data"])
        cursor = answer["next_cursor"]
    assert [len(page) for page in pages] == [2, 2, 2]
    assert [entry for page in pages for entry in page] == entries[::-1]
    third = entries[2]["recorded_at"]
    assert log_of(merchant, since=third, **own) == entries[2:]
    assert log_of(merchant, until=third, **own) == entries[:2]
    assert log_of(merchant, since=third, until=third, **own) == []
    assert log_of(merchant, action="upload.cancelled,export.ordered") == entries[5:]
    assert log_of(merchant, key=uuid4().hex[:12]) == []


def test_what_the_list_does_not_know_is_told(merchant):
    for name, text in {
        "since": "yesterday",
        "until": "2300-01-01",
        "action": "upload.eaten",
        "cursor": "1",
        "limit": "0",
        "actor": "me",
    }.items():
        asked = {name: text}
        answer = merchant.request("GET", f"/tenants/{merchant.tenant}/audit/", params=asked)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), name
        assert name in answer.json()["detail"]


@on_every_database
def test_entries_leave_by_age_and_a_month_of_them_stays_whatever_is_asked(
    running_service, merchant
):
    inside = Inside(running_service, "audit_inside")
    assert inside.do("by_age", merchant.tenant) == [
        False,
        ["399", "31", "29", "0"],
        [],
        True,
        ["399", "31", "29", "0"],
        ["29", "0"],
    ]


@on_every_database
def test_an_erasure_frees_what_was_written_before_it_and_its_order_stays(running_service):
    inside = Inside(running_service, "audit_inside")
    assert inside.do("by_erasure", uuid4()) == [True, True, 3, ["later"], True]


@on_every_database
def test_an_entry_is_part_of_the_transaction_that_it_tells_of(running_service):
    inside = Inside(running_service, "audit_inside")
    told, left = inside.do("in_transactions", uuid4(), uuid4())
    assert (told, left) == (["rolled back", "refused"], ["kept", "bound"])


@on_postgresql
@either_way
def test_the_serving_role_removes_by_one_function_and_nothing_young_by_it(
    running_service, merchant, triggers
):
    merchant.open_upload()
    with (
        as_server(running_service, merchant.tenant, triggers) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
    ):
        connection.execute("SELECT headrace_audit_remove(now(), 10)")
    with as_server(running_service) as connection:
        assert connection.execute("SELECT headrace_audit_remove(now(), 10)").fetchone() == (0,)


def test_a_key_reads_the_log_by_the_scope_admin_alone(merchant):
    path = f"/tenants/{merchant.tenant}/audit/"
    everything_else = mint(merchant, *(scope for scope in SCOPES if scope != "admin"))
    assert everything_else.request("GET", path).json()["code"] == "wrong_scope"
    assert mint(merchant, "admin").request("GET", path).status_code == 200


def test_calls_that_a_key_was_refused_are_recorded_once_a_minute_and_process(merchant):
    reader = mint(merchant, "read")
    for _ in range(30):
        assert reader.request("POST", "/ingest/sessions/", json={}).status_code == 403
    entries = log_of(merchant, action="call.refused")
    assert 1 <= len(entries) <= os.cpu_count()
    key_id = reader.key.split("_")[1]
    assert {entry["actor"] for entry in entries} == {key_id}
    assert entries[0]["details"] == {
        "code": "wrong_scope",
        "method": "POST",
        "view": "Uploads",
        "times": 1,
    }


def test_exports_and_their_downloads_are_recorded(merchant):
    exporter = Exporter(merchant)
    merchant.load("products.ndjson", ndjson(product()))
    export = exporter.made(entity="products")["export_id"]
    assert [exporter.download(export).status_code for _ in range(9)] == [200] * 9
    exporter.order(query="?stream=true", entity="products")
    ordered, streamed = log_of(merchant, action="export.ordered,export.streamed")[:2]
    assert (ordered["subject"], ordered["details"]["entity"]) == (export, "products")
    assert streamed["details"]["entity"] == "products"
    downloads = log_of(merchant, action="export.downloaded")
    assert 1 <= len(downloads) <= (os.cpu_count() or 1)  # one a minute and process
    assert {entry["subject"] for entry in downloads} == {export}


def test_the_operators_side_is_told_by_name_and_not_by_its_machines(merchant):
    key = merchant.service.manage("keys", "mint", "--tenant", merchant.tenant).stdout.strip()
    entry = log_of(merchant, action="key.minted")[-1]
    assert (entry["actor_kind"], entry["address"]) == ("command", "")
    assert entry["actor"].startswith("keys by ")
    assert key.startswith(f"hr_{entry['subject']}_")
    [entry] = log_of(merchant, action="tenant.created")
    assert entry["details"] == {"name": "A shop"}


@on_every_database
def test_a_tenant_that_is_erased_leaves_no_entry_but_the_orders(running_service):
    inside = Inside(running_service, "audit_inside")
    told, left, orders = inside.do("erased", uuid4())
    assert (told, left) == ([True, 0], [])
    assert 1 <= orders <= 2


def test_what_is_done_with_keys_is_recorded_without_them(merchant):
    path = f"/tenants/{merchant.tenant}/keys/"
    made_key = merchant.request("POST", path, json={"scopes": ["read"], "label": "till 7"})
    assert made_key.status_code == 201, made_key.text
    key_id = made_key.json()["key_id"]
    rotated = merchant.request("POST", f"{path}{key_id}/rotate/", json={})
    assert merchant.request("POST", f"{path}{key_id}/revoke/").status_code == 200
    successor = rotated.json()["key_id"]
    actions = "key.minted,key.rotated,key.revoked"
    entries = log_of(merchant, action=actions, key=str(merchant.tenant))
    assert [(entry["action"], entry["subject"]) for entry in entries] == [
        ("key.minted", key_id),
        ("key.minted", successor),
        ("key.rotated", key_id),
        ("key.revoked", key_id),
    ]
    assert entries[0]["details"]["scopes"] == "read"
    assert entries[2]["details"]["successor"] == successor
    for secret in (made_key.json()["key"], rotated.json()["key"], merchant.key):
        assert secret not in json.dumps(log_of(merchant))


def test_a_change_of_a_key_is_recorded_with_both_values_and_once(merchant):
    path = f"/tenants/{merchant.tenant}/keys/"
    terms = {"scopes": ["read", "stock"], "label": "till 7", "max_calls_per_minute": 60}
    key_id = merchant.request("POST", path, json=terms).json()["key_id"]
    end = "2100-01-01T00:00:00Z"
    wanted = {"scopes": ["read"], "label": "till 7", "expires_at": end}
    for changes in (wanted, wanted, {"max_calls_per_minute": None}, {}):
        answer = merchant.request("PATCH", f"{path}{key_id}/", json=changes)
        assert answer.status_code == 200, answer.text
    refused = merchant.request("PATCH", f"{path}{key_id}/", json={"key_id": "mine"})
    assert refused.json()["code"] == "invalid_request"
    entries = log_of(merchant, action="key.changed")
    assert {(entry["actor"], entry["subject"]) for entry in entries} == {
        (str(merchant.tenant), key_id)
    }
    assert [entry["details"] for entry in entries] == [
        {"scopes": ["read stock", "read"], "expires_at": [None, "2100-01-01 00:00:00+00:00"]},
        {"max_calls_per_minute": [60, None]},
    ]


def test_what_an_operator_does_with_a_tenant_is_recorded_with_both_values(running_service):
    operator = Operator(running_service)
    shop = operator.new()
    operator.limit(shop, max_rows_per_day=7)
    operator.suspend(shop, "read_only")
    operator.done("POST", f"/tenants/{shop.tenant}/resume/")
    operator.done("POST", f"/tenants/{shop.tenant}/takeouts/", json={})
    entries = [entry for entry in log_of(shop) if entry["action"].startswith("tenant.")]
    assert [entry["action"] for entry in entries] == [
        "tenant.created",
        "tenant.changed",
        "tenant.suspended",
        "tenant.restored",
        "tenant.exported",
    ]
    key_id = operator.key.split("_")[1]
    origins = {(entry["actor_kind"], entry["actor"], entry["address"]) for entry in entries}
    assert origins == {("operator", key_id, "")}
    assert [entry["details"] for entry in entries[1:4]] == [
        {"max_rows_per_day": [None, 7]},
        {"state": ["active", "read_only"]},
        {"state": ["read_only", "active"]},
    ]


def test_webhooks_are_recorded_without_their_secrets(merchant):
    path = f"/tenants/{merchant.tenant}/webhooks/"
    url = "http://127.0.0.1:9/a-secret-path?token=a-secret-token"
    made_hook = merchant.request("POST", path, json={"url": url, "events": ["upload.completed"]})
    assert made_hook.status_code == 201, made_hook.text
    own = f"{path}{made_hook.json()['endpoint_id']}/"
    assert merchant.request("PATCH", own, json={"enabled": False}).status_code == 200
    rotated = merchant.request("POST", f"{own}rotate/", json={})
    assert merchant.request("DELETE", own).status_code in (200, 204)
    assert made(merchant) == [
        "webhook.created",
        "webhook.changed",
        "webhook.rotated",
        "webhook.deleted",
    ]
    told = json.dumps(log_of(merchant))
    assert '"host": "127.0.0.1"' in told
    for secret in ("a-secret", made_hook.json()["secret"], rotated.json()["secret"]):
        assert secret not in told
