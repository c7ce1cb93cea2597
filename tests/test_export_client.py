"""`headrace export`, as a process that is killed, against a service and over a road that breaks."""

import base64
import io
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from typer.testing import CliRunner

from headrace import cli
from headrace.client import asked, errors
from headrace.client.downloads import PartFile, Pipe
from headrace.client.retries import Patience
from headrace.entities import BY_NAME
from tests import records, service
from tests.exports import Exporter
from tests.narrow_road import NarrowRoad, road_to
from tests.service import ROOT
from tests.test_client import unused_url

ROWS = 2_000
SEED = 11
SLOW = 3_000_000  # bytes a second: a download takes a second


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    """A merchant with some 3 MB of orders, on a service of its own, which tests may restart."""
    home = tmp_path_factory.mktemp("exports")
    with service.running(home, HEADRACE_EXPORT_PART_BYTES=str(1 << 20)) as opened:
        found = Exporter(opened.add_tenant())
        status = found.merchant.load("orders.ndjson", records.file(*map(order, range(ROWS))))
        assert status["outcomes"]["inserted"] == ROWS
        yield found


def order(number: int) -> records.Record:
    noise = base64.b64encode(random.Random(number).randbytes(800)).decode()
    given = {"customer_id": None, "raw_payload": {"noise": noise}}
    return records.example(BY_NAME["orders"], number, **given)


@pytest.fixture
def road(exporter: Exporter) -> Iterator[NarrowRoad]:
    with road_to(exporter.merchant.service.port) as found:
        yield found


