"""`/admin/` through HTTP: who gets in, what is shown, and what can be changed there."""

import html
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx2
import pytest

from tests import browser, service
from tests.conftest import DIALECTS, server_of
from tests.exports import Exporter
from tests.operators import Operator
from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import ask, customer, order
from tests.test_keys import SCOPES, facts_of, id_of, is_known, keys_of
from tests.test_tenants_http import ADMIN, NOBODYS, OPERATIONS, call

PASSWORD = "a mill needs water 1"
CANARY = "canary-Grace-Hopper"
LISTS = {
    "core/job",
    "exports/export",
    "ingestions/chunk",
    "ingestions/upload",
    "tenants/apikey",
    "tenants/tenant",
}


class Browser:
    """A client with cookies, as a person's browser has them."""

    def __init__(self, running: Service) -> None:
        self.http = httpx2.Client(base_url=running.url, timeout=60)

    def get(self, path: str, **options) -> httpx2.Response:
        return self.http.get(path, **options)

    def post(self, path: str, form: dict, **headers: str) -> httpx2.Response:
        """Send a form of that page, with the token that the page has."""
        page = self.http.get(path)
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        data = {**form, "csrfmiddlewaretoken": token[1] if token else ""}
        return self.http.post(path, data=data, headers=headers)

    def login(self, name: str, password: str = PASSWORD, **headers: str) -> httpx2.Response:
        return self.post(
            "/admin/login/",
            {"username": name, "password": password, "next": "/admin/"},
            **headers,
        )


