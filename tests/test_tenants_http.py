"""Who may call, and that tenants do not exist for each other."""

import csv
import hashlib
import json
import re
import stat
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest

from headrace.entities import TABLES
from tests import service, tables
from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import ask, customer, order, order_item, product

TOKEN, TENANT = "{token}", "{tenant_id}"
ENDPOINT = "/api/v1/tenants/{tenant_id}/webhooks/{endpoint_id}"
NOBODYS = str(uuid4())  # the id of no row that a tenant has
NUMBER, NOBODYS_NUMBER = "{recognition_id}", "4000000000"


@pytest.fixture(scope="module")
def shop(running_service: Service) -> Merchant:
    """One merchant for the tests that need no empty one."""
    return running_service.add_tenant()


# Every operation of the OpenAPI document, and what a caller of it must be: anybody where it is
# `open`, whoever has a link of ours where it is `signed`; `key` needs a key, `token` names an
# upload of the caller's besides, `tenant` the caller, and `row` something of the caller's besides.
# `operator` needs the key of an operator.
OPERATIONS = {
    ("get", "/health/"): "open",
    ("get", "/health/live"): "open",
    ("get", "/health/ready"): "open",
    ("get", "/metrics"): "open",
    ("get", "/api/v1/whoami/"): "key",
    ("post", "/api/v1/ingest/comprehensive/"): "key",
    ("post", "/api/v1/ingest/orders/"): "key",
    ("get", "/api/v1/ingest/sessions/"): "key",
    ("post", "/api/v1/ingest/sessions/"): "key",
    ("get", "/api/v1/ingest/sessions/{token}/status/"): "token",
    ("post", "/api/v1/ingest/sessions/{token}/complete/"): "token",
    ("post", "/api/v1/ingest/sessions/{token}/cancel/"): "token",
    ("post", "/api/v1/ingest/sessions/{token}/resume/"): "token",
    ("get", "/api/v1/ingest/sessions/{token}/rejects/"): "token",
    ("post", "/api/v1/tenants/{tenant_id}/stock/bulk_update"): "tenant",
    ("put", "/api/v1/tenants/{tenant_id}/stock/bulk_update"): "tenant",
    ("get", "/api/v1/tenants/{tenant_id}/stock/levels"): "tenant",
    ("get", "/api/v1/tenants/{tenant_id}/stock/events"): "tenant",
    ("get", "/api/v1/tenants/{tenant_id}/metrics/sales"): "tenant",
    ("get", "/api/v1/tenants/{tenant_id}/price-anomalies/"): "tenant",
    ("post", "/api/v1/tenants/{tenant_id}/reports/export"): "tenant",
    ("get", "/api/v1/tenants/{tenant_id}/reports/export"): "tenant",
    ("get", "/api/v1/tenants/{tenant_id}/reports/export/{export_id}/"): "row",
    ("get", "/api/v1/tenants/{tenant_id}/reports/export/{export_id}/download"): "row",
    ("post", "/api/v1/tenants/{tenant_id}/reports/export/{export_id}/cancel/"): "row",
    ("post", "/api/v1/tenants/{tenant_id}/reports/takeouts"): "tenant",
    ("get", "/api/v1/tenants/{tenant_id}/reports/takeouts/{takeout_id}/"): "row",
    ("post", "/api/v1/tenants/{tenant_id}/products/{product_id}/price-event/"): "row",
    ("get", "/api/v1/tenants/{tenant_id}/products/{product_id}/price-anomalies/"): "row",
    ("get", "/api/v1/tenants/{tenant_id}/orders/search"): "tenant",
    ("get", "/api/v1/tenants/{tenant_id}/recognitions/"): "tenant",
    ("get", "/api/v1/tenants/{tenant_id}/recognitions/{recognition_id}/"): "row",
    ("get", "/api/v1/photos/{link}"): "signed",
    ("get", "/api/v1/tenants/{tenant_id}/audit/"): "tenant",
    ("get", "/api/v1/tenants/{tenant_id}/keys/"): "tenant",
    ("post", "/api/v1/tenants/{tenant_id}/keys/"): "tenant",
    ("patch", "/api/v1/tenants/{tenant_id}/keys/{key_id}/"): "row",
    ("post", "/api/v1/tenants/{tenant_id}/keys/{key_id}/rotate/"): "row",
    ("post", "/api/v1/tenants/{tenant_id}/keys/{key_id}/revoke/"): "row",
    ("get", "/api/v1/tenants/{tenant_id}/webhooks/"): "tenant",
    ("post", "/api/v1/tenants/{tenant_id}/webhooks/"): "tenant",
    ("get", f"{ENDPOINT}/"): "row",
    ("patch", f"{ENDPOINT}/"): "row",
    ("delete", f"{ENDPOINT}/"): "row",
    ("post", f"{ENDPOINT}/rotate/"): "row",
    ("post", f"{ENDPOINT}/test/"): "row",
    ("post", f"{ENDPOINT}/replay/"): "row",
    ("get", f"{ENDPOINT}/deliveries/"): "row",
    ("post", f"{ENDPOINT}/deliveries/{{delivery_id}}/replay/"): "row",
    **{("get", f"/api/v1/tenants/{{tenant_id}}/{name}/"): "tenant" for name in TABLES},
    **{("get", f"/api/v1/tenants/{{tenant_id}}/{name}/{{row_id}}/"): "row" for name in TABLES},
    ("get", "/api/v1/operator/tenants/"): "operator",
    ("post", "/api/v1/operator/tenants/"): "operator",
    ("get", "/api/v1/operator/tenants/{tenant_id}/"): "operator",
    ("patch", "/api/v1/operator/tenants/{tenant_id}/"): "operator",
    ("post", "/api/v1/operator/tenants/{tenant_id}/suspend/"): "operator",
    ("post", "/api/v1/operator/tenants/{tenant_id}/resume/"): "operator",
    ("post", "/api/v1/operator/tenants/{tenant_id}/takeouts/"): "operator",
    ("get", "/api/v1/operator/tenants/{tenant_id}/takeouts/{takeout_id}/"): "operator",
    (
        "get",
        "/api/v1/operator/tenants/{tenant_id}/takeouts/{takeout_id}/{export_id}/download",
    ): "operator",
    ("post", "/api/v1/operator/tenants/{tenant_id}/erase/"): "operator",
    ("get", "/api/v1/operator/erasures/"): "operator",
    ("get", "/api/v1/operator/erasures/{erasure_id}/"): "operator",
}
METHODS = {"get", "post", "put", "patch", "delete", "options"}
_IDS = (
    *("{product_id}", "{export_id}", "{row_id}", "{endpoint_id}", "{delivery_id}", "{key_id}"),
    *("{takeout_id}", "{erasure_id}"),
)
# Pages for people, and the document itself.
PAGES = {
    "/",
    "/api/schema/",
    "/api/schema/swagger-ui/",
    "/api/docs/",
    "/api/redoc/",
}
# Pages of `/admin/`: all but the first two need a login, which test_admin.py holds to this table.
_OF_A_ROW = [f"{{object_id}}/{page}" for page in ("", "history/", "delete/", "change/")]
_MODELS = (
    *("auth/group", "auth/user", "core/job", "exports/export", "ingestions/chunk"),
    *("ingestions/upload", "tenants/apikey", "tenants/tenant"),
)
ADMIN = {
    "/admin",
    "/admin/login/",
    "/admin/",
    "/admin/logout/",
    "/admin/password_change/",
    "/admin/password_change/done/",
    "/admin/autocomplete/",
    "/admin/jsi18n/",
    "/admin/r/{content_type_id}/{object_id}/",
    "/admin/auth/user/{id}/password/",
    "/admin/tenants/apikey/{object_id}/rotate/",
    "/admin/{app_label}/",
    "/admin/{url}",
    *(f"/admin/{model}/{page}" for model in _MODELS for page in ("", "add/", *_OF_A_ROW)),
}
ROUTES = """
import json
from django.urls import get_resolver
def walk(patterns, prefix=""):
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            yield from walk(pattern.url_patterns, path)
        else:
            yield "/" + path
print(json.dumps(sorted(walk(get_resolver().url_patterns))))
"""


