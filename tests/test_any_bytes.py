"""Whatever the bytes of a file are: every line has one outcome, and only our errors come out."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.entities import BY_NAME
from headrace.pipeline import scratch, verify
from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.formats import base
from headrace.pipeline.formats.ndjson import NdJson
from headrace.pipeline.ready import Row, ready_rows
from headrace.pipeline.validate import Checker
from tests import records, road
from tests.test_checker import Paths, mutated

CUSTOMERS = BY_NAME["customers"]
GENEROUS = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[road.Database]:
    """One database for all files: what they insert, others find unchanged."""
    with road.sqlite_database(tmp_path_factory.mktemp("any") / "test.sqlite3") as opened:
        yield opened


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A sound line, a mutated one, JSON of any shape, or rubbish."""
    dice = draw(st.randoms(use_true_random=False))
    line = records.line(records.random_record(CUSTOMERS, dice))
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=8,
    )
    return draw(
        st.sampled_from([line, mutated(line, dice)])
        | st.binary(max_size=60)
        | json_values.map(lambda value: json.dumps(value).encode())
        | st.sampled_from([b"", b"\r", b" \t", b"\xef\xbb\xbf", b"\x1f\x8b\x08"])
    )


FILES = st.lists(lines(), max_size=12).map(b"\n".join)


@GENEROUS
@given(data=FILES, end=st.sampled_from([b"", b"\n", b"\r\n", b"\n\n"]))
def test_every_line_of_any_file_has_one_outcome(
    data: bytes, end: bytes, sqlite: road.Database, tmp_path: Path
):
    file = (data + end).removeprefix(b"\x1f\x8b")
    ledger = road.land(sqlite, tmp_path, "customers", file)  # its finish holds the sum rule
    whole = file.removeprefix(base.BOM).split(b"\n")
    is_record = [bool(line.strip(b" \t\r")) for line in whole]
    outcomes = ledger.outcome_by_line()
    assert ledger.finished
    assert [outcome is not None for outcome in outcomes] == is_record[: len(outcomes)]
    assert not any(is_record[len(outcomes) :])
    rejected = [reject.line for reject in ledger.rejects]
    assert rejected == [at for at, outcome in enumerate(outcomes, 1) if outcome == "rejected"]
    assert all(reject.code and reject.message.isprintable() for reject in ledger.rejects)


@GENEROUS
@given(data=FILES, damage=st.sampled_from(["none", "cut", "flip", "more"]), at=st.integers(0))
def test_any_compressed_file_lands_or_is_corrupt(
    data: bytes, damage: str, at: int, sqlite: road.Database, tmp_path: Path
):
    packed = gzip.compress(data, mtime=0)
    place = at % len(packed)
    broken = {
        "none": packed,
        "cut": packed[: max(2, place)],
        "flip": packed[:place] + bytes([packed[place] ^ 1 << at % 8]) + packed[place + 1 :],
        "more": packed + data,
    }[damage]
    before = sqlite.rows("customers")
    if failure := failure_of(sqlite, tmp_path, broken):
        assert (failure.code, damage != "none") == (FailureCode.CORRUPT, True)
        assert sqlite.rows("customers") == before


def failure_of(database: road.Database, folder: Path, data: bytes) -> Permanent | None:
    try:
        road.land(database, folder, "customers", data, compression="gzip")
    except Permanent as failure:
        return failure
    return None


@pytest.mark.parametrize("number", ["9" * 405, "9" * 1500, "1" + "0" * 100, "1" + "0" * 400])
def test_long_whole_numbers_mean_the_same_on_both_paths(number: str):
    record = records.without(records.example(CUSTOMERS, 1), "metadata")
    line = records.line(record).replace(b"{", b'{"metadata":{"a":%s},' % number.encode(), 1)
    assert not Paths(CUSTOMERS).agree(line)


def test_one_number_spelled_in_two_ways_is_stored_in_one(database: road.Database, tmp_path: Path):
    record = records.without(records.example(CUSTOMERS, 1), "metadata")
    spellings = ["1" + "0" * 60, "1e60", "10E59", "1" + "0" * 60 + ".0"]
    found = []
    for number, spelling in enumerate(spellings, 1):
        value = b'{"metadata":{"a":%s},' % spelling.encode()
        line = records.line(record).replace(b"{", value, 1)
        found += road.land(database, tmp_path, "customers", line, number=number).outcome_by_line()
    assert found == ["inserted", "unchanged", "unchanged", "unchanged"]


def test_a_file_of_more_lines_than_are_taken_fails_and_lands_nothing(
    database: road.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(verify, "MAX_LINES", 1_000)
    rows = [records.example(CUSTOMERS, number) for number in range(10)]
    for data in (b"\n" * 990 + records.file(*rows) + b"{}", b"\n" * 1_001):
        with pytest.raises(Permanent) as caught:
            road.land(database, tmp_path, "customers", data)
        assert caught.value.code is FailureCode.TOO_MANY_LINES
        assert "1,000" in str(caught.value)
    assert database.rows("customers") == []
    ledger = road.land(database, tmp_path, "customers", b"\n" * 990 + records.file(*rows))
    assert (ledger.received, ledger.outcomes.physical_lines) == (10, 1_000)


def test_tiny_lines_are_checked_some_at_a_time():
    data = b"[\n" * (2 * base.BATCH_LINES) + b"{}\n" * 7
    checker = Checker(road.load_of("customers", b""), NdJson())
    offsets = []
    for batch in NdJson().batches([data[:5], data[5:]]):
        assert len(batch.lines) <= base.BATCH_LINES
        offsets += [(reject.line, reject.offset) for reject in checker.check(batch).rejects]
    ends = [*range(0, 4 * base.BATCH_LINES, 2)]
    ends += [4 * base.BATCH_LINES + 3 * at for at in range(7)]
    assert offsets == list(enumerate(ends, 1))


def test_segments_of_long_rows_have_fewer_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scratch, "SEGMENT_BYTES", 10_000)
    rows = scratch.RowFile(tmp_path, "rows")
    keys = sorted(str(uuid4()) for _ in range(100))
    for at, key in enumerate(keys, 1):
        rows.append_ready(ready_rows([at], [0], [Row(key + "\t" + "x" * 960, 1, key)]))
    bounds = scratch.plan(rows, 50_000)
    files = scratch.scatter(rows, bounds, tmp_path)
    kept = [file.read() for file in files]
    assert len(bounds) == -(-rows.bytes // 10_000) == 11
    assert [line for part in kept for line in part.index["line"]] == list(range(1, 101))
    assert max(len(segment.text) for segment in kept) < 2 * 10_000
    assert all(len(block.text) < 2 * 10_000 for block in rows.blocks())
