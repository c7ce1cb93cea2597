"""CSV: records from bytes, the two readers of a record, headers, and what is refused."""

import csv
import io
import json
import random
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.entities import BY_NAME, ENTITIES
from headrace.pipeline import csv_records
from headrace.pipeline.csv_records import CsvRecords
from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.formats.base import BLANKS, MAX_LINE, Batch
from headrace.pipeline.formats.csv import Csv
from headrace.pipeline.report import Outcome
from headrace.pipeline.scanning import native, scan_of
from headrace.pipeline.verify import verify
from headrace.schema import Entity
from tests import records, road, test_checker
from tests.test_lines import cut
from tests.test_waking import wake

BY_ENTITY = pytest.mark.parametrize("entity", ENTITIES, ids=lambda entity: entity.name)
MIB = 1 << 20
PIECES = st.lists(
    st.sampled_from([b'"', b'"', b",", b"\n", b"a", b"\r\n", b" ", b'""', b"b,", b"\t", b";"]),
    max_size=25,
).map(b"".join)
SIZES = st.lists(st.integers(1, 9), min_size=1)


def reference(data: bytes, delimiter: bytes) -> list[tuple[int, int, bytes]]:
    """Line, offset and bytes of every record, sign by sign."""
    found, start, first, line, state = [], 0, 1, 1, "cell"
    for at in range(len(data)):
        sign = data[at : at + 1]
        line += sign == b"\n"
        if state == "quoted":
            state = "quote" if sign == b'"' else "quoted"
        elif state == "quote" and sign == b'"':
            state = "quoted"
        elif sign == b"\n":
            found.append((first, start, data[start:at]))
            start, first, state = at + 1, line, "cell"
        elif sign == delimiter:
            state = "cell"
        else:
            state = "quoted" if state == "cell" and sign == b'"' else "text"
    return [*found, (first, start, data[start:])] if start < len(data) else found


def read(data: bytes, sizes: list[int], delimiter: str = ",") -> tuple[list[Batch], int]:
    """The batches of a file that comes in blocks of these sizes, and its census."""
    form, census = Csv(delimiter), Csv(delimiter).census()
    blocks = cut(data, sizes)
    for block in blocks:
        census.feed(block)
    found: list[Batch] = []
    try:
        found.extend(form.batches(blocks))
    except Permanent:
        assert not any(batch.is_header for batch in found), data
    return found, census.records


@settings(max_examples=400)
@given(data=PIECES, sizes=SIZES, delimiter=st.sampled_from(",;\t"))
def test_records_are_those_of_the_whole_file_whatever_the_blocks(data, sizes, delimiter):
    batches, counted = read(data, sizes, delimiter)
    found = [
        record
        for batch in batches
        for record in zip(batch.numbers(), batch.offsets(), batch.lines, strict=True)
    ]
    wanted = reference(data, delimiter.encode())
    assert found == wanted
    blanks = BLANKS.replace(delimiter.encode(), b"")
    kept = [line for *_, line in wanted if line.strip(blanks)]
    assert counted == max(0, len(kept) - 1)
    headers = [batch.lines for batch in batches if batch.is_header]
    assert headers == ([[kept[0]]] if kept else [])  # without one, it says so
    assert sum(batch.height for batch in batches) == sum(
        1 + line.count(b"\n") for *_, line in wanted
    )


@given(rows=st.lists(st.lists(st.text(alphabet='a",\n\r é;', max_size=6), min_size=2, max_size=2)))
def test_what_the_standard_library_writes_is_read_as_it_was(rows: list[list[str]]):
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows([["a", "b"], *rows])
    batches, counted = read(text.getvalue().encode(), [7])
    found = [
        [cell.text for cell in csv_records.cells(line.removesuffix(b"\r").decode(), ",")]
        for batch in batches
        if not batch.is_header
        for line in batch.lines
    ]
    assert found == rows
    assert counted == len(rows)


def spelled(entity: Entity, record: dict[str, Any]) -> list[str | None]:
    """A record's cells: objects as JSON, None for null."""
    return [_cell(record.get(name)) for name in entity.field_names]


def _cell(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Decimal):
        return str(value)
    return json.dumps(value, default=str, ensure_ascii=False)


def line_of(cells: list[str | None], delimiter: str = ",") -> bytes:
    quoted = ("" if cell is None else '"' + cell.replace('"', '""') + '"' for cell in cells)
    return delimiter.join(quoted).encode(errors="surrogatepass")


