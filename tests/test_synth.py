"""The generator: repeatable to the byte, true to the declarations, consistent in itself."""

import csv
import gzip
import hashlib
import io
import itertools
import json
import re
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.entities import BY_NAME, ENTITIES, entity_of_file
from headrace.schema import (
    Before,
    Boolean,
    Entity,
    Field,
    Integer,
    JsonObject,
    MinimumWhen,
    Money,
    Text,
    Timestamp,
    Uuid,
)
from headrace.synth import cells, formats, stock_events
from headrace.synth.command import _sizes
from headrace.synth.records import Template
from headrace.synth.settings import FormatName, Preset, Sizes
from tests.generated import TINY, contents, made, run

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ROOT = Path(__file__).resolve().parent.parent
Record = dict[str, Any]
Records = dict[str, list[Record]]  # by entity


def joined(folder: Path) -> dict[tuple[str, str], bytes]:
    """The text of each entity and tenant, its chunks one after the other."""
    texts: dict[tuple[str, str], bytes] = defaultdict(bytes)
    for name, content in sorted(contents(folder).items()):
        if name != "tenants.csv":
            texts[_entity(name).name, _tenant(name)] += content
    return dict(texts)


def _entity(name: str) -> Entity:
    entity = entity_of_file(name)
    assert entity is not None, name
    return entity


def _tenant(name: str) -> str:
    found = re.search(r"[0-9a-f-]{36}", name)
    assert found, name
    return found[0]


def records_of(entity: Entity) -> list[str]:
    """The names that generated records have, without the tenant's."""
    return [field.name for field in entity.kept]


