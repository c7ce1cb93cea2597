"""Parquet from lines of CSV: every row, exact types, and no reading ahead."""

import io

import pytest

from headrace.entities import BY_NAME
from headrace.reading import parquet
from headrace.reading.selection import columns_of

pq = pytest.importorskip("pyarrow.parquet")
ORDERS = BY_NAME["orders"]


def table(lines: list[bytes], *names: str, compression: str = "none"):
    blocks = list(parquet.document(lines, columns_of(ORDERS, names), compression))
    found = pq.read_table(io.BytesIO(b"".join(block.data for block in blocks)))
    assert sum(block.rows for block in blocks) == found.num_rows
    return found


def test_a_column_of_nulls_loses_no_row():
    key = "0a5d2f34-6baa-9455-e3e7-0682c2094cac"
    found = table([b"\n", f"{key}\n".encode(), b"\n"], "customer_id")
    assert found.column("customer_id").to_pylist() == [None, key, None]


def test_the_empty_text_is_no_null():
    found = table([b'"",1.5\n', b",2\n"], "customer_name_snapshot", "total_amount")
    assert found.column("customer_name_snapshot").to_pylist() == ["", None]


def test_no_rows_are_a_file_with_its_columns():
    found = table([], "order_id", "total_amount")
    assert (found.num_rows, found.column_names) == (0, ["order_id", "total_amount"])


def test_rows_of_many_groups_and_lines_in_a_cell(monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_BYTES", 50)
    lines = [f'"a\n{number}",{number}.25\n'.encode() for number in range(100)]
    found = table(lines, "customer_name_snapshot", "total_amount", compression="zstd")
    assert found.column("customer_name_snapshot").to_pylist() == [f"a\n{n}" for n in range(100)]
    assert str(found.column("total_amount")[99]) == "99.2500"


def test_no_line_is_taken_before_it_is_needed_or_after_the_end(monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_BYTES", 50)
    taken = []

    def lines():
        for number in range(10_000):
            taken.append(number)
            yield b"12345678\n"

    blocks = parquet.document(lines(), columns_of(ORDERS, ["total_amount"]), "none")
    next(blocks)
    blocks.close()
    assert len(taken) == 6
