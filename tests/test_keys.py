"""What a key may do and for how long, and what the state of its tenant leaves of it."""

import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import pytest

from tests import tables
from tests.conftest import on_every_database
from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import ask, product
from tests.test_tenants_http import call, document_of, list_uploads, needing

on_one_database = pytest.mark.parametrize(
    "running_service", ["sqlite"], indirect=True, scope="session"
)
SCOPES = ("ingest", "read", "stock", "price", "export", "admin")


def mint(merchant: Merchant, *scopes: str, **terms: object) -> Merchant:
    """The same tenant under a new key of its own, with these scopes."""
    answer = ask_for_key(merchant, scopes, **terms)
    assert answer.status_code == 201, answer.text
    return Merchant(merchant.service, merchant.tenant, answer.json()["key"])


def ask_for_key(merchant: Merchant, scopes: Sequence[str], **terms: object):
    asked = {"scopes": list(scopes), **{k: v for k, v in terms.items() if k != "headers"}}
    return merchant.request("POST", at(merchant), json=asked, headers=terms.get("headers", {}))


def at(merchant: Merchant, *rest: str) -> str:
    """The address of its keys, or of what can be done with one."""
    return "/".join([f"/tenants/{merchant.tenant}/keys", *rest, ""])


def id_of(merchant: Merchant) -> str:
    return merchant.key.split("_")[1] if merchant.key.startswith("hr_") else str(merchant.tenant)


def rotate(merchant: Merchant, key_id: str, **options: object):
    return merchant.request("POST", at(merchant, key_id, "rotate"), **options)


def revoke(merchant: Merchant, key_id: str):
    return merchant.request("POST", at(merchant, key_id, "revoke"))


def change(merchant: Merchant, key_id: str, /, **changes: object):
    return merchant.request("PATCH", at(merchant, key_id), json=changes)