def add_user(running: Service, name: str) -> None:
    """The documented command, without its questions."""
    command = ["createsuperuser", "--noinput", "--username", name, "--email", f"{name}@localhost"]
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=running.root,
        env={**running.environment, "DJANGO_SUPERUSER_PASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Superuser created" in done.stdout


@pytest.fixture(scope="module")
def operator(running_service: Service) -> Browser:
    """Somebody who is logged in and may do everything."""
    name = f"operator-{uuid4().hex[:8]}"
    add_user(running_service, name)
    person = Browser(running_service)
    answer = person.login(name)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")
    return person


@pytest.fixture(scope="module")
def shop(running_service: Service) -> Merchant:
    """A merchant with a row in every list, and records that no page may show."""
    merchant = running_service.add_tenant(name="The shop of the admin")
    token = merchant.open_upload()
    rows = [customer(name=CANARY), customer(name=CANARY, email=f"{CANARY}{'x' * 300}")]
    merchant.send("customers", ndjson(*rows, {**customer(), CANARY: 1}), token=token)
    merchant.send("orders", ndjson(order(customer_id=str(uuid4()))), token=token)
    counts = merchant.wait(token)["outcomes"]
    assert (counts["inserted"], counts["rejected"], counts["parked"]) == (2, 1, 1)
    Exporter(merchant).made(entity="customers", filters={"name": {"contains": CANARY}})
    return merchant


def ids_of(merchant: Merchant) -> dict[str, list[str]]:
    """The primary keys of the merchant's rows, by list."""
    tenant = merchant.tenant if merchant.service.is_postgresql else merchant.tenant.hex
    tables = {"core/job": "jobs", "ingestions/chunk": "chunks", "ingestions/upload": "uploads"}
    tables |= {
        "exports/export": "exports",
        "tenants/apikey": "api_keys",
        "tenants/tenant": "tenants",
    }
    columns = {"tenants": "tenant_id"}
    return {
        name: [
            str(key)
            for (key,) in ask(
                merchant.service,
                f"SELECT {columns.get(table, 'id')} FROM {table} WHERE tenant_id = '{tenant}'",
            )
        ]
        for name, table in tables.items()
    }


def row_pages(merchant: Merchant) -> list[str]:
    return [f"/admin/{name}/{key}" for name, keys in ids_of(merchant).items() for key in keys]


def snapshot(running: Service) -> list:
    """All but when keys were last used, which is written beside the calls."""
    keys = "id, key_id, is_demo, scopes, label, expires_at, revoked_at, replaced_by"
    columns = {"tenants": "*", "api_keys": keys, "uploads": "*", "chunks": "*", "exports": "*"}
    return [ask(running, f"SELECT {of} FROM {table} ORDER BY 1") for table, of in columns.items()]


def test_the_lists_and_rows_show_what_is_controlled_and_no_record(operator, shop):
    texts = {"/admin/": operator.get("/admin/").text}
    for name in LISTS:
        assert f'href="/admin/{name}/"' in texts["/admin/"]
        texts[name] = operator.get(f"/admin/{name}/?q={shop.tenant}").text
        assert re.search("[123] result", texts[name]), texts[name][-3000:]
    for page in row_pages(shop):
        shown = operator.get(f"{page}/change/")
        assert shown.status_code == 200, page
        texts[page] = shown.text
        assert operator.get(f"{page}/history/").status_code == 200
    assert len(texts) == 1 + len(LISTS) + len(row_pages(shop))
    hashes = [row[0] for row in ask(shop.service, "SELECT secret_hash FROM api_keys")]
    for page, text in texts.items():
        assert CANARY not in text, page
        assert not any(secret in text for secret in hashes), page


@pytest.mark.parametrize(
    ("name", "term"),
    [
        ("ingestions/upload", "shop of the admin"),
        ("ingestions/chunk", "ustomer"),
        ("ingestions/chunk", "shop of the admin"),
        ("tenants/tenant", "of the ADMIN"),
        ("tenants/apikey", "of the admin"),
    ],
)
def test_a_search_finds_by_name(operator, shop, name: str, term: str):
    found = operator.get(f"/admin/{name}/", params={"q": term})
    assert found.status_code == 200
    keys = [key.replace("-", "") for key in ids_of(shop)[name]]
    assert any(key in found.text.replace("-", "") for key in keys)
    assert "0 results" not in found.text
    nothing = operator.get(f"/admin/{name}/", params={"q": "no such thing"})
    assert "0 results" in nothing.text


def test_filters_narrow_a_list(operator, shop):
    page = f"/admin/ingestions/chunk/?q={shop.tenant}"
    assert "1 result" in operator.get(f"{page}&entity=orders").text
    assert "1 result" in operator.get(f"{page}&state=completed_with_rejects").text
    assert "0 results" in operator.get(f"{page}&entity=products").text
    assert "2 results" in operator.get(f"/admin/core/job/?q={shop.tenant}&kind=ingest").text


def filled(route: str) -> str:
    return re.sub(r"\{\w+\}", "1", route.replace("{app_label}", "core"))


def test_nobody_gets_in_without_a_login(running_service, shop):
    stranger = httpx2.Client(base_url=running_service.url)
    for headers in ({}, {"X-API-Key": shop.key}, {"Authorization": f"Bearer {shop.key}"}):
        for route in ADMIN - {"/admin", "/admin/login/", "/admin/logout/"}:
            answer = stranger.get(filled(route), headers=headers)
            where = answer.headers.get("Location", "")
            assert (answer.status_code, where.partition("?")[0]) == (302, "/admin/login/"), route
        for page in row_pages(shop):
            answer = stranger.post(f"{page}/change/", data={"name": "x"}, headers=headers)
            assert answer.status_code in (302, 403)


def test_a_session_opens_nothing_of_the_api(running_service, operator):
    cookies = "; ".join(f"{name}={value}" for name, value in operator.http.cookies.items())
    assert "sessionid=" in cookies
    for operation, need in OPERATIONS.items():
        if need != "open":
            answer = call(running_service, operation, NOBODYS, Cookie=cookies)
            assert answer.status_code == (403 if need == "signed" else 401), operation
    for cookie in operator.http.cookies.jar:
        assert cookie.path == "/admin"


def test_the_login_does_not_say_who_exists(running_service, operator):
    name = f"operator-{uuid4().hex[:8]}"
    add_user(running_service, name)
    pages = [
        Browser(running_service).login(who, "not the password").text.replace(who, "")
        for who in (name, "nobody-at-all")
    ]
    plain = [re.sub(r'value="\w+"', "", page) for page in pages]
    assert plain[0] == plain[1]
    assert "Please enter the correct username and password" in plain[0]


def test_a_form_without_its_token_is_refused_with_a_page(running_service, operator):
    for client in (httpx2.Client(base_url=running_service.url), operator.http):
        answer = client.post("/admin/login/", data={"username": "x", "password": "y"})
        assert answer.status_code == 403
        assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("name", sorted(LISTS - {"tenants/tenant"}))
def test_what_would_break_an_invariant_cannot_be_changed_by_hand(operator, shop, name: str):
    before = snapshot(shop.service)
    key = ids_of(shop)[name][0]
    list_page = f"/admin/{name}/"
    token = {"csrfmiddlewaretoken": token_of(operator)}
    forms = {
        f"{list_page}{key}/change/": {"state": "completed", "inserted": "99", "is_demo": "on"},
        f"{list_page}{key}/delete/": {"post": "yes"},
    }
    if name != "tenants/apikey":  # which are made there, by rules
        forms[f"{list_page}add/"] = {"state": "completed"}
    for path, form in forms.items():
        assert operator.http.post(path, data={**form, **token}).status_code == 403, path
    everything = {"action": "delete_selected", "_selected_action": key, "post": "yes"}
    operator.http.post(list_page, data={**everything, **token})
    assert snapshot(shop.service) == before


def token_of(operator: Browser) -> str:
    page = operator.get("/admin/password_change/").text
    return re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]