class Client:
    """The command, for one file."""

    def __init__(self, exporter: Exporter, url: str, path: Path) -> None:
        self.exporter = exporter
        self.url = url
        self.path = path
        self.part = path.with_name(f"{path.name}.part")
        self.journal = path.with_name(f"{path.name}.part.json")

    def command(self, *options: str) -> list[str]:
        launcher = str(ROOT / "scripts" / "resumable_export_client.py")
        tenant = str(self.exporter.merchant.tenant)
        named = ["--tenant-id", tenant, "--api-url", self.url, "--out", str(self.path)]
        return [sys.executable, launcher, *named, *options]

    def run(self, *options: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(self.command(*options), capture_output=True, timeout=60, check=False)

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self.command(*options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A shell that runs the tests in its background makes children deaf to Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )

    def killed(self, size: int, how: int = signal.SIGKILL) -> bytes:
        """Start it, and end it once so many bytes have come; what it said."""
        started = self.start()
        until(lambda: self.size >= size or started.poll() is not None)
        started.send_signal(how)
        said = started.communicate(timeout=60)[1]
        assert started.returncode == (-how if how == signal.SIGKILL else 130), said
        return said

    @property
    def size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else -1

    @property
    def export_id(self) -> str:
        return json.loads(self.journal.read_text())["export_id"]

    def beside(self) -> list[str]:
        return sorted(path.name for path in self.path.parent.iterdir())


@pytest.fixture
def client(exporter: Exporter, road: NarrowRoad, tmp_path: Path) -> Client:
    return Client(exporter, road.url, tmp_path / "orders.csv")


def until(is_so, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.002)


def exports(exporter: Exporter) -> set[str]:
    found = exporter.merchant.request("GET", exporter.base).json()["data"]
    return {one["export_id"] for one in found}


def account(done: subprocess.CompletedProcess[bytes]) -> dict:
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_what_is_asked_for_comes_as_the_server_has_it(exporter: Exporter, client: Client) -> None:
    options = ["--columns", "external_order_id,total_amount", "--format", "ndjson"]
    options += ["--filter", "total_amount>=110", "--filter", "total_amount<120", "--json"]
    done = client.run(*options, "--filter", "order_status=paid,shipped", "--filter", "customer_id=")
    told = account(done)
    assert (done.returncode, client.beside()) == (0, ["orders.csv"])
    assert client.path.read_bytes() == exporter.download(told["export_id"]).content
    found = [json.loads(line) for line in client.path.read_bytes().splitlines()]
    numbers = [n for n in range(100, 110) if order(n)["order_status"] in ("paid", "shipped")]
    assert sorted(row["external_order_id"] for row in found) == [
        f"{number} external_order_id" for number in numbers
    ]
    assert (told["rows"], told["continued"], told["bytes_before"]) == (len(numbers), False, 0)
    again = client.run(*options)
    assert again.returncode == 2
    assert b"is there already; --restart makes it anew" in again.stderr


def test_a_client_that_is_killed_anywhere_goes_on(
    exporter: Exporter, road: NarrowRoad, client: Client
) -> None:
    """Killed when it has ordered and lost the answer, and at random places of the download: one
    export, no byte wrong.
    """
    dice, before = random.Random(SEED), exports(exporter)
    road.cuts = [20]
    ordering = client.start()
    until(lambda: road.came == 20)
    ordering.kill()
    ordering.communicate()
    road.rate = SLOW
    for size in sorted(dice.choices(range(2_000_000), k=3)):
        client.killed(size)
        assert not client.path.exists()
    road.rate, noted = 0, client.journal.read_text()
    done = client.run("--json")
    told = account(done)
    [made] = exports(exporter) - before
    assert (done.returncode, told["continued"], told["export_id"]) == (0, True, made)
    assert told["bytes_before"] > 0
    assert client.path.read_bytes() == exporter.download(made).content
    assert client.beside() == ["orders.csv"]
    client.journal.write_text(noted)  # as a kill leaves it that comes just before the end
    done, whole = client.run("--json"), client.path.read_bytes()
    assert (done.returncode, account(done)["export_id"]) == (0, made)
    assert (client.beside(), client.path.read_bytes()) == (["orders.csv"], whole)


def test_broken_connections_and_a_restarted_server_are_outlived(
    exporter: Exporter, road: NarrowRoad, client: Client
) -> None:
    """The first thing to be lost is the answer to the order."""
    before = exports(exporter)
    road.rate, road.cuts = SLOW, [20, 100_000, 300_000, 350_000, 900_000]
    started = client.start("--json", "--verbose")
    until(lambda: client.size > 1_000_000)
    road.close()
    exporter.merchant.service.stop()
    exporter.merchant.service.start()
    road.open()
    out, said = started.communicate(timeout=60)
    assert started.returncode == 0, said
    assert b"trying again" in said
    [made] = exports(exporter) - before
    assert client.path.read_bytes() == exporter.download(made).content
    assert json.loads(out)["export_id"] == made
    size = client.path.stat().st_size
    assert size < road.came < 1.6 * size  # what was there was not fetched again


def test_stdout_has_the_rows_and_nothing_else(
    exporter: Exporter, road: NarrowRoad, client: Client
) -> None:
    road.cuts = [700_000, 1_500_000]
    client.path = Path("-")
    done = client.run("--compression", "gzip")
    assert done.returncode == 0, done.stderr
    [newest] = exporter.merchant.request("GET", exporter.base).json()["data"][:1]
    assert done.stdout == exporter.download(newest["export_id"]).content
    assert f"2,000 orders, {newest['bytes'] / 1e6:.1f} MB".encode() in done.stderr


def test_other_bytes_than_were_written_are_never_taken_for_the_export(
    exporter: Exporter, road: NarrowRoad, client: Client
) -> None:
    road.rate = SLOW
    client.killed(1_500_000)
    road.rate, export = 0, client.export_id
    here = client.part.read_bytes()
    client.part.write_bytes(here[:1000] + bytes([here[1000] ^ 1]) + here[1001:])
    mended = client.run()
    assert (mended.returncode, b"fetching it anew" in mended.stderr) == (0, True)
    assert client.path.read_bytes() == exporter.download(export).content

    client.path.unlink()
    road.rate = SLOW
    client.killed(100_000)
    road.rate = 0
    folder = exporter.merchant.service.home / "objects" / "exports"
    [stored] = folder.glob(f"*/{client.export_id}/*/00001")
    there = stored.read_bytes()
    stored.write_bytes(there[:9] + bytes([there[9] ^ 1]) + there[10:])
    damaged = client.run("--json")
    assert (damaged.returncode, account(damaged)["error"]["code"]) == (1, "digest_mismatch")
    assert b"what the server keeps of it is damaged" in damaged.stderr
    assert client.beside() == ["orders.csv.part.json"]
    assert client.run("--restart").returncode == 0
    assert client.beside() == ["orders.csv"]


def test_an_export_that_will_not_come_is_told_and_not_ordered_again(
    exporter: Exporter, road: NarrowRoad, client: Client
) -> None:
    road.rate = SLOW
    client.killed(1000)
    road.rate, before = 0, exports(exporter)
    key = exporter.merchant.service.spelled(client.export_id)
    for state in ("failed", "expired"):
        exporter.merchant.service.ask(
            f"UPDATE exports SET state = '{state}', code = 'internal', message = 'Ours.'"
            f" WHERE id = {key}"
        )
        done = client.run("--json")
        assert (done.returncode, account(done)["error"]["code"]) == (1, f"export_{state}")
        assert f"is {state}: internal: Ours. Give the same".encode() in done.stderr
        assert b"--restart" in done.stderr
    assert exports(exporter) == before


def test_a_file_is_one_clients_and_one_exports_until_it_is_whole(
    road: NarrowRoad, client: Client
) -> None:
    road.rate = SLOW // 20
    first = client.start()
    until(lambda: client.size > 0)
    second = client.run()
    assert (second.returncode, f"process {first.pid}".encode() in second.stderr) == (2, True)
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=60)[1]
    assert (first.returncode, b"same command again to continue" in said) == (130, True)
    other = client.run("--format", "json")
    assert (other.returncode, b"belongs to another export" in other.stderr) == (2, True)