def assert_refused(answer, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


def keys_of(merchant: Merchant) -> dict[str, dict]:
    """What is told of each of its keys, by id."""
    return {row["key_id"]: row for row in merchant.request("GET", at(merchant)).json()["data"]}


def is_known(merchant: Merchant) -> bool:
    return merchant.request("GET", "/whoami/").status_code == 200


def assert_refused_within_a_second(merchant: Merchant, after: float = 0.0) -> None:
    """On every process, however busy the key is; `after` so many more."""
    with ThreadPoolExecutor(4) as pool:
        ended = time.monotonic() + 1.0 + after
        while time.monotonic() < ended:
            list(pool.map(lambda _: is_known(merchant), range(4)))
        assert not any(pool.map(lambda _: is_known(merchant), range(40)))


def operators_key(running: Service) -> str:
    told = running.manage("keys", "mint", "--operator", "--json").stdout
    return json.loads(told)["key"]


def needs_of(running: Service) -> dict[tuple[str, str], list[str]]:
    """The scope of every operation that needs a key, as the OpenAPI document says it."""
    paths = document_of(running)["paths"]
    found = {}
    for method, path in needing("key", "token", "tenant", "row"):
        [security, same] = (next(iter(one.values())) for one in paths[path][method]["security"])
        assert security == same
        found[method, path] = security
    return found


@pytest.fixture(scope="module")
def shop(running_service: Service) -> Merchant:
    return running_service.add_tenant()


def test_every_operation_says_which_one_scope_it_needs(running_service):
    needs = needs_of(running_service)
    assert needs.pop(("get", "/api/v1/whoami/")) == []
    assert {len(scopes) for scopes in needs.values()} == {1}
    assert {scope for [scope] in needs.values()} <= {*SCOPES, "operator"}
    expected = {
        "/ingest/": "ingest",
        "/stock/bulk_update": "stock",
        "/price-event/": "price",
        "/reports/": "export",
    }
    for (_, path), [scope] in needs.items():
        wanted = [named for part, named in expected.items() if part in path]
        if wanted or scope not in ("admin", "operator"):
            assert [scope] == (wanted or ["read"]), path


def test_a_key_passes_where_it_has_the_scope_and_nowhere_else(running_service, shop):
    """Each operation by a key of each single scope, at the address of its own and of nobody."""
    needs = needs_of(running_service)
    holders = {scope: mint(shop, scope) for scope in SCOPES}
    holders["operator"] = Merchant(running_service, shop.tenant, operators_key(running_service))
    counts = {True: 0, False: 0}
    for operation, needed in needs.items():
        for scope, holder in holders.items():
            passes = not needed or scope in needed
            counts[passes] += 1
            for name in (str(shop.tenant), str(uuid4())):
                answer = call(running_service, operation, name, **{"X-API-Key": holder.key})
                is_refused = answer.status_code == 403
                assert is_refused is not passes, (operation, scope, answer.text)
                if is_refused:
                    assert answer.json() == wrong_scope(needed[0], scope)
    assert min(counts.values()) >= len(SCOPES), counts
    print(f"scopes: {counts[True]} cells pass, {counts[False]} are refused")


def wrong_scope(needed: str, has: str) -> dict:
    return {
        "type": "urn:headrace:problem:wrong_scope",
        "title": "The key lacks the scope that this needs",
        "status": 403,
        "detail": f"Use a key with the scope {needed}; the scopes of this one: {has}.",
        "code": "wrong_scope",
        "needed": needed,
        "scopes": [has],
    }


def test_a_key_is_told_what_it_may(running_service, shop):
    reader = mint(shop, "read", "price")
    assert reader.request("GET", "/whoami/").json() == {
        "tenant_id": str(shop.tenant),
        "key_id": reader.key.split("_")[1],
        "scopes": ["read", "price"],
        "state": "active",
    }
    operator = operators_key(running_service)
    answer = running_service.request("GET", "/api/v1/whoami/", headers={"X-API-Key": operator})
    assert answer.json() == {
        "tenant_id": None,
        "key_id": operator.split("_")[1],
        "scopes": ["operator"],
        "state": None,
    }


def test_a_tenants_key_never_becomes_an_operators(running_service, shop):
    words = ("keys", "mint", "--tenant", shop.tenant, "--scopes", "operator")
    refused = running_service.manage(*words, check=False)
    assert refused.returncode == 2
    assert "must be some of" in refused.stderr
    for change in ("scopes = 'operator'", "tenant_id = NULL"):
        with pytest.raises(Exception, match="api_keys_operator"):
            ask(running_service, f"UPDATE api_keys SET {change} WHERE key_id = '{shop.tenant}'")


def set_state(merchant: Merchant, state: str) -> None:
    tenant = merchant.service.spelled(merchant.tenant)
    ask(merchant.service, f"UPDATE tenants SET state = '{state}' WHERE tenant_id = {tenant}")


def test_the_state_of_a_tenant_ends_its_calls_within_a_second(running_service):
    held, bystander = running_service.add_tenant(), running_service.add_tenant()
    needs = needs_of(running_service)
    for state in ("read_only", "suspended", "active"):
        set_state(held, state)
        wait_until(held, state)
        for operation, needed in needs.items():
            answer = call(running_service, operation, str(held.tenant), **{"X-API-Key": held.key})
            refusal = refusal_of(state, operation[0], needed)
            found = answer.json()["code"] if answer.status_code == 403 else None
            assert found == refusal, (state, operation, answer.text)
        assert list_uploads(running_service, bystander.key).status_code == 200
    assert held.request("GET", "/whoami/").json()["state"] == "active"


def refusal_of(state: str, method: str, needed: list[str]) -> str | None:
    """The code that a key with all scopes is refused with; None where it passes."""
    if state == "active" or not needed or needed == ["operator"]:
        return None if needed != ["operator"] else "wrong_scope"
    if state == "suspended":
        return "suspended"
    return None if method == "get" or needed[0] in ("read", "export") else "read_only"


def wait_until(merchant: Merchant, state: str) -> None:
    """Until every process of the service must know, which is a second."""
    end = time.monotonic() + 1
    while time.monotonic() < end:
        merchant.request("GET", "/whoami/")
    assert merchant.request("GET", "/whoami/").json()["state"] == state


def test_what_was_accepted_before_a_suspension_lands(running_service):
    held = running_service.add_tenant()
    sent = held.send("products.ndjson", ndjson(product()))
    set_state(held, "suspended")
    assert sent.status_code == 201, sent.text
    end = time.monotonic() + 90
    while not tables.rows(running_service, held.tenant, "products"):
        assert time.monotonic() < end
        time.sleep(0.1)


UNDECLARED = """
from django.test import RequestFactory
from rest_framework.response import Response
from rest_framework.views import APIView
class Forgotten(APIView):
    def get(self, request): return Response({})
    def put(self, request): return Response({})
class Half(Forgotten):
    needs = {"GET": "read"}
calls = [(view, method) for view in (Forgotten, Half) for method in ("GET", "PUT", "HEAD", "PATCH")]
for view, method in calls:
    request = RequestFactory().generic(method, "/", HTTP_X_API_KEY="A_KEY")
    print(view.as_view()(request).status_code)
"""


def test_a_view_that_does_not_say_what_it_needs_is_closed(running_service, shop):
    code = UNDECLARED.replace("A_KEY", shop.key)
    told = running_service.manage("shell", "-v", "0", "-c", code).stdout.split()
    assert told == ["403", "403", "403", "405", "200", "403", "200", "405"]


def test_a_new_key_is_shown_once_with_all_that_is_told_of_it_later(running_service):
    owner = running_service.add_tenant()
    terms = {"label": "till 7", "expires_at": "2100-01-01T01:00:00+01:00"}
    answer = ask_for_key(owner, ["price", "stock"], **terms, max_calls_per_minute=60)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    shown = answer.json()
    key = shown.pop("key")
    assert re.fullmatch(r"hr_[0-9a-f]{12}_[A-Za-z0-9]{40}_[0-9a-f]{8}", key)
    created = datetime.fromisoformat(shown.pop("created_at"))
    assert abs(datetime.now(UTC) - created) < timedelta(minutes=1)
    assert shown == {
        "key_id": key.split("_")[1],
        "label": "till 7",
        "scopes": ["stock", "price"],
        "status": "valid",
        "max_calls_per_minute": 60,
        "expires_at": "2100-01-01T00:00:00Z",
        "revoked_at": None,
        "last_used_at": None,
        "replaced_by": None,
    }
    listed = owner.request("GET", at(owner))
    assert key not in listed.text
    assert listed.json()["next_cursor"] is None
    found = keys_of(owner)
    assert list(found) == [shown["key_id"], str(owner.tenant)]
    assert found[shown["key_id"]] == {**shown, "created_at": answer.json()["created_at"]}


def test_keys_are_listed_page_by_page(running_service):
    owner = running_service.add_tenant()
    made = [id_of(mint(owner, "read")) for _ in range(4)]
    first = owner.request("GET", at(owner), params={"limit": 3}).json()
    rest = {"limit": 3, "cursor": first["next_cursor"]}
    second = owner.request("GET", at(owner), params=rest).json()
    found = [row["key_id"] for row in first["data"] + second["data"]]
    assert found == [*reversed(made), str(owner.tenant)]
    assert second["next_cursor"] is None


def test_a_page_of_keys_that_is_asked_for_wrongly_is_refused(shop):
    for asked in ({"cursor": "9" * 20}, {"cursor": "x"}, {"limit": 0}, {"limit": 1_001}, {"a": 1}):
        answer = shop.request("GET", at(shop), params=asked)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), asked
    assert shop.request("GET", at(shop), params={"cursor": -1}).json()["data"] == []


