"""Memory stays flat: no process holds a file."""

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests import service
from tests.service import Service

LIMIT_KB = 300_000
LINES = 400_000


def peak_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def peaks(running: Service) -> dict[str, int]:
    """The highest resident size of each process of the service, in kB, by command and pid."""
    found = {}
    for process in psutil.Process(running.pid).children(recursive=True):
        name = "worker" if service.is_worker(process.pid) else "server"
        found[f"{name} {process.pid}"] = peak_kb(process.pid)
    return found


def generate(folder: Path) -> Path:
    """One file of LINES stock events, 124 MB, and the products they belong to."""
    sizes = ["--tenants", "1", "--products-per-tenant", str(LINES // 20)]
    sizes += ["--orders-per-tenant", "1", "--customers-per-tenant", "1"]
    command = [sys.executable, "-m", "headrace", "generate", "--output-dir", str(folder)]
    subprocess.run(
        [*command, *sizes, "--chunk-size", str(LINES)],
        cwd=service.ROOT,
        check=True,
        capture_output=True,
    )
    for path in folder.glob("*.ndjson"):
        if not path.name.startswith(("products_", "stock_events_")):
            path.unlink()
    return folder


def test_a_large_file_passes_through_small_processes(postgresql_server, tmp_path):
    data = generate(tmp_path / "data")
    with service.running(tmp_path, postgresql_server) as running:
        running.manage("load_tenants", "--file", data / "tenants.csv")
        command = [sys.executable, "-m", "headrace", "ingest", "--data-dir", str(data)]
        command += ["--api-url", running.url, "--wait-for-completion", "--json"]
        client = subprocess.Popen(command, cwd=service.ROOT, stdout=subprocess.DEVNULL)
        peak = 0  # looked at while it lives: what wait4() tells counts this process before the exec
        while client.poll() is None:
            with suppress(StopIteration):  # it is ending
                peak = peak_kb(client.pid)
            time.sleep(0.05)
        assert client.returncode == 0
        found = {**peaks(running), "client": peak}
    print({name: f"{kilobytes // 1000} MB" for name, kilobytes in found.items()})
    assert max(found.values()) < LIMIT_KB
