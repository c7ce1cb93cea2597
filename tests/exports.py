"""A merchant with rows to export, and the calls that it makes."""

import time

import httpx2

from headrace.entities import ENTITIES
from tests import records
from tests.service import Merchant


class Exporter:
    """Asks for exports and waits for them."""

    def __init__(self, merchant: Merchant) -> None:
        self.merchant = merchant
        self.base = f"/tenants/{merchant.tenant}/reports/export"

    def stock(self, numbers: range) -> None:
        """Land a row of every record type for each number."""
        token = self.merchant.open_upload()
        for entity in ENTITIES:
            data = records.file(*(records.example(entity, number) for number in numbers))
            sent = self.merchant.send(f"{entity.name}.ndjson", data, token=token)
            assert sent.status_code == 201, sent.text
        status = self.merchant.wait(token, 300)
        assert status["outcomes"]["inserted"] == len(numbers) * len(ENTITIES)

    def order(self, *, query: str = "", headers: dict | None = None, **asked) -> httpx2.Response:
        return self.merchant.request(
            "POST", f"{self.base}{query}", json=asked, headers=headers or {}
        )

    def status(self, export: str) -> dict:
        response = self.merchant.request("GET", f"{self.base}/{export}/")
        assert response.status_code == 200, response.text
        return response.json()

    def wait(self, export: str, seconds: float = 60) -> dict:
        """The status of an export that has ended."""
        end = time.monotonic() + seconds
        while (status := self.status(export))["status"] in ("queued", "running"):
            if time.monotonic() > end:
                raise AssertionError(f"{status}\n{self.merchant.service.log()[-4000:]}")
            time.sleep(0.05)
        return status

    def made(self, **asked) -> dict:
        """The status of a new export that was completed."""
        ordered = self.order(**asked)
        assert ordered.status_code == 202, ordered.text
        status = self.wait(ordered.json()["export_id"])
        assert status["status"] == "completed", status
        return status

    def download(self, export: str, **headers: str) -> httpx2.Response:
        return self.merchant.request("GET", f"{self.base}/{export}/download", headers=headers)