def test_another_tenants_keys_are_as_absent_as_those_that_never_were(running_service, shop):
    stranger = running_service.add_tenant()
    theirs = id_of(mint(stranger, "read"))
    for key_id in (theirs, "0" * 12, str(stranger.tenant)):
        steps = (rotate, revoke, change)
        answers = [step(shop, key_id) for step in steps]
        assert {answer.status_code for answer in answers} == {404}
        answers += [step(shop, "f" * 12) for step in steps]
        assert len({answer.content for answer in answers}) == 1
    foreign = shop.request("GET", at(stranger))
    unknown = shop.request("GET", f"/tenants/{uuid4()}/keys/")
    assert (foreign.status_code, foreign.content) == (404, unknown.content)
    assert keys_of(stranger)[theirs]["status"] == "valid"


def test_a_key_gives_no_scope_that_it_has_not(shop):
    clerk = mint(shop, "admin", "read")
    refused = ask_for_key(clerk, ["read", "export", "price"])
    expected = wrong_scope("export", "admin") | {
        "detail": "A key gives what it has itself; this one lacks price, export.",
        "needed": "price",
        "scopes": ["read", "admin"],
    }
    assert (refused.status_code, refused.json()) == (403, expected)
    stronger = id_of(mint(shop, "export"))
    assert rotate(clerk, stronger).json()["code"] == "wrong_scope"
    assert ask_for_key(clerk, ["operator"]).status_code == 400
    assert rotate(clerk, id_of(mint(clerk, "read"))).status_code == 201
    assert revoke(clerk, stronger).json()["status"] == "revoked"


@on_one_database
@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"scopes": []},
        {"scopes": "read"},
        {"scopes": ["read", ["read"]]},
        {"scopes": ["read", "write"]},
        {"scopes": {"read": 1}},
        {"scopes": ["read"], "label": 7},
        {"scopes": ["read"], "max_calls_per_minute": "7"},
        {"scopes": ["read"], "max_calls_per_minute": True},
        {"scopes": ["read"], "label": "a\u001b[2Jb"},
        {"scopes": ["read"], "label": "a\u0000"},
        {"scopes": ["read"], "label": "\ud800"},
        {"scopes": ["read"], "label": "x" * 101},
        {"scopes": ["read"], "expires_at": "2020-01-01T00:00:00Z"},
        {"scopes": ["read"], "expires_at": "9999-12-31T23:59:59-12:00"},
        {"scopes": ["read"], "expires_at": 7},
        {"scopes": ["read"], "max_calls_per_minute": 0},
        {"scopes": ["read"], "max_calls_per_minute": 10**30},
        {"scopes": ["read"], "key_id": "mine"},
        ["read"],
        None,
        b"\xff",
        b'{"scopes": ["read"]',
        b'{"scopes": ["read"], "max_calls_per_minute": NaN}',
        b'{"scopes": ["read"], "max_calls_per_minute": ' + b"7" * 5_000 + b"}",
        b"[" * 60_000,
        b'{"scopes": ["read"], "scopes": ["read", "export"]}',
        b'{"scopes": ["read"], "max_calls_per_minute": 7, "max_calls_per_minute": 70}',
    ],
    ids=lambda asked: str(asked)[:60],
)
def test_a_key_that_is_asked_for_wrongly_is_not_made(shop, asked):
    before = set(keys_of(shop))
    content = asked if isinstance(asked, bytes) else json.dumps(asked)
    answer = shop.request("POST", at(shop), content=content)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.text
    assert set(keys_of(shop)) == before