def file(entity: Entity, *rows: dict[str, Any], end: bytes = b"\n") -> bytes:
    """A CSV file of records, all their columns quoted."""
    lines = [",".join(entity.field_names).encode(), *(line_of(spelled(entity, r)) for r in rows)]
    return b"".join(line + end for line in lines)


class Readers:
    """All ways to read a record of an entity, side by side."""

    def __init__(self, entity: Entity, header: str = "") -> None:
        load = test_checker.load_of(entity)
        self.entity = entity
        self._records = CsvRecords(load, (header or ",".join(entity.field_names)).encode())
        self._scan = scan_of(load, self._records.names, self._records.delimiter)

    def agree(self, line: bytes) -> bool:
        """Whether the fast readers passed the record; fails if the inspector says otherwise."""
        slow = self._records.inspect(line)
        assert (slow.row is None) == bool(slow.faults), line
        found = [self._records.clean(line)]
        if native is not None:
            found.append(test_checker.scanned(self._scan, line))
        for fast in found:
            if fast is not None:
                test_checker.assert_same(self.entity, line, fast, slow)
        return None not in found


NASTY = [value.decode(errors="replace").strip('"') for value in test_checker.NASTY]
NASTY += ["", "true", "TRUE", "t", "1", '"', '""', "a,b", "\\N", "\\", "NULL", '{"a":1,"a":2}']
NASTY += ['{"a":"\\u0000"}', '{"a":"\\ud800"}', '{"a":":"}', "[1]", "{", "5\n", "x" * 300]


@BY_ENTITY
def test_the_fast_reader_passes_only_what_the_inspector_passes_as_the_same_row(entity: Entity):
    readers, dice, passed = Readers(entity), random.Random(entity.name), 0
    for _ in range(1_500):
        cells = spelled(entity, records.random_record(entity, dice))
        for _ in range(dice.randrange(3)):
            cells[dice.randrange(len(cells))] = dice.choice([*NASTY, None])
        line = line_of(cells)
        for _ in range(dice.randrange(2)):
            at = dice.randrange(len(line) + 1)
            line = line[:at] + dice.choice((b'"', b",", b"\n", b"\xff", b"\x00", b"")) + line[at:]
        passed += readers.agree(line)
    assert passed > 50


@given(line=st.binary(max_size=60) | PIECES)
def test_no_bytes_raise_anything(line: bytes):
    for entity in ENTITIES[:2]:
        Readers(entity).agree(line)


def landed(database, tmp_path: Path, entity: str, data: bytes, **more) -> road.LocalLedger:
    return road.land(database, tmp_path, entity, data, format="csv", **more)


@BY_ENTITY
def test_csv_lands_the_rows_that_ndjson_lands(entity: Entity, database, tmp_path):
    records.land_parents(database, tmp_path, entity, range(20))
    rows = [records.example(entity, number) for number in range(20)]
    data = file(entity, *rows, end=b"\r\n")
    ledger = landed(database, tmp_path, entity.name, b"\xef\xbb\xbf" + data, number=8)
    assert ledger.outcome_by_line() == [None, *["inserted"] * 20]
    expected = database.rows(entity.name)
    again = road.land(database, tmp_path, entity.name, records.file(*rows), number=9)
    assert again.outcome_by_line() == ["unchanged"] * 20
    assert database.rows(entity.name) == expected


PRODUCT = "00000000-0000-4000-8000-%012d,A%d,%s,%s,%s\n"
HEADER = "product_id,sku,name,price,active\n"
# The cells that follow id and SKU; outcome, code and field.
ROWS = {
    "plain": (("Tea", "2.50", "true"), ("inserted", None, None)),
    "a comma in quotes": (('"Tea, green"', "2.50", "false"), ("inserted", None, None)),
    "an empty text": (('""', "2.50", "true"), ("inserted", None, None)),
    "a missing price": (("Tea", "", "true"), ("rejected", "required", "price")),
    "an empty price": (("Tea", '""', "true"), ("rejected", "bad_number", "price")),
    "a default cannot be null": (("Tea", "1", ""), ("rejected", "required", "active")),
    "true in capitals": (("Tea", "1", "TRUE"), ("rejected", "bad_type", "active")),
    "1 for true": (("Tea", "1", "1"), ("rejected", "bad_type", "active")),
    "a number in a text": (("007", "1", "true"), ("inserted", None, None)),
    "NaN": (("Tea", "NaN", "true"), ("rejected", "bad_number", "price")),
    "five decimals": (("Tea", "1.00001", "true"), ("rejected", "bad_number", "price")),
    "a cell too few": (("Tea", "1"), ("rejected", "ragged_row", "")),
    "a cell too many": (("Tea", "1", "true", ""), ("rejected", "ragged_row", "")),
    "a quote within": (('5" pipe', "1", "true"), ("rejected", "bad_csv", "")),
    "text behind a quote": (('"Tea"s', "1", "true"), ("rejected", "bad_csv", "")),
    "NUL": (("T\0", "1", "true"), ("rejected", "bad_encoding", "")),
}


