"""From bytes to numbered lines: blocks, byte-order marks, blanks, long lines, compression."""

import gzip
import io
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.entities import BY_NAME
from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.formats import base, compression, ndjson
from headrace.pipeline.formats.ndjson import NdJson
from headrace.pipeline.report import Outcome
from headrace.pipeline.validate import Checker
from headrace.pipeline.verify import Verified, verify
from tests import records, road

zstd = compression.zstd
CUSTOMERS = BY_NAME["customers"]
MIB = 1 << 20
BYTES = st.lists(
    st.sampled_from([b"\n", b"\r\n", b" ", b"\t", b"\r", b"a", b"{}", b"\xef\xbb\xbf", b"\x0b"])
).map(b"".join)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """The data in blocks of these sizes, over and over."""
    blocks = []
    while data:
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(data[:size])
        data = data[size:]
    return blocks


def lines_of(blocks: list[bytes]) -> list[tuple[int, int, bytes]]:
    """Number, byte offset and bytes of every physical line, by way of the checker's arithmetic."""
    bom, plain = base.without_bom(blocks)
    found = []
    for batch in NdJson().batches(plain, bom):
        offset = batch.offset
        for number, line in enumerate(batch.lines, batch.first_line):
            found.append((number, offset, line))
            offset += (batch.first_length if number == batch.first_line else len(line)) + 1
    return found


@given(data=BYTES, sizes=st.lists(st.integers(1, 9), min_size=1))
def test_lines_are_those_of_the_whole_file_whatever_the_blocks(data: bytes, sizes: list[int]):
    start = 3 if data.startswith(base.BOM) else 0
    wanted, offset = [], start
    whole = data[start:].split(b"\n")
    if not whole[-1]:
        whole.pop()
    for number, line in enumerate(whole, 1):
        wanted.append((number, offset, line))
        offset += len(line) + 1
    assert lines_of(cut(data, sizes)) == wanted


@given(data=BYTES, sizes=st.lists(st.integers(1, 9), min_size=1))
def test_the_census_counts_what_the_splitter_gives(data: bytes, sizes: list[int]):
    census = ndjson.Census()
    for block in cut(data, sizes):
        census.feed(block)
    lines = [line for line in data.split(b"\n") if line.strip(b" \t\r")]
    assert census.records == len(lines)


@given(data=st.binary(max_size=300), sizes=st.lists(st.integers(1, 50), min_size=1))
def test_the_census_agrees_on_any_bytes(data: bytes, sizes: list[int]):
    census = ndjson.Census()
    for block in cut(data, sizes):
        census.feed(block)
    assert census.records == sum(bool(line.strip(b" \t\r")) for line in data.split(b"\n"))


def verified(data: bytes, folder: Path, **more) -> Verified:
    """What pass A says; the sum rule holds for every file that a test sends here."""
    load = road.load_of("customers", data, **more)
    found = verify(load, folder, lambda records: None)
    assert found.outcomes.records == found.received
    return found


def rejects_of(found: Verified) -> list[tuple[int, int, str]]:
    return [
        (reject.line, reject.offset, reject.code)
        for page in found.reject_pages()
        for reject in road.rejects_of(page.blob)
    ]


def test_blank_lines_have_numbers_and_are_no_records(tmp_path: Path):
    good = records.line(records.example(CUSTOMERS, 1))
    data = b"\xef\xbb\xbf\r\n" + good + b"\r\n \t\n\nx\n\n" + good
    found = verified(data, tmp_path)
    assert found.received == 3
    assert found.outcomes.physical_lines == 7
    assert rejects_of(found) == [(5, 3 + 2 + len(good) + 2 + 3 + 1, "bad_json")]
    assert found.rows.read().index["line"].tolist() == [2, 7]
    assert found.rows.read().index["offset"].tolist() == [5, len(data) - len(good)]


def test_a_file_of_nothing_but_blanks_has_no_records(tmp_path: Path):
    assert verified(b" \n\r\n\t\n", tmp_path).received == 0


@pytest.mark.parametrize("length", [MIB - 1, MIB, MIB + 1, 3 * MIB + 17])
@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_line_over_one_mebibyte_is_one_reject(length: int, end: bytes, tmp_path: Path):
    good = records.line(records.example(CUSTOMERS, 1))
    long = good.ljust(length - 1) + b"x"
    found = verified(good + b"\n" + long + b"\n" + good + end, tmp_path)
    code = "line_too_long" if length > MIB else "bad_json"
    assert rejects_of(found) == [(2, len(good) + 1, code)]
    assert found.received == 3
    assert found.rows.read().index["offset"].tolist() == [0, len(good) + length + 2]