def test_a_rotated_key_works_until_its_overlap_ends(running_service):
    owner = running_service.add_tenant()
    old = mint(owner, "read", "ingest", label="nightly", max_calls_per_minute=9_000)
    answer = rotate(owner, id_of(old))
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    new = Merchant(running_service, owner.tenant, answer.json()["key"])
    assert is_known(old)
    assert is_known(new)
    found = keys_of(owner)
    assert facts_of(found[id_of(new)]) == ("nightly", ["ingest", "read"], 9_000, None, None)
    ends = datetime.fromisoformat(found[id_of(old)]["expires_at"])
    assert abs(ends - datetime.now(UTC) - timedelta(days=1)) < timedelta(minutes=1)
    assert found[id_of(old)]["replaced_by"] == id_of(new)
    again = rotate(owner, id_of(old))
    assert (again.status_code, again.json()["code"]) == (409, "key_ended")
    assert len(keys_of(owner)) == 3


def facts_of(row: dict) -> tuple:
    names = ("label", "scopes", "max_calls_per_minute", "expires_at", "replaced_by")
    return tuple(row[name] for name in names)


@on_every_database
def test_without_an_overlap_the_old_key_is_refused_within_a_second(running_service):
    owner = running_service.add_tenant()
    old = mint(owner, "read")
    assert is_known(old)
    new = rotate(owner, id_of(old), json={"overlap_seconds": 0}).json()
    assert_refused_within_a_second(old)
    assert is_known(Merchant(running_service, owner.tenant, new["key"]))
    assert keys_of(owner)[id_of(old)]["status"] == "expired"
    for overlap in (-1, 2_592_001, "soon"):
        wrong = rotate(owner, new["key_id"], json={"overlap_seconds": overlap})
        assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_request")


@on_every_database
def test_a_key_ends_by_itself_and_its_successor_lives_as_long(running_service):
    owner = running_service.add_tenant()
    soon = datetime.now(UTC) + timedelta(seconds=8)
    brief = mint(owner, "read", expires_at=soon.isoformat())
    assert is_known(brief)
    follower = rotate(owner, id_of(brief)).json()
    assert keys_of(owner)[id_of(brief)]["expires_at"] == soon.isoformat().replace("+00:00", "Z")
    lifetime = datetime.fromisoformat(follower["expires_at"]) - datetime.now(UTC)
    assert timedelta(0) < lifetime < timedelta(seconds=9)
    time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()))
    assert_refused_within_a_second(brief)
    assert keys_of(owner)[id_of(brief)]["status"] == "expired"
    assert rotate(owner, id_of(brief)).json()["code"] == "key_ended"


