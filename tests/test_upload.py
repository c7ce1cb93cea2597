"""`headrace generate --upload`: generated, sent and landed by one command."""

import json
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.cli import app
from tests import truth
from tests.ingest_server import IngestServer, serving
from tests.servers import free_port
from tests.service import Service

SIZES = ["--products-per-tenant", "20", "--orders-per-tenant", "30", "--customers-per-tenant", "10"]


def upload(folder: Path, url: str, *flags: str, tenants: int = 2) -> Result:
    command = ["generate", *SIZES, "--tenants", str(tenants), "--output-dir", str(folder)]
    return CliRunner().invoke(app, [*command, "--upload", "--api-url", url, *flags])


@pytest.fixture
def server():
    with serving() as running:
        yield running


def test_everything_is_sent_with_the_demo_key_of_each_tenant(server: IngestServer, tmp_path):
    result = upload(tmp_path, server.url)
    assert result.exit_code == 0, result.stderr
    made = [path.name for path in tmp_path.glob("*_*.ndjson")]
    assert sorted(server.arrived) == sorted(made)


def test_with_faults_the_truth_stays_at_home(server: IngestServer, tmp_path):
    assert upload(tmp_path, server.url, "--faults", "0.1").exit_code == 0
    assert truth.entries(tmp_path)
    assert truth.TRUTH not in server.arrived


def test_one_key_is_used_for_one_tenant(server: IngestServer, tmp_path):
    server.keys = {"mine"}
    assert upload(tmp_path, server.url, "--api-key", "mine", tenants=1).exit_code == 0
    assert upload(tmp_path, server.url, "--api-key", "other", tenants=1).exit_code == 4


def test_one_key_for_many_tenants_is_refused_before_anything_is_made(server, tmp_path):
    result = upload(tmp_path / "none", server.url, "--api-key", "mine")
    assert result.exit_code == 2
    assert not (tmp_path / "none").exists()


def test_without_a_server_it_ends_as_the_client_does(tmp_path):
    result = upload(tmp_path, f"http://127.0.0.1:{free_port()}", tenants=1)
    assert result.exit_code == 3
    assert "cannot reach" in result.stderr
    assert (tmp_path / "tenants.csv").exists()


def test_the_json_of_the_generator_comes_before_that_of_the_client(server, tmp_path):
    text = upload(tmp_path, server.url, "--json").stdout
    generated, end = json.JSONDecoder().raw_decode(text)
    sent = json.loads(text[end:])
    assert sent["totals"]["lines_received"] == generated["total_rows"] - 2  # the tenants


@pytest.mark.parametrize("format", truth.FORMATS[:2])
def test_a_server_is_told_of_the_tenants_first_and_then_accounts_for_every_line(
    running_service: Service, tmp_path, format
):
    seed = str(900 + ord(format[0]))
    flags = ("--faults", "0.05", "--seed", seed, "--format", format, "--compress", "--json")
    refused = upload(tmp_path, running_service.url, *flags)
    assert refused.exit_code == 4
    assert f"manage.py load_tenants --file {tmp_path / 'tenants.csv'}" in refused.stderr
    running_service.manage("load_tenants", "--file", tmp_path / "tenants.csv")
    result = upload(tmp_path, running_service.url, *flags, "--verbose")
    assert result.exit_code == 1, result.stderr  # some are rejected, on purpose
    sent = json.loads(result.stdout[json.JSONDecoder().raw_decode(result.stdout)[1] :])
    told = Counter(entry["outcome"] for entry in truth.entries(tmp_path))
    for as_if_untold in (None, "inserted"):  # a blank line, a price with a slipped point
        del told[as_if_untold]
    outcomes = sent["totals"]["outcomes"]
    assert {name: outcomes[name] for name in told} == told
    assert outcomes["inserted"] == sent["totals"]["lines_received"] - told.total()
