"""Every operation × whoever calls × every place in which an id of another can stand.

Operations and places come from the OpenAPI document: one that `tests/matrix.py` has no example
for fails here.
"""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from headrace.entities import ENTITIES, TABLES
from tests import matrix, records
from tests.matrix import API, Operation, Side
from tests.operators import Operator
from tests.prices import UNLIMITED
from tests.service import Merchant, Service
from tests.shop import ask
from tests.test_keys import SCOPES, id_of, mint, revoke

OPERATOR = "operator"
Document = list[tuple[Operation, dict[str, Any]]]


class Scans:
    """Looks at every byte that somebody is told, and counts what was looked at."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def check(self, answer: httpx2.Response, secrets: dict[str, str], asked: str) -> None:
        """Nothing of `secrets` is in the answer, but for what the request itself said."""
        told = f"{answer.status_code} {answer.headers} ".encode() + answer.content
        self.counts["scans"] += 1
        found = [
            name for name, text in secrets.items() if text.encode() in told and text not in asked
        ]
        assert found == [], (asked, told[:2_000])
        assert answer.status_code < 500, (asked, told[:2_000])


@pytest.fixture(scope="module")
def scans() -> Scans:
    return Scans()


@pytest.fixture(scope="module")
def document(running_service: Service) -> Document:
    return list(matrix.operations(matrix.document_of(running_service)))


@pytest.fixture(scope="module")
def pair(running_service: Service) -> tuple[Side, Side]:
    """The owner of what is asked for, and the stranger who asks."""
    owner, stranger = (
        matrix.stocked(
            running_service.add_tenant(name=name, **UNLIMITED), f"{name}{uuid4().hex[:10]}"
        )
        for name in ("sparrow", "magpie")
    )
    return owner, stranger


@pytest.fixture(scope="module")
def nobodies(running_service: Service, pair: tuple[Side, Side]) -> dict[str, dict[str, str]]:
    """Headers of those who hold no key, by what they try instead."""
    owner = pair[0].merchant
    gone = mint(owner, *SCOPES)
    assert revoke(gone, id_of(gone)).status_code == 200
    hashes = ask(
        running_service, f"SELECT secret_hash FROM api_keys WHERE key_id = '{owner.tenant}'"
    )
    bad = {"X-API-Key": f"hr_{'0' * 12}_{'a' * 40}_{'0' * 8}"}
    return {
        "nobody": {},
        "a bad key": bad,
        "a revoked key": {"X-API-Key": gone.key},
        "the stored hash": {"X-API-Key": hashes[0][0]},
        "the stored hash as a bearer": {"Authorization": f"Bearer {hashes[0][0]}"},
        "the tenant's id": {"X-API-Key": str(owner.tenant)},
    }


def send(
    running: Service, operation: Operation, path: str, options: dict[str, Any], **headers: str
) -> httpx2.Response:
    given = {**options, "headers": {**options.get("headers", {}), **headers}}
    return running.request(operation[0].upper(), f"{API}{path}", **given)


def options_of(operation: Operation, side: Side) -> dict[str, Any]:
    options = matrix.BODIES.get(operation)
    return options(side) if options else {}


def call(caller: Merchant, operation: Operation, about: Side, **others: str) -> httpx2.Response:
    """The operation about this tenant's things, by a caller."""
    path = about.path(operation[1], **others)
    options = options_of(operation, about)
    return send(caller.service, operation, path, options, **{"X-API-Key": caller.key})


def call_with(own: Side, operation: Operation, owner: Side, *foreign: str, **others: str):
    """The operation at one's own address with these things of the owner in it, or with others."""
    things = {**owner.things, **own.things, **{name: owner.things[name] for name in foreign}}
    path = matrix.filled(operation[1], {**things, **others})
    key = {"X-API-Key": own.merchant.key}
    return send(own.merchant.service, operation, path, options_of(operation, own), **key)


def harmless_first(document: Document) -> Document:
    """What ends a thing comes after all that needs it."""
    ends = ("/revoke/", "/cancel/", "/complete/")
    return sorted(document, key=lambda one: (one[0][0] == "delete", one[0][1].endswith(ends)))


