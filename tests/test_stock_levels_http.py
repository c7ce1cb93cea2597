"""Stock events by files: levels of our own, whatever the files claim, on every database."""

import subprocess
import sys
from uuid import uuid4

from tests.conftest import on_every_database
from tests.road import ndjson
from tests.service import ROOT


def goods(merchant) -> str:
    product = str(uuid4())
    row = {"product_id": product, "sku": product[:8], "name": "Cup", "price": 3}
    merchant.load("products.ndjson", ndjson(row))
    return product


def event(product: str, **more) -> dict:
    return {"stock_event_id": str(uuid4()), "product_id": product, **more}


@on_every_database
def test_files_land_in_one_ledger_and_their_claims_are_compared(merchant):
    product = goods(merchant)
    first = ndjson(event(product, delta=5, resulting_level=5), event(product, delta=-2))
    assert merchant.load("stock_events.ndjson", first)["level_mismatches"] == 0
    second = ndjson(event(product, delta=1, resulting_level=9))
    status = merchant.load("stock_events.ndjson", second)
    assert (status["level_mismatches"], status["outcomes"]["inserted"]) == (1, 1)
    tenant = merchant.service.spelled(merchant.tenant)
    columns = "sequence, delta, resulting_level, claimed_level"
    rows = merchant.service.ask(
        f"SELECT {columns} FROM stock_events WHERE tenant_id = {tenant} ORDER BY sequence"
    )
    assert rows == [(1, 5, 5, 5), (2, -2, 3, None), (3, 1, 4, 9)]
    levels = f"SELECT level, sequence FROM stock_levels WHERE tenant_id = {tenant}"
    assert merchant.service.ask(levels) == [(4, 3)]


def test_the_client_tells_of_claims_that_are_wrong(merchant, tmp_path):
    product = goods(merchant)
    rows = ndjson(
        event(product, delta=5, resulting_level=5), event(product, delta=1, resulting_level=9)
    )
    (tmp_path / f"stock_events_{merchant.tenant}.ndjson").write_bytes(rows)
    tenants = f"tenant_id,name,api_key\n{merchant.tenant},A shop,{merchant.key}\n"
    (tmp_path / "tenants.csv").write_text(tenants)
    command = [sys.executable, "bulk_ingest.py", "--data-dir", tmp_path, "--wait-for-completion"]
    command += ["--api-url", merchant.service.url]
    done = subprocess.run(map(str, command), cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "1 stock events claim another level than ours" in done.stdout + done.stderr