@pytest.mark.parametrize("name", ROWS)
def test_each_row_has_its_own_answer_and_spoils_no_neighbour(name, database, tmp_path):
    cells, (outcome, code, field) = ROWS[name]
    key = "00000000-0000-4000-8000-000000000001,A1,"
    good = "00000000-0000-4000-8000-00000000000%d,A%d,Tea,1,true\n"
    data = HEADER + key + ",".join(cells) + "\n" + good % (2, 2) + "\n" + good % (3, 3)
    ledger = landed(database, tmp_path, "products", data.encode())
    assert ledger.outcome_by_line() == [None, outcome, "inserted", None, "inserted"]
    assert ledger.received == 3
    found = [(reject.code, reject.field) for reject in ledger.rejects]
    assert found == ([(code, field)] if code else [])


def test_a_record_is_numbered_by_the_line_on_which_it_begins(database, tmp_path):
    rows = [
        HEADER.replace("name", '"name"'),
        '00000000-0000-4000-8000-000000000001,A1,"two\r\nlines",1,true\n',
        '00000000-0000-4000-8000-000000000002,A2,"three\n\nlines",x,true\n',
        "00000000-0000-4000-8000-000000000003,A3,one,1,true\n",
    ]
    ledger = landed(database, tmp_path, "products", "".join(rows).encode())
    outcomes = [None, "inserted", None, "rejected", None, None, "inserted"]
    assert ledger.outcome_by_line() == outcomes
    assert [(one.line, one.offset) for one in ledger.rejects] == [(4, len("".join(rows[:2])))]
    assert {row["name"] for row in database.rows("products")} == {"two\r\nlines", "one"}


def test_a_quote_that_is_never_closed_is_one_reject_that_says_how_far_it_goes(database, tmp_path):
    data = HEADER + 'x,A1,"Tea,1,true\nx,A2,Tea,1,true\nx,A3,Tea,1,true\n'
    ledger = landed(database, tmp_path, "products", data.encode())
    assert (ledger.received, [reject.code for reject in ledger.rejects]) == (1, ["bad_csv"])
    assert "cell 3" in ledger.rejects[0].message
    assert "4 lines" in ledger.rejects[0].message


