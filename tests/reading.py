"""A shop with rows of every record type, and what the service tells of them."""

import json
from collections.abc import Iterable, Iterator

import httpx2

from headrace.entities import ENTITIES
from headrace.schema import Entity
from tests import records
from tests.service import Merchant

ROWS = 25  #: of every record type


def stock(merchant: Merchant) -> None:
    """The first ROWS examples of every record type, by files as merchants send them."""
    token = merchant.open_upload()
    for entity in ENTITIES:
        data = records.file(*(records.example(entity, at) for at in range(ROWS)))
        assert merchant.send(f"{entity.name}.ndjson", data, token=token).status_code == 201
    assert merchant.request("POST", f"/ingest/sessions/{token}/complete/").status_code == 200
    status = merchant.wait(token)
    assert status["outcomes"]["inserted"] == ROWS * len(ENTITIES), status["outcomes"]


def path_of(merchant: Merchant, name: str) -> str:
    return f"/tenants/{merchant.tenant}/{name}"


def ask(merchant: Merchant, name: str, **asked) -> httpx2.Response:
    return merchant.request("GET", path_of(merchant, name), params=asked)


def page(merchant: Merchant, entity: str, **asked) -> dict:
    answer = ask(merchant, f"{entity}/", **asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    return answer.json()


def walk(merchant: Merchant, entity: str, **asked) -> Iterator[list[dict]]:
    """The pages of a list, as a generic loader takes them."""
    cursor: dict = {}
    while True:
        found = page(merchant, entity, **asked, **cursor)
        yield found["data"]
        if found["next_cursor"] is None:
            return
        cursor = {"cursor": found["next_cursor"]}


def keys(entity: Entity, rows: Iterable[dict]) -> list[str]:
    return [row[entity.key] for row in rows]


def search(merchant: Merchant, **asked) -> tuple[list[dict], dict]:
    """The orders of a search, and what its last line says about them."""
    answer = ask(merchant, "orders/search", **asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    *lines, last = [json.loads(line) for line in answer.text.splitlines()]
    return lines, last["_meta"]
