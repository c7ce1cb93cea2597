"""Exports through HTTP: what went in comes out, whole, resumable, and fit to be sent again."""

import csv
import gzip
import hashlib
import io
import json
from uuid import uuid4

import pytest

from headrace.entities import BY_NAME, ENTITIES
from headrace.pipeline.formats import CSV, FORMATS, JSON, NDJSON
from headrace.pipeline.formats.compression import zstd
from tests import records, service
from tests.conftest import on_every_database
from tests.exports import Exporter
from tests.test_idempotency import code

pytestmark = on_every_database
ROWS = range(10)


@pytest.fixture(scope="module")
def exporter(running_service: service.Service) -> Exporter:
    found = Exporter(running_service.add_tenant())
    found.stock(ROWS)
    return found


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.name)
def test_an_export_that_is_sent_again_changes_nothing(entity, format, exporter):
    status = exporter.made(entity=entity.name, format=format)
    answer = exporter.download(status["export_id"])
    assert answer.status_code == 200
    assert hashlib.sha256(answer.content).hexdigest() == status["sha256"]
    assert (status["rows"], status["bytes"]) == (len(ROWS), len(answer.content))
    again = exporter.merchant.load(f"{entity.name}.{format}", answer.content)
    assert again["outcomes"] | {"unchanged": 0} == dict.fromkeys(again["outcomes"], 0)
    assert again["outcomes"]["unchanged"] == len(ROWS)


def test_what_is_asked_for_is_what_comes(exporter):
    """Filters and columns are heeded: another system exported everything whatever was asked."""
    status = exporter.made(
        format=JSON,
        columns=["external_order_id", "total_amount"],
        filters={"total_amount": {"from": 12, "before": 15.0001}},
    )
    rows = json.loads(exporter.download(status["export_id"]).content)
    assert sorted(rows, key=lambda row: row["total_amount"]) == [
        {"external_order_id": f"{number} external_order_id", "total_amount": number + 10.0001}
        for number in (2, 3, 4)
    ]
    assert status["rows_expected"] == 3


@pytest.mark.parametrize(
    ("compression", "unpacked"), [("gzip", gzip.decompress), ("zstd", zstd.decompress)]
)
def test_a_compressed_export_has_the_same_rows(compression, unpacked, exporter):
    plain = exporter.download(exporter.made(format=NDJSON)["export_id"]).content
    status = exporter.made(format=NDJSON, compression=compression)
    packed = exporter.download(status["export_id"])
    assert sorted(unpacked(packed.content).splitlines()) == sorted(plain.splitlines())
    assert packed.headers["Content-Type"] == f"application/{compression}"
    assert "Content-Encoding" not in packed.headers


def test_parquet_has_exact_types(exporter):
    parquet = pytest.importorskip("pyarrow.parquet")
    status = exporter.made(entity="orders", format="parquet", compression="zstd")
    table = parquet.read_table(io.BytesIO(exporter.download(status["export_id"]).content))
    assert str(table.schema.field("total_amount").type) == "decimal128(19, 4)"
    assert str(table.schema.field("order_date").type) == "timestamp[us, tz=UTC]"
    amounts = sorted(table.column("total_amount").to_pylist())
    assert amounts == [records.example(BY_NAME["orders"], n)["total_amount"] for n in ROWS]


