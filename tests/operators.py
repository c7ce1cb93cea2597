"""An operator of the running service: calls under a key without a tenant."""

import json
import time
from typing import Any
from uuid import UUID

import httpx2

from tests.service import Merchant, Service
from tests.shop import ask

KEYS_KNOWN_SECONDS = 1.0  # in which every process learns that keys have ended
LONG_AGO = "'2020-01-01 00:00:00'"


class Operator:
    def __init__(self, service: Service) -> None:
        self.service = service
        told = service.manage("keys", "mint", "--operator", "--json").stdout
        self.key = json.loads(told)["key"]

    def request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        headers = {"X-API-Key": self.key, **options.pop("headers", {})}
        path = f"/api/v1/operator{path}"
        return self.service.request(method, path, headers=headers, **options)

    def done(self, method: str, path: str, **options: Any) -> dict:
        """The body of an answer that is no problem."""
        answer = self.request(method, path, **options)
        assert answer.status_code in (200, 201, 202), answer.text
        return answer.json()

    def new(self, name: str = "A shop") -> Merchant:
        """A new tenant, which takes no process as `add_tenant` does."""
        made = self.done("POST", "/tenants/", json={"name": name})
        return Merchant(self.service, UUID(made["tenant_id"]), made["api_key"])

    def suspend(self, merchant: Merchant, state: str = "suspended") -> dict:
        return self.done("POST", f"/tenants/{merchant.tenant}/suspend/", json={"state": state})

    def limit(self, merchant: Merchant, **quotas: int | None) -> dict:
        return self.done("PATCH", f"/tenants/{merchant.tenant}/", json=quotas)

    def used(self, merchant: Merchant) -> dict:
        return self.done("GET", f"/tenants/{merchant.tenant}/")["used"]

    def erase(self, merchant: Merchant) -> dict:
        """Suspend and erase a tenant without the quiet before; the proof."""
        self.suspend(merchant)
        asked = self.done(
            "POST", f"/tenants/{merchant.tenant}/erase/", json={"confirm": str(merchant.tenant)}
        )
        return self.proof(asked["erasure_id"])

    def proof(self, erasure: str, seconds: float = 60) -> dict:
        """The proof of an erasure once it has ended; its quiet is as short as it may be."""
        end = time.monotonic() + seconds
        while not self.done("GET", f"/erasures/{erasure}/")["started_at"]:
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(KEYS_KNOWN_SECONDS)
        while (found := self.done("GET", f"/erasures/{erasure}/"))["status"] != "done":
            assert time.monotonic() < end, (found, self.service.log()[-4_000:])
            hurry(self.service, erasure)
            time.sleep(0.1)
        return found


def hurry(service: Service, erasure: str) -> None:
    """Let the quiet of an erasure be over."""
    own = service.spelled(UUID(erasure))
    ask(
        service,
        f"UPDATE erasures SET started_at = {LONG_AGO} WHERE id = {own} AND started_at IS NOT NULL",
    )
    ask(
        service,
        f"UPDATE jobs SET run_after = {LONG_AGO} WHERE subject = {own} AND state = 'queued'",
    )