@on_every_database
def test_a_changed_key_is_the_same_key_with_other_terms_within_a_second(running_service):
    owner = running_service.add_tenant()
    till = mint(owner, "read", "stock", label="till 7")
    before, read = unused(keys_of(owner)[id_of(till)]), f"/tenants/{owner.tenant}/customers/"
    assert till.request("GET", read).status_code == 200
    end = (datetime.now(UTC) + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    wanted = {"scopes": ["read"], "label": "", "expires_at": end, "max_calls_per_minute": 2}
    changed = change(owner, id_of(till), **wanted)
    assert (changed.status_code, unused(changed.json())) == (200, {**before, **wanted})
    assert unused(keys_of(owner)[id_of(till)]) == unused(changed.json())
    time.sleep(1)  # in which every process looks it up anew
    stock = f"/tenants/{owner.tenant}/stock/bulk_update"
    assert_refused(till.request("POST", stock, json=[]), 403, "wrong_scope")
    assert [till.request("GET", read).status_code for _ in range(3)] == [200, 200, 429]
    cleared = change(owner, id_of(till), expires_at=None, max_calls_per_minute=None).json()
    assert facts_of(cleared)[2:4] == (None, None)
    for same in ({}, {"label": ""}, {"scopes": ["read"]}):
        assert unused(change(owner, id_of(till), **same).json()) == unused(cleared)
    soon = datetime.now(UTC) + timedelta(seconds=4)
    assert change(owner, id_of(till), expires_at=soon.isoformat()).status_code == 200
    assert_refused_within_a_second(till, after=4)
    assert_refused(change(owner, id_of(till), label="late"), 409, "key_ended")


def unused(row: dict) -> dict:
    """What is told of a key without its last use, which is written beside all that."""
    return {name: value for name, value in row.items() if name != "last_used_at"}


def test_a_key_changes_others_within_what_it_could_give_a_new_one(running_service):
    owner = running_service.add_tenant()
    soon, sooner, later = (datetime.now(UTC) + timedelta(hours=hours) for hours in (2, 1, 3))
    own = {"expires_at": soon.isoformat(), "max_calls_per_minute": 60}
    clerk = mint(owner, "admin", "read", **own)
    strong = id_of(mint(owner, "export", "read"))
    # Less is always allowed, and what a key has of what the clerk lacks it may keep.
    assert change(clerk, strong, label="a shelf").status_code == 200
    assert change(clerk, strong, expires_at=later.isoformat()).status_code == 200
    assert change(clerk, strong, max_calls_per_minute=600).status_code == 200
    assert_refused(change(clerk, strong, scopes=["export", "price"]), 403, "wrong_scope")
    assert_refused(change(clerk, strong, expires_at=None), 403, "wrong_scope")
    narrowed = change(clerk, strong, scopes=["read"])
    assert narrowed.json()["scopes"] == ["read"]
    for wrong in (
        {"expires_at": None},
        {"expires_at": (later + timedelta(hours=1)).isoformat()},
        {"max_calls_per_minute": None},
        {"max_calls_per_minute": 601},
    ):
        assert_refused(change(clerk, strong, **wrong), 403, "forbidden")
    limits = {"expires_at": sooner.isoformat(), "max_calls_per_minute": 6}
    assert change(clerk, strong, **limits).status_code == 200
    assert change(clerk, strong, expires_at=soon.isoformat()).status_code == 200
    # Its calls are counted apart from the clerk's, who would give away more than there are.
    assert_refused(change(clerk, strong, max_calls_per_minute=7), 403, "forbidden")
    made = id_of(mint(clerk, "read", **{**own, "max_calls_per_minute": 6}))
    assert change(clerk, made, max_calls_per_minute=60).status_code == 200
    assert_refused(change(clerk, made, max_calls_per_minute=61), 403, "forbidden")
    assert change(owner, made, max_calls_per_minute=61).status_code == 200


def test_no_key_gives_itself_more(running_service):
    owner = running_service.add_tenant()
    soon, later = (datetime.now(UTC) + timedelta(hours=hours) for hours in (1, 2))
    clerk = mint(owner, "admin", "read", expires_at=soon.isoformat(), max_calls_per_minute=60)
    for more, code in (
        ({"scopes": ["admin", "read", "export"]}, "wrong_scope"),
        ({"expires_at": later.isoformat()}, "forbidden"),
        ({"expires_at": None}, "forbidden"),
        ({"max_calls_per_minute": 61}, "forbidden"),
        ({"max_calls_per_minute": None}, "forbidden"),
    ):
        assert_refused(change(clerk, id_of(clerk), **more), 403, code)
    assert change(clerk, id_of(clerk), max_calls_per_minute=59).status_code == 200
    assert_refused(change(clerk, id_of(clerk), max_calls_per_minute=60), 403, "forbidden")
    assert change(clerk, id_of(clerk), scopes=["admin"]).json()["scopes"] == ["admin"]
    assert_refused(change(clerk, id_of(clerk), scopes=["admin", "read"]), 403, "wrong_scope")


@on_every_database
def test_the_last_key_that_can_make_keys_is_not_changed_to_one_that_cannot(running_service):
    owner = running_service.add_tenant()
    end = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for less in ({"scopes": ["read"]}, {"expires_at": end}):
        assert_refused(change(owner, id_of(owner), **less), 409, "last_admin_key")
    assert change(owner, id_of(owner), label="all", scopes=["admin", "read"]).status_code == 200
    brief = mint(owner, "admin", expires_at=end)
    assert_refused(change(owner, id_of(owner), scopes=["read"]), 409, "last_admin_key")
    assert change(owner, id_of(brief), expires_at=None).status_code == 200
    admins = [id_of(brief), id_of(owner)]
    with ThreadPoolExecutor(2) as pool:
        asked = pool.map(lambda key_id: change(brief, key_id, expires_at=end), admins)
        assert sorted(answer.status_code for answer in asked) == [200, 409]


def test_a_key_that_has_ended_or_has_a_successor_is_not_changed(running_service):
    owner = running_service.add_tenant()
    rotated, ended = (id_of(mint(owner, "read")) for _ in range(2))
    assert rotate(owner, rotated).status_code == 201
    assert revoke(owner, ended).status_code == 200
    for key_id in (rotated, ended):
        assert_refused(change(owner, key_id, label="x"), 409, "key_ended")


@on_one_database
@pytest.mark.parametrize(
    "changes",
    [
        {"scopes": []},
        {"scopes": None},
        {"scopes": ["operator"]},
        {"label": None},
        {"label": "a\u001b[2Jb"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"max_calls_per_minute": 0},
        {"key_id": "mine"},
        {"revoked_at": None},
        {"bucket": ""},
    ],
    ids=str,
)
def test_a_change_that_is_asked_for_wrongly_changes_nothing(shop, changes):
    before = unused(keys_of(shop)[id_of(shop)])
    assert_refused(change(shop, id_of(shop), **changes), 400, "invalid_request")
    assert unused(keys_of(shop)[id_of(shop)]) == before


def test_what_a_key_has_lost_while_its_request_comes_in_it_does_not_give(running_service):
    owner = running_service.add_tenant()
    clerk, other = mint(owner, "admin", "read"), id_of(mint(owner, "read", "stock"))
    narrow = partial(change, owner, id_of(clerk), scopes=["admin"])
    asked = {"content": slowly('{"scopes": ["read"]}', narrow)}
    assert_refused(clerk.request("POST", at(owner), **asked), 403, "wrong_scope")
    narrow = partial(change, owner, other, scopes=["stock"])
    body = slowly('{"overlap_seconds": 9}', narrow)
    rotated = owner.request("POST", at(owner, other, "rotate"), content=body)
    assert rotated.json()["scopes"] == ["stock"]
    take = partial(change, owner, id_of(clerk), scopes=["read"])
    for method, path in (("POST", at(owner)), ("PATCH", at(owner, rotated.json()["key_id"]))):
        assert change(owner, id_of(clerk), scopes=["admin", "read"]).status_code == 200
        time.sleep(1)  # until every process lets it in
        body = slowly('{"scopes": ["read"]}', take)
        assert_refused(clerk.request(method, path, content=body), 403, "wrong_scope")


def test_a_key_that_is_revoked_over_http_is_refused_within_a_second(running_service):
    owner = running_service.add_tenant()
    leaver = mint(owner, "ingest")
    assert is_known(leaver)
    first = revoke(owner, id_of(leaver))
    assert (first.status_code, first.json()["status"]) == (200, "revoked")
    assert_refused_within_a_second(leaver)
    again = revoke(owner, id_of(leaver))
    assert (again.status_code, again.json()["revoked_at"]) == (200, first.json()["revoked_at"])


def test_the_last_key_that_can_make_keys_is_kept(running_service):
    owner = running_service.add_tenant()
    mint(owner, "read", "export")
    refused = revoke(owner, id_of(owner))
    assert (refused.status_code, refused.json()["code"]) == (409, "last_admin_key")
    soon = datetime.now(UTC) + timedelta(seconds=3)
    mint(owner, "admin", expires_at=soon.isoformat())
    time.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()) + 0.1)
    assert revoke(owner, id_of(owner)).status_code == 409
    rotated = rotate(owner, id_of(owner)).json()
    # It is valid for a day more, but it will not be what is left.
    assert revoke(owner, rotated["key_id"]).json()["code"] == "last_admin_key"
    assert revoke(owner, id_of(owner)).json()["status"] == "revoked"