def test_exit_codes(client: Client) -> None:
    refused = client.run("--api-key", "another", "--json")
    assert (refused.returncode, account(refused)["error"]["code"]) == (4, "unauthenticated")
    key = client.exporter.merchant.key
    stranger = client.run("--restart", "--api-key", key, "--tenant-id", str(uuid4()))
    assert (stranger.returncode, b"does not take this key" in stranger.stderr) == (4, True)
    unknown = client.run("--restart", "--entity", "invoices")
    assert (unknown.returncode, b"entity as one of" in unknown.stderr) == (2, True)
    client.url = unused_url()
    nobody = client.run("--restart", "--retry-for", "0.5", "--json")
    assert (nobody.returncode, account(nobody)["error"]["code"]) == (3, "unreachable")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--out", "{}/orders.csv", "--filter", "order_date>2025-01-01"], "is no filter"),
        (["--out", "{}/none/orders.csv"], "no place for a file"),
        (["--out", "{}"], "no place for a file"),
        (["--out", "-", "--json"], "stdout already"),
        (["--out", "{}/orders.csv", "--tenant-id", "ann"], "is no UUID"),
        (["--out", "{}/orders.csv", "--api-url", "localhost"], "http://host:port"),
    ],
)
def test_what_cannot_be_meant_is_said_at_once(
    options: list[str], told: str, tmp_path: Path
) -> None:
    named = ["export", "--tenant-id", str(uuid4()), *(one.format(tmp_path) for one in options)]
    done = CliRunner().invoke(cli.app, named, env={"COLUMNS": "200"})
    assert (done.exit_code, told in done.stderr, done.stdout) == (2, True, "")
    assert list(tmp_path.iterdir()) == []


# The parts, called as a library.


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {}),
        (["order_status=paid"], {"order_status": "paid"}),
        (["a=x,y", "b="], {"a": ["x", "y"], "b": None}),
        (['name="Ada, Countess",Bob'], {"name": ["Ada, Countess", "Bob"]}),
        (
            ["d>=2025-01-01", "d<2026", "e~a=b"],
            {"d": {"from": "2025-01-01", "before": "2026"}, "e": {"contains": "a=b"}},
        ),
        (["active=true", "sku=true"], {"active": True, "sku": "true"}),
    ],
)
def test_filters_are_read(given: list[str], expected: dict) -> None:
    assert asked.filters("products", given) == expected


@pytest.mark.parametrize(
    "given", [["a"], ["a>1"], ["a<=1"], ["a!=1"], ["=1"], ["a=1", "a=2"], ["a=1", "a<2"], ['a="1']]
)
def test_filters_that_mean_nothing_are_refused(given: list[str]) -> None:
    with pytest.raises(asked.BadFilter):
        asked.filters("orders", given)


def test_bytes_without_the_name_of_their_content_are_not_gone_on_from(tmp_path: Path) -> None:
    path = tmp_path / "part"
    path.write_bytes(b"old")
    part = PartFile(path, "", lambda etag: None, lambda size: None)
    assert (part.size, part.headers) == (0, {})
    part = PartFile(path, '"a"', lambda etag: None, lambda size: None)
    assert (part.size, part.headers) == (3, {"Range": "bytes=3-", "If-Range": '"a"'})


def test_an_answer_with_all_replaces_what_has_come_and_one_with_the_rest_follows_it(
    tmp_path: Path,
) -> None:
    path, tags = tmp_path / "part", []
    path.write_bytes(b"old bytes")
    part = PartFile(path, '"a"', lambda etag: tags.append((etag, path.read_bytes())), print)
    part.take(httpx2.Response(200, headers={"ETag": '"b"'}, content=b"new"), lambda: None)
    assert tags == [('"b"', b"")]  # a kill now leaves no old bytes under the new name
    part.take(httpx2.Response(206, headers={"ETag": '"b"'}, content=b"er"), lambda: None)
    assert (path.read_bytes(), part.sha256) == (b"newer", sha256(b"newer").hexdigest())


def test_what_has_gone_to_stdout_is_not_sent_again() -> None:
    out = io.BytesIO()
    pipe = Pipe(out, lambda size: None)
    pipe.take(httpx2.Response(200, headers={"ETag": '"a"'}, content=b"ro"), lambda: None)
    assert pipe.headers == {"Range": "bytes=2-", "If-Range": '"a"'}
    with pytest.raises(errors.NotExported):
        pipe.take(httpx2.Response(200, headers={"ETag": '"b"'}, content=b"other"), lambda: None)
    assert out.getvalue() == b"ro"


def test_patience_begins_anew_for_a_download_that_came_further() -> None:
    patience = Patience(0.5, lambda error, wait: None)
    error = errors.Unreachable("unreachable", "")
    waits = []
    for size in range(1, 30):
        patience.came(size)
        waits.append(patience(error))
    assert all(0 < wait <= 0.2 for wait in waits)
    assert [patience(error) for _ in range(9)][-1] is False
