"""Two tenants that mirror each other, and every operation of the OpenAPI document about them.

Both have the same rows with the same ids; every free text of one has its canary in it. What is
the service's own to name (uploads, exports, keys, …) each has one of, by the parameter of an
address that names it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

from headrace.entities import ENTITIES, TABLES
from headrace.schema import Entity, Text
from tests import recognition_rows, records
from tests.exports import Exporter
from tests.service import Merchant, Service

ROWS = 12
API = "/api/v1"
Operation = tuple[str, str]  #: method and path, as the document spells them


class Side:
    """A tenant of the pair: what it is called by, and how its bytes are told."""

    def __init__(self, merchant: Merchant, canary: str) -> None:
        self.merchant = merchant
        self.canary = canary
        self.things: dict[str, str] = {}

    @property
    def names(self) -> dict[str, str]:
        """What in an answer can be its own only: the canary, its id, and its things' names."""
        own = {name: value for name, value in self.things.items() if name not in MIRRORED}
        return {"canary": self.canary, **own}

    def path(self, path: str, **others: str) -> str:
        """The path of an operation about its things, or about others."""
        return filled(path, {**self.things, **others})


def filled(path: str, things: Mapping[str, str]) -> str:
    """A path of the document with the names of things in it, and the key of a row."""
    row = {"row_id": row_of(path)} if "{row_id}" in path else {}
    return path.format(**row, **things).removeprefix(API)


#: Ids that both have, of rows that are each one's own.
MIRRORED = ("product_id", "row_id", "recognition_id")


#: What an operation is sent, made for a tenant.
Options = Callable[[Side], dict[str, Any]]


def row_of(path: str) -> str:
    """The key of a row of the record type in the path."""
    name = path.split("/")[5]
    return records.key(owner_of(TABLES[name]), 0)


def owner_of(entity: Entity) -> str:
    """Whose keys the table's keys are: levels have those of what is counted."""
    parents = {reference.field: reference.entity for reference in entity.references}
    return parents.get(entity.key, entity.name)


def marked(entity: Entity, number: int, canary: str) -> dict[str, Any]:
    """An example of which every free text has the canary."""
    texts = {
        field.name: f"{canary} {number}"
        for field in entity.kept
        if isinstance(field.type, Text)
        and not field.type.choices
        and field.type.max_length > len(canary) + 4
    }
    return records.example(entity, number, **texts)


def stocked(merchant: Merchant, canary: str) -> Side:
    """A tenant with rows of every record type and one of each thing that has a name."""
    side = Side(merchant, canary)
    token = merchant.open_upload()
    for entity in ENTITIES:
        rows = [marked(entity, at, canary) for at in range(ROWS)]
        broken = {"email": canary, entity.key: canary}
        sent = merchant.send(f"{entity.name}.ndjson", records.file(*rows, broken), token=token)
        assert sent.status_code == 201, sent.text
    status = merchant.wait(token)
    assert status["outcomes"]["inserted"] == ROWS * len(ENTITIES), status["outcomes"]
    side.things = {
        "tenant_id": str(merchant.tenant),
        "token": token,
        "chunk": status["chunks"][0]["chunk_id"],
        "product_id": records.key("products", 0),
        "export_id": Exporter(merchant).made(entity="customers", format="ndjson")["export_id"],
        "takeout_id": made(side, "reports/takeouts")["takeout_id"],
        "key_id": made(side, "keys/", scopes=["read"])["key_id"],
        "endpoint_id": made(side, "webhooks/", **hook_of(side))["endpoint_id"],
        "recognition_id": str(recognition_rows.NUMBER),
        "erasure_id": str(uuid4()),
        "idempotency": f"key {uuid4().hex}",
    }
    recognition_rows.insert(merchant, canary)
    made(side, f"webhooks/{side.things['endpoint_id']}/test/")
    deliveries = merchant.request("GET", side.path(f"{HOOK}/deliveries/")).json()["data"]
    side.things["delivery_id"] = deliveries[0]["delivery_id"]
    return side