@on_every_database
def test_of_all_keys_that_can_make_keys_and_end_at_once_one_stays(running_service):
    owner = running_service.add_tenant()
    admins = [id_of(mint(owner, "admin")) for _ in range(7)]
    # It was rotated itself, so it may ask for a day yet and does not count.
    admins += [rotate(owner, id_of(owner)).json()["key_id"]]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda key_id: revoke(owner, key_id), admins))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [409]


def test_a_request_that_is_repeated_makes_one_key_and_never_shows_it_again(running_service):
    owner = running_service.add_tenant()
    headers = {"Idempotency-Key": uuid4().hex}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: ask_for_key(owner, ["read"], headers=headers), range(6)))
    answers.append(ask_for_key(owner, ["read"], headers=headers))
    bodies = [answer.json() for answer in answers]
    assert {answer.status_code for answer in answers} == {201}
    [key] = [body["key"] for body in bodies if body["key"]]
    assert {json.dumps({**body, "key": None}) for body in bodies} == {json.dumps(bodies[-1])}
    assert answers[-1].headers["Idempotency-Replayed"] == "true"
    assert len(keys_of(owner)) == 2
    other = ask_for_key(owner, ["price"], headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    key_id, own = key.split("_")[1], {"Idempotency-Key": uuid4().hex}
    first, second = (rotate(owner, key_id, headers=own) for _ in range(2))
    assert second.json() == {**first.json(), "key": None}
    assert len(keys_of(owner)) == 3
    again = {"Idempotency-Key": uuid4().hex}
    with ThreadPoolExecutor(4) as pool:
        path = first.json()["key_id"]
        turned = list(pool.map(lambda _: rotate(owner, path, headers=again), range(4)))
    assert [answer.status_code for answer in turned] == [201] * 4, [one.text for one in turned]
    assert len({answer.json()["key_id"] for answer in turned}) == 1


def test_a_tenant_has_no_more_keys_than_it_may(running_service):
    owner = running_service.add_tenant()
    columns = "key_id, tenant_id, secret_hash, is_demo, scopes, label, created_at"
    for number in range(98):
        tenant = running_service.spelled(owner.tenant)
        values = f"'{uuid4().hex}', {tenant}, 'x', false, 'read', '{number}', CURRENT_TIMESTAMP"
        ask(running_service, f"INSERT INTO api_keys ({columns}) VALUES ({values})")
    last = id_of(mint(owner, "read"))
    for answer in (ask_for_key(owner, ["read"]), rotate(owner, last)):
        assert (answer.status_code, answer.json()["code"]) == (409, "too_many_keys")
    assert ask_for_key(running_service.add_tenant(), ["read"]).status_code == 201
    assert revoke(owner, last).status_code == 200
    assert ask_for_key(owner, ["read"]).status_code == 201


def test_a_key_with_a_limit_of_its_own_is_counted_in_all_that_it_calls(running_service):
    owner = running_service.add_tenant()
    limited = mint(owner, "read", "price", max_calls_per_minute=3)
    for _ in range(5):
        assert is_known(limited)
        assert limited.request("GET", "/ingest/sessions/").status_code == 403
    read = f"/tenants/{owner.tenant}/customers/"
    for left in (2, 1):
        answer = limited.request("GET", read)
        assert (answer.status_code, answer.headers["RateLimit-Policy"]) == (200, '"key";q=3;w=60')
        assert answer.headers["RateLimit"].startswith(f'"key";r={left};')
    call = f"/tenants/{owner.tenant}/products/{uuid4()}/price-event/"
    priced = limited.request("POST", call)
    assert priced.json()["code"] == "idempotency_key_required"
    assert priced.headers["RateLimit"].count(";r=") == 3
    assert '"key";r=0;' in priced.headers["RateLimit"]
    for method, path in (("GET", read), ("POST", call)):
        refused = limited.request(method, path)
        assert (refused.status_code, refused.json()["code"]) == (429, "quota-exceeded")
        assert "3 calls of this key a minute pass" in refused.json()["detail"]
        assert 1 <= int(refused.headers["Retry-After"]) <= 20
        assert '"key";r=0;' in refused.headers["RateLimit"]
    assert owner.request("GET", read).status_code == 200
    assert "RateLimit" not in owner.request("GET", read).headers


def test_the_last_use_of_a_key_is_told_soon(running_service):
    owner = running_service.add_tenant()
    user = mint(owner, "read")
    user.request("GET", f"/tenants/{owner.tenant}/customers/")
    end = time.monotonic() + 60
    while (used := keys_of(owner)[id_of(user)]["last_used_at"]) is None:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(used)) < timedelta(seconds=60)


