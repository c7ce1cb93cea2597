"""Price calls of one product through HTTP: a refusal, a change, an anomaly, a repetition.

A program of its own, from the root or from tests/:

    python tests/test_price_sensing.py [--base-url URL] [--tenant-id ID] [--api-key KEY]
                                       [--product-id ID]

It uses the server at --base-url (HEADRACE_API_URL), else the one at localhost and PORT, else it
starts one of its own, on a database of its own. The tenant is the one that was named, with its demo
key unless a key was given, else the first of generated_data/tenants.csv that the server knows, else
a new one that `manage.py load_tenants` makes. Without a product it sends a new one. It prints what
it saw, and exits with 0 if that was what it should have been, else with 1.

pytest runs the same steps against the services of the other tests.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import httpx2  # noqa: E402 - the path comes first

from headrace.client import errors  # noqa: E402
from headrace.client.keys import demo_key  # noqa: E402
from tests import test_comprehensive_ingestion as comprehensive  # noqa: E402
from tests.test_comprehensive_ingestion import Shop, Trouble  # noqa: E402

TENANTS = ROOT / "generated_data" / "tenants.csv"


class Step(NamedTuple):
    """What was sent, what came back, and what is wrong with it."""

    name: str
    status: int
    answer: Mapping[str, Any]
    problems: list[str]


class Product:
    """A product of a tenant, and calls about it. Numbers of answers are exact."""

    def __init__(self, shop: Shop, product_id: str) -> None:
        self._at = f"{shop.url}/api/v1/tenants/{shop.tenant}"
        self._headers = {"X-API-Key": shop.key}
        self.id = product_id

    def send(self, body: Mapping[str, Any], key: str | None = None) -> httpx2.Response:
        return httpx2.post(
            f"{self._at}/products/{self.id}/price-event/",
            content=json.dumps(body, default=str),
            headers={**self._headers, "Idempotency-Key": key or uuid4().hex},
            timeout=120,
        )

    def anomalies(self) -> list[dict[str, Any]]:
        """Those of the last hour, the newest first; the last line is about them."""
        answer = self._get(f"/products/{self.id}/price-anomalies/", hours=1)
        return [_decoded(line) for line in answer.content.splitlines()]

    def follow(self, after: str) -> dict[str, Any]:
        return _decoded(self._get("/price-anomalies/", after=after, wait=5).content)

    def _get(self, path: str, **asked: Any) -> httpx2.Response:
        answer = httpx2.get(self._at + path, params=asked, headers=self._headers, timeout=120)
        if answer.status_code != 200:
            raise Trouble(f"GET {path} answered {answer.status_code}: {answer.text}")
        return answer


def _decoded(content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(content, parse_float=Decimal, parse_int=Decimal)
    return found


def check(product: Product) -> list[str]:
    """Take the steps, print them, and return what is wrong."""
    problems = []
    for step in steps(product):
        print(f"{step.name}: {step.status} {_shortly(step.answer)}")
        problems += [f"{step.name}: {problem}" for problem in step.problems]
    return problems


def steps(product: Product) -> list[Step]:
    """A strict refusal, an ordinary change, a tenfold price, the same again, and its account."""
    cursor = product.follow("latest")["next_cursor"] if product.id else "0"
    refused = _step(
        "another old price, strict",
        product.send({"new_price": 1, "old_price": "0.0001", "strict": True}),
        {"status": 409, "code": "price_changed"},
    )
    if "current_price" not in refused.answer:
        return [refused]
    price = refused.answer["current_price"]
    usual = (price * Decimal("1.01")).quantize(Decimal("0.0001"))
    changed = _step(
        "one per cent more",
        product.send({"new_price": usual, "old_price": price, "metadata": {"reason": "test"}}),
        {"old_price": price, "new_price": usual, "severity": "none", "anomaly_detected": False},
        status=201,
    )
    key = uuid4().hex
    tenfold = {"new_price": usual * 10}
    first = product.send(tenfold, key)
    anomaly = _step(
        "ten times the price",
        first,
        {"old_price": usual, "severity": "extreme", "anomaly_detected": True},
        status=201,
    )
    again = product.send(tenfold, key)
    same = _step("the same request again", again, dict(anomaly.answer), status=201)
    if (again.content, again.headers.get("Idempotency-Replayed")) != (first.content, "true"):
        same.problems.append("expected the bytes of the first answer, and that it says so")
    back = _step("the old price again", product.send({"new_price": price}), {}, status=201)
    return [refused, changed, anomaly, same, back, *_read_back(product, anomaly, cursor)]


def _step(name: str, response: httpx2.Response, wanted: dict[str, Any], status: int = 409) -> Step:
    answer = _decoded(response.content)
    problems = [
        f"{member} is {answer.get(member)!r}, expected {value!r}"
        for member, value in wanted.items()
        if answer.get(member) != value
    ]
    if response.status_code != status:
        problems.append(f"status {response.status_code}, expected {status}: {response.text}")
    return Step(name, response.status_code, answer, problems)


def _read_back(product: Product, anomaly: Step, cursor: str) -> list[Step]:
    """The anomaly must be in the product's stream and in the tenant's feed."""
    wanted = anomaly.answer.get("event_id")
    *lines, last = product.anomalies()
    read = Step("the product's anomalies", 200, last, [])
    if wanted not in {line["event_id"] for line in lines}:
        read.problems.append(f"event {wanted} is not among {len(lines)}")
    page = product.follow(cursor)
    followed = Step("the tenant's feed", 200, {"next_cursor": page["next_cursor"]}, [])
    if wanted not in {line["event_id"] for line in page["data"]}:
        followed.problems.append(f"event {wanted} is not behind cursor {cursor}")
    return [read, followed]


def _shortly(answer: Mapping[str, Any]) -> str:
    shown = ("code", "current_price", "old_price", "new_price", "pct_change", "severity")
    shown += ("anomaly_reason", "next_cursor", "_meta")
    told = {name: answer[name] for name in shown if answer.get(name) is not None}
    return json.dumps(told, default=str)


def main() -> int:
    """Run the check. 0 if everything was as it should be, else 1."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="headrace-prices-") as home:
        try:
            with comprehensive._server(options.base_url, Path(home)) as (url, environment):
                shop = _shop(options, url, environment, Path(home))
                product = Product(shop, options.product_id or _new_product(shop))
                print(f"Tenant {shop.tenant}, product {product.id}")
                problems = check(product)
        except (Trouble, errors.HeadraceError, httpx2.TransportError) as trouble:
            print(f"Error: {trouble}", file=sys.stderr)
            return 1
    print("\n".join(problems) or "Every answer was as it should be.")
    return int(bool(problems))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base-url", default=os.environ.get("HEADRACE_API_URL"))
    parser.add_argument("--tenant-id")
    parser.add_argument("--api-key", default=os.environ.get("HEADRACE_API_KEY"))
    parser.add_argument("--product-id", help="of a product that is there")
    return parser.parse_args()