MANY = ",".join(f"_{number}" for number in range(100_000))
HEADERS = {
    "unknown": ("product_id,sku,nam,price", "line 1, header: column 3 is named 'nam'", "'name'"),
    "repeated": ("product_id,sku,name,price,sku", "column 5 is named 'sku'", "earlier"),
    "missing": ("product_id,sku,name", "no column 'price'", ""),
    "blanks around": ("product_id,sku, name,price", "column 3 is named ' name'", "blanks"),
    "in capitals": ("product_id,SKU,name,price", "column 2 is named 'SKU'", "'sku'"),
    "another delimiter": ("product_id;sku;name;price", "column 1", "is ',' the delimiter?"),
    "not a header": ("00000000-0000-4000-8000-000000000001,A1,Tea,1", "column 1", "known are"),
    "bad quotes": ('product_id,s"ku,name,price', "cell 2", "quoted as a whole"),
    "ends in CR alone": ("product_id,sku,name,price\rx,A1,Tea,1\r", "column 4", "LF or CRLF"),
    "columns to be ignored, split otherwise": (
        "_line;_code;product_id",
        "delimiter?",
        "product_id",
    ),
    "longer than a record": ("product_id,sku,name,price," + "_" * (1 << 20), "at most 1 MiB", ""),
    "very many columns": (f"product_id,sku,name,price,{MANY},nam", "column 100005", "'nam'"),
    "not UTF-8": ("product_id,sku,n\udcffame,price", "header", "byte 0xff at column 17"),
    "UTF-16": ("\udcff\udcfep\0r\0o\0", "byte 0xff at column 1", "is this UTF-16?"),
    "UTF-16 without a mark": ("\0p\0r\0o", "NUL, found one at column 1", "is this UTF-16?"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_cannot_be_used_fails_the_file_and_names_the_column(name, tmp_path):
    header, *told = HEADERS[name]
    rows = "00000000-0000-4000-8000-000000000001,A1,Tea,1\n" * 4 + "\n"
    data = f"{header}\n{rows}".encode(errors="surrogateescape")
    with pytest.raises(Permanent) as failure:
        verify(road.load_of("products", data, format="csv"), tmp_path, lambda records: None)
    assert failure.value.code is FailureCode.BAD_HEADER
    assert all(part in str(failure.value) for part in told)
    assert failure.value.received == 4  # all lines are told of, though none could be read


def test_a_file_of_blank_lines_has_no_header(tmp_path):
    with pytest.raises(Permanent) as failure:
        verify(road.load_of("products", b"\n \n", format="csv"), tmp_path, lambda records: None)
    assert failure.value.code is FailureCode.BAD_HEADER


def test_a_cancel_while_the_lines_below_a_bad_header_are_counted_is_heard(tmp_path):
    def tick(records: int) -> None:
        if records > 2:
            raise Permanent(FailureCode.CANCELLED, "the upload was cancelled")

    data = b"nonsense\n" + (b"x" * (MIB - 1) + b"\n") * 6
    with pytest.raises(Permanent) as failure:
        verify(road.load_of("products", data, format="csv"), tmp_path, tick)
    assert failure.value.code is FailureCode.CANCELLED


def test_stored_bytes_that_changed_are_no_bad_header_of_the_sender(tmp_path):
    load = road.load_of("products", b"product_id,skv\n1,2\n", format="csv", sha256="0" * 64)
    with pytest.raises(Permanent) as failure:
        verify(load, tmp_path, lambda records: None)
    assert failure.value.code is FailureCode.SOURCE_LOST


def test_an_open_quote_is_told_as_such_however_much_it_takes_in(tmp_path):
    data = HEADER.encode() + b'x,A1,"Tea,1,true\n' + b"x,A2,Tea,1,true\n" * 100_000
    found = verify(road.load_of("products", data, format="csv"), tmp_path, lambda records: None)
    [page] = found.reject_pages()
    [reject] = road.rejects_of(page.blob)
    assert (found.received, reject.line, reject.code) == (1, 2, "bad_csv")
    assert "100,002 lines" in reject.message


def test_a_line_of_blanks_and_tabs_is_a_record_where_tabs_delimit(tmp_path):
    header = HEADER.replace(",", "\t").encode()
    data = header + b" " * (3 * MIB) + b"\t\n"
    load = road.load_of("products", data, format="csv", delimiter="\t")
    found = verify(load, tmp_path, lambda records: None)
    assert (found.received, found.outcomes.records) == (1, 1)


def test_a_nul_is_refused_in_a_column_that_nobody_reads(tmp_path):
    readers = Readers(BY_NAME["products"], "_x,product_id,sku,name,price")
    key = b"00000000-0000-4000-8000-000000000001,A1,Tea,"
    assert not readers.agree(b"\0," + key + b"1")
    assert readers.agree(b"x," + key + b"1")


def test_columns_may_be_in_any_order_left_out_or_ignored(database, tmp_path):
    lines = [
        "_note,price,name,tenant_id,sku,product_id,_op",
        f"mended,1,Tea,{road.TENANT},A1,00000000-0000-4000-8000-000000000001,",
        ",1,Tea,,A2,00000000-0000-4000-8000-000000000002,upsert",
        ",1,Tea,,A3,00000000-0000-4000-8000-000000000003,delete",
        ",1,Tea,22222222-2222-4222-8222-222222222222,A4,00000000-0000-4000-8000-000000000004,",
    ]
    ledger = landed(database, tmp_path, "products", "\n".join(lines).encode())
    assert ledger.outcome_by_line() == [None, "inserted", "inserted", "rejected", "rejected"]
    codes = [(reject.code, reject.field) for reject in ledger.rejects]
    assert codes == [("bad_operation", "_op"), ("foreign_tenant", "tenant_id")]
    assert [row["sku"] for row in database.rows("products")] == ["A1", "A2"]


def test_a_column_that_is_left_out_keeps_what_is_stored(database, tmp_path):
    key = "00000000-0000-4000-8000-000000000001"
    landed(database, tmp_path, "customers", f"customer_id,name,email\n{key},Ada,a@b.c\n".encode())
    landed(database, tmp_path, "customers", f"customer_id,name\n{key},\n".encode(), number=2)
    [row] = database.rows("customers")
    assert (row["name"], row["email"]) == (None, "a@b.c")


@pytest.mark.parametrize("delimiter", [";", "|", "\t"])
def test_another_delimiter_is_read_when_it_is_said(delimiter, database, tmp_path):
    data = (HEADER + 'x,A1,"a;b|c\td,e",1,true\n').replace(",", delimiter)
    data = data.replace(f"d{delimiter}e", "d,e").replace(
        "x", "0" * 8 + "-0000-4000-8000-" + "0" * 12
    )
    ledger = landed(database, tmp_path, "products", data.encode(), delimiter=delimiter)
    assert ledger.outcome_by_line() == [None, "inserted"]
    assert database.rows("products")[0]["name"] == "a;b|c\td,e"


def test_an_object_that_is_no_json_is_a_fault_of_its_field(database, tmp_path):
    data = "customer_id,metadata\n" + "".join(
        f"00000000-0000-4000-8000-00000000000{number},{text}\n"
        for number, text in enumerate(['"{""a"": 1}"', "{", "[]", '"{""a"":1,""a"":2}"', ""])
    )
    ledger = landed(database, tmp_path, "customers", data.encode())
    outcomes = [None, "inserted", *["rejected"] * 4]
    assert ledger.outcome_by_line() == outcomes
    found = [(reject.code, reject.field) for reject in ledger.rejects]
    codes = ["bad_json", "bad_type", "duplicate_key", "required"]
    assert found == [(code, "metadata") for code in codes]


def test_parked_rows_of_csv_wake_as_those_of_ndjson_do(database, tmp_path):
    entity = BY_NAME["order_items"]
    rows = [records.example(entity, number) for number in range(6)]
    data = file(entity, *rows)
    ledger = landed(database, tmp_path, entity.name, data)
    assert len({parked.line for parked in ledger.parked}) == 6
    records.land_parents(database, tmp_path, entity, range(6))
    report = wake(database, tmp_path, data, 1, [3, 5], entity=entity.name, format="csv")
    assert report.counts[Outcome.INSERTED] == 2
    keys = {row[entity.key] for row in database.rows(entity.name)}
    assert keys == {records.key(entity.name, number).replace("-", "") for number in (1, 3)}


@pytest.mark.parametrize("middle", [b"x" * 40, b'""', b"a,b\n", b"\n"])
def test_a_record_over_a_mebibyte_is_one_reject_in_flat_memory(middle: bytes, tmp_path):
    long = b'A1,"' + middle * (30 * MIB // len(middle)) + b'",1,true\n'
    rows = [
        HEADER.encode(),
        b"x," + long,
        b"0" * 8 + b"-0000-4000-8000-000000000001,A2,Tea,1,true\n",
    ]
    data = b"".join(rows)
    tracemalloc.start()
    found = verify(road.load_of("products", data, format="csv"), tmp_path, lambda records: None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.received, found.rows.count) == (2, 1)
    [page] = found.reject_pages()
    assert [(group.code, group.line) for group in page.groups] == [("line_too_long", 2)]
    physical = data.count(b"\n")
    assert found.outcomes.physical_lines == physical
    assert found.outcomes.records == 2
    assert peak < 12 * MIB + 3 * physical, f"{peak:,} bytes"
    assert len(long) > MAX_LINE


# csv-spectrum has one file that breaks the rule of its own format; docs/formats.md says so.
REFUSED = {"location_coordinates": "quotes in a cell that is not quoted"}


def test_the_oddities_of_csv_spectrum_are_read_as_their_json_says(shared_data):
    names = sorted(path.stem for path in (shared_data / "csv" / "csvs").glob("*.csv"))
    assert len(names) == 12
    refused = {}
    for name in names:
        expected = json.loads((shared_data / "csv" / "json" / f"{name}.json").read_bytes())
        batches, counted = read((shared_data / "csv" / "csvs" / f"{name}.csv").read_bytes(), [11])
        try:
            header, *rows = _texts(batches)
        except csv_records.Malformed as malformed:
            refused[name] = str(malformed)
            continue
        assert [dict(zip(header, row, strict=True)) for row in rows] == expected, name
        assert counted == len(expected)
    assert refused.keys() == REFUSED.keys()
    assert "quoted as a whole" in refused["location_coordinates"]


def _texts(batches: list[Batch]) -> list[list[str]]:
    lines = [line for batch in batches for line in batch.lines if line.strip(BLANKS)]
    return [
        [cell.text for cell in csv_records.cells(line.removesuffix(b"\r").decode(), ",")]
        for line in lines
    ]
