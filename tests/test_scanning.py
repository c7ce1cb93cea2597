"""The native scanner beside a scan without it: the same rows, and the same lines looked at closer.

That it passes only what the inspector passes, line by line, is test_checker's and test_csv's.
"""

import gzip
import os
import random
import shutil
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest

from headrace.entities import BY_NAME, ENTITIES
from headrace.pipeline import scanning
from headrace.pipeline.csv_records import CsvRecords
from headrace.pipeline.inspection import Inspector
from headrace.pipeline.load import UTC
from headrace.pipeline.ready import Row
from headrace.pipeline.scanning import Scan, Scanned
from headrace.schema import Entity
from tests import records, road
from tests.test_checker import NASTY, assert_same, load_of, meant, mutated, scanned
from tests.test_csv import line_of, spelled

BY_ENTITY = pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.name)
LINES = 2_000_000 if os.environ.get("HEADRACE_TESTS") == "full" else 20_000
needs_scanner = pytest.mark.skipif(
    scanning.native is None, reason="THE NATIVE SCANNER HAS NOT BEEN BUILT"
)


def test_the_scanner_is_there_where_a_compiler_is():
    if shutil.which("cc") is None:
        pytest.skip("NO COMPILER: all records are read by Python")
    assert scanning.native is not None


class Closer:
    """The inspector, as a scan calls it; remembers what it was asked."""

    def __init__(self, entity: Entity) -> None:
        self._inspector = Inspector(entity, road.TENANT, UTC)
        self.asked: list[tuple[bytes, int, int]] = []

    def __call__(self, record: bytes, line: int, offset: int) -> Row | None:
        self.asked.append((record, line, offset))
        return self._inspector.inspect(record).row


def _batch(entity: Entity, dice: random.Random, count: int) -> list[bytes]:
    lines = [records.line(records.random_record(entity, dice)) for _ in range(count)]
    broken = [mutated(line, dice).replace(b"\n", b" ") for line in lines if dice.random() < 0.3]
    lines += [*broken, b"", b" ", b"{", b"null"]
    dice.shuffle(lines)
    return lines


def _scan(scan: Scan, lines: list[bytes], closer: Closer) -> Scanned:
    sizes = [len(line) + 1 for line in lines]
    offsets = [5 + sum(sizes[:at]) for at in range(len(sizes))]
    return scan(lines, list(range(3, 3 + len(lines))), offsets, closer)


def _meanings(entity: Entity, found: Scanned) -> list[list[object]]:
    texts = [row.decode().split("\t", 2)[2] for row in found.rows.rows]
    return [meant(entity, Row(text, 0, "")) for text in texts]


@needs_scanner
@BY_ENTITY
def test_both_scans_give_the_same_rows_in_the_same_order(entity: Entity):
    lines = _batch(entity, random.Random(entity.name), 400)
    closers = Closer(entity), Closer(entity)
    fast = _scan(scanning.scan_of(load_of(entity)), lines, closers[0])
    plain = _scan(scanning.plain_scan(entity), lines, closers[1])
    assert 0 < len(closers[0].asked) < len(closers[1].asked) == len(lines)
    assert set(closers[0].asked) <= set(closers[1].asked)
    assert _meanings(entity, fast) == _meanings(entity, plain)
    for name in ("line", "offset", "mask", "key"):
        assert fast.rows.index[name].tolist() == plain.rows.index[name].tolist()
    for found in (fast, plain):
        lengths = [len(row) + 1 for row in found.rows.rows]
        assert found.rows.index["length"].tolist() == lengths
    assert np.array_equal(fast.digests, plain.digests)


