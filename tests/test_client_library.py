"""What the client is made of, called as a library."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from headrace.client import HeadraceClient, errors, http, keys, plan, rejected, tenant_run
from headrace.client.answers import ChunkStatus, Outcomes
from headrace.client.journal import Journal, JournalError
from headrace.entities import ENTITIES
from tests.ingest_server import ANN, BEN, IngestServer, data_folder, serving, write


@pytest.fixture
def server() -> Iterator[IngestServer]:
    with serving() as server:
        yield server


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return data_folder(tmp_path / "data")


def test_files_are_found_by_name_and_ordered_parents_first(data: Path) -> None:
    found = plan.read(data)
    assert [tenant.name for tenant in found.tenants] == ["Ben", "Ann"]
    assert [file.name for file in found.tenants[1].files] == [
        f"customers_{ANN}.ndjson.gz",
        f"orders_{ANN}_chunk_0000.ndjson",
        f"orders_{ANN}_chunk_0001.ndjson",
        f"order_items_{ANN}_chunk_0000.ndjson",
    ]


def test_every_record_type_has_its_place_in_the_order(tmp_path: Path) -> None:
    for entity in reversed(ENTITIES):
        write(tmp_path / f"{entity.name}_{ANN}.ndjson", 1)
    (tenant,) = plan.read(tmp_path).tenants
    assert [file.entity for file in tenant.files] == [entity.name for entity in ENTITIES]


def test_what_is_named_like_data_and_cannot_be_sent_is_told(data: Path) -> None:
    skipped = {one.filename: one.reason for one in plan.read(data).skipped}
    assert set(skipped) == {f"wishes_{ANN}.ndjson", f"orders_{ANN}.xlsx", "orders.ndjson"}
    assert "unknown entity 'wishes'" in skipped[f"wishes_{ANN}.ndjson"]
    assert "unsupported ending '.xlsx'" in skipped[f"orders_{ANN}.xlsx"]


def test_a_tenant_missing_from_tenants_csv_is_told(data: Path) -> None:
    (data / "tenants.csv").write_text(f"tenant_id,name\n{ANN},Ann\n")
    reasons = [one.reason for one in plan.read(data).skipped]
    assert f"tenant {BEN} is not in tenants.csv" in reasons


@pytest.mark.parametrize(
    "text", [f"{ANN},k1\n{BEN},k2\n", f'tenant_id,name,api_key\n{ANN},"A, Inc",k1\n{BEN},B,k2\n']
)
def test_keys_are_read_from_lines_and_from_csv(tmp_path: Path, text: str) -> None:
    (tmp_path / "keys.csv").write_text(text)
    assert keys.choose([ANN, BEN], None, tmp_path / "keys.csv") == {ANN: "k1", BEN: "k2"}


def test_without_a_key_the_demo_key_is_used_and_one_key_serves_one_tenant() -> None:
    assert keys.choose([ANN], None, None) == {ANN: f"api_key_{ANN}"}
    with pytest.raises(plan.PlanError, match="belongs to one tenant"):
        keys.choose([ANN, BEN], "k", None)


def test_the_grace_for_parked_lines_begins_anew_with_each_fall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(tenant_run, "time", SimpleNamespace(monotonic=lambda: now))
    grace = tenant_run.ParkedGrace(20)
    assert not grace.is_over(3)
    now += 15
    assert not grace.is_over(2)
    now += 15
    assert not grace.is_over(2)
    now += 5
    assert grace.is_over(2)


def test_the_library_opens_sends_and_reads_back(server: IngestServer, data: Path) -> None:
    with HeadraceClient(server.url, f"api_key_{ANN}") as client:
        token = client.open_upload("mine").upload_token
        assert client.open_upload("mine").upload_token == token
        path = data / f"orders_{ANN}_chunk_0000.ndjson"
        first, again = client.send_file(path, token), client.send_file(path, token)
        assert (first.bytes, first.replayed, again.replayed) == (path.stat().st_size, False, True)
        assert client.status(token) == client.status(token)
        assert [reject.field for reject in client.rejects(token)] == ["price", "price"]
        with pytest.raises(errors.UploadClosed) as refused:
            client.send_file(path, "unknown")
    problem = refused.value
    assert (problem.code, problem.status, problem.retryable) == ("not_found", 404, False)


def test_a_download_of_rejects_goes_on_where_it_broke(server: IngestServer, tmp_path: Path) -> None:
    server.records, server.cuts = b"0123456789" * 1000, [4_000, 0, 3_000]
    path = tmp_path / "orders.rejects.ndjson"
    with HeadraceClient(server.url, f"api_key_{ANN}") as client:
        client.download_rejects(client.open_upload().upload_token, 1, path)
    assert server.ranges == [None, "bytes=4000-", "bytes=4000-", "bytes=7000-"]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == server.records


def test_a_download_of_rejects_that_never_ends_leaves_nothing(
    server: IngestServer, tmp_path: Path
) -> None:
    server.records, server.cuts = b"0123456789", [0] * 99
    with HeadraceClient(server.url, f"api_key_{ANN}", retry_for=1) as client:
        token = client.open_upload().upload_token
        with pytest.raises(errors.Unreachable):
            client.download_rejects(token, 1, tmp_path / "orders.rejects.ndjson")
    assert list(tmp_path.iterdir()) == []


def test_mended_files_are_found_and_two_of_one_name_stay_apart(tmp_path: Path) -> None:
    one = ChunkStatus(1, f"orders_{ANN}_chunk_0001.ndjson.gz", "orders", "", outcomes=Outcomes(0))
    chunks = [msgspec.structs.replace(one, outcomes=Outcomes(rejected=n)) for n in (1, 0, 2)]
    names = [name for _, name in rejected.files_of(chunks)]
    stem = f"orders_{ANN}_chunk_0001.rejects"
    assert names == [f"{stem}.ndjson", f"{stem}-2.ndjson"]
    for name in names:
        write(tmp_path / name, 1)
    (tenant,) = plan.read(tmp_path).tenants
    assert [(file.entity, file.name) for file in tenant.files] == [
        ("orders", name) for name in sorted(names)
    ]
    again = [msgspec.structs.replace(chunk, filename=names[1]) for chunk in chunks]
    assert [name for _, name in rejected.files_of(again)] == names


def test_a_conflict_in_flight_is_retried_until_patience_ends(
    server: IngestServer, data: Path
) -> None:
    server.faults = [(409, {"Retry-After": "0"}, ("in_flight", "still at it"))] * 99
    heard: list[str] = []
    with HeadraceClient(
        server.url, "k", retry_for=1, on_retry=lambda error, wait: heard.append(error.code)
    ) as client:
        token = client.open_upload().upload_token
        with pytest.raises(errors.Busy) as busy:
            client.send_file(data / f"products_{BEN}.ndjson", token)
    assert (busy.value.status, set(heard)) == (409, {"in_flight"})


def test_a_journal_remembers_its_upload_until_that_is_closed(tmp_path: Path) -> None:
    def reopened() -> Journal:
        return Journal(tmp_path, "http://localhost:8000", ANN)

    with reopened() as journal:
        key = journal.open_key()
    with reopened() as journal:
        assert journal.open_key() == key
        journal.upload_opened("token")
        journal.file_accepted("orders.ndjson", "digest")
        with pytest.raises(JournalError, match="another client"):
            reopened()
    with reopened() as journal:
        assert (journal.upload_token, journal.accepted_files) == ("token", 1)
        assert not journal.has_accepted("orders.ndjson", "other digest")
        journal.close_upload()
    with reopened() as journal:
        assert (journal.upload_token, journal.accepted_files) == ("", 0)
        assert journal.open_key() != key


def test_a_file_is_another_one_with_another_delimiter_unless_its_name_tells_it() -> None:
    keys = {
        http.file_key("token", name, "digest", http.own_delimiter(name, delimiter))
        for name in ("orders_a.csv", "orders_a.csv.gz", "orders_a.tsv", "orders_a.ndjson")
        for delimiter in ("", ";", "|")
    }
    assert len(keys) == 2 * 3 + 2 * 1