def made(side: Side, path: str, **asked: Any) -> dict[str, Any]:
    """What the service answers to the making of a thing."""
    address = f"/tenants/{side.merchant.tenant}/{path}"
    answer = side.merchant.request("POST", address, json=asked)
    assert answer.status_code in (201, 202), answer.text
    return answer.json()


def document_of(running: Service) -> dict[str, Any]:
    response = running.request("GET", "/api/schema/?format=json")
    assert response.status_code == 200
    return response.json()


def operations(document: Mapping[str, Any]) -> Iterator[tuple[Operation, dict[str, Any]]]:
    """Those that need a key, and what the document says of them."""
    for path, item in document["paths"].items():
        for method, about in item.items():
            if about["security"]:
                yield (method, path), about


def scope_of(about: Mapping[str, Any]) -> str | None:
    """The scope that an operation needs; None where any key will do."""
    [needed] = about["security"][0].values()
    return needed[0] if needed else None


def parameters(about: Mapping[str, Any], place: str) -> list[str]:
    """Names of the parameters of an operation in `query`, `header` or `path`."""
    return [given["name"] for given in about.get("parameters", ()) if given["in"] == place]


def headed(**headers: str) -> dict[str, Any]:
    return {"headers": {"Idempotency-Key": uuid4().hex, **headers}}


def file_of(side: Side) -> dict[str, Any]:
    entity = ENTITIES[0]
    sent = records.file(marked(entity, 1, side.canary))
    return {"content": sent, **headed(**{"X-Filename": f"{entity.name}.ndjson"})}


def events_of(side: Side) -> dict[str, Any]:
    event = {"product_id": records.key("products", 1), "delta": 1, "source": side.canary}
    return {"json": [event], **headed()}


def price_of(side: Side) -> dict[str, Any]:
    return {"json": {"new_price": 5, "source": side.canary}, **headed()}


def hook_of(side: Side) -> dict[str, Any]:
    """A webhook to where nobody listens."""
    return {"url": f"http://127.0.0.1:9/{side.canary}", "description": side.canary}


def with_json(content: Callable[[Side], dict[str, Any]]) -> Options:
    return lambda side: {"json": content(side), **headed()}


HOOK = f"{API}/tenants/{{tenant_id}}/webhooks/{{endpoint_id}}"
OPERATOR = f"{API}/operator/tenants"
#: What is sent where the document wants a body.
BODIES: dict[Operation, Options] = {
    ("post", f"{API}/ingest/comprehensive/"): file_of,
    ("post", f"{API}/ingest/orders/"): file_of,
    ("post", f"{API}/tenants/{{tenant_id}}/stock/bulk_update"): events_of,
    ("put", f"{API}/tenants/{{tenant_id}}/stock/bulk_update"): events_of,
    ("post", f"{API}/tenants/{{tenant_id}}/products/{{product_id}}/price-event/"): price_of,
    ("post", f"{API}/tenants/{{tenant_id}}/keys/"): with_json(lambda side: {"scopes": ["read"]}),
    ("patch", f"{API}/tenants/{{tenant_id}}/keys/{{key_id}}/"): with_json(
        lambda side: {"label": side.canary}
    ),
    ("post", f"{API}/tenants/{{tenant_id}}/webhooks/"): with_json(hook_of),
    ("patch", f"{HOOK}/"): with_json(lambda side: {"description": side.canary}),
    ("post", f"{HOOK}/replay/"): with_json(lambda side: {"since": "2026-01-01T00:00:00Z"}),
    ("post", f"{OPERATOR}/"): with_json(lambda side: {"name": side.canary}),
    ("patch", f"{OPERATOR}/{{tenant_id}}/"): with_json(lambda side: {"name": side.canary}),
    ("post", f"{OPERATOR}/{{tenant_id}}/suspend/"): with_json(lambda side: {"state": "suspended"}),
    ("post", f"{OPERATOR}/{{tenant_id}}/erase/"): with_json(
        lambda side: {"confirm": str(side.merchant.tenant)}
    ),
}