USES = """
import time
from apps.tenants.models import ApiKey
from apps.tenants.usage import _Uses
def used(uses, before, seconds=60):
    for _ in range(1_000):
        uses.note("KEY_ID")
    end = time.monotonic() + seconds
    while (told := ApiKey.objects.get(key_id="KEY_ID").last_used_at) == before:
        if time.monotonic() > end:
            break
        time.sleep(0.05)
    return told
uses = _Uses()
uses.DELAY_SECONDS = 0.1
first = used(uses, None)
second = used(uses, first, uses.DELAY_SECONDS + 0.3)
uses._due.clear()
print(first is not None, first == second, used(uses, second) > second)
"""


@on_one_database
def test_a_process_writes_the_use_of_a_key_once_a_minute(running_service, shop):
    program = USES.replace("KEY_ID", id_of(mint(shop, "read")))
    told = running_service.manage("shell", "-v", "0", "-c", program).stdout
    assert told.split() == ["True", "True", "True"]


@on_one_database
def test_a_key_with_a_limit_makes_none_by_which_it_would_call_more_often(running_service):
    owner = running_service.add_tenant()
    limited = mint(owner, "admin", "read", max_calls_per_minute=6)
    second = ask_for_key(limited, ["read"], max_calls_per_minute=6).json()["key"]
    other = id_of(mint(owner, "read", max_calls_per_minute=6))
    third, fourth = (rotate(limited, key).json()["key"] for key in (other, id_of(limited)))
    read = f"/tenants/{owner.tenant}/customers/"
    statuses = [limited.request("GET", read).status_code for _ in range(7)]
    assert statuses[-1] == 429
    for key in (second, third, fourth):
        answer = Merchant(running_service, owner.tenant, key).request("GET", read)
        assert (answer.status_code, answer.json()["code"]) == (429, "quota-exceeded")


@on_one_database
def test_keys_are_made_listed_rotated_and_ended_by_commands(running_service):
    owner = running_service.add_tenant()
    whose = ("--tenant", owner.tenant)
    terms = ("--scopes", "read,export", "--label", "a till", "--max-calls-per-minute", 50)
    key = running_service.manage("keys", "mint", *whose, *terms, "--expires-days", 9).stdout.strip()
    made = Merchant(running_service, owner.tenant, key)
    assert made.request("GET", f"/tenants/{owner.tenant}/customers/").status_code == 200
    rows = json.loads(running_service.manage("keys", "list", *whose, "--json").stdout)
    assert [row["key_id"] for row in rows] == [id_of(made), str(owner.tenant)]
    assert facts_of(rows[0])[:3] == ("a till", ["read", "export"], 50)
    table = running_service.manage("keys", "list", *whose).stdout
    assert id_of(made) in table
    assert key not in table
    words = ("keys", "rotate", id_of(made), "--overlap-seconds", 0, "--json")
    told = json.loads(running_service.manage(*words).stdout)
    assert (told["label"], told["status"]) == ("a till", "valid")
    again = running_service.manage(*words, check=False)
    assert (again.returncode, again.stdout) == (1, "")
    assert "make a new key" in again.stderr
    terms = ("--scopes", "read", "--label", "", "--expires-days", "", "--max-calls-per-minute", "")
    change_it = ("keys", "change", told["key_id"], *terms)
    changed = json.loads(running_service.manage(*change_it, "--json").stdout)
    assert facts_of(changed) == ("", ["read"], None, None, None)
    assert "it is changed" in running_service.manage(*change_it).stderr
    # The operator may take the scope from the last one that has it.
    last = ("keys", "change", owner.tenant, "--scopes", "read", "--max-calls-per-minute", 9)
    running_service.manage(*last)
    assert facts_of(rows_of_command(running_service, owner)[-1])[1:3] == (["read"], 9)
    ended = running_service.manage("keys", "revoke", told["key_id"], "0" * 12, check=False)
    assert ended.returncode == 1
    assert f"key {told['key_id']}: it is revoked" in ended.stderr
    assert f"key {'0' * 12}: there is none" in ended.stderr
    assert_refused_within_a_second(Merchant(running_service, owner.tenant, told["key"]))