def _shop(
    options: argparse.Namespace, url: str, environment: Mapping[str, str], home: Path
) -> Shop:
    """The tenant that was named, one of generated_data, or a new one. Raises Trouble."""
    if options.tenant_id:
        return Shop(url, options.api_key or demo_key(options.tenant_id), options.tenant_id)
    if options.api_key:
        raise Trouble("name the tenant of the key too: --tenant-id ID")
    tenants = sorted(comprehensive.read_tenants(TENANTS)) if TENANTS.exists() else []
    for tenant in tenants:
        shop = Shop(url, demo_key(tenant), tenant)
        if _is_known(shop):
            return shop
    return comprehensive._new_shop(url, environment, home)


def _is_known(shop: Shop) -> bool:
    answer = httpx2.get(
        f"{shop.url}/api/v1/tenants/{shop.tenant}/price-anomalies/",
        params={"after": "latest"},
        headers={"X-API-Key": shop.key},
        timeout=120,
    )
    return answer.status_code == 200


def _new_product(shop: Shop) -> str:
    """A product that costs 100, sent as a file and waited for. Raises Trouble."""
    key = str(uuid4())
    record = {"product_id": key, "sku": f"price-{key}", "name": "Price check", "price": 100}
    sent = httpx2.post(
        f"{shop.url}/api/v1/ingest/comprehensive/?entity=products",
        content=json.dumps(record) + "\n",
        headers={"X-API-Key": shop.key, "Idempotency-Key": key, "X-Filename": "products.ndjson"},
        timeout=120,
    )
    if not sent.is_success:
        raise errors.of_answer(sent)
    with comprehensive.HeadraceClient(shop.url, shop.key) as client:
        comprehensive._wait(client, sent.json()["upload_token"])
    return key


if __name__ == "__main__":
    sys.exit(main())