def test_the_owner_reaches_every_operation_and_no_canary_of_another(document, pair, scans):
    """Each example is a good one: what refuses a stranger below is not a mistake in it."""
    for me, other in (pair, pair[::-1]):
        for operation, about in harmless_first(document):
            answer = call(me.merchant, operation, me)
            scans.check(answer, other.names, str(operation))
            if matrix.scope_of(about) == OPERATOR:
                assert (answer.status_code, answer.json()["code"]) == (403, "wrong_scope")
            else:
                assert answer.status_code in (200, 201, 202, 204), (operation, answer.text)


def test_an_operator_reaches_what_is_the_operators_and_no_record(
    running_service, document, pair, scans
):
    operator = Operator(running_service)
    guest = matrix.stocked(operator.new(), f"cuckoo{uuid4().hex[:10]}")
    keyed = Merchant(running_service, guest.merchant.tenant, operator.key)
    guest.things["export_id"] = taken_out(guest)
    secrets = {side.canary: side.canary for side in pair}
    for operation, about in sorted(document, key=lambda one: _erasing(one[0][1])):
        answer = call(keyed, operation, guest)
        scans.check(answer, secrets, str(operation))
        if matrix.scope_of(about) != OPERATOR and matrix.scope_of(about) is not None:
            assert (answer.status_code, answer.json()["code"]) == (403, "wrong_scope"), operation
            continue
        assert answer.status_code in (200, 201, 202), (operation, answer.text)
        if "erasure_id" in answer.text:
            guest.things["erasure_id"] = answer.json().get("erasure_id", "")


def test_an_operator_is_told_of_a_new_tenant_nothing_that_others_have(running_service, pair):
    """Others have keys, uploads at work, stored bytes, rows of today, and one is being erased."""
    operator = Operator(running_service)
    leaver, new = operator.new(), operator.new()
    operator.suspend(leaver)
    confirmed = {"confirm": str(leaver.tenant)}
    operator.done("POST", f"/tenants/{leaver.tenant}/erase/", json=confirmed)
    with uploads_at_work(pair[0]):
        busy, idle = (
            operator.done("GET", f"/tenants/{one.tenant}/") for one in (pair[0].merchant, new)
        )
    assert all(busy["used"].values()), busy
    assert not any(idle["used"].values()), idle
    assert (idle["keys"], idle["erasure_id"], busy["erasure_id"]) == (1, None, None)
    assert operator.done("GET", f"/tenants/{leaver.tenant}/")["erasure_id"]


@contextmanager
def uploads_at_work(side: Side) -> Iterator[None]:
    """As if none of the tenant's files had ended."""
    running, tenant = side.merchant.service, side.merchant.service.spelled(side.merchant.tenant)
    own = f"WHERE tenant_id = {tenant}"
    ask(running, f"UPDATE chunks SET ended_at = NULL {own}")
    try:
        yield
    finally:
        ask(running, f"UPDATE chunks SET ended_at = CURRENT_TIMESTAMP {own}")


def taken_out(side: Side) -> str:
    """One of the exports of its takeout, once all are there."""
    path = side.path(f"{API}/tenants/{{tenant_id}}/reports/takeouts/{{takeout_id}}/")
    end = time.monotonic() + 60
    while (found := side.merchant.request("GET", path).json())["status"] == "running":
        assert time.monotonic() < end, found
        time.sleep(0.1)
    return found["files"][0]["export_id"]


def _erasing(path: str) -> int:
    """What erases comes last, and after it what asks for the erasure."""
    return 2 if "{erasure_id}" in path else int(path.endswith("/erase/"))


def test_who_has_no_key_is_refused_everywhere(running_service, document, pair, nobodies, scans):
    owner, _ = pair
    for operation, _ in document:
        for actor, headers in nobodies.items():
            path = owner.path(operation[1])
            answer = send(running_service, operation, path, options_of(operation, owner), **headers)
            scans.check(answer, owner.names, f"{operation} {path}")
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), (
                operation,
                actor,
            )


