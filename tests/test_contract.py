"""Every operation of the OpenAPI document called with what it allows and what it does not.

Schemathesis makes the calls and looks at the answers with all of its checks: no 5xx, no status,
header or content that is not documented, nothing invalid accepted, no key ignored; alone and one
after the other, as ids lead from one operation to the next.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx2
import pytest

from tests import reading, service, sizes
from tests.conftest import HTTP_DIALECTS, server_of
from tests.prices import UNLIMITED

CONFIGURATION = Path(__file__).parent / "fuzzing" / "schemathesis.toml"
CASES = int(os.environ.get("HEADRACE_CASES", 100))  #: of each operation
OPERATORS = "/operator/"
SETTINGS = {
    "HEADRACE_WEBHOOK_ALLOW": "127.0.0.0/8",
    "HEADRACE_MAX_ACTIVE_UPLOADS": "100000",
    "HEADRACE_MAX_ACTIVE_EXPORTS": "1000",
    "HEADRACE_THREADS": "16",
}


@pytest.mark.slow
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("dialect", HTTP_DIALECTS if sizes.IS_FULL else HTTP_DIALECTS[1:])
def test_every_operation_keeps_to_the_document(dialect, request, tmp_path, record_property):
    """A tenant's operations by its own key, then an operator's by the operator's."""
    with service.running(tmp_path, server_of(request, dialect), **SETTINGS) as running:
        merchant = running.add_tenant(**UNLIMITED)
        reading.stock(merchant)
        results = [
            fuzz(merchant, merchant.key, tmp_path / "own", "--exclude-path-regex", OPERATORS),
            fuzz(
                merchant,
                operators_key(running),
                tmp_path / "all",
                "--include-path-regex",
                OPERATORS,
            ),
        ]
        told, names = running.log(), documented(running.url)
    counts = cases(tmp_path / "own") + cases(tmp_path / "all")
    few = {name: counts[name] for name in names if counts[name] < CASES}
    record_property("figure", f"contract on {dialect}: {counts.total():,} cases, fewer: {few}")
    for result in results:
        assert result.returncode == 0, f"{result.stdout[-20_000:]}\n{errors_of(told)}"
    # Of an operation without parameters there are fewer cases than that to be told apart.
    assert len(few) < len(names) / 5, few


def operators_key(running: service.Service) -> str:
    return running.manage("keys", "mint", "--operator").stdout.strip()


def fuzz(
    merchant: service.Merchant, key: str, home: Path, *chosen: str
) -> subprocess.CompletedProcess:
    home.mkdir()
    filled = CONFIGURATION.read_text().replace("${TENANT}", str(merchant.tenant))
    configuration = home / "schemathesis.toml"
    configuration.write_text(filled.replace("${API_KEY}", key))
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(configuration)),
        *("run", f"{merchant.service.url}/api/schema/?format=json", "--checks", "all", *chosen),
        *("--max-examples", str(CASES), "--workers", "1", "--continue-on-failure"),
        *("--phases", "examples,coverage,fuzzing,stateful", "--warnings", "off"),
        *("--report-ndjson-path", str(home / "cases.ndjson")),
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=home, timeout=1_700)


def cases(home: Path) -> Counter[str]:
    """How often each operation was called."""
    found: Counter[str] = Counter()
    for line in (home / "cases.ndjson").read_text().splitlines():
        event = json.loads(line)
        for case in event.get("ScenarioFinished", {}).get("recorder", {}).get("cases", {}).values():
            value = case["value"]
            found[f"{value['method']} {value['path']}"] += 1
    return found


def documented(url: str) -> set[str]:
    paths = httpx2.get(f"{url}/api/schema/?format=json").json()["paths"]
    return {f"{method.upper()} {path}" for path, item in paths.items() for method in item}


def errors_of(log: str) -> str:
    """The server's own errors: what a 5xx came of."""
    return "\n".join(line for line in log.splitlines() if '"level": "error"' in line)[-5_000:]