def test_a_tenant_is_not_added_or_deleted_here(operator, shop):
    before, token = snapshot(shop.service), {"csrfmiddlewaretoken": token_of(operator)}
    for path in (f"{shop.tenant}/delete/", "add/"):
        form = {"name": "x", "post": "yes", **token}
        assert operator.http.post(f"/admin/tenants/tenant/{path}", data=form).status_code == 403
    assert snapshot(shop.service) == before


SETTINGS = {
    "time_zone": "Europe/Berlin",
    "on_missing_parent": "reject",
    "negative_levels": "allow",
}


def test_a_tenant_is_renamed_and_its_history_says_so(running_service, operator):
    merchant = running_service.add_tenant(name="Before")
    page = f"/admin/tenants/tenant/{merchant.tenant}"
    number = "SELECT last_number FROM tenants WHERE name ="
    form = operator.get(f"{page}/change/")
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form.text)[1]
    merchant.load("customers", ndjson(customer()))  # while the form is open
    limits = {"max_queued_bytes": "1000000", "max_active_uploads": ""}
    data = {"name": "After", **SETTINGS, **limits, "csrfmiddlewaretoken": token}
    saved = operator.http.post(f"{page}/change/", data={**data, "last_number": "0"})
    assert saved.status_code == 302, saved.text
    assert ask(running_service, f"{number} 'After'") == [(1,)]
    columns = f"{', '.join(SETTINGS)}, max_queued_bytes, max_active_uploads"
    assert ask(running_service, f"SELECT {columns} FROM tenants WHERE name = 'After'") == [
        (*SETTINGS.values(), 1_000_000, None)
    ]
    history = operator.get(f"{page}/history/").text
    assert "Changed Name, Time zone" in history
    assert '"event": "changed in the admin"' in running_service.log()


@pytest.mark.parametrize(
    ("field", "text"),
    [("time_zone", "Mars/Base"), ("time_zone", "../etc/passwd"), ("max_queued_bytes", "-1")],
)
def test_a_tenants_settings_are_checked(operator, shop, field: str, text: str):
    own = f"SELECT * FROM tenants WHERE tenant_id = {shop.service.spelled(shop.tenant)}"
    before, page = ask(shop.service, own), f"/admin/tenants/tenant/{shop.tenant}/change/"
    answer = operator.post(page, {"name": "Other", **SETTINGS, field: text})
    assert answer.status_code == 200
    assert "errorlist" in answer.text
    assert ask(shop.service, own) == before


def run_action(operator: Browser, name: str, action: str, *keys: str) -> str:
    page = f"/admin/{name}/"
    form = {"action": action, "_selected_action": list(keys)}
    answer = operator.post(page, form)
    assert answer.status_code == 302, answer.text
    return operator.get(answer.headers["Location"]).text


def test_uploads_are_cancelled_and_resumed_by_the_services(running_service, operator):
    merchant = running_service.add_tenant()
    token = merchant.open_upload()
    [(key,)] = ask(running_service, f"SELECT id FROM uploads WHERE token = '{token}'")
    assert "cancelled; files at work stop" in run_action(
        operator, "ingestions/upload", "cancel", key
    )
    assert merchant.send("customers", ndjson(customer()), token=token).status_code == 409
    assert "resumed; 0 broken files" in run_action(operator, "ingestions/upload", "resume", key)
    assert merchant.send("customers", ndjson(customer()), token=token).status_code == 201
    assert "cancelled; files" in operator.get(f"/admin/ingestions/upload/{UUID(key)}/history/").text


def test_jobs_are_acted_on_by_the_services(operator, shop):
    jobs = ids_of(shop)["core/job"]
    for action in ("retry", "quarantine", "release"):
        told = run_action(operator, "core/job", action, *jobs)
        assert told.count("nothing changed: it is done") == len(jobs)