def test_a_good_record_with_a_mebibyte_of_blanks_around_it_is_too_long(tmp_path: Path):
    good = records.line(records.example(CUSTOMERS, 1))
    blanks = b" " * (MIB + 5)
    data = good + blanks + b"\n" + blanks + good + b"\n" + blanks + b"\n" + blanks
    found = verified(data, tmp_path)
    first = len(good) + len(blanks) + 1
    assert rejects_of(found) == [(1, 0, "line_too_long"), (2, first, "line_too_long")]
    assert found.received == 2


def test_memory_stays_flat_whatever_the_length_of_a_line(tmp_path: Path):
    blocks = 48
    source = _Repeated(b"x" * MIB, blocks)
    census, longest = ndjson.Census(), 0
    tracemalloc.start()
    for batch in NdJson().batches(_fed(source, census)):
        longest = max(longest, *map(len, batch.lines))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (census.records, longest) == (1, MIB + 1)
    assert peak < 6 * MIB


class _Repeated:
    """A source that gives the same block again and again."""

    def __init__(self, block: bytes, times: int) -> None:
        self._block, self._left, self._given = block, times, 0

    def read(self, size: int = -1) -> bytes:
        self._left -= 1
        return self._block if self._left >= 0 else b""

    def tell(self) -> int:
        return self._given


def _fed(source: _Repeated, census: ndjson.Census):
    for block in compression.blocks(source, "", MIB):
        census.feed(block)
        yield block


def test_a_long_text_is_inspected_in_little_memory():
    line = records.line(records.example(CUSTOMERS, 1, name="x" * (MIB - 1000)))
    batch = base.Batch(1, 0, [line], len(line))
    checker = Checker(road.load_of("customers", b""), NdJson())
    tracemalloc.start()
    (reject,) = checker.check(batch).rejects
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reject.code == "too_long"
    assert len(reject.value) <= 201
    assert peak < 16 * MIB


def test_progress_is_told_for_every_block_even_inside_one_line(tmp_path: Path):
    ticks = []
    data = b"x" * (5 * MIB)
    verify(road.load_of("customers", data), tmp_path, ticks.append)
    assert ticks == [1] * 5


def test_what_progress_raises_ends_the_reading(tmp_path: Path):
    class Lost(Exception):
        pass

    def tick(records: int) -> None:
        raise Lost

    with pytest.raises(Lost):
        verify(road.load_of("customers", b"x\n" * 10), tmp_path, tick)


# Compressed sources.

PACKED = pytest.mark.parametrize("kind", ["gzip", "zstd"])
_CHECKED = {zstd.CompressionParameter.checksum_flag: 1}  # as the zstd command does


def packed(kind: str, data: bytes) -> bytes:
    return zstd.compress(data, options=_CHECKED) if kind == "zstd" else gzip.compress(data, mtime=0)


def failure_of(kind: str, data: bytes, folder: Path, **more) -> FailureCode:
    with pytest.raises(Permanent) as caught:
        verified(data, folder, compression=kind, **more)
    return caught.value.code


def _rows(count: int) -> bytes:
    return records.file(*[records.example(CUSTOMERS, number) for number in range(count)])


@PACKED
def test_a_truncated_file_is_corrupt_wherever_it_was_cut(kind: str, tmp_path: Path):
    whole = packed(kind, _rows(200))
    cuts = [*range(1, len(whole), 97), *range(len(whole) - 9, len(whole))]
    codes = {failure_of(kind, whole[:at], tmp_path) for at in cuts}
    assert codes == {FailureCode.CORRUPT}
    assert len(cuts) > 20


@PACKED
def test_a_truncated_file_lands_nothing(kind: str, database: road.Database, tmp_path: Path):
    whole = packed(kind, _rows(2_000))
    with pytest.raises(Permanent):
        road.land(database, tmp_path, "customers", whole[:-1], compression=kind)
    assert database.rows("customers") == []