def needing(*needs: str) -> list[tuple[str, str]]:
    return [operation for operation, need in OPERATIONS.items() if need in needs]


def operations(document: dict) -> set[tuple[str, str]]:
    return {(method, path) for path, item in document["paths"].items() for method in item}


def document_of(running: Service) -> dict:
    response = running.request("GET", "/api/schema/?format=json")
    assert response.status_code == 200
    return response.json()


def routes_of(running: Service) -> set[str]:
    """Every address that the service has, parameters in braces."""
    found = json.loads(running.manage("shell", "-v", "0", "-c", ROUTES).stdout)
    plain = {re.sub(r"\^?\(\?P<(\w+)>[^)]*\)(/?)\$", r"{\1}\2", route) for route in found}
    return {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route) for route in plain}


def call(running: Service, operation: tuple[str, str], name: str, **headers: str):
    """`name` is that of what the operation is about, an upload's token or a tenant's id."""
    method, path = operation
    path = path.replace(TOKEN, name).replace(TENANT, name).replace(NUMBER, NOBODYS_NUMBER)
    for key in _IDS:
        path = path.replace(key, NOBODYS)
    return running.request(method.upper(), path, headers=headers)


def assert_unauthenticated(response) -> None:
    assert response.status_code == 401, response.text
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="headrace"'
    assert response.json()["code"] == "unauthenticated"