def test_a_revoked_key_opens_nothing_any_more(running_service, operator):
    merchant = running_service.add_tenant()
    assert merchant.request("GET", "/ingest/sessions/").status_code == 200
    [key] = ids_of(merchant)["tenants/apikey"]
    assert "it is revoked" in run_action(operator, "tenants/apikey", "revoke", key)
    time.sleep(1)  # another process may have asked just before
    assert merchant.request("GET", "/ingest/sessions/").status_code == 401
    assert "it was revoked before" in run_action(operator, "tenants/apikey", "revoke", key)


KEYS = "/admin/tenants/apikey/"


def form_of(operator: Browser, page: str) -> dict[str, str]:
    """The hidden fields of a page's form: a browser sends them with what is filled in."""
    text = operator.get(page).text
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text))


def shown_in(answer: httpx2.Response) -> str:
    """The key that an answer shows."""
    assert answer.status_code == 200, answer.text
    assert "no-store" in answer.headers["Cache-Control"]
    assert "messages" not in answer.headers.get("Set-Cookie", "")
    found = re.search(r'<pre id="new-key">(\w+)</pre>', answer.text)
    assert found, re.findall(r'<ul class="errorlist.*?</ul>', answer.text, re.DOTALL)
    return found[1]


def made_by_form(operator: Browser, merchant: Merchant, **terms: object) -> Merchant:
    """The same tenant under a key that a form has made."""
    asked = {"tenant": str(merchant.tenant), "scopes": ["read", "admin"], **terms}
    answer = operator.http.post(f"{KEYS}add/", data={**form_of(operator, f"{KEYS}add/"), **asked})
    return Merchant(merchant.service, merchant.tenant, shown_in(answer))


def rotation_of(merchant: Merchant) -> str:
    """The page on which the key of a merchant is rotated."""
    where = f"key_id = '{id_of(merchant)}'"
    [(key,)] = ask(merchant.service, f"SELECT id FROM api_keys WHERE {where}")
    return f"{KEYS}{key}/rotate/"


def log_of(merchant: Merchant, action: str) -> list[tuple]:
    """Of each entry of its audit log who did it, to what, and what else is told."""
    path = f"/tenants/{merchant.tenant}/audit/"
    found = merchant.request("GET", path, params={"action": action}).json()["data"]
    names = ("actor_kind", "actor", "subject", "details")
    return [tuple(entry[name] for name in names) for entry in found]


def test_a_key_is_made_and_shown_once(running_service, operator):
    merchant = running_service.add_tenant()
    page = operator.get(f"{KEYS}add/").text
    for scope in SCOPES:
        assert f'type="checkbox" name="scopes" value="{scope}"' in page
    terms = {"label": "till 7", "expires_at": "2100-01-01T00:00", "max_calls_per_minute": "600"}
    made = made_by_form(operator, merchant, **terms)
    [row] = [row for row in keys_of(made).values() if row["key_id"] == id_of(made)]
    told = ("till 7", ["read", "admin"], 600, "2100-01-01T00:00:00Z", None)
    assert facts_of(row) == told
    [(kind, _, subject, details), _] = log_of(made, "key.minted")
    assert (kind, subject, details["label"]) == ("admin", id_of(made), "till 7")
    history = rotation_of(made).replace("rotate", "history")
    assert "Added." in operator.get(history).text
    assert made.key not in operator.get(KEYS).text + operator.get(history).text


def test_a_form_that_is_sent_again_makes_no_second_key(running_service, operator):
    merchant = running_service.add_tenant()
    form = form_of(operator, f"{KEYS}add/")
    asked = {**form, "tenant": str(merchant.tenant), "scopes": "read", "label": "first"}
    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(lambda _: operator.http.post(f"{KEYS}add/", data=asked), range(4)))
    sent.append(operator.http.post(f"{KEYS}add/", data={**asked, "label": "second"}))
    shown = [re.search(r"hr_\w{40,}", answer.text) for answer in sent]
    [key] = [found[0] for found in shown if found]
    for answer in sent:
        assert answer.status_code == 200
        assert key in answer.text or "Nothing was made now" in answer.text
        assert key.split("_")[1] in answer.text
    assert [row["label"] for row in keys_of(merchant).values()] == ["first", ""]
    assert len(log_of(merchant, "key.minted")) == 2
    made = Merchant(merchant.service, merchant.tenant, key)
    page = rotation_of(made)
    again = {**form_of(operator, page), "overlap_seconds": "60"}
    first, second = (operator.http.post(page, data=again) for _ in range(2))
    assert shown_in(first).split("_")[1] in second.text
    assert "Nothing was made now" in second.text
    assert len(keys_of(merchant)) == 3