def test_a_key_without_the_scope_is_refused_everywhere(document, pair, scans):
    owner, _ = pair
    holders = {scope: mint(owner.merchant, *(set(SCOPES) - {scope})) for scope in SCOPES}
    for operation, about in document:
        if (scope := matrix.scope_of(about)) in holders:
            answer = call(holders[scope], operation, owner)
            scans.check(answer, owner.names, owner.path(operation[1]))
            assert (answer.status_code, answer.json()["code"]) == (403, "wrong_scope"), operation


def test_at_the_address_of_another_there_is_as_little_as_at_nobodys(document, pair, scans):
    owner, stranger = pair
    for operation, _ in document:
        if "/operator/" not in operation[1] and "{tenant_id}" in operation[1]:
            told = [
                call(stranger.merchant, operation, owner, tenant_id=tenant)
                for tenant in (str(owner.merchant.tenant), str(uuid4()))
            ]
            for answer in told:
                scans.check(answer, owner.names, owner.path(operation[1]))
            assert_same(operation, *told)


def assert_same(operation: Operation, theirs: httpx2.Response, nobodys: httpx2.Response) -> None:
    """What another has is as absent as what nobody has: 404, and not a byte of difference."""
    first, second = (
        (answer.status_code, answer.content, sorted({*answer.headers} - {"date"}))
        for answer in (theirs, nobodys)
    )
    assert first == second, operation
    assert (theirs.status_code, theirs.json()["code"]) == (404, "not_found"), operation


def test_things_of_another_are_as_absent_at_ones_own_address(document, pair, scans):
    """An upload, an export, a key of another in the path, or the id of a row that both have."""
    owner, stranger = pair
    for operation, about in document:
        for name in set(matrix.parameters(about, "path")) - {"tenant_id"}:
            foreign = [] if name in matrix.MIRRORED else [name]
            if "/operator/" in operation[1]:
                continue
            theirs = call_with(stranger, operation, owner, *foreign)
            scans.check(theirs, owner.names, "".join(owner.things[name] for name in foreign))
            scans.counts["path"] += 1
            for name in foreign:
                absent = {name: like(owner.things[name])}
                assert_same(operation, theirs, call_with(stranger, operation, owner, **absent))


def like(name: str) -> str:
    """A name of the same form that nobody has."""
    if name.startswith("up_"):
        return f"up_{'x' * (len(name) - 3)}"
    return str(uuid4()) if len(name) == 36 else uuid4().hex[: len(name)]


def cursors(owner: Side, operation: Operation) -> list[str]:
    """Where the owner's own second page begins."""
    answer = owner.merchant.request("GET", owner.path(operation[1]), params={"limit": 3})
    return [text for text in re.findall(r'"next_cursor": ?"([^"]+)"', answer.text) if text]


def test_what_another_names_in_a_query_shows_nothing_of_it(document, pair, scans):
    """Every parameter of every operation with every name that the owner has, cursors included."""
    owner, stranger = pair
    for operation, about in document:
        if operation[0] != "get" or "/operator/" in operation[1]:
            continue
        names = {**owner.things, "canary": owner.canary}
        names |= {f"cursor {at}": text for at, text in enumerate(cursors(owner, operation))}
        for parameter in matrix.parameters(about, "query"):
            for name, value in names.items():
                path = stranger.path(operation[1])
                answer = stranger.merchant.request("GET", path, params={parameter: value})
                scans.check(answer, owner.names, value)
                scans.counts["query"] += 1
                assert answer.status_code in (200, 304, 400, 404), (operation, parameter, name)


def test_what_another_names_in_a_header_shows_nothing_of_it(document, pair, scans):
    owner, stranger = pair
    for operation, about in document:
        for header in matrix.parameters(about, "header"):
            for value in (*owner.things.values(), owner.canary):
                options = options_of(operation, stranger)
                path = stranger.path(operation[1])
                headers = {header: value, "X-API-Key": stranger.merchant.key}
                answer = send(stranger.merchant.service, operation, path, options, **headers)
                scans.check(answer, owner.names, f"{value} {path}")
                scans.counts["header"] += 1