def assert_every_route_is_known(running: Service) -> None:
    """The OpenAPI document, the table above and the service's addresses are the same."""
    found = operations(document_of(running))
    assert found == set(OPERATIONS)
    assert routes_of(running) == PAGES | ADMIN | {path for _, path in found}


def assert_closed_without_a_key(merchant: Merchant) -> None:
    token = merchant.open_upload()
    for operation in needing("key", "token"):
        assert_unauthenticated(call(merchant.service, operation, token))
    for operation in needing("tenant", "row", "operator"):
        assert_unauthenticated(call(merchant.service, operation, str(merchant.tenant)))


def test_every_operation_is_in_the_table_and_every_route_is_an_operation(running_service):
    assert_every_route_is_known(running_service)


def test_no_address_has_a_method_that_no_document_has(shop):
    """Nobody is answered what DRF or a page would say by itself."""
    found = {}
    for path in document_of(shop.service)["paths"]:
        for method in METHODS - {of for of, at in OPERATIONS if at == path}:
            answer = call_as(shop, method, path, str(shop.tenant))
            found[method, path] = (answer.status_code, answer.headers.get("Content-Type"))
    for method in METHODS - {"get"}:
        for path in PAGES - ADMIN:
            answer = shop.service.request(method.upper(), path)
            found[method, path] = (answer.status_code, answer.headers.get("Content-Type"))
    refusals = {(status, "application/problem+json") for status in (401, 403, 404, 405)}
    assert {told for told in found.values() if told not in refusals} == set()
    assert sum(status == 405 for status, _ in found.values()) > 100


def test_an_answer_has_its_format_whatever_is_accepted(shop):
    search = f"/tenants/{shop.tenant}/orders/search"
    for accept in ("application/x-ndjson", "text/html", "", "image/*"):
        for path in (search, "/whoami/"):
            assert shop.request("GET", path, headers={"Accept": accept}).status_code == 200
    assert shop.request("GET", search, params={"format": "csv"}).json()["code"] == "invalid_request"