def test_a_key_is_rotated_with_an_overlap(running_service, operator):
    merchant = running_service.add_tenant()
    old = made_by_form(operator, merchant, label="nightly")
    page = rotation_of(old)
    assert 'value="86400"' in operator.get(page).text
    assert f'href="{page}"' in operator.get(page.replace("rotate", "change")).text
    answer = operator.http.post(page, data={**form_of(operator, page), "overlap_seconds": "3600"})
    new = Merchant(merchant.service, merchant.tenant, shown_in(answer))
    assert is_known(old)
    found = keys_of(new)
    assert facts_of(found[id_of(new)])[:2] == ("nightly", ["read", "admin"])
    assert found[id_of(old)]["replaced_by"] == id_of(new)
    ends = datetime.fromisoformat(found[id_of(old)]["expires_at"])
    assert abs(ends - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)
    [(kind, name, subject, details)] = log_of(new, "key.rotated")
    assert (kind, subject, details["successor"]) == ("admin", id_of(old), id_of(new))
    history = operator.get(page.replace("rotate", "history")).text
    assert "rotated, with an overlap of 1:00:00" in history
    assert name in history
    assert f'href="{page}"' not in operator.get(page.replace("rotate", "change")).text
    refused = operator.post(page, {**form_of(operator, page), "overlap_seconds": "0"})
    assert "make a new key" in refused.text


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"tenant": "0b6f3c52-6a0e-4c8e-9d4b-2f1f6f1f9a99"}, "not one of the available choices"),
        ({"tenant": "x"}, "not a valid UUID"),
        ({"scopes": []}, "This field is required"),
        ({"scopes": ["operator"]}, "operator is not one of the available choices"),
        ({"label": "x" * 101}, "no more than 100 characters"),
        ({"label": "a\u001b[2Jb"}, "Send printable characters"),
        ({"expires_at": "2020-01-01T00:00"}, "Send a time to come"),
        ({"expires_at": "soon"}, "Enter a valid date/time"),
        ({"max_calls_per_minute": "0"}, "greater than or equal to 1"),
        ({"once": "mine"}, "This form is too old"),
        ({"once": ""}, "This field is required"),
    ],
    ids=str,
)
def test_a_form_that_is_filled_in_wrongly_makes_no_key(operator, shop, wrong: dict, told: str):
    before = ids_of(shop)["tenants/apikey"]
    form = {**form_of(operator, f"{KEYS}add/"), "tenant": str(shop.tenant), "scopes": ["read"]}
    answer = operator.http.post(f"{KEYS}add/", data={**form, **wrong})
    assert answer.status_code == 200
    assert told in answer.text, re.findall(r'<ul class="errorlist.*?</ul>', answer.text, re.DOTALL)
    assert 'id="new-key"' not in answer.text
    assert ids_of(shop)["tenants/apikey"] == before


def test_an_overlap_is_no_longer_than_that_of_the_api(operator, shop):
    page = f"{KEYS}{ids_of(shop)['tenants/apikey'][0]}/rotate/"
    for wrong in ("-1", "2592001", "soon", ""):
        form = {**form_of(operator, page), "overlap_seconds": wrong}
        answer = operator.http.post(page, data=form)
        assert "errorlist" in answer.text, wrong
        assert 'id="new-key"' not in answer.text
    assert operator.get(f"{KEYS}999999999/rotate/").status_code == 404
    assert operator.get(f"{KEYS}x/rotate/").status_code == 404


def test_keys_that_a_service_refuses_are_not_made_by_a_form(running_service, operator):
    merchant = running_service.add_tenant()
    columns = "key_id, tenant_id, secret_hash, is_demo, scopes, label, created_at"
    tenant = running_service.spelled(merchant.tenant)
    rows = [f"('{uuid4().hex}', {tenant}, 'x', false, 'read', '', CURRENT_TIMESTAMP)"] * 99
    rows = [row.replace(row[2:34], uuid4().hex) for row in rows]
    ask(running_service, f"INSERT INTO api_keys ({columns}) VALUES {', '.join(rows)}")
    form = {**form_of(operator, f"{KEYS}add/"), "tenant": str(merchant.tenant), "scopes": "read"}
    page = rotation_of(merchant)
    for path, asked in ((f"{KEYS}add/", form), (page, form_of(operator, page))):
        answer = operator.http.post(path, data={**asked, "overlap_seconds": "0"})
        assert "Revoke one of the 100 that are valid first" in answer.text
    # A form that had no effect has it yet, once it may.
    ask(running_service, f"DELETE FROM api_keys WHERE secret_hash = 'x' AND tenant_id = {tenant}")
    assert shown_in(operator.http.post(f"{KEYS}add/", data=form))


