"""The program test_stock_upload.py as its users start it, and that it can fail."""

import os
import subprocess
import sys
from pathlib import Path

from tests import stock
from tests import test_stock_upload as uploading
from tests.conftest import on_every_database
from tests.road import ndjson
from tests.service import Merchant


def program(merchant: Merchant, folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, uploading.__file__, "--tenant-id", str(merchant.tenant), *options],
        cwd=folder,
        env={**os.environ, "HEADRACE_API_URL": merchant.service.url},
        capture_output=True,
        text=True,
        timeout=120,
    )


def generated(merchant: Merchant, folder: Path, chunks: int) -> list[str]:
    """Products that are there, and files of their movements as the generator names them."""
    goods = stock.Till(merchant).products(3)
    (folder / "generated_data").mkdir(parents=True)
    names = [f"stock_events_{merchant.tenant}_chunk_{number:04}.ndjson" for number in range(chunks)]
    for name in names:
        events = [stock.event(product, delta=5) for product in goods]
        events.append(stock.event(goods[0], delta=-1, resulting_level=4))
        (folder / "generated_data" / name).write_bytes(ndjson(*events))
    return names


@on_every_database
def test_the_documented_forms_send_files_and_find_the_levels_right(merchant, tmp_path):
    names = generated(merchant, tmp_path, 5)
    one = program(merchant, tmp_path, "--file", f"generated_data/{names[0]}")
    assert (one.returncode, one.stderr) == (0, "")
    assert f"{names[0]}: success, 4 inserted; 3 products at 14 pieces" in one.stdout
    three = program(merchant, tmp_path, "--limit", "3")
    assert (three.returncode, three.stdout.count(": success")) == (0, 3)
    everything = program(merchant, tmp_path)
    assert (everything.returncode, everything.stdout.count(": success")) == (0, 5)
    assert "Levels: 3 products, 70 pieces\nEvery level is the sum of its movements." in (
        everything.stdout
    )


def test_a_file_that_is_queued_is_followed_to_its_end_and_told_with_its_rejects(merchant, tmp_path):
    cup = stock.Till(merchant).product()
    path = tmp_path / "stock_events_many.ndjson"
    events = [stock.event(cup, delta=1) for _ in range(10_001)]
    path.write_bytes(ndjson(*events, stock.event("x", delta=1)))
    done = program(merchant, tmp_path, "--file", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "completed_with_rejects, 10,001 inserted, 1 rejected\n  1 lines: bad_uuid" in done.stdout


def test_a_level_that_is_wrong_is_told_and_fails(merchant, tmp_path):
    generated(merchant, tmp_path, 1)
    assert program(merchant, tmp_path).returncode == 0
    service = merchant.service
    tenant = service.spelled(merchant.tenant)
    service.ask(f"UPDATE stock_levels SET level = level + 1 WHERE tenant_id = {tenant}")
    wrong = program(merchant, tmp_path)
    assert (wrong.returncode, wrong.stdout.count("its movements sum up to")) == (1, 3)


def test_what_cannot_be_sent_is_told_and_fails(merchant, tmp_path):
    nothing = program(merchant, tmp_path, "--file", "absent.ndjson")
    assert (nothing.returncode, nothing.stderr[:6]) == (1, "Error:")
    away = program(merchant, tmp_path, "--file", uploading.__file__, "--base-url", "http://[::1]:9")
    assert (away.returncode, "no Headrace answers at http://[::1]:9" in away.stderr) == (1, True)
    refused = program(merchant, tmp_path, "--file", uploading.__file__, "--api-key", "hr_wrong")
    assert (refused.returncode, "401" in refused.stderr) == (1, True)
