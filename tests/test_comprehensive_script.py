"""The program test_comprehensive_ingestion.py as its users start it, and that it can fail."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.entities import ENTITIES
from tests import documents
from tests import test_comprehensive_ingestion as comprehensive
from tests.servers import free_port
from tests.service import ROOT, Merchant, Service
from tests.shop import ask

pytestmark = pytest.mark.slow
ALL_LANDED = "Every line landed once, in either order."


def check(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the program from this folder, and nothing of ours in its environment but this."""
    own = {**documents.service_environment(), **environment}
    return subprocess.run(
        [sys.executable, os.path.relpath(comprehensive.__file__, folder), *options],
        cwd=folder,
        env=own,
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_it_finds_the_server_at_port_and_makes_itself_a_tenant(running_service: Service):
    folder = ROOT if running_service.is_postgresql else ROOT / "tests"
    own = {**running_service.environment, "PORT": str(running_service.port)}
    if running_service.is_postgresql:
        own["HEADRACE_DEMO_KEYS"] = "false"  # load_tenants then makes a random key
    done = check(folder, **own)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"The server at http://localhost:{running_service.port}\n")
    assert done.stdout.endswith(ALL_LANDED + "\n")
    for entity in ENTITIES:
        assert done.stdout.count(f"\n{entity.name} ") == 2


def test_it_starts_a_server_of_its_own_and_leaves_nothing(tmp_path: Path):
    done = check(ROOT, PORT=str(free_port()), TMPDIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("No server at ")
    assert ALL_LANDED in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_says_what_to_do_when_the_server_has_another_database(
    running_service: Service, merchant: Merchant, tmp_path: Path
):
    home = {"HEADRACE_HOME": str(tmp_path / "other"), "HEADRACE_API_URL": running_service.url}
    without_tables = check(ROOT, **home)
    assert (without_tables.returncode, without_tables.stdout.count("\n")) == (1, 1)
    assert "--api-key KEY" in without_tables.stderr
    assert "manage.py migrate" in without_tables.stderr
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(migrate, cwd=ROOT, env={**documents.service_environment(), **home}, check=True)
    another = check(ROOT, **home)
    assert (another.returncode, another.stdout.count("\n")) == (1, 1)
    assert "it works on another database" in another.stderr
    whose = ["--api-key", merchant.key]
    if running_service.is_postgresql:
        whose = ["--tenant-id", str(merchant.tenant)]
    with_key = check(ROOT, *whose, **home)
    assert (with_key.returncode, with_key.stderr) == (0, "")
    assert ALL_LANDED in with_key.stdout
    assert "nothing is known of the server's database" in with_key.stdout


def test_it_tells_of_a_key_that_the_server_refuses(running_service: Service):
    done = check(ROOT, "--api-url", running_service.url, "--api-key", "hr_wrong")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "nonsense", "http://[nonsense"])
def test_it_says_that_nobody_answers_and_makes_no_tenant(url: str, tmp_path: Path):
    url = url.format(port=free_port())
    done = check(ROOT, "--api-url", url, HEADRACE_HOME=str(tmp_path / "home"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: no Headrace answers at {url}: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()


def test_a_line_that_does_not_land_is_a_failure(merchant: Merchant, tmp_path: Path):
    shop = comprehensive.shop_of(merchant)
    files, _ = comprehensive.generate(tmp_path / "data")
    products = next(file for file in files if file.entity.name == "products")
    lines = products.path.read_text().splitlines()
    products.path.write_text("\n".join(['{"price": "abc"}', *lines[1:]]))
    landed = comprehensive.in_the_right_order(shop, files)
    told = comprehensive.not_landed(landed)
    assert [text for text in told if text.startswith("products: 20 lines were sent")] != []
    sums = comprehensive.look(shop, landed, tmp_path)
    assert any(text.startswith("products: ") for text in comprehensive.not_stored(landed, sums))


def test_a_row_that_is_not_what_was_sent_is_a_failure(merchant: Merchant, tmp_path: Path):
    shop = comprehensive.shop_of(merchant)
    files, _ = comprehensive.generate(tmp_path / "data")
    landed = comprehensive.in_the_right_order(shop, files)
    [orders] = [file for file in files if file.entity.name == "orders"]
    one = orders.records[0]["external_order_id"]
    ask(
        merchant.service,
        f"UPDATE orders SET total_amount = total_amount + 1 WHERE external_order_id = '{one}'",
    )
    found = comprehensive.not_stored(landed, comprehensive.look(shop, landed, tmp_path))
    assert [text.partition(":")[0] for text in found] == ["orders"]