def test_a_download_is_continued_where_it_broke(exporter):
    status = exporter.made(format=CSV)
    whole = exporter.download(status["export_id"])
    etag, size = whole.headers["ETag"], len(whole.content)
    part = exporter.download(status["export_id"], Range="bytes=100-", **{"If-Range": etag})
    assert (part.status_code, part.content) == (206, whole.content[100:])
    assert part.headers["Content-Range"] == f"bytes 100-{size - 1}/{size}"
    middle = exporter.download(status["export_id"], Range="bytes=5-9")
    assert middle.content == whole.content[5:10]
    other = exporter.download(status["export_id"], Range="bytes=100-", **{"If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, whole.content)
    beyond = exporter.download(status["export_id"], Range=f"bytes={size}-")
    assert code(beyond) == (416, "range_not_satisfiable")
    assert beyond.headers["Content-Range"] == f"bytes */{size}"
    assert whole.headers["Content-Disposition"] == (
        f'attachment; filename="orders_{status["export_id"]}.csv"'
    )


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"format": "xlsx"}, "format as one of"),
        ({"entity": "invoices"}, "entity as one of"),
        ({"columns": ["tenant_id"]}, "no column"),
        ({"columns": []}, "at least one"),
        ({"columns": "order_id"}, "list of names"),
        ({"filters": {"colour": "red"}}, "no column"),
        ({"filters": {"order_status": "lost"}}, "order_status"),
        *(({"filters": empty}, "object") for empty in (["order_status"], [], "", False, 0)),
        ({"compression": "rar"}, "compression as one of"),
        ({"limit": 5}, "no option limit"),
        ({"format": "json", "spreadsheet_safe": True}, "Only csv"),
    ],
)
def test_what_cannot_be_exported_is_said_before_anything_is_made(asked, told, exporter):
    before = len(exporter.merchant.request("GET", exporter.base).json()["data"])
    answer = exporter.order(**asked)
    assert code(answer) == (400, "invalid_request")
    assert told in answer.json()["detail"]
    assert len(exporter.merchant.request("GET", exporter.base).json()["data"]) == before


@pytest.mark.parametrize("body", [b"\n", b" ", b"null", b"{", b"[]"])
@pytest.mark.parametrize("resource", ["reports/export", "reports/takeouts"])
def test_what_is_no_object_is_no_request_without_options(resource, body, exporter):
    answer = exporter.merchant.request(
        "POST",
        f"/tenants/{exporter.merchant.tenant}/{resource}",
        content=body,
        headers={"Content-Type": "application/json"},
    )
    assert code(answer) == (400, "invalid_request")


def test_the_same_key_makes_one_export(exporter):
    headers = {"Idempotency-Key": uuid4().hex}
    first = exporter.order(format=CSV, headers=headers)
    again = exporter.order(format=CSV, headers=headers)
    assert (again.status_code, again.content) == (202, first.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert exporter.order(format=JSON, headers=headers).status_code == 422


@pytest.mark.parametrize("headers", [{}, {"Prefer": "respond-sync"}])
def test_a_small_export_may_be_the_answer(headers, exporter):
    query = "" if headers else "?stream=true"
    answer = exporter.order(query=query, headers=headers, entity="customers", format=CSV)
    assert answer.status_code == 200
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(table) == len(ROWS)
    assert list(table[0]) == [field.name for field in BY_NAME["customers"].kept]


def test_an_export_of_no_rows_is_whole_too(exporter):
    filters = {"customer_id": str(uuid4())}
    for format, expected in ((CSV, b"order_id\n"), (JSON, b"[\n]\n"), (NDJSON, b"")):
        status = exporter.made(format=format, filters=filters, columns=["order_id"])
        answer = exporter.download(status["export_id"])
        assert (answer.status_code, answer.content) == (200, expected)
        assert hashlib.sha256(answer.content).hexdigest() == status["sha256"]


@pytest.mark.parametrize(
    ("compression", "unpacked"), [("gzip", gzip.decompress), ("zstd", zstd.decompress)]
)
def test_a_compressed_export_of_no_rows_can_be_unpacked(compression, unpacked, exporter):
    filters = {"customer_id": str(uuid4())}
    status = exporter.made(format=NDJSON, filters=filters, compression=compression)
    assert unpacked(exporter.download(status["export_id"]).content) == b""
    parquet = pytest.importorskip("pyarrow.parquet")
    status = exporter.made(format="parquet", filters=filters)
    table = parquet.read_table(io.BytesIO(exporter.download(status["export_id"]).content))
    assert (table.num_rows, status["rows"]) == (0, 0)
    streamed = exporter.order(query="?stream=true", format=NDJSON, filters=filters)
    assert (streamed.status_code, streamed.content) == (200, b"")


def test_another_tenants_export_is_not_there(exporter):
    status = exporter.made(format=CSV)
    stranger = exporter.merchant.service.add_tenant()
    for address in (exporter.base, f"/tenants/{stranger.tenant}/reports/export"):
        for path in ("/", "/download"):
            found = stranger.request("GET", f"{address}/{status['export_id']}{path}")
            assert code(found) == (404, "not_found")