def test_the_document_names_each_shape_once_and_is_valid(running_service, tmp_path):
    done = running_service.manage(
        *("spectacular", "--fail-on-warn", "--validate", "--file", tmp_path / "document"),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_document_is_made_once_and_told_by_its_name(running_service):
    first = running_service.request("GET", "/api/schema/?format=json&version=%0a&lang=xx")
    assert first.headers["Content-Type"].startswith("application/vnd.oai.openapi+json")
    known = {"If-None-Match": first.headers["ETag"]}
    began = time.monotonic()
    for _ in range(20):
        again = running_service.request("GET", "/api/schema/?format=json", headers=known)
        assert (again.status_code, again.content) == (304, b"")
    assert time.monotonic() - began < 4  # to make it takes one each
    assert running_service.request("GET", "/api/schema/?format=xml").status_code == 400
    assert running_service.request("GET", "/api/schema/").text.startswith("openapi: 3.1")


def test_every_operation_that_is_not_open_needs_a_key(shop):
    assert_closed_without_a_key(shop)


def test_what_is_open_is_open(running_service):
    for path in PAGES | {path for _, path in needing("open")}:
        assert running_service.request("GET", path).status_code == 200, path


def test_a_text_that_is_no_key_of_ours_is_refused(running_service, shop):
    tampered = shop.key[:-1] + ("0" if shop.key[-1] != "0" else "1")
    texts = ["x", "api_key_", f"api_key_{uuid4()}", tampered, shop.key + "x", "ключ"]
    texts += [str(shop.tenant), shop.key.upper(), f"hr_{'0' * 12}_{'a' * 40}_{'0' * 8}"]
    for text in texts:
        assert_unauthenticated(list_uploads(running_service, text))
        bearer = {"Authorization": b"Bearer " + text.encode()}
        response = running_service.request("GET", "/api/v1/ingest/sessions/", headers=bearer)
        assert_unauthenticated(response)


def list_uploads(running: Service, key: str):
    headers = {"X-API-Key": key.encode()}
    return running.request("GET", "/api/v1/ingest/sessions/", headers=headers)


def test_a_key_is_accepted_as_a_bearer_token_too(running_service, shop):
    token = shop.open_upload()
    response = running_service.request(
        "GET",
        f"/api/v1/ingest/sessions/{token}/status/",
        headers={"Authorization": f"Bearer {shop.key}"},
    )
    assert (response.status_code, response.json()["upload_token"]) == (200, token)
    for scheme in ("Basic", "Token", ""):
        headers = {"Authorization": f"{scheme} {shop.key}".strip()}
        assert_unauthenticated(
            running_service.request("GET", "/api/v1/ingest/sessions/", headers=headers)
        )


def test_a_key_is_told_its_own_tenant(merchant, stranger):
    for caller in (merchant, stranger):
        answer = caller.request("GET", "/whoami/")
        assert (answer.status_code, answer.json()["tenant_id"]) == (200, str(caller.tenant))


def test_a_revoked_key_is_refused_within_a_second_however_busy_it_is(running_service):
    leaver = running_service.add_tenant()
    with ThreadPoolExecutor(4) as pool:  # until every process knows the key
        answers = pool.map(lambda _: list_uploads(running_service, leaver.key), range(40))
        assert {answer.status_code for answer in answers} == {200}
    revoke(running_service, leaver.key.removeprefix("api_key_"))
    ended = time.monotonic() + 1.0
    while time.monotonic() < ended:
        list_uploads(running_service, leaver.key)
    for _ in range(20):
        assert_unauthenticated(list_uploads(running_service, leaver.key))


def revoke(running: Service, key_id: str) -> None:
    ask(
        running,
        f"UPDATE api_keys SET revoked_at = CURRENT_TIMESTAMP WHERE key_id = '{key_id}'",
    )


def assert_hashes_are_no_keys(merchant: Merchant) -> None:
    """Neither the hash in the database nor the one that tenants.csv has."""
    ((stored,),) = ask(
        merchant.service, f"SELECT secret_hash FROM api_keys WHERE key_id = '{merchant.tenant}'"
    )
    documented = hashlib.sha256(merchant.key.encode()).hexdigest()
    assert stored != documented
    for digest in (stored, documented, f"api_key_{stored}", f"hr_{stored[:12]}_{stored[:40]}"):
        assert_unauthenticated(list_uploads(merchant.service, digest))


def test_the_stored_hash_of_a_key_and_the_hash_of_tenants_csv_are_no_keys(shop):
    assert_hashes_are_no_keys(shop)


@pytest.fixture(scope="module")
def production(tmp_path_factory) -> Service:
    """A service as it is run for real: no demo keys."""
    home = tmp_path_factory.mktemp("production")
    with service.running(home, **as_in_production()) as opened:
        yield opened


def as_in_production() -> dict[str, str]:
    """The least that a service needs to be told there."""
    return {
        "HEADRACE_ENV": "production",
        "DJANGO_SECRET_KEY": uuid4().hex * 2,
        "ALLOWED_HOSTS": "127.0.0.1",
    }


def tenants_csv(path: Path, *tenants: str) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("tenant_id", "name", "api_key_hash"))
        writer.writerows((tenant, "Shop", digest_of_demo_key(tenant)) for tenant in tenants)
    return path