def rows_of_command(running: Service, owner: Merchant) -> list[dict]:
    return json.loads(running.manage("keys", "list", "--tenant", owner.tenant, "--json").stdout)


@on_one_database
def test_an_operators_key_gets_a_label_and_an_end_by_the_command(running_service):
    key_id = operators_key(running_service).split("_")[1]
    words = ("keys", "change", key_id, "--label", "nights", "--expires-days", 9, "--json")
    told = json.loads(running_service.manage(*words).stdout)
    assert (told["label"], told["scopes"]) == ("nights", ["operator"])
    assert told["expires_at"]
    for wrong in (("--scopes", "read"), ("--max-calls-per-minute", 9), ()):
        done = running_service.manage("keys", "change", key_id, *wrong, check=False)
        assert done.returncode == 2, done.stderr


@on_one_database
def test_commands_about_keys_that_are_wrong_say_so_by_their_exit_codes(running_service):
    for words, code in (
        (("mint", "--tenant", uuid4()), 1),
        (("mint", "--operator", "--label", "a\x1bb"), 2),
        (("mint", "--operator", "--max-calls-per-minute", 5), 2),
        (("rotate", "0" * 12), 1),
        (("change", "0" * 12, "--label", "x"), 1),
    ):
        assert running_service.manage("keys", *words, check=False).returncode == code, words


def slowly(text: str, meanwhile: Callable[[], object]) -> Iterator[bytes]:
    """A body during which something happens, after its request has been let in."""
    yield text[:5].encode()
    time.sleep(0.3)
    meanwhile()
    yield text[5:].encode()


def test_a_key_that_ends_while_its_request_comes_in_makes_none(running_service):
    owner = running_service.add_tenant()
    clerk, other = mint(owner, "admin", "read"), id_of(mint(owner, "read"))
    end = partial(revoke, owner, id_of(clerk))
    made = clerk.request("POST", at(owner), content=slowly('{"scopes": ["read"]}', end))
    assert (made.status_code, made.json()["code"]) == (401, "unauthenticated"), made.text
    clerk = mint(owner, "admin", "read")
    end, path = partial(revoke, owner, id_of(clerk)), at(owner, other, "rotate")
    rotated = clerk.request("POST", path, content=slowly('{"overlap_seconds": 9}', end))
    assert (rotated.status_code, rotated.json()["code"]) == (401, "unauthenticated")
    assert keys_of(owner)[other]["replaced_by"] is None
    assert len(keys_of(owner)) == 4


def test_a_tenant_that_is_suspended_while_its_request_comes_in_makes_no_key(running_service):
    owner = running_service.add_tenant()
    hold = partial(set_state, owner, "suspended")
    made = owner.request("POST", at(owner), content=slowly('{"scopes": ["read"]}', hold))
    assert (made.status_code, made.json()["code"]) == (403, "suspended"), made.text


def test_a_key_gives_no_later_end_and_no_higher_limit_than_its_own(running_service):
    owner = running_service.add_tenant()
    soon, later = (datetime.now(UTC) + timedelta(hours=hours) for hours in (1, 2))
    own = {"expires_at": soon.isoformat(), "max_calls_per_minute": 60}
    clerk = mint(owner, "admin", "read", **own)
    for wrong in ({"expires_at": None}, {"expires_at": later.isoformat()}):
        refused = ask_for_key(clerk, ["read"], **{**own, **wrong})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), refused.text
    for wrong in (None, 61):
        refused = ask_for_key(clerk, ["read"], **{**own, "max_calls_per_minute": wrong})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert ask_for_key(clerk, ["read"], **own).status_code == 201
    # Nor by rotating one that has them; itself it renews.
    endless = id_of(mint(owner, "read"))
    assert rotate(clerk, endless).json()["code"] == "forbidden"
    assert rotate(clerk, id_of(clerk)).status_code == 201


def test_the_last_key_that_can_make_keys_is_one_that_stays(running_service):
    owner = running_service.add_tenant()
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    brief = id_of(mint(owner, "admin", expires_at=soon))
    refused = revoke(owner, id_of(owner))
    assert (refused.status_code, refused.json()["code"]) == (409, "last_admin_key")
    assert revoke(owner, brief).json()["status"] == "revoked"
