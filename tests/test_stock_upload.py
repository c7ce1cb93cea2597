"""Files of stock events through stock calls, and whether every level is the sum of its movements.

A program of its own, from the root or from tests/:

    python tests/test_stock_upload.py --tenant-id ID [--file FILE] [--limit N]

Without --file it sends generated_data/stock_events_<tenant>_chunk_*, with --limit the first N of
them. A file goes to the server whole and once: the same file again changes nothing. The server is
that of --base-url (HEADRACE_API_URL), else the one at localhost and PORT; the key is --api-key
(HEADRACE_API_KEY), else the demo key. It exits with 0 if the levels are right, else with 1.

test_stock_program.py runs it beside the services of the other tests.
"""

import argparse
import hashlib
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import httpx2  # noqa: E402 - the path comes first

from headrace.client.keys import demo_key  # noqa: E402

SHOWN = 5  # conflicts of a file
PATIENCE_SECONDS = 300


class Trouble(Exception):
    """The program cannot go on; the message says why."""


def main() -> int:
    """Send the files and check the levels. 0 if they are right, else 1."""
    options = _options()
    key = options.api_key or demo_key(options.tenant_id)
    server = Server(options.base_url.rstrip("/"), options.tenant_id, key)
    try:
        for path in _files(options):
            print(_told(path.name, server.send(path)))
        wrong = wrong_levels(server)
    except httpx2.TransportError as trouble:
        place = f"no Headrace answers at {options.base_url}: start it, or name it by --base-url"
        print(f"Error: {place} ({trouble})", file=sys.stderr)
        return 1
    except (Trouble, OSError) as trouble:
        print(f"Error: {trouble}", file=sys.stderr)
        return 1
    print("\n".join(wrong) or "Every level is the sum of its movements.")
    return int(bool(wrong))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    local = f"http://localhost:{os.environ.get('PORT', 8000)}"
    parser.add_argument("--tenant-id", required=True)
    parser.add_argument("--file", type=Path, help="one file instead of all")
    parser.add_argument("--limit", type=int, help="how many files at most")
    parser.add_argument("--base-url", default=os.environ.get("HEADRACE_API_URL") or local)
    parser.add_argument("--api-key", default=os.environ.get("HEADRACE_API_KEY"))
    return parser.parse_args()


def _files(options: argparse.Namespace) -> list[Path]:
    if options.file:
        return [options.file]
    name = f"stock_events_{options.tenant_id}_chunk_*"
    folders = (Path("generated_data"), ROOT / "generated_data")
    found = next((files for folder in folders if (files := sorted(folder.glob(name)))), [])
    if not found:
        raise Trouble(f"there is no generated_data/{name}: generate it, or name a --file")
    return found[: options.limit]


class Server:
    """The stock of a tenant, over HTTP."""

    def __init__(self, url: str, tenant: str, key: str) -> None:
        self._stock = f"/api/v1/tenants/{tenant}/stock"
        self._http = httpx2.Client(base_url=url, timeout=120, headers={"X-API-Key": key})

    def send(self, path: Path) -> dict[str, Any]:
        """What became of a file: the answer, or the status of its upload once it has ended."""
        content = path.read_bytes()
        headers = {
            "X-Filename": path.name,
            "Idempotency-Key": f"{path.name}-{hashlib.sha256(content).hexdigest()}",
        }
        told = self._answered("POST", f"{self._stock}/bulk_update", content, headers)
        return self._end_of(told["status_url"]) if "status_url" in told else told

    def _end_of(self, address: str) -> dict[str, Any]:
        """The status of an upload once it has ended."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not (status := self._answered("GET", address))["finished"]:
            if time.monotonic() > end:
                raise Trouble(f"the upload has not ended after {PATIENCE_SECONDS} s")
            time.sleep(0.2)
        return status

    def rows(self, name: str, **parameters: Any) -> Iterator[dict[str, Any]]:
        """All rows of a list, page by page."""
        cursor: dict[str, str] = {}
        while True:
            asked = httpx2.QueryParams({"limit": 1_000, **parameters, **cursor})
            page = self._answered("GET", f"{self._stock}/{name}?{asked}")
            yield from page["data"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    def _answered(
        self, method: str, address: str, content: bytes = b"", headers: Any = None
    ) -> dict[str, Any]:
        """The JSON of an answer, sent again where the server says when. Raises Trouble."""
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            answer = self._http.request(method, address, content=content, headers=headers)
            if answer.status_code not in (429, 503) or time.monotonic() > end:
                break
            time.sleep(float(answer.headers.get("Retry-After", 1)))
        if not answer.is_success:
            raise Trouble(f"{method} {address} was answered {answer.status_code}: {answer.text}")
        told: dict[str, Any] = answer.json()
        return told


def _told(name: str, told: dict[str, Any]) -> str:
    """What became of a file, in words."""
    outcomes = {outcome: number for outcome, number in told["outcomes"].items() if number}
    figures = ", ".join(f"{number:,} {outcome}" for outcome, number in outcomes.items())
    lines = [f"{name}: {told['status']}, {figures or 'no events'}"]
    if "applied" in told:
        levels = [product["final_level"] for product in told["applied"]]
        lines[0] += f"; {len(levels):,} products at {sum(levels):,} pieces"
    conflicts = told.get("conflicts", [])
    lines += [f"  {conflict['product_id']}: {conflict['reason']}" for conflict in conflicts[:SHOWN]]
    lines += [f"  and {len(conflicts) - SHOWN:,} conflicts more"] if len(conflicts) > SHOWN else []
    codes = told.get("reject_codes", {})
    lines += [f"  {number:,} lines: {code}" for code, number in codes.items()]
    return "\n".join(lines)


def wrong_levels(server: Server) -> list[str]:
    """Products whose level is not the sum of their movements, in words."""
    sums: Counter[str] = Counter()
    for movement in server.rows("events"):
        sums[movement["product_id"]] += movement["delta"]
    levels = {row["product_id"]: row["level"] for row in server.rows("levels")}
    print(f"Levels: {len(levels):,} products, {sum(levels.values()):,} pieces")
    suspects = [product for product in {*sums, *levels} if sums[product] != levels.get(product, 0)]
    return [text for product in sorted(suspects) if (text := _looked_at_again(server, product))]


def _looked_at_again(server: Server, product: str) -> str:
    """Somebody may have moved the product between the two lists."""
    for _ in range(3):
        (row,) = [*server.rows("levels", product_id=product)] or [{"level": 0, "sequence": 0}]
        moves = [
            movement
            for movement in server.rows("events", product_id=product)
            if movement["sequence"] <= row["sequence"]
        ]
        total = sum(movement["delta"] for movement in moves)
        if (total, len(moves)) == (row["level"], row["sequence"]):
            return ""
    return f"{product}: its level is {row['level']}, its movements sum up to {total}"


if __name__ == "__main__":
    sys.exit(main())