def digest_of_demo_key(tenant: str) -> str:
    return hashlib.sha256(f"api_key_{tenant}".encode()).hexdigest()


def keys_in(text: str) -> list[str]:
    return re.findall(r"\bhr_\w+", text)


def test_in_production_a_real_key_is_minted_shown_once_and_kept_to_its_owner(production, tmp_path):
    one, two = str(uuid4()), str(uuid4())
    out = tmp_path / "keys.csv"
    command = ("load_tenants", "--keys-out", out, "--file")
    shown = keys_in(production.manage(*command, tenants_csv(tmp_path / "a.csv", one)).stdout)
    again = production.manage(*command, tmp_path / "a.csv").stdout
    more = keys_in(production.manage(*command, tenants_csv(tmp_path / "b.csv", one, two)).stdout)
    assert (len(shown), keys_in(again), len(more)) == (1, [], 1)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert list(csv.reader(out.open())) == [
        ["tenant_id", "name", "api_key"],
        [one, "Shop", shown[0]],
        [two, "Shop", more[0]],
    ]
    assert list_uploads(production, shown[0]).status_code == 200
    assert f"{shown[0]}" not in production.log()
    stored = ask(production, "SELECT secret_hash, key_id, is_demo FROM api_keys ORDER BY id")
    assert [row[2] for row in stored] == [0, 0]
    for text in (stored[0][0], digest_of_demo_key(one), f"api_key_{one}", *mistyped(shown[0])):
        assert_unauthenticated(list_uploads(production, text))
    revoke(production, stored[0][1])
    time.sleep(1)
    assert_unauthenticated(list_uploads(production, shown[0]))
    assert list_uploads(production, more[0]).status_code == 200


def test_in_production_no_key_follows_from_the_id_of_a_tenant(production):
    tenant = production.add_tenant().tenant
    for name in (str(tenant), tenant.hex):
        for text in (name, f"api_key_{name}", f"hr_{name}", digest_of_demo_key(name)):
            assert_unauthenticated(list_uploads(production, text))


def test_a_wrong_secret_never_passes_on_the_heels_of_the_right_one(production, tmp_path):
    path = tenants_csv(tmp_path / "tenants.csv", str(uuid4()))
    (key,) = keys_in(production.manage("load_tenants", "--file", path).stdout)
    head, secret, _ = key.rsplit("_", 2)
    wrong = f"{head}_{secret[:-1]}{'a' if secret[-1] != 'a' else 'b'}"
    wrong = f"{wrong}_{zlib.crc32(wrong.encode()):08x}"  # only the database can tell
    for _ in range(20):
        assert list_uploads(production, key).status_code == 200
        assert_unauthenticated(list_uploads(production, wrong))


def mistyped(key: str) -> list[str]:
    """The key with one letter changed, without its checksum, and with another secret."""
    head, secret, checksum = key.rsplit("_", 2)
    other = "B" if secret[5] != "B" else "C"
    return [
        f"{head}_{secret[:5]}{other}{secret[6:]}_{checksum}",
        f"{head}_{secret}",
        f"{head}_{secret.swapcase()}_{checksum}",
    ]


def test_demo_keys_that_worked_stop_when_they_are_turned_off(tmp_path):
    with service.running(tmp_path) as running:
        merchant = running.add_tenant()
        assert list_uploads(running, merchant.key).status_code == 200
        running.stop()
        running.environment["HEADRACE_DEMO_KEYS"] = "off"
        running.start()
        assert_unauthenticated(list_uploads(running, merchant.key))


def test_anothers_upload_is_as_absent_as_one_that_never_was(running_service, merchant, stranger):
    token = merchant.load("customers.ndjson", ndjson(customer(name=7)))["upload_token"]
    absent = "up_" + "x" * (len(token) - 3)
    for method, path in needing("token"):
        assert call_as(merchant, method, path, token).status_code == 200
        theirs, nobodys = (call_as(stranger, method, path, text) for text in (token, absent))
        assert_same_absence(theirs, nobodys)


