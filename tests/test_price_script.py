"""The program test_price_sensing.py as its users start it, and that it can fail."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests import documents, prices
from tests import test_price_sensing as sensing
from tests.conftest import on_every_database
from tests.service import ROOT, Service

WELL = "Every answer was as it should be.\n"


def check(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the program from this folder, and nothing of ours in its environment but this."""
    return subprocess.run(
        [sys.executable, os.path.relpath(sensing.__file__, folder), *options],
        cwd=folder,
        env={**documents.service_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=200,
    )


def test_beside_a_service_it_says_that_all_is_well(running_service: Service):
    own = {**running_service.environment, "PORT": str(running_service.port)}
    done = check(ROOT if running_service.is_postgresql else ROOT / "tests", **own)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(WELL)


def test_it_uses_the_tenant_and_the_product_that_it_is_given(running_service: Service):
    shop = prices.add_shop(running_service)
    [item] = prices.add_products(shop)
    named = ["--base-url", running_service.url, "--tenant-id", str(shop.tenant)]
    done = check(ROOT, *named, "--api-key", shop.key, "--product-id", item)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Tenant {shop.tenant}, product {item}\n" in done.stdout
    assert prices.events(shop) == 3


@pytest.mark.parametrize("fault", ["another product", "another key"])
def test_it_fails_where_an_answer_is_another_than_it_should_be(running_service, fault):
    shop = prices.add_shop(running_service)
    key = shop.key if fault == "another product" else "hr_wrong"
    named = ["--base-url", running_service.url, "--tenant-id", str(shop.tenant)]
    done = check(ROOT, *named, "--api-key", key, "--product-id", str(uuid4()))
    assert done.returncode == 1
    assert "404" in done.stdout or done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr


@on_every_database
def test_every_step_of_the_program_sees_what_it_should(running_service, capsys):
    merchant = prices.add_shop(running_service)
    [item] = prices.add_products(merchant)
    assert sensing.check(sensing.Product(sensing.comprehensive.shop_of(merchant), item)) == []
    printed = capsys.readouterr().out
    assert printed.count("\n") == 7
    assert "was probably meant" in printed
