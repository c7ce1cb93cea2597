"""`make demo`: the whole road on a fresh machine, ending with every line accounted for.

Generates the small preset, loads its tenants, starts the server and its worker, sends every
file through HTTP, and compares three independent figures: the lines in the files, the outcomes
that the server reports, and the rows in the tables.
"""

import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from headrace.client import plan  # noqa: E402 - the path comes first
from headrace.pipeline.report import Outcome  # noqa: E402

HOME = Path(os.environ.setdefault("HEADRACE_HOME", ".headrace"))
DATA = HOME / "demo_data"
OUTCOMES = [outcome.value for outcome in Outcome]
LANDED = (Outcome.INSERTED, Outcome.UPDATED, Outcome.UNCHANGED)


def main() -> int:
    """Run the demo. 0 if every line is accounted for, else 1."""
    _step("Preparing the database")
    _manage("migrate", "--verbosity", "0")
    _step("Generating the small preset")
    _run("-m", "headrace", "generate", "--preset", "small", "--output-dir", DATA)
    _step("Loading the tenants")
    _manage("load_tenants", "--file", DATA / "tenants.csv", "--keys-out", HOME / "demo_keys.csv")
    with _server() as url:
        _step(f"Sending every file to {url}")
        account = _ingest(url)
    rows = json.loads(_manage("count_rows", capture=True))
    return _reconcile(_lines_in_files(), account, rows)


def _step(text: str) -> None:
    Console().print(f"\n[bold]{text}[/bold]")


def _run(*arguments: object, capture: bool = False) -> str:
    command = [sys.executable, *map(str, arguments)]
    result = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE if capture else None, text=True
    )
    if result.returncode:
        sys.exit(f"{' '.join(command)} ended with exit code {result.returncode}")
    return result.stdout or ""


def _manage(*arguments: object, capture: bool = False) -> str:
    return _run("manage.py", *arguments, capture=capture)


@contextmanager
def _server() -> Iterator[str]:
    port = _free_port(int(os.environ.get("PORT", 8000)))
    command = [sys.executable, "manage.py", "serve", "--port", str(port)]
    with (HOME / "serve.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        _wait_until_ready(f"http://127.0.0.1:{port}/health/ready", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _free_port(wanted: int) -> int:
    """The wanted port, or any other if somebody has it."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    sys.exit("no port is free")


def _wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
        if process.poll() is not None:
            break
    sys.exit(f"the server did not start; {HOME / 'serve.log'} says why")


def _ingest(url: str) -> dict[str, object]:
    command = [sys.executable, "-m", "headrace", "ingest", "--data-dir", str(DATA)]
    command += ["--api-url", url, "--wait-for-completion", "--json"]
    if (keys := HOME / "demo_keys.csv").exists():
        command += ["--keys", str(keys)]
    result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if result.returncode not in (0, 1):
        sys.exit(f"the client ended with exit code {result.returncode}")
    account: dict[str, object] = json.loads(result.stdout)
    return account


def _lines_in_files() -> Counter[tuple[str, str]]:
    """Lines by tenant and entity, counted without any of the code that loads them."""
    lines: Counter[tuple[str, str]] = Counter()
    for tenant in plan.read(DATA, None).tenants:
        for file in tenant.files:
            opened = gzip.open if file.path.suffix == ".gz" else open
            with opened(file.path, "rb") as stream:
                lines[tenant.tenant_id, file.entity] += sum(1 for line in stream if line.strip())
    return lines


def _reconcile(
    sent: Counter[tuple[str, str]],
    account: dict[str, object],
    rows: dict[str, dict[str, int]],
) -> int:
    table = Table("tenant", "entity", "lines", *OUTCOMES, "rows", "equal", title="Reconciliation")
    told = {tenant["tenant_id"]: tenant for tenant in account["tenants"]}  # type: ignore[attr-defined]
    all_equal = True
    for (tenant, entity), lines in sent.items():
        outcomes = told[tenant]["entities"][entity]["outcomes"]
        stored = rows[tenant][entity]
        landed = sum(outcomes[outcome] for outcome in LANDED)
        equal = lines == sum(outcomes.values()) and stored == landed
        all_equal &= equal
        figures = (lines, *(outcomes[outcome] for outcome in OUTCOMES), stored)
        told_figures = [f"{number:,}" for number in figures]
        table.add_row(told[tenant]["name"], entity, *told_figures, "yes" if equal else "NO")
    Console(width=max(Console().width, 150)).print(table)
    total = sum(sent.values())
    print(
        f"{total:,} lines in {account['seconds']:.1f} s: {account['rows_per_second']:,.0f} lines/s"
    )
    print("Every line is accounted for." if all_equal else "LINES ARE MISSING: see the table.")
    print("Look around with `make serve`.")
    return 0 if all_equal else 1


if __name__ == "__main__":
    sys.exit(main())