def test_the_address_of_another_tenant_is_as_absent_as_one_of_nobody(merchant, stranger):
    for method, path in needing("tenant", "row"):
        own = call_as(merchant, method, path, str(merchant.tenant))
        is_of_a_row = OPERATIONS[method, path] == "row"
        assert own.status_code in ((400, 404) if is_of_a_row else (200, 202, 400)), own.text
        theirs, nobodys = (
            call_as(stranger, method, path, str(tenant)) for tenant in (merchant.tenant, uuid4())
        )
        assert_same_absence(theirs, nobodys)


def call_as(caller: Merchant, method: str, path: str, token: str):
    return call(caller.service, (method, path), token, **{"X-API-Key": caller.key})


def assert_same_absence(one, other, told_as: tuple[int, str] = (404, "not_found")) -> None:
    told = [
        (answer.status_code, answer.content, sorted({*answer.headers} - {"date"}))
        for answer in (one, other)
    ]
    assert told[0] == told[1]
    assert (one.status_code, one.json()["code"]) == told_as


def test_another_may_neither_join_an_upload_nor_continue_its_list(merchant, stranger):
    token = merchant.open_upload()
    absent = "up_" + "x" * (len(token) - 3)
    joined = [stranger.send("customers", ndjson(customer()), token=t) for t in (token, absent)]
    listed = [
        stranger.request("GET", "/ingest/sessions/", params={"cursor": t}) for t in (token, absent)
    ]
    assert_same_absence(*joined)
    assert_same_absence(*listed, told_as=(400, "invalid_request"))
    assert merchant.status(token)["files"]["received"] == 0
    assert stranger.request("GET", "/ingest/sessions/").json()["data"] == []


def test_a_chunk_of_another_is_as_absent_as_one_that_never_was(merchant, stranger):
    chunk = stranger.load("customers.ndjson", ndjson(customer(name=7)))["chunks"][0]["chunk_id"]
    token = merchant.load("customers.ndjson", ndjson(customer(name=7)))["upload_token"]
    path = f"/ingest/sessions/{token}/rejects/"
    theirs, absent = (
        merchant.request("GET", path, params={"chunk": one}) for one in (chunk, uuid4())
    )
    assert_same_absence(theirs, absent)
    assert len(merchant.rejects(token)) == 1


def shop_files(name: str) -> dict[str, bytes]:
    """Files of a shop whose ids are the same for every shop, and whose values are its own."""
    ids = [f"{at:08d}-0000-4000-8000-000000000000" for at in range(300)]
    buyers = [customer(customer_id=at, name=name) for at in ids]
    goods = [product(product_id=at, sku=at[:8], name=name) for at in ids]
    bought = [
        order(order_id=at, external_order_id=at[:8], customer_id=at, customer_name_snapshot=name)
        for at in ids
    ]
    sold = [order_item(at, at, order_item_id=at, quantity=len(name)) for at in ids]
    records = (buyers, goods, bought, sold)
    names = ("customers", "products", "orders", "order_items")
    return {name: ndjson(*rows) for name, rows in zip(names, records, strict=True)}


def load_shop(merchant: Merchant, files: dict[str, bytes]) -> dict:
    token = merchant.open_upload()
    for name, data in files.items():
        assert merchant.send(f"{name}.ndjson", data, token=token).status_code == 201
    return merchant.wait(token)


def assert_equal_ids_stay_apart(merchant: Merchant, stranger: Merchant) -> None:
    """Both load the same ids at once, and what one changes then the other never sees."""
    shops = {merchant: shop_files("Ada & Co"), stranger: shop_files("Bob")}
    with ThreadPoolExecutor(2) as pool:
        statuses = list(pool.map(load_shop, shops, shops.values()))
    assert [status["status"] for status in statuses] == ["completed"] * 2
    assert [status["outcomes"]["inserted"] for status in statuses] == [1_200] * 2
    mine = tables.contents(merchant.service, merchant.tenant)
    assert [len(rows) for rows in mine.values()].count(300) == 4
    again = load_shop(stranger, shop_files("Robert"))
    assert again["outcomes"]["updated"] == 900 + 300
    assert tables.contents(merchant.service, merchant.tenant) == mine
    names = {row[1] for row in tables.rows(stranger.service, stranger.tenant, "customers")}
    assert names == {"Robert"}


def test_tenants_with_equal_ids_load_at_once_and_keep_their_own_rows(merchant, stranger):
    assert_equal_ids_stay_apart(merchant, stranger)
