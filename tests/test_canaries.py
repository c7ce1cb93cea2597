"""Keys are nowhere but with whoever holds them, after calls of every operation."""

import json
import socket
from collections.abc import Iterator
from uuid import uuid4

import pytest

from headrace.entities import DAY_TABLES, TABLES
from tests.service import Merchant, Service
from tests.shop import ask
from tests.test_admin import (
    KEYS,
    Browser,
    add_user,
    form_of,
    made_by_form,
    rotation_of,
    shown_in,
)
from tests.test_keys import id_of, mint, on_one_database, rotate
from tests.test_tenants_http import call, needing

#: On one: what is logged and kept is the same on every database, and this one is read fastest.
pytestmark = on_one_database
EVERY_TABLE = "SELECT name FROM sqlite_master WHERE type = 'table'"
HOOK = f"whsec_{uuid4().hex}/+{uuid4().hex}="  # of the form of a webhook's secret
SESSIONS = """
from django.contrib.sessions.models import Session
print([one.get_decoded() for one in Session.objects.all()])
"""
# Tasks get numbers and flags: a message tells who reads it nothing.
TASKS = """
import inspect, json
from apps.core.broker import app
app.loader.import_default_modules()
own = [inspect.signature(one.run) for name, one in app.tasks.items() if "celery." not in name]
kinds = {str(given.annotation) for one in own for given in one.parameters.values()}
print(json.dumps([len(own), sorted(kinds)]))
"""


@pytest.fixture
def holders(running_service: Service) -> list[Merchant]:
    """A tenant's demo key and two real ones; the second was rotated to a third."""
    owner = running_service.add_tenant()
    made = mint(owner, "ingest", "read", "stock", "price", "export", "admin")
    shown = rotate(made, id_of(made), json={"overlap_seconds": 3_600}).json()["key"]
    return [owner, made, Merchant(running_service, owner.tenant, shown)]


def answers_of(holder: Merchant) -> Iterator[tuple[str, str]]:
    """What each operation says to the key in every place where a caller might put it."""
    running, key = holder.service, holder.key
    for operation in needing("open", "key", "token", "tenant", "row"):
        for name in (str(holder.tenant), str(uuid4()), key):
            for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}, {}):
                answer = call(running, operation, name, **headers)
                yield f"{operation} {name}", f"{answer.headers} {answer.text}"
    for place in (f"?api_key={key}", f"/{key}/{HOOK}/", f"?cursor={key}&limit={key}&fields={key}"):
        for path in (f"/api/v1{place}", f"/api/v1/tenants/{holder.tenant}/orders/{place}"):
            answer = holder.request("GET", path.removeprefix("/api/v1"))
            yield path, f"{answer.headers} {answer.text}"


def kept_texts(running: Service) -> Iterator[tuple[str, str]]:
    """Every log file, and every row of the tables that are not what merchants sent."""
    for path in [running.home / "serve.log", *(running.home / "logs").iterdir()]:
        yield str(path), path.read_text()
    for (table,) in ask(running, EVERY_TABLE):
        if table not in {*TABLES, *DAY_TABLES} and not table.startswith("sqlite_"):
            yield table, "\n".join(map(str, ask(running, f"SELECT * FROM {table}")))


def answer_to_a_header(running: Service, line: str) -> bytes:
    """What is said to a header that is none: a key without its colon."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode())
        return connection.recv(4_096)


def secrets_of(holder: Merchant) -> set[str]:
    """The key and the part of it that is secret."""
    return {holder.key, holder.key.split("_")[2]} if holder.key.startswith("hr_") else {holder.key}


def test_no_key_is_in_an_answer_a_log_or_a_row(running_service, holders):
    counts = {"answers": 0, "texts": 0}
    for holder in holders[:2]:
        for place, text in answers_of(holder):
            counts["answers"] += 1
            assert not [secret for secret in secrets_of(holder) if secret in text], place
    assert answer_to_a_header(running_service, f"X-API-Key {holders[1].key}")[9:12] == b"400"
    secrets = {HOOK[6:38], HOOK[-33:-1]}.union(*map(secrets_of, holders))
    tenant = running_service.spelled(holders[0].tenant)
    found = ask(running_service, f"SELECT secret_hash FROM api_keys WHERE tenant_id = {tenant}")
    hashes = {digest for (digest,) in found}
    for place, text in kept_texts(running_service):
        counts["texts"] += 1
        assert not [secret for secret in secrets if secret in text], place
        assert place == "api_keys" or not [digest for digest in hashes if digest in text], place
    print(f"canaries: {counts['answers']} answers, {counts['texts']} logs and tables")
    assert min(counts.values()) > 10


def test_a_key_that_a_page_has_shown_is_nowhere_else(running_service):
    """No log, row, session or cookie has it, nor any other page of `/admin/`."""
    owner, name = running_service.add_tenant(), f"operator-{uuid4().hex[:8]}"
    add_user(running_service, name)
    person = Browser(running_service)
    person.login(name)
    made = made_by_form(person, owner, label="a till")
    page = rotation_of(made)
    form = {**form_of(person, page), "overlap_seconds": "60"}
    rotated = Merchant(owner.service, owner.tenant, shown_in(person.http.post(page, data=form)))
    texts = {"again": person.http.post(page, data=form).text}
    for path in ("/admin/", KEYS, *(page.replace("rotate", at) for at in ("change", "history"))):
        texts[path] = person.get(path).text
    texts["sessions"] = running_service.manage("shell", "-v", "0", "-c", SESSIONS).stdout
    assert "_auth_user_id" in texts["sessions"]
    assert {*person.http.cookies} == {"csrftoken", "sessionid"}
    texts |= dict(kept_texts(running_service))
    for place in (KEYS, "django_admin_log", "audit_log"):
        assert made.key.split("_")[1] in texts[place]
    for secret in secrets_of(made) | secrets_of(rotated):
        assert [place for place, text in texts.items() if secret in text] == []


def test_tasks_are_given_numbers_and_flags_only(running_service):
    told = running_service.manage("shell", "-v", "0", "-c", TASKS).stdout
    number, kinds = json.loads(told)
    assert number > 3
    assert set(kinds) <= {"int | None", "int", "<class 'bool'>", "<class 'int'>"}