def test_a_request_of_another_by_the_same_idempotency_key_is_another_request(document, pair, scans):
    owner, stranger = pair
    kept = 0
    for operation, about in document:
        if IDEMPOTENT in matrix.parameters(about, "header") and "/operator/" not in operation[1]:
            key = {IDEMPOTENT: uuid4().hex}
            first, own = (send_by(side, operation, key) for side in pair)
            scans.check(own, owner.names, stranger.path(operation[1]))
            scans.counts["idempotency key"] += 1
            kept += first.status_code in (200, 201, 202)
            assert "Idempotency-Replayed" not in own.headers, operation
            assert '"code":"idempotency' not in own.text.replace(" ", ""), (operation, own.text)
    assert kept > 4  # operations that keep the key are among them


IDEMPOTENT = "Idempotency-Key"


def send_by(side: Side, operation: Operation, headers: dict[str, str]) -> httpx2.Response:
    """The operation by a tenant about its own things, by these headers."""
    options, own = options_of(operation, side), {"X-API-Key": side.merchant.key}
    return send(
        side.merchant.service, operation, side.path(operation[1]), options, **headers, **own
    )


def rows_of(side: Side) -> dict[str, list[tuple]]:
    """All that the tenant has in the tables of records."""
    tenant = side.merchant.service.spelled(side.merchant.tenant)
    return {
        name: sorted(
            map(str, ask(side.merchant.service, f"SELECT * FROM {name} WHERE tenant_id = {tenant}"))
        )
        for name in TABLES
    }


FOREIGN: dict[str, Callable[[Side, Side], bytes]] = {
    "the tenant of a record": lambda owner, me: records.file(
        {**matrix.marked(ENTITIES[0], 90, me.canary), "tenant_id": str(owner.merchant.tenant)}
    ),
    "the key of a row that both have": lambda owner, me: records.file(
        matrix.marked(ENTITIES[0], 1, me.canary)
    ),
}


@pytest.mark.parametrize("place", FOREIGN)
def test_what_another_names_in_a_file_changes_nothing_of_it(pair, scans, place):
    owner, stranger = pair
    before = rows_of(owner)
    names = (
        f"{ENTITIES[0].name}.ndjson",
        f"{ENTITIES[0].name}_{owner.merchant.tenant}_chunk_1.ndjson",
        f"../../{owner.merchant.tenant}/{owner.things['chunk']}/{ENTITIES[0].name}.ndjson",
    )
    for filename in names:
        data = FOREIGN[place](owner, stranger)
        sent = stranger.merchant.send(filename, data)
        scans.check(sent, owner.names, filename)
        status = stranger.merchant.wait(sent.json()["upload_token"])
        assert sum(status["outcomes"].values()) == status["lines_received"] == 1
        is_refused = "tenant" in place.split()[1]
        assert status["outcomes"]["rejected"] == is_refused, status["outcomes"]
        scans.counts["file"] += 1
    assert rows_of(owner) == before


def bodies_of(owner: Side, stranger: Side) -> Iterator[tuple[str, dict[str, Any]]]:
    """Orders for exports that name what is the owner's."""
    for entity in TABLES.values():
        for field in entity.columns:
            for value in (str(owner.merchant.tenant), owner.canary, owner.things["product_id"]):
                yield "json", {"entity": entity.name, "filters": {field.name: value}}
        yield "json", {"entity": entity.name, "columns": ["tenant_id"]}
        yield "json", {"entity": entity.name, "filters": {"tenant_id": str(owner.merchant.tenant)}}


def test_what_another_names_in_a_body_shows_nothing_of_it(pair, scans):
    owner, stranger = pair
    path = stranger.path(f"{API}/tenants/{{tenant_id}}/reports/export?stream=true")
    for kind, body in bodies_of(owner, stranger):
        answer = stranger.merchant.request("POST", path, **{kind: body})
        scans.check(answer, owner.names, str(body))
        scans.counts["body"] += 1
        assert answer.status_code in (200, 400), (body, answer.text)


def test_the_size_of_the_matrix(document, scans, record_property):
    """Last, so that all that is above has been counted."""
    cells = {place: number for place, number in scans.counts.items() if place != "scans"}
    told = f"{len(document)} operations, {scans.counts['scans']:,} answers searched for canaries"
    record_property("figure", f"matrix: {told}; {cells}")
    assert scans.counts["scans"] > 1_000