def parsed(text: bytes) -> list[Record]:
    assert text.endswith(b"\n")
    return [json.loads(line, parse_float=Decimal) for line in text.decode().split("\n")[:-1]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def tenants(folder: Path) -> dict[str, Records]:
    found: dict[str, Records] = defaultdict(dict)
    for (entity, tenant), text in joined(folder).items():
        found[tenant][entity] = parsed(text)
    return dict(found)


@pytest.fixture(params=[0, 1], ids=["first tenant", "second tenant"])
def records(request: pytest.FixtureRequest, tenants: dict[str, Records]) -> Records:
    return tenants[sorted(tenants)[request.param]]


# --- the same again ---------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_in_another_process(folder, tmp_path):
    options = [str(word) for option in TINY.items() for word in option]
    launcher = [sys.executable, str(ROOT / "scripts" / "gen_dataset.py")]
    subprocess.run([*launcher, *options], cwd=tmp_path, check=True, capture_output=True)
    assert contents(tmp_path / "generated_data") == contents(folder)


def test_another_seed_gives_other_ids_everywhere(folder, tmp_path):
    other = made(tmp_path / "other", seed=43)
    assert not _ids(folder) & _ids(other)


def test_two_tenants_share_no_id(tenants):
    first, second = tenants.values()
    assert not _own_ids(first) & _own_ids(second)


def test_every_id_is_there_once(tenants):
    for records in tenants.values():
        ids = [row[BY_NAME[name].key] for name, rows in records.items() for row in rows]
        assert len(ids) == len(set(ids))


def _ids(folder: Path) -> set[str]:
    uuid = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    return set(re.findall(uuid, b"".join(contents(folder).values()).decode()))


def _own_ids(records: Records) -> set[str]:
    return {row[BY_NAME[name].key] for name, rows in records.items() for row in rows}


@pytest.mark.parametrize("chunk_size", [1, 97, 10_000])
def test_the_chunk_size_does_not_change_the_records(folder, tmp_path, chunk_size):
    small = {"orders_per_tenant": 40, "products_per_tenant": 30}
    usual = made(tmp_path / "usual", **small)
    other = made(tmp_path / "other", **small, chunk_size=chunk_size)
    assert joined(other) == joined(usual)


def test_more_orders_than_a_block_holds_obey_the_same_rules(tmp_path):
    large = made(tmp_path / "large", tenants=1, orders_per_tenant=9_000, chunk_size=100_000)
    texts = {entity: text for (entity, _), text in joined(large).items()}
    orders, items = parsed(texts["orders"]), parsed(texts["order_items"])
    assert len({order["external_order_id"] for order in orders}) == 9_000
    _assert_totals_are_sums(orders, items)


def test_more_stock_events_leave_the_orders_as_they_were(folder, tmp_path):
    other = joined(made(tmp_path / "other", stock_events_per_product=3))
    usual = joined(folder)
    changed = {entity for (entity, _), text in other.items() if text not in usual.values()}
    assert changed == {"stock_events"}


def test_compressed_files_hold_the_same_text_and_are_repeatable(folder, tmp_path):
    first = contents(made(tmp_path / "first", "--compress"))
    assert contents(made(tmp_path / "second", "--compress")) == first
    no_flags_no_time = bytes(5)  # neither the name nor the time of writing is in the header
    assert {text[3:8] for name, text in first.items() if name.endswith(".gz")} == {no_flags_no_time}
    plain = contents(folder)
    assert first.pop("tenants.csv") == plain.pop("tenants.csv")
    assert {name: gzip.decompress(text) for name, text in first.items()} == {
        f"{name}.gz": text for name, text in plain.items()
    }


def test_zstd_files_hold_the_same_text_and_are_repeatable(folder, tmp_path):
    first = contents(made(tmp_path / "first", "--compression", "zstd"))
    assert contents(made(tmp_path / "second", "--compression", "zstd")) == first
    assert {
        name.removesuffix(".zst"): zstd.decompress(text) if name.endswith(".zst") else text
        for name, text in first.items()
    } == contents(folder)


# --- csv --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def csv_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("csv"), "--format", "csv")


@pytest.mark.parametrize(("format", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_every_format_holds_the_same_records_in_files_of_the_same_names(
    folder, tmp_path, format, delimiter
):
    other = contents(made(tmp_path, "--format", format))
    usual = contents(folder)
    assert other.pop("tenants.csv") == usual.pop("tenants.csv")
    assert {name.replace(f".{format}", ".ndjson") for name in other} == set(usual)
    for name, text in other.items():
        records = parsed(usual[name.replace(f".{format}", ".ndjson")])
        assert from_csv(_entity(name), text, delimiter) == records


def from_csv(entity: Entity, text: bytes, delimiter: str = ",") -> list[Record]:
    """The records of a CSV file, read by the standard library and valued by the declaration."""
    header, *rows = csv.reader(io.StringIO(text.decode(), newline=""), delimiter=delimiter)
    return [
        {name: _of_cell(entity, name, cell) for name, cell in zip(header, row, strict=True)}
        for row in rows
    ]


def _of_cell(entity: Entity, name: str, cell: str) -> Any:
    kind = Uuid() if name == "tenant_id" else entity.field(name).type
    if isinstance(kind, Money | Integer | Boolean | JsonObject):
        return json.loads(cell, parse_float=Decimal)
    return cell or None


def test_the_same_seed_gives_the_same_csv(csv_folder, tmp_path):
    assert contents(made(tmp_path, "--format", "csv")) == contents(csv_folder)


def test_every_csv_file_begins_with_the_declared_names(csv_folder):
    for name, text in contents(csv_folder).items():
        if name != "tenants.csv":
            key, *others = records_of(_entity(name))
            assert text.partition(b"\n")[0].decode().split(",") == [key, "tenant_id", *others]


def test_only_null_is_an_unquoted_empty_cell(csv_folder):
    for (name, _), text in joined(csv_folder).items():
        empty = [line for line in text.splitlines() if line.endswith(b",") or b",," in line]
        assert len(empty) == (300 if name == "price_history" else 0)  # a product's open interval


def test_a_csv_dataset_is_replaced_by_one_in_another_format(tmp_path):
    made(tmp_path / "d", "--format", "csv", "--compress", seed=1)
    made(tmp_path / "d", "--format", "tsv", "--compression", "zstd")
    assert contents(made(tmp_path / "d")) == contents(made(tmp_path / "fresh"))


@pytest.mark.parametrize(
    ("kind", "value", "cell"),
    [
        (Text(9), None, b""),
        (Text(9), b"null", b""),
        (Text(9), b'""', b'""'),
        (Text(9), rb'"a \"b\", \\"', b'"a ""b"", \\"'),
        (Uuid(), b'"x"', b"x"),
        (Boolean(), b"true", b"true"),
        (Money(), b"NaN", b"NaN"),
        (Integer(), b'"1_0"', b"1_0"),
        (JsonObject(), rb'{"a":"\""}', rb'"{""a"":""\""""}"'),
    ],
)
def test_a_value_is_spelled_by_its_type_in_csv(kind, value, cell):
    assert formats.csv_cell(kind, value) == cell


@given(text=st.text(st.characters(codec="utf-8")))
def test_any_text_comes_back_from_its_csv_cell(text):
    cell = formats.csv_cell(Text(9), json.dumps(text).encode())
    assert next(csv.reader(io.StringIO(cell.decode(), newline="")), [""]) == [text]


def test_a_text_that_csv_would_spell_differently_stops_the_generator():
    names = dict.fromkeys(BY_NAME["customers"].field_names, b"")
    columns = names | {"name": np.frombuffer(rb"a\nb", np.uint8).reshape(1, 4)}
    with pytest.raises(ValueError, match="escapes"):
        formats.FORMATS[FormatName.CSV].lines(Template(BY_NAME["customers"], b"t").records(columns))


# --- names and sizes --------------------------------------------------------------------------


def test_files_are_named_as_documented(folder, tenants):
    chunks = {"products": 2, "orders": 3, "price_history": 5, "stock_events": 24}
    expected = {"tenants.csv"}
    for tenant, records in tenants.items():
        expected.add(f"customers_{tenant}.ndjson")
        for name, count in (
            chunks | {"order_items": -(-len(records["order_items"]) // 250)}
        ).items():
            expected |= {f"{name}_{tenant}_chunk_{n:04d}.ndjson" for n in range(count)}
    assert set(contents(folder)) == expected


def test_every_chunk_but_the_last_is_full(folder):
    lines = {name: text.count(b"\n") for name, text in contents(folder).items() if "chunk" in name}
    for stem, group in itertools.groupby(sorted(lines), key=lambda name: name.split("_chunk_")[0]):
        *full, last = [lines[name] for name in group]
        assert set(full) <= {250}, stem
        assert 0 < last <= 250


def test_every_entity_is_generated_in_the_asked_number_per_tenant(records):
    counts = {name: len(rows) for name, rows in records.items()}
    lines = counts.pop("order_items")
    assert counts == {
        "customers": 90,
        "products": 300,
        "orders": 700,
        "price_history": 1_200,
        "stock_events": 6_000,
    }
    assert lines / 700 == pytest.approx(2.5, abs=0.25)
    assert {entity.name for entity in ENTITIES} == set(records)


def test_tenants_csv_lists_every_tenant_with_the_hash_of_its_documented_key(folder, tenants):
    with (folder / "tenants.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["tenant_id", "name", "api_key_hash", "created_at"]
    assert {row["tenant_id"] for row in rows} == set(tenants)
    for row in rows:
        key = f"api_key_{row['tenant_id']}".encode()
        assert row["api_key_hash"] == hashlib.sha256(key).hexdigest()
        assert row["name"]
        assert datetime.fromisoformat(row["created_at"]).year == 2020


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        (None, (10, 500_000, 2_000_000, 10_000)),
        (Preset.SMALL, (2, 1_000, 5_000, 100)),
        (Preset.MEDIUM, (5, 50_000, 100_000, 1_000)),
        (Preset.LARGE, (10, 500_000, 2_000_000, 10_000)),
    ],
)
def test_presets_have_the_documented_sizes(preset, expected):
    sizes = _sizes(preset)
    assert (sizes.tenants, sizes.products, sizes.orders, sizes.customers) == expected


def test_an_explicit_size_goes_before_the_preset(tmp_path):
    result = run(
        tmp_path,
        *("--preset", "small", "--json"),
        tenants=1,
        orders_per_tenant=30,
        products_per_tenant=20,
        customers_per_tenant=5,
        items_per_order=1,
    )
    assert json.loads(result.stdout)["rows"] == {
        "tenants": 1,
        "customers": 5,
        "products": 20,
        "price_history": 80,
        "stock_events": 400,
        "orders": 30,
        "order_items": 30,
    }
    assert _sizes(Preset.SMALL, orders=7, tenants=None) == Sizes(2, 1_000, 7, 100)


# --- every record is what its entity declares -------------------------------------------------


@pytest.mark.parametrize("name", BY_NAME)
def test_every_record_has_the_declared_fields_in_order_and_the_tenant(tenants, name):
    key, *others = records_of(BY_NAME[name])
    for tenant, records in tenants.items():
        assert {tuple(row) for row in records[name]} == {(key, "tenant_id", *others)}
        assert {row["tenant_id"] for row in records[name]} == {tenant}


@pytest.mark.parametrize("name", BY_NAME)
def test_every_value_satisfies_the_declared_type(records, name):
    fields = BY_NAME[name].kept
    wrong = [
        (field.name, row[field.name])
        for row in records[name]
        for field in fields
        if not _fits(field, row[field.name])
    ]
    assert wrong == []


def _fits(field: Field, value: Any) -> bool:
    if value is None:
        return field.null
    match field.type:
        case Uuid():
            return str(UUID(value)) == value and UUID(value).version == 4
        case Text(max_length, choices):
            return 0 < len(value) <= max_length and (not choices or value in choices)
        case Money(minimum=minimum):
            exact = isinstance(value, Decimal) and value.as_tuple().exponent == -2
            return exact and (minimum is None or value >= minimum)
        case Integer(minimum, maximum, nonzero):
            return type(value) is int and minimum <= value <= maximum and bool(value or not nonzero)
        case Boolean():
            return type(value) is bool
        case Timestamp():
            return re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d", value) is not None
        case JsonObject():
            return isinstance(value, dict)


@pytest.mark.parametrize("name", BY_NAME)
def test_every_declared_check_holds(records, name):
    for check in BY_NAME[name].checks:
        match check:
            case MinimumWhen(field, minimum, when, equals):
                rows = [row for row in records[name] if row[when] == equals]
                assert rows
                assert min(row[field] for row in rows) >= minimum
            case Before(earlier, later):
                closed = [row for row in records[name] if row[later] is not None]
                assert all(row[earlier] < row[later] for row in closed)


@pytest.mark.parametrize("name", BY_NAME)
def test_every_reference_resolves(records, name):
    for reference in BY_NAME[name].references:
        parent = BY_NAME[reference.entity]
        known = {row[parent.key] for row in records[parent.name]}
        assert {row[reference.field] for row in records[name]} <= known


@pytest.mark.parametrize("name", BY_NAME)
def test_natural_keys_are_unique_per_tenant(records, name):
    for natural_key in BY_NAME[name].natural_keys:
        values = [row[natural_key] for row in records[name]]
        assert len(set(values)) == len(values)


def test_a_field_that_the_generator_does_not_know_stops_it():
    template = Template(BY_NAME["order_items"], b"t")
    with pytest.raises(ValueError, match="line_total"):
        template.records(dict.fromkeys(BY_NAME["order_items"].field_names[:-1], b"1"))


def test_names_with_quotes_and_other_scripts_survive(tmp_path):
    texts = joined(made(tmp_path / "d", tenants=1, customers_per_tenant=2_000))
    names = [
        row["name"] for (name, _), text in texts.items() for row in parsed(text) if "name" in row
    ]
    assert any('"' in name for name in names)
    assert any("é" in name or "ü" in name for name in names)
    assert any("\u4e00" <= letter <= "\u9fff" for name in names for letter in name)


# --- the records agree with one another -------------------------------------------------------


def test_totals_are_the_sums_of_their_lines(records):
    _assert_totals_are_sums(records["orders"], records["order_items"])


def _assert_totals_are_sums(orders: list[Record], items: list[Record]) -> None:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for item in items:
        assert item["line_total"] == item["quantity"] * item["unit_price"]
        sums[item["order_id"]] += item["line_total"]
    assert {order["order_id"]: order["total_amount"] for order in orders} == sums


def test_a_line_costs_what_its_product_costs(records):
    prices = {row["product_id"]: row["price"] for row in records["products"]}
    assert all(row["unit_price"] == prices[row["product_id"]] for row in records["order_items"])


def test_returns_give_back_and_sales_do_not(records):
    totals = defaultdict(list)
    for order in records["orders"]:
        totals[order["kind"]].append(order["total_amount"])
    assert min(totals["sale"]) > 0
    assert max(totals["return"]) < 0
    assert len(totals["sale"]) > 0.9 * 700
    assert set(totals) == {"sale", "return", "adjustment"}


def test_orders_carry_the_name_and_email_of_their_customer(records):
    customers = {row["customer_id"]: row for row in records["customers"]}
    for order in records["orders"]:
        customer = customers[order["customer_id"]]
        assert order["customer_name_snapshot"] == customer["name"]
        assert order["customer_email_snapshot"] == customer["email"]


def test_emails_are_unique_per_tenant_and_belong_to_nobody(records):
    emails = [row["email"] for row in records["customers"]]
    assert len(set(emails)) == len(emails)
    assert all(re.fullmatch(r"[a-z]+\.[a-z]+\d+@example\.(com|org|net)", e) for e in emails)


def test_emails_are_unique_where_names_repeat(tmp_path):
    customers = _records_of(made(tmp_path, tenants=1, customers_per_tenant=3_000), "customers")
    assert len({row["name"] for row in customers}) < 3_000
    assert len({row["email"] for row in customers}) == 3_000


def test_skus_and_order_numbers_have_the_documented_form(records):
    assert all(re.fullmatch(r"[A-Z]{3}\d{6}", row["sku"]) for row in records["products"])
    numbers = [row["external_order_id"] for row in records["orders"]]
    assert all(re.fullmatch(r"EXT\d{8}", number) for number in numbers)


def test_price_intervals_follow_one_another_and_end_in_the_current_price(records):
    products = {row["product_id"]: row for row in records["products"]}
    intervals = _by_product(records["price_history"])
    assert set(intervals) == set(products)
    for product_id, rows in intervals.items():
        rows.sort(key=lambda row: row["effective_from"])
        assert rows[0]["effective_from"] == products[product_id]["created_at"]
        for before, after in itertools.pairwise(rows):
            assert before["effective_to"] == after["effective_from"]
        assert rows[-1]["effective_to"] is None
        assert rows[-1]["price"] == products[product_id]["price"]


def test_stock_levels_are_running_sums_in_order_of_time_and_never_negative(records):
    for rows in _by_product(records["stock_events"]).values():
        assert len(rows) == 20
        times = [row["event_time"] for row in rows]
        assert times == sorted(set(times))
        sums = list(itertools.accumulate(row["delta"] for row in rows))
        assert [row["resulting_level"] for row in rows] == sums
        assert min(sums) >= 0


def test_stock_events_move_in_the_direction_of_their_source(records):
    deltas = defaultdict(list)
    for row in records["stock_events"]:
        deltas[row["source"]].append(row["delta"])
    assert set(deltas) == {"receipt", "sale", "adjustment", "return"}
    assert min(deltas["receipt"]) > 0
    assert max(deltas["sale"]) < 0
    assert min(deltas["return"]) > 0
    assert 0 not in deltas["adjustment"]


def _by_product(rows: list[Record]) -> dict[str, list[Record]]:
    found = defaultdict(list)
    for row in rows:
        found[row["product_id"]].append(row)
    return found


def test_nothing_happens_before_what_it_points_at_was_made(records):
    made_at = {row["product_id"]: row["created_at"] for row in records["products"]}
    signed_up = {row["customer_id"]: row["created_at"] for row in records["customers"]}
    placed = {row["order_id"]: row["order_date"] for row in records["orders"]}
    assert all(made_at[e["product_id"]] <= e["event_time"] for e in records["stock_events"])
    assert all(made_at[i["product_id"]] <= placed[i["order_id"]] for i in records["order_items"])
    assert all(signed_up[o["customer_id"]] <= o["order_date"] for o in records["orders"])
    assert all(o["created_at"] <= o["order_date"] for o in records["orders"])


def test_orders_fill_the_two_years_before_the_last_day(tmp_path, records):
    days = [row["order_date"][:10] for row in records["orders"]]
    assert "2022-01-01" <= min(days) < "2022-01-15"
    assert "2023-12-15" < max(days) <= "2023-12-31"
    earlier = made(tmp_path / "earlier", until="2001-01-01", tenants=1)
    dates = [row["order_date"] for row in _records_of(earlier, "orders")]
    assert "1999-01-02" <= min(dates) <= max(dates) < "2001-01-01"


def _records_of(folder: Path, entity: str) -> list[Record]:
    return [
        row for (name, _), text in joined(folder).items() if name == entity for row in parsed(text)
    ]


def test_json_columns_have_the_documented_keys(records):
    def keys(entity: str, field: str) -> set[tuple[str, ...]]:
        return {tuple(row[field]) for row in records[entity]}

    assert keys("customers", "metadata") == {("phone", "address", "loyalty_tier", "signup_source")}
    assert keys("orders", "raw_payload") == {("source", "campaign", "discount_code")}
    assert keys("stock_events", "meta") == {("reason", "operator")}


def test_few_products_and_customers_make_most_of_the_trade(records):
    """By Zipf's law with 2/3 the best tenth gets 46 %; evenly drawn it would get about 20 %."""
    for entity, field, population in (
        ("order_items", "product_id", 300),
        ("orders", "customer_id", 90),
    ):
        sold = Counter(row[field] for row in records[entity])
        best = sum(count for _, count in sold.most_common(population // 10))
        assert best > 0.35 * len(records[entity])


# --- text of numbers --------------------------------------------------------------------------


def test_amounts_are_written_to_the_cent():
    cents = [0, 1, 99, 100, 105, 999_999, 1_000_000, 100_000_000_05, -1, -12_345]
    written = cells.text_of(cells.joined(len(cents), cells.money(np.array(cents)), b" ")).split()
    assert [Decimal(text.decode()) * 100 for text in written] == cents
    assert written[:5] == [b"0.00", b"0.01", b"0.99", b"1.00", b"1.05"]


@pytest.mark.parametrize("largest", [0, 9, 10, 9_999, 10_000, 10_001, 99_999_999, 10**12])
def test_whole_numbers_are_written_without_leading_zeros(largest):
    numbers = np.array([0, largest // 2, largest])
    written = cells.text_of(cells.joined(3, cells.whole(numbers), b" ")).split()
    assert written == [str(number).encode() for number in numbers]


def test_instants_are_written_as_python_does():
    instants = np.array([0, 86_399, 951_827_696, 1_704_067_199, 7_258_118_399])
    written = cells.text_of(cells.joined(5, cells.timestamps(instants), b" ")).decode().split()
    assert written == [
        "1970-01-01T00:00:00",
        "1970-01-01T23:59:59",
        "2000-02-29T12:34:56",
        "2023-12-31T23:59:59",
        "2199-12-31T23:59:59",
    ]


# --- the command ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--format", "xml"), "xml"),
        (("--compress", "--compression", "zstd"), "--compression"),
        (("--preset", "huge"), "huge"),
        (("--chunk-size", "0"), "chunk-size"),
        (("--tenants", "0"), "tenants"),
        (("--until", "1970-01-01"), "1980-01-01"),
        (("--upload", "--api-key", "mine"), "--tenants 1"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name_with_exit_code_2(tmp_path, flags, said):
    result = run(tmp_path / "none", *flags)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "none").exists()


def test_nothing_but_the_asked_json_goes_to_standard_output(tmp_path):
    assert run(tmp_path).stdout == ""
    summary = json.loads(run(tmp_path, "--json", "--verbose").stdout)
    data = contents(tmp_path)
    assert summary["files"] == len(data)
    assert summary["bytes"] == sum(map(len, data.values()))
    assert summary["total_rows"] == sum(text.count(b"\n") for text in data.values()) - 1


def test_verbose_names_every_file(tmp_path):
    said = run(tmp_path, "--verbose").stderr
    assert all(f"{name}: " in said for name in contents(tmp_path))


# --- one folder, one dataset ------------------------------------------------------------------


def test_a_run_again_into_the_same_folder_gives_the_same_files(folder, tmp_path):
    again = made(made(tmp_path))
    assert contents(again) == contents(folder)


def test_a_smaller_run_removes_the_chunks_of_a_larger_one_and_says_so(tmp_path):
    made(tmp_path / "d", orders_per_tenant=2_000)
    result = run(tmp_path / "d")
    assert re.search(r"removed the \d+ files of the dataset .*'orders': 2000", result.stderr)
    assert contents(tmp_path / "d") == contents(made(tmp_path / "fresh"))


def test_another_seed_leaves_no_file_of_the_earlier_dataset(tmp_path):
    made(tmp_path / "d", "--compress", seed=1)
    assert contents(made(tmp_path / "d")) == contents(made(tmp_path / "fresh"))


@pytest.mark.parametrize(
    "name", ["tenants.csv", "orders_mine.ndjson", "products.csv.gz", "orders.tsv", "orders.json"]
)
def test_data_files_of_somebody_else_are_neither_removed_nor_mixed_with(tmp_path, name):
    (tmp_path / name).write_text("mine")
    result = run(tmp_path)
    assert result.exit_code == 2
    assert name in result.stderr
    assert contents(tmp_path) == {name: b"mine"}


@pytest.mark.parametrize(
    "name", ["orders_mine.ndjson", "orders_0f2b8c1e-3f2b-4c1e-9f2b-3f2b8c1e3f2b_chunk_0000.ndjson"]
)
def test_a_stranger_beside_a_dataset_keeps_that_dataset_from_being_removed(tmp_path, name):
    made(tmp_path)
    (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    assert run(tmp_path, seed=7).exit_code == 2
    assert contents(tmp_path) == before


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "README.md").write_text("notes")
    made(made(tmp_path), seed=7)
    assert (tmp_path / "README.md").read_text() == "notes"


def test_a_broken_manifest_is_not_guessed_at(tmp_path):
    made(tmp_path)
    (tmp_path / ".headrace-dataset.json").write_text("{")
    before = contents(tmp_path)
    assert run(tmp_path).exit_code == 2
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_written_ends_with_a_message(tmp_path):
    (tmp_path / "file").write_text("")
    result = run(tmp_path / "file" / "folder")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")


# --- cut short --------------------------------------------------------------------------------


def test_an_interrupted_run_ends_with_130_and_discards_the_file_it_was_at(tmp_path, monkeypatch):
    def interrupted(*arguments: Any) -> Iterator[Records]:
        yield next(original(*arguments))
        raise KeyboardInterrupt

    original = stock_events.blocks
    monkeypatch.setattr(stock_events, "blocks", interrupted)
    result = run(tmp_path, chunk_size=1_000_000)
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert {_entity(name).name for name in contents(tmp_path) if name != "tenants.csv"} == {
        "customers",
        "products",
        "price_history",
    }
    assert not list(tmp_path.glob(".*.part"))


def test_a_killed_run_leaves_no_half_file_and_the_next_one_clears_up(tmp_path):
    _kill_among_the_stock_events(tmp_path)
    lines = {n: text.count(b"\n") for n, text in contents(tmp_path).items() if "_chunk_" in n}
    full = {"products": 20_000, "price_history": 80_000, "stock_events": 100_000}
    assert {_entity(name).name for name in lines} == set(full)
    assert all(count == full[_entity(name).name] for name, count in lines.items())
    assert _manifest(tmp_path)["complete"] is False
    made(tmp_path)
    assert contents(tmp_path) == contents(made(tmp_path / "fresh"))
    assert [path.name for path in tmp_path.glob(".*")] == [".headrace-dataset.json"]
    assert _manifest(tmp_path)["complete"] is True


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / ".headrace-dataset.json").read_text())
    return found


def _kill_among_the_stock_events(folder: Path) -> None:
    """Stops the run again and again until it is halfway through a file, and kills it there."""
    sizes = "--tenants 1 --products-per-tenant 20000 --stock-events-per-product 1000"
    command = [sys.executable, "gen_dataset.py", *sizes.split(), "--chunk-size", "100000"]
    process = subprocess.Popen(
        [*command, "--output-dir", str(folder)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    try:
        while not _is_halfway(folder):
            assert process.poll() is None
            assert time.monotonic() < deadline
            process.send_signal(signal.SIGCONT)
            time.sleep(0.02)
            process.send_signal(signal.SIGSTOP)
    finally:
        process.kill()
        process.wait()


def _is_halfway(folder: Path) -> bool:
    complete = list(folder.glob("stock_events_*_chunk_0001.ndjson"))
    growing = list(folder.glob(".stock_events_*.part"))
    return bool(complete and growing and growing[0].stat().st_size)
