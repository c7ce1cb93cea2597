"""Price calls of a merchant, and what they leave in the tables."""

import json
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import uuid4

from tests.road import ndjson
from tests.service import Merchant, Service
from tests.shop import ask, product

UNLIMITED = {"max_calls_per_minute": 0, "max_product_calls_per_minute": 0}


def add_shop(running: Service) -> Merchant:
    """A new tenant whose calls are not counted."""
    return running.add_tenant(**UNLIMITED)


def add_products(merchant: Merchant, number: int = 1, **more: Any) -> list[str]:
    """The ids of so many new products, at 100 each unless told otherwise."""
    goods = [product(**{"price": "100", **more}) for _ in range(number)]
    status = merchant.load("products.ndjson", ndjson(*goods))
    assert status["outcomes"]["inserted"] == number
    return [one["product_id"] for one in goods]


def address(merchant: Merchant, product_id: str) -> str:
    return f"/tenants/{merchant.tenant}/products/{product_id}/price-event/"


def send(merchant: Merchant, product_id: str, body: Any, *, key: str | None = None, **headers: str):
    """POST a price; a body of bytes goes as it is."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Idempotency-Key": key or uuid4().hex, "Content-Type": "application/json", **headers}
    return merchant.request("POST", address(merchant, product_id), content=content, headers=sent)


def told(response) -> dict:
    """The answer, its numbers exact."""
    return json.loads(response.content, parse_float=Decimal, parse_int=Decimal)


def follow(merchant: Merchant, after: str | None = None, **more: Any) -> dict:
    asked = {**more, **({} if after is None else {"after": after})}
    answer = merchant.request("GET", f"/tenants/{merchant.tenant}/price-anomalies/", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def stream(merchant: Merchant, product_id: str, **asked: Any) -> tuple[list[dict], dict]:
    """The anomalies of a product, and the last line about them."""
    path = f"/tenants/{merchant.tenant}/products/{product_id}/price-anomalies/"
    answer = merchant.request("GET", path, params=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    *lines, last = map(json.loads, answer.text.splitlines())
    return lines, last["_meta"]


def events(merchant: Merchant) -> int:
    """How many price events the tenant has."""
    mine = f"tenant_id = {merchant.service.spelled(merchant.tenant)}"
    [(count,)] = ask(merchant.service, f"SELECT COUNT(*) FROM price_events WHERE {mine}")
    return int(count)


def price_of(merchant: Merchant, product_id: str) -> Decimal:
    """What the table of products says."""
    own = merchant.service
    [(price,)] = ask(own, f"SELECT price FROM products WHERE {of_product(merchant, product_id)}")
    return Decimal(price).scaleb(-4) if own.dialect == "sqlite" else price


def of_product(merchant: Merchant, product_id: str) -> str:
    own = merchant.service
    mine = f"tenant_id = {own.spelled(merchant.tenant)}"
    return f"{mine} AND product_id = {own.spelled(product_id)}"


def intervals(merchant: Merchant, product_id: str) -> list[tuple[Decimal, datetime, Any]]:
    """Price, start and end of each interval of a product, in order."""
    own = merchant.service
    rows = ask(
        own,
        "SELECT price, effective_from, effective_to FROM price_history"
        f" WHERE {of_product(merchant, product_id)} ORDER BY effective_from",
    )
    if own.dialect != "sqlite":
        return [tuple(row) for row in rows]
    read = datetime.fromisoformat
    return [(Decimal(p).scaleb(-4), read(start), end and read(end)) for p, start, end in rows]


def assert_sound(merchant: Merchant, product_id: str) -> None:
    """Intervals follow each other, one is open, and it has the product's price."""
    found = intervals(merchant, product_id)
    for (_, start, end), (_, next_start, _) in pairwise(found):
        assert end is not None, found
        assert start < end <= next_start, found
    assert [end for _, _, end in found].count(None) == 1, found
    assert found[-1][0] == price_of(merchant, product_id)