@needs_scanner
@BY_ENTITY
def test_millions_of_lines_mean_the_same(entity: Entity):
    """As many as HEADRACE_TESTS=full asks for; what the scanner passes, the inspector says too."""
    dice = random.Random(f"millions of {entity.name}")
    inspector = Inspector(entity, road.TENANT, UTC)
    scan, passed = scanning.scan_of(load_of(entity)), 0
    for _ in range(LINES // len(ENTITIES)):
        line = records.line(records.random_record(entity, dice))
        line = mutated(line, dice).replace(b"\n", b" ") if dice.random() < 0.7 else line
        if row := scanned(scan, line):
            assert_same(entity, line, row, inspector.inspect(line))
            passed += 1
    assert passed > LINES // len(ENTITIES) // 20


TEXTS = {
    r"\u00e9\u4e2d": "é中",
    r"\ud83d\ude42!": "🙂!",
    r"27\" \/": '27" /',
    r"\u0041\u007a": "Az",
    "é中🙂": "é中🙂",
}
LOOKED_AT = [
    r"\n",
    r"\\",
    r"\u005c",
    r"\u0000",
    r"\u001f",
    r"\ud83d",
    r"\ude42\ud83d",
    r"\ud83dx",
    r"\u00e",
    r"\x41",
    "\t",
    "\x01",
]
CUSTOMERS = BY_NAME["customers"]


def _customer(name: str, metadata: str = "{}") -> bytes:
    key = "00000000-0000-4000-8000-000000000001"
    return f'{{"customer_id":"{key}","name":"{name}","metadata":{metadata}}}'.encode()


@needs_scanner
@pytest.mark.parametrize("spelled", TEXTS)
def test_escapes_that_every_exporter_writes_are_read_at_once(spelled: str):
    scan = scanning.scan_of(load_of(CUSTOMERS))
    row = scanned(scan, _customer(spelled))
    assert row is not None
    assert row.text.split("\t")[1] == TEXTS[spelled]


@needs_scanner
@pytest.mark.parametrize("spelled", LOOKED_AT)
def test_escapes_that_change_on_their_way_are_looked_at_closer(spelled: str):
    assert scanned(scanning.scan_of(load_of(CUSTOMERS)), _customer(spelled)) is None


OBJECTS = {
    '{"b":1,"a":[true,false,null,"x"]}': '{"a":[true,false,null,"x"],"b":1}',
    '{ "a" : { "c" : 1 , "b" : 2.50 } }': '{"a":{"b":2.5,"c":1}}',
    '{"a":100.0,"b":-0.50,"c":0.0}': '{"a":100,"b":-0.5,"c":0}',
    r'{"a":"\u00e9\/"}': '{"a":"é/"}',
    '{"ab":1,"a":2,"abc":3,"":4}': '{"":4,"a":2,"ab":1,"abc":3}',
    "{}": "{}",
}
CLOSER_OBJECTS = [
    '{"a":1,"a":2}',
    '{"a":1e3}',
    '{"a":-0}',
    '{"a":-0.0}',
    '{"a":0.0000001}',
    '{"é":1}',
    r'{"a":"\""}',
    r'{"\u0061":1}',
    '{"a":01}',
    '{"a":1.}',
    '{"a":+1}',
    '{"a":1234567890123456789}',
    '{"a":1,}',
    '{"a":[1,]}',
    '{"a":tru}',
    "{,}",
    "[]",
    '{"a":' * 17 + "1" + "}" * 17,
    "{" + ",".join(f'"{number}":1' for number in range(65)) + "}",
]


@needs_scanner
@pytest.mark.parametrize("spelled", OBJECTS)
def test_objects_are_spelled_canonically(spelled: str):
    row = scanned(scanning.scan_of(load_of(CUSTOMERS)), _customer("a", spelled))
    assert row is not None
    assert OBJECTS[spelled] in row.text.split("\t")


@needs_scanner
@pytest.mark.parametrize("spelled", CLOSER_OBJECTS)
def test_other_objects_are_looked_at_closer(spelled: str):
    assert scanned(scanning.scan_of(load_of(CUSTOMERS)), _customer("a", spelled)) is None


@needs_scanner
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@BY_ENTITY
def test_cells_of_any_delimiter_and_columns_in_any_order_are_read(entity: Entity, delimiter: str):
    dice = random.Random(f"{entity.name}{delimiter}")
    names = [*entity.field_names, "tenant_id", "_op", "_other"]
    dice.shuffle(names)
    load = replace(load_of(entity), format="csv", delimiter=delimiter)
    reader = CsvRecords(load, delimiter.join(names).encode())
    scan = scanning.scan_of(load, reader.names, delimiter)
    passed = 0
    for _ in range(300):
        cells = spelled(entity, records.random_record(entity, dice))
        row = dict(zip(entity.field_names, cells, strict=True))
        row |= {"tenant_id": dice.choice([None, str(road.TENANT), "x"]), "_other": "é"}
        row["_op"] = dice.choice([None, "upsert", "delete"])
        if dice.random() < 0.3:
            row[dice.choice(names)] = dice.choice(NASTY).decode(errors="replace").strip('"')
        line = line_of([row[name] for name in names], delimiter)
        if found := scanned(scan, line):
            assert_same(entity, line, found, reader.inspect(line))
            passed += 1
    assert passed > 5


@needs_scanner
@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_an_object_that_is_followed_by_its_delimiter_is_read(delimiter: str):
    load = replace(load_of(CUSTOMERS), format="csv", delimiter=delimiter)
    scan = scanning.scan_of(load, ["customer_id", "metadata", "name"], delimiter)
    line = delimiter.join([str(UUID(int=7)), "{}", "a"]).encode()
    assert "{}" in scanned(scan, line).text


@needs_scanner
def test_a_scan_survives_what_its_closer_raises_and_takes_back():
    scan = scanning.scan_of(load_of(CUSTOMERS))
    good = _customer("a")

    def fails(record: bytes, line: int, offset: int) -> Row:
        raise KeyError(line)

    with pytest.raises(KeyError):
        scan([good, b"{"], [1, 2], [0, 9], fails)
    lines = [b"{", good]

    def clears(record: bytes, line: int, offset: int) -> None:
        lines.clear()

    with pytest.raises(ValueError, match="of each record"):
        scan(lines, [1, 2], [0, 9], clears)
    assert len(scan([good], [1], [0], fails).rows) == 1


def test_a_file_lands_alike_with_and_without_the_scanner(
    database: road.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    dice = random.Random(5)
    records.land_parents(database, tmp_path, BY_NAME["orders"], range(30))
    rows = [records.example(BY_NAME["orders"], number) for number in range(30)]
    lines = [records.line(row) for row in rows] + _batch(BY_NAME["orders"], dice, 40)
    data = gzip.compress(b"\n".join(lines))
    more = {"compression": "gzip"}
    fast = road.land(database, tmp_path, "orders", data, number=100, **more)
    monkeypatch.setattr(scanning, "native", None)
    plain = road.land(database, tmp_path, "orders", data, number=101, **more)
    assert fast.outcome_by_line().count("inserted") >= 30
    changed = {"inserted": "unchanged", "updated": "unchanged"}
    expected = [changed.get(outcome, outcome) for outcome in fast.outcome_by_line()]
    assert plain.outcome_by_line() == expected
    assert [(one.line, one.code) for one in plain.rejects] == [
        (one.line, one.code) for one in fast.rejects
    ]