def test_an_operators_key_is_not_rotated_by_a_page(running_service, operator):
    told = json.loads(running_service.manage("keys", "mint", "--operator", "--json").stdout)
    [(key,)] = ask(running_service, f"SELECT id FROM api_keys WHERE key_id = '{told['key_id']}'")
    page = f"{KEYS}{key}/rotate/"
    assert f'href="{page}"' not in operator.get(f"{KEYS}{key}/change/").text
    answer = operator.http.post(page, data={**form_of(operator, page), "overlap_seconds": "0"})
    assert "made by `headrace keys` only" in html.unescape(answer.text)


def test_no_key_is_made_of_a_tenant_that_is_being_erased(running_service, operator):
    service_of = Operator(running_service)
    leaver = service_of.new()
    service_of.suspend(leaver)
    confirmed = {"confirm": str(leaver.tenant)}
    service_of.done("POST", f"/tenants/{leaver.tenant}/erase/", json=confirmed)
    form = {**form_of(operator, f"{KEYS}add/"), "tenant": str(leaver.tenant), "scopes": "read"}
    answer = operator.http.post(f"{KEYS}add/", data=form)
    assert "What has been erased does not come back" in answer.text


LOOKER = """
from django.contrib.auth.models import Permission, User
user = User.objects.create_user("NAME", password="PASSWORD", is_staff=True)
user.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
"""


def test_who_may_only_look_changes_nothing(running_service, shop):
    name = f"looker-{uuid4().hex[:8]}"
    text = LOOKER.replace("NAME", name).replace("PASSWORD", PASSWORD)
    running_service.manage("shell", "-v", "0", "-c", text)
    looker = Browser(running_service)
    assert looker.login(name).status_code == 302
    before, keys = snapshot(running_service), ids_of(shop)
    for page, action in (("tenants/apikey", "revoke"), ("ingestions/upload", "cancel")):
        assert "to view | Headrace" in looker.get(f"/admin/{page}/").text
        assert 'name="action"' not in looker.get(f"/admin/{page}/").text
        token = {"csrfmiddlewaretoken": token_of(looker)}
        form = {"action": action, "_selected_action": keys[page][0], **token}
        looker.http.post(f"/admin/{page}/", data=form)
    token = {"csrfmiddlewaretoken": token_of(looker)}
    made = {"tenant": str(shop.tenant), "scopes": "read", "overlap_seconds": "0", **token}
    for page in (f"{KEYS}add/", f"{KEYS}{keys['tenants/apikey'][0]}/rotate/"):
        assert looker.get(page).status_code == 403
        assert looker.http.post(page, data=made).status_code == 403
        assert page not in looker.get(KEYS).text + looker.get(page.replace("rotate", "change")).text
    form = {"name": "Mine", **SETTINGS, **token}
    renamed = looker.http.post(f"/admin/tenants/tenant/{shop.tenant}/change/", data=form)
    assert renamed.status_code == 403
    assert snapshot(running_service) == before