@PACKED
def test_damage_anywhere_in_the_data_is_corrupt(kind: str, tmp_path: Path):
    whole, dice = packed(kind, _rows(50)), random.Random(5)
    for at in [*dice.sample(range(10, len(whole)), 60), *range(len(whole) - 4, len(whole))]:
        broken = whole[:at] + bytes([whole[at] ^ 1 << dice.randrange(8)]) + whole[at + 1 :]
        assert failure_of(kind, broken, tmp_path) == FailureCode.CORRUPT, at


@PACKED
@pytest.mark.parametrize("garbage", [b"\0", b"x", b"\x1f", b"\x1f\x8b\x08", b"{}\n" * 10])
def test_anything_behind_the_end_that_is_no_member_is_corrupt(kind: str, garbage, tmp_path: Path):
    data = packed(kind, _rows(3)) + garbage
    assert failure_of(kind, data, tmp_path) == FailureCode.CORRUPT


@PACKED
def test_the_members_of_a_file_are_one_file(kind: str, tmp_path: Path):
    parts = cut(_rows(40), [1, 1000, 77])
    data = b"".join(packed(kind, part) for part in [b"", *parts, b""])
    found = verified(data, tmp_path, compression=kind)
    assert (found.received, found.rows.count, rejects_of(found)) == (40, 40, [])


def test_what_a_zstd_file_says_to_skip_is_skipped(tmp_path: Path):
    skipped = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    data = skipped + packed("zstd", _rows(4)) + skipped
    assert compression.compression_of(data) == "zstd"
    assert verified(data, tmp_path, compression="zstd").received == 4


@given(
    kind=st.sampled_from(["gzip", "zstd"]),
    data=st.binary(max_size=200),
    sizes=st.lists(st.integers(1, 60), min_size=1),
)
def test_any_bytes_come_back_from_any_members(kind: str, data: bytes, sizes: list[int]):
    zipped = b"".join(packed(kind, part) for part in cut(data, sizes))
    plain = b"".join(compression.blocks(io.BytesIO(zipped), kind, 1000))
    assert plain == data


@PACKED
def test_a_bomb_is_stopped_at_the_limit(kind: str, tmp_path: Path):
    bomb = packed(kind, b"\n" * (4 * MIB))
    assert _unpacked_until_stopped(kind, bomb, 2 * MIB) <= 2 * MIB
    assert failure_of(kind, bomb, tmp_path, max_bytes=MIB) == FailureCode.BOMB


@PACKED
def test_a_bomb_is_stopped_at_two_hundred_times_its_size(kind: str):
    bomb = b"".join(packed(kind, b"\n" * (20 * MIB)) for _ in range(11))
    assert len(bomb) < MIB
    assert _unpacked_until_stopped(kind, bomb, 1 << 40) <= 200 * MIB


def _unpacked_until_stopped(kind: str, bomb: bytes, limit: int) -> int:
    sizes: list[int] = []
    blocks = compression.blocks(io.BytesIO(bomb), kind, limit)
    with pytest.raises(Permanent) as caught:
        sizes.extend(map(len, blocks))
    assert caught.value.code == FailureCode.BOMB
    return sum(sizes)


def test_stored_bytes_that_changed_are_noticed(tmp_path: Path):
    with pytest.raises(Permanent) as caught:
        verified(_rows(3), tmp_path, sha256="0" * 64)
    assert caught.value.code == FailureCode.SOURCE_LOST


def test_a_failure_says_how_many_records_it_had_counted(tmp_path: Path):
    whole = gzip.compress(_rows(30))
    with pytest.raises(Permanent) as caught:
        verified(whole + b"x", tmp_path)
    assert caught.value.received == 30


def test_every_physical_line_has_one_letter(tmp_path: Path):
    found = verified(b"\n".join([b"{}", b"", b"{}", b"  ", _rows(2).strip()]), tmp_path)
    counts = found.outcomes.counts()
    assert counts[Outcome.REJECTED] == 2
    assert counts[Outcome.UNPROCESSED] == 2
    assert (found.outcomes.records, found.outcomes.physical_lines) == (4, 6)


def test_a_zstd_file_that_cannot_be_read_here_says_why(tmp_path: Path):
    dictionary = zstd.train_dict([_rows(number) for number in range(1, 200)], 2_000)
    wide = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 28})
    files = {
        "dictionary": zstd.compress(_rows(3), zstd_dict=dictionary),
        "--long=27": wide.compress(_rows(3)) + wide.flush(),
    }
    for told, data in files.items():
        with pytest.raises(Permanent) as caught:
            verified(data, tmp_path, compression="zstd")
        assert told in str(caught.value)
