"""What leaves us compressed comes in again, however well it is packed."""

import gzip
import io
import random
import subprocess
from collections.abc import Iterator

import pytest

from headrace.pipeline.formats import compression
from headrace.pipeline.formats.compression import BLOCK, ENDINGS, MAX_RATIO, zstd
from headrace.reading import packing

ROW = b'{"order_status": "paid", "note": null}\n'
BYTES = 420 << 20  # more than a file of less than 1 MiB may unpack to, twice
LIMIT = 1 << 40
UNPACKED = {"gzip": gzip.decompress, "zstd": zstd.decompress}


def constant_rows(size: int) -> Iterator[bytes]:
    block = ROW * 10_000
    for _ in range(size // len(block) + 1):
        yield block


def read_again(packed: bytes, kind: str) -> int:
    """How many plain bytes ingestion takes from it."""
    return sum(map(len, compression.blocks(io.BytesIO(packed), kind, LIMIT)))


@pytest.mark.parametrize("kind", ENDINGS)
def test_constant_rows_can_be_sent_again(kind):
    packed = b"".join(packing.packed(constant_rows(BYTES), kind))
    plain = read_again(packed, kind)
    assert plain >= BYTES
    assert len(packed) * packing.RATIO >= plain > len(packed) * packing.RATIO * 0.9


@pytest.mark.parametrize("kind", ENDINGS)
def test_parts_put_together_can_be_sent_again(kind):
    """Also where each of them is small: then no member ends before its part does."""
    part = b"".join(packing.packed([ROW * 20_000], kind))
    plain = len(ROW) * 20_000
    assert read_again(part * 300, kind) == plain * 300 > MAX_RATIO * BLOCK


@pytest.mark.parametrize("kind", ENDINGS)
def test_other_programs_unpack_it(kind, tmp_path):
    rows = [ROW * 50_000, random.Random(5).randbytes(100_000), ROW * 400_000, b"end"]
    packed = b"".join(packing.packed(rows, kind))
    assert UNPACKED[kind](packed) == b"".join(rows)
    if kind == "gzip":
        unpacked = subprocess.run(["gzip", "-dc"], input=packed, capture_output=True, check=True)
        assert (unpacked.stdout, unpacked.stderr) == (b"".join(rows), b"")


@pytest.mark.parametrize("kind", ENDINGS)
def test_rows_of_the_usual_kind_are_one_member_without_padding(kind):
    chance = random.Random(6)
    rows = [b"%d,%s\n" % (n, chance.randbytes(8).hex().encode()) for n in range(200_000)]
    blocks = [b"".join(rows[at : at + 1_000]) for at in range(0, len(rows), 1_000)]
    packer = packing._KINDS[kind].begin()
    alone = b"".join([*map(packer.compress, blocks), packer.flush()])
    assert b"".join(packing.packed(blocks, kind)) == alone


@pytest.mark.parametrize("kind", ENDINGS)
def test_nothing_is_a_member_of_nothing(kind):
    packed = b"".join(packing.packed([], kind))
    assert packed
    assert UNPACKED[kind](packed) == b""