def test_the_documented_address_leads_to_the_login(running_service):
    client = httpx2.Client(base_url=running_service.url, follow_redirects=True)
    answer = client.get("/admin")
    assert (answer.status_code, answer.url.path) == (200, "/admin/login/")
    style = re.search(r'href="(/static/admin/css/base\.\w*\.?css)"', answer.text)[1]
    assert client.get(style).headers["Content-Type"].startswith("text/css")
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_what_is_not_there_is_a_page_here_and_a_problem_elsewhere(running_service, operator):
    page = operator.get("/admin/no/such/page/")
    assert (page.status_code, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "There is nothing here" in page.text
    elsewhere = running_service.request("GET", "/nowhere")
    assert elsewhere.headers["Content-Type"] == "application/problem+json"
    assert running_service.request("POST", "/nowhere").json()["code"] == "not_found"


SESSIONS = """
from datetime import timedelta
from django.contrib.sessions.models import Session
from django.utils.timezone import now
from apps.core import jobs, retention
Session.objects.create(session_key="NAME", session_data="", expire_date=now() - timedelta(1))
jobs.enqueue(retention.CLEANUP, retention.SUBJECT, retention.NOBODY)
"""


def test_expired_sessions_are_cleaned_up(running_service, operator):
    name = uuid4().hex
    running_service.manage("shell", "-v", "0", "-c", SESSIONS.replace("NAME", name))
    left = f"SELECT count(*) FROM django_session WHERE session_key = '{name}'"
    for _ in range(900):
        if ask(running_service, left) == [(0,)]:
            break
        time.sleep(0.1)
    assert ask(running_service, left) == [(0,)]
    assert operator.get("/admin/").status_code == 200


QUERIES = """
import json
from uuid import UUID, uuid4
from django.contrib.auth.models import User
from django.db import connection, reset_queries
from django.test import Client
from django.test.utils import CaptureQueriesContext
from apps.core.models import Job
from apps.ingestions.models import Chunk, Upload
from apps.tenants.models import ApiKey, Tenant
user = User.objects.create_superuser("counter-NAME", password=None)
browser = Client()
browser.force_login(user)
def add(number):
    for at in range(number):
        tenant = Tenant.objects.create(name=f"counted NAME {at}")
        upload = Upload.objects.create(tenant_id=tenant.pk)
        file = dict(compression="", bytes=1, sha256="", source="", filename="x", entity="orders")
        Chunk.objects.create(upload=upload, tenant_id=tenant.pk, number=1, **file)
        ApiKey.objects.create(tenant=tenant, key_id=uuid4().hex, secret_hash="x")
        Job.objects.create(kind="x", subject=upload.pk, tenant_id=tenant.pk, state="done")
def counted():
    found = {}
    for name in LISTS:
        with CaptureQueriesContext(connection) as queries:
            assert browser.get(f"/admin/{name}/").status_code == 200
        found[name] = [query["sql"] for query in queries.captured_queries]
    return found
add(2)
few = counted()
add(30)
print(json.dumps([few, counted()]))
"""


def test_a_list_asks_as_much_for_many_rows_as_for_few(running_service):
    text = QUERIES.replace("LISTS", repr(sorted(LISTS))).replace("NAME", uuid4().hex[:8])
    few, many = json.loads(running_service.manage("shell", "-v", "0", "-c", text).stdout)
    for name in LISTS:
        assert len(few[name]) == len(many[name]), many[name]
        counts = [sql for sql in many[name] if "COUNT(" in sql.upper()]
        assert counts
        assert [sql for sql in counts if "LIMIT 10000" not in sql] == []


@pytest.fixture(params=DIALECTS)
def production(request: pytest.FixtureRequest, tmp_path) -> Iterator[Service]:
    settings = {
        "HEADRACE_ENV": "production",
        "DJANGO_SECRET_KEY": uuid4().hex * 2,
        "ALLOWED_HOSTS": "127.0.0.1,shop.example",
        "CSRF_TRUSTED_ORIGINS": "https://shop.example",
    }
    with service.running(tmp_path, server_of(request, request.param), **settings) as opened:
        yield opened


def test_in_production_cookies_are_secure_and_only_trusted_origins_log_in(production: Service):
    production.manage("migrate", "admin", "zero")
    production.manage("migrate", "sessions", "zero")
    production.manage("migrate")  # as on a database that is older than the admin
    add_user(production, "operator")
    page = httpx2.get(f"{production.url}/admin/login/")
    [cookie] = page.headers.get_list("Set-Cookie")
    assert {"Secure", "HttpOnly", "Path=/admin", "SameSite=Lax"} <= set(cookie.split("; "))
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)[1]
    form = {"username": "operator", "password": PASSWORD, "csrfmiddlewaretoken": token}
    for origin, status in (("https://evil.example", 403), ("https://shop.example", 302)):
        answer = httpx2.post(
            f"{production.url}/admin/login/",
            data=form,
            headers={"Origin": origin, "Cookie": cookie.partition(";")[0], "Host": "127.0.0.1"},
        )
        assert answer.status_code == status, origin
    session = next(one for one in answer.headers.get_list("Set-Cookie") if "sessionid" in one)
    assert {"Secure", "HttpOnly", "Path=/admin", "SameSite=Lax"} <= set(session.split("; "))
    assert PASSWORD not in production.log()


def log_in(page: browser.Chromium, running: Service, name: str) -> None:
    page.open(f"{running.url}/admin")
    page.wait("document.querySelector('#login-form')")
    page.evaluate(f"document.querySelector('#id_username').value = {name!r}")
    page.evaluate(f"document.querySelector('#id_password').value = {PASSWORD!r}")
    page.evaluate("document.querySelector('#login-form').submit()")
    page.wait("location.pathname === '/admin/'")


