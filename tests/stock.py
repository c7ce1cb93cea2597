"""A merchant's till: stock calls, and what came of them."""

import json
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from tests.road import ndjson
from tests.service import Merchant
from tests.shop import product


def event(product_id: str, **more: Any) -> dict[str, Any]:
    """An event with an id of its own."""
    return {"stock_event_id": str(uuid4()), "product_id": product_id, **more}


class Till:
    """Calls of one merchant."""

    def __init__(self, merchant: Merchant) -> None:
        self.merchant = merchant
        self._path = f"/tenants/{merchant.tenant}/stock"

    def product(self) -> str:
        return self.products(1)[0]

    def products(self, number: int) -> list[str]:
        """New goods that never moved."""
        goods = [product() for _ in range(number)]
        status = self.merchant.load("products.ndjson", ndjson(*goods))
        assert status["outcomes"]["inserted"] == number
        return [row["product_id"] for row in goods]

    def update(self, events: Iterable[Any], key: str | None = None):
        return self.send(json.dumps(list(events)).encode(), key=key)

    def send(self, content: bytes, key: str | None = None, method: str = "POST", **headers: str):
        named = {"Idempotency-Key": key} if key else {}
        return self.merchant.request(
            method, f"{self._path}/bulk_update", content=content, headers={**named, **headers}
        )

    def ask(self, path: str, **parameters: Any):
        return self.merchant.request("GET", f"{self._path}/{path}", params=parameters)

    def levels(self) -> dict[str, int]:
        """The level of every product that has one."""
        return {row["product_id"]: row["level"] for row in self._all("levels")}

    def events(self, **parameters: Any) -> list[dict[str, Any]]:
        """All movements, or those of a choice."""
        return self._all("events", **parameters)

    def _all(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        rows, cursor = [], {}
        while True:
            answer = self.ask(path, limit=1_000, **parameters, **cursor)
            assert answer.status_code == 200, answer.text
            rows += answer.json()["data"]
            if answer.json()["next_cursor"] is None:
                return rows
            cursor = {"cursor": answer.json()["next_cursor"]}

    def forget(self, key: str) -> None:
        """Let the idempotency key expire."""
        service = self.merchant.service
        tenant = service.spelled(self.merchant.tenant)
        service.ask(
            "UPDATE idempotency_keys SET created_at = '2020-01-01'"
            f" WHERE tenant_id = {tenant} AND {COLUMN[service.dialect]} = '{key}'"
        )


COLUMN = {"postgresql": '"key"', "sqlite": '"key"', "mariadb": "`key`"}
