"""The client and `headrace ingest`, as processes, against a server on real sockets."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace.client import plan
from tests.ingest_server import ANN, DROP_ANSWER, DROP_MIDWAY, IngestServer, data_folder, serving

ROOT = Path(__file__).parent.parent
BUSY = (503, {"Retry-After": "1"}, ("storage_busy", "come back later"))


@pytest.fixture
def server() -> Iterator[IngestServer]:
    with serving() as server:
        yield server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return data_folder(tmp_path / "data")


def command(data: Path, server_url: str, *options: str) -> list[str]:
    launcher = str(ROOT / "bulk_ingest.py")
    return [sys.executable, launcher, "--data-dir", str(data), "--api-url", server_url, *options]


def run(data: Path, server_url: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(data, server_url, *options), capture_output=True, text=True, timeout=60, check=False
    )


def start(data: Path, server_url: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(data, server_url, *options),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in its background makes children deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def names(chunks: list[dict[str, Any]]) -> list[str]:
    return sorted(chunk["filename"] for chunk in chunks)


def data_names(data: Path, tenant: str) -> list[str]:
    return [file.name for one in plan.read(data, tenant).tenants for file in one.files]


def unused_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_a_dry_run_lists_the_files_and_sends_nothing(server: IngestServer, data: Path) -> None:
    done = run(data, server.url, "--dry-run", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 0
    assert [file["filename"] for file in told["tenants"][1]["files"]] == data_names(data, ANN)
    assert "SKIPPED" in done.stderr
    assert (server.uploads, list(data.glob(".headrace*"))) == ({}, [])


def test_json_accounts_for_every_tenant_entity_and_line(server: IngestServer, data: Path) -> None:
    done = run(data, server.url, "--wait-for-completion", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["exit_code"], told["error"]) == (0, 0, None)
    ann = told["tenants"][1]
    orders = ann["entities"]["orders"]
    assert (orders["files"], orders["lines_received"], orders["balanced"]) == (2, 15, True)
    assert orders["outcomes"] == {**dict.fromkeys(orders["outcomes"], 0), "inserted": 15}
    assert ann["files"] == {"found": 4, "sent": 4, "already_accepted": 0, "failed": 0}
    assert told["totals"]["lines_received"] == 31
    assert told["rows_per_second"] > 0
    assert len(told["skipped"]) == 3


def test_the_table_names_rejects_and_how_to_see_them(server: IngestServer, data: Path) -> None:
    server.rejects = {f"orders_{ANN}_chunk_0001.ndjson": 2}
    done = run(data, server.url, "--tenant-id", ANN, "--wait-for-completion")
    assert done.returncode == 1
    assert "bad_number 2" in done.stdout
    assert "/rejects/" in done.stdout
    assert "= lines" in done.stdout


def test_a_dropped_connection_and_a_lost_answer_land_each_file_once(
    server: IngestServer, data: Path
) -> None:
    server.faults = [DROP_MIDWAY, DROP_ANSWER, None, DROP_ANSWER]
    done = run(data, server.url, "--tenant-id", ANN, "--verbose")
    assert done.returncode == 0, done.stderr
    (chunks,) = server.uploads.values()
    assert names(chunks) == sorted(data_names(data, ANN))
    assert "it was there already" in done.stderr


def test_retry_after_is_waited_for_and_a_permanent_refusal_is_not_repeated(
    server: IngestServer, data: Path
) -> None:
    refusal = (415, {}, ("unsupported_format", "we take NDJSON"))
    server.faults = [refusal, BUSY, (429, {"Retry-After": "1"}, ("quota", "slow down"))]
    began = time.monotonic()
    done = run(data, server.url, "--tenant-id", ANN, "--jobs", "1", "--json")
    assert time.monotonic() - began > 2
    (failed,) = json.loads(done.stdout)["tenants"][0]["failed_files"]
    assert (done.returncode, failed["code"]) == (1, "unsupported_format")
    assert "we take NDJSON" in done.stderr
    (chunks,) = server.uploads.values()
    assert names(chunks) == sorted(data_names(data, ANN)[1:])


def test_a_killed_run_continues_its_upload_and_sends_only_what_is_missing(
    server: IngestServer, data: Path
) -> None:
    server.hold_from = 2
    killed = start(data, server.url, "--tenant-id", ANN, "--jobs", "1")
    assert server.holding.wait(60)
    killed.kill()
    killed.communicate()
    first = list(server.arrived)
    server.hold_from = None
    server.hold.set()
    done = run(
        data, server.url, "--tenant-id", ANN, "--wait-for-completion", "--json", "--jobs", "1"
    )
    (ann,) = json.loads(done.stdout)["tenants"]
    assert (done.returncode, ann["continued"]) == (0, True)
    assert server.arrived[len(first) :] == data_names(data, ANN)[2:]
    (chunks,) = server.uploads.values()
    assert names(chunks) == sorted(data_names(data, ANN))


def test_ctrl_c_keeps_the_journal_and_says_how_to_continue(
    server: IngestServer, data: Path
) -> None:
    server.hold_from = 1
    stopped = start(data, server.url, "--tenant-id", ANN, "--jobs", "1")
    assert server.holding.wait(60)
    stopped.send_signal(signal.SIGINT)
    _, told = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert "1 of 4 files are accepted" in told
    assert "same command again" in told
    server.hold_from = None
    server.hold.set()
    assert run(data, server.url, "--tenant-id", ANN).returncode == 0
    assert len(server.uploads) == 1


def test_a_finished_upload_is_not_rejoined(server: IngestServer, data: Path) -> None:
    for options in (["--wait-for-completion"], []):
        assert run(data, server.url, "--tenant-id", ANN, *options).returncode == 0
    assert [len(chunks) for chunks in server.uploads.values()] == [4, 4]


def test_a_mended_file_joins_the_open_upload(server: IngestServer, data: Path) -> None:
    server.faults = [(415, {}, ("unsupported_format", "no"))]
    assert run(data, server.url, "--tenant-id", ANN, "--jobs", "1").returncode == 1
    mended, changed = data_names(data, ANN)[:2]
    for name in (mended, changed):
        (data / name).write_bytes((data / name).read_bytes() + b"\n")
    assert run(data, server.url, "--tenant-id", ANN, "--jobs", "1").returncode == 0
    assert server.arrived[-2:] == [mended, changed]
    assert [len(chunks) for chunks in server.uploads.values()] == [5]


def test_an_upload_that_the_server_forgot_is_opened_anew(server: IngestServer, data: Path) -> None:
    server.faults = [(415, {}, ("unsupported_format", "no"))]
    run(data, server.url, "--tenant-id", ANN, "--jobs", "1")
    server.uploads.clear()
    done = run(data, server.url, "--tenant-id", ANN)
    assert (done.returncode, [len(one) for one in server.uploads.values()]) == (0, [4])
    assert "no longer knows" in done.stderr


def test_two_clients_on_the_same_data_do_not_meet(server: IngestServer, data: Path) -> None:
    server.hold_from = 0
    first = start(data, server.url, "--tenant-id", ANN)
    assert server.holding.wait(60)
    second = run(data, server.url, "--tenant-id", ANN)
    assert second.returncode == 2
    assert f"another client (process {first.pid})" in second.stderr
    server.hold.set()
    first.communicate(timeout=60)
    assert first.returncode == 0


def test_a_folder_that_cannot_be_written_moves_the_journal(
    server: IngestServer, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / ".headrace-ingest").write_text("in the way of the folder, for root too")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    done = run(data, server.url, "--json")
    journal = json.loads(done.stdout)["tenants"][0]["journal"]
    assert done.returncode == 0
    assert Path(journal).is_relative_to(tmp_path / "state")
    assert "the journal is kept in" in done.stderr


def test_exit_code_2_without_data(server: IngestServer, tmp_path: Path) -> None:
    missing = run(tmp_path / "none", server.url)
    empty = run(tmp_path, server.url)
    assert (missing.returncode, empty.returncode) == (2, 2)
    assert "does not exist" in missing.stderr
    assert "no data files" in empty.stderr
    assert run(tmp_path, "localhost:8000").returncode == 2


def test_exit_code_3_when_nobody_answers(data: Path) -> None:
    done = run(data, unused_url(), "--retry-for", "0.5", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["code"] == "unreachable"
    assert "cannot reach a Headrace" in done.stderr


def test_exit_code_4_when_a_key_is_refused_and_the_others_land(
    server: IngestServer, data: Path
) -> None:
    server.keys = {f"api_key_{ANN}"}
    done = run(data, server.url, "--wait-for-completion", "--json")
    ben, ann = json.loads(done.stdout)["tenants"]
    assert done.returncode == 4
    assert [failure["code"] for failure in ben["failed_files"]] == ["unknown_key"]
    assert ann["totals"]["outcomes"]["inserted"] == 30


def test_parked_lines_that_wake_in_time_are_waited_for(server: IngestServer, data: Path) -> None:
    server.parked = [3, 3, 1, 0]
    woken = run(data, server.url, "--tenant-id", ANN, "--wait-for-completion")
    assert woken.returncode == 0, woken.stdout
    server.parked = [3, 2]
    options = ["--wait-for-completion", "--parked-grace", "0.5", "--jobs", "1"]
    left = run(data, server.url, "--tenant-id", ANN, *options)
    assert left.returncode == 1
    assert "2 lines parked (customers 2)" in left.stdout


def test_the_command_line_tells_its_version_and_its_commands() -> None:
    code = "from headrace.cli import main; main()"
    args = [sys.executable, "-c", code]
    told = subprocess.run(
        [*args, "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    helped = subprocess.run([*args, "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == f"headrace {headrace.__version__}\n"
    assert "ingest" in helped.stdout


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_large_file_streams_in_little_memory(server: IngestServer, tmp_path: Path) -> None:
    with (tmp_path / f"orders_{ANN}.ndjson").open("wb") as file:
        file.truncate(300_000_000)
    tell = (
        "import atexit, re, runpy, sys; sys.argv.pop(0);"
        "atexit.register(lambda: print(re.search('VmHWM:\\s+(\\d+)',"
        "open('/proc/self/status').read())[1], file=sys.stderr));"
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    args = [sys.executable, "-c", tell, *command(tmp_path, server.url)[1:]]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        args, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    peak_kib = int(done.stderr.split()[-1])
    print(f"peak resident memory {peak_kib / 1024:.0f} MiB for a file of 300 MB")
    assert peak_kib < 100 * 1024