def test_a_person_logs_in_and_renames_a_tenant_in_a_real_browser(running_service, tmp_path):
    if browser.PROGRAM is None:
        pytest.skip("NO CHROMIUM: the pages are tested through HTTP only")
    name, tenant = f"person-{uuid4().hex[:8]}", running_service.add_tenant(name="Old name").tenant
    add_user(running_service, name)
    with browser.chromium(tmp_path) as page:
        log_in(page, running_service, name)
        styled = "getComputedStyle(document.querySelector('#header')).backgroundColor"
        assert page.evaluate(styled) not in ("", "rgba(0, 0, 0, 0)")
        page.evaluate("document.querySelector('a[href=\"/admin/tenants/tenant/\"]').click()")
        page.wait("document.querySelector('#searchbar')")
        page.evaluate(f"document.querySelector('#searchbar').value = '{tenant}'")
        page.evaluate("document.querySelector('#changelist-search').submit()")
        page.wait("location.search.includes('q=')")
        page.wait("document.querySelectorAll('#result_list tbody th a').length === 1")
        page.evaluate("document.querySelector('#result_list tbody th a').click()")
        page.wait("document.querySelector('#id_name')")
        assert page.evaluate("document.querySelector('#id_name').value") == "Old name"
        page.evaluate("document.querySelector('#id_name').value = 'New name'")
        page.evaluate("document.querySelector('input[name=_save]').click()")
        page.wait("document.querySelector('.messagelist .success')")
        page.wait("document.body.innerText.includes('New name')")
        assert page.failures == []
    assert len(ask(running_service, "SELECT 1 FROM tenants WHERE name = 'New name'")) == 1


def test_a_person_makes_a_key_and_rotates_it_in_a_real_browser(running_service, tmp_path):
    if browser.PROGRAM is None:
        pytest.skip("NO CHROMIUM: the pages are tested through HTTP only")
    name, merchant = f"person-{uuid4().hex[:8]}", running_service.add_tenant()
    add_user(running_service, name)
    shown = "document.querySelector('#new-key')?.innerText"
    with browser.chromium(tmp_path) as page:
        log_in(page, running_service, name)
        page.evaluate(f"document.querySelector('a[href=\"{KEYS}add/\"]').click()")
        page.wait("document.querySelector('#id_tenant')")
        page.evaluate(f"document.querySelector('#id_tenant').value = '{merchant.tenant}'")
        page.evaluate("document.querySelector('input[value=read]').click()")
        page.evaluate("document.querySelector('#id_label').value = 'till 7'")
        page.evaluate("document.querySelector('#id_expires_at').value = '2100-01-01T00:00'")
        page.evaluate("document.querySelector('#key_form input[type=submit]').click()")
        page.wait(shown)
        first = page.evaluate(shown)
        page.evaluate("location.reload()")  # which sends the form again, as a person allows it
        page.wait("document.body.innerText.includes('Nothing was made now')")
        page.evaluate("document.querySelector('#content a[href*=rotate]').click()")
        page.wait("document.querySelector('#id_overlap_seconds')?.value === '86400'")
        page.evaluate("document.querySelector('#key_form input[type=submit]').click()")
        page.wait(shown)
        second = page.evaluate(shown)
        assert page.failures == []
    for key in (first, second):
        assert is_known(Merchant(running_service, merchant.tenant, key))
    labels = [row["label"] for row in keys_of(merchant).values()]
    assert labels == ["till 7", "till 7", ""]


@pytest.mark.parametrize(
    ("path", "is_there"),
    [
        ("/api/docs/", "document.querySelectorAll('.opblock').length > 50"),
        ("/api/schema/swagger-ui/", "document.querySelectorAll('.opblock').length > 50"),
        ("/api/redoc/", "document.querySelectorAll('[data-section-id]').length > 50"),
    ],
)
def test_the_pages_of_the_document_work_in_a_real_browser(
    running_service, tmp_path, path, is_there
):
    """Under their security policies, which nothing on them runs into."""
    if browser.PROGRAM is None:
        pytest.skip("NO CHROMIUM: the pages are tested through HTTP only")
    with browser.chromium(tmp_path) as page:
        page.open(f"{running_service.url}{path}")
        page.wait(is_there)
        assert page.failures == []
