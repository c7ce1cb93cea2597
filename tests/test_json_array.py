"""JSON arrays: elements from bytes, and what makes a file no array."""

import json
import random
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.entities import BY_NAME
from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.formats.json_text import Json
from headrace.pipeline.verify import verify
from tests import records, road, sizes
from tests.test_lines import cut

MIB = 1 << 20
JSON = st.recursive(
    st.sampled_from([None, True, 1, -0.5, "a", 'q"x\\', "[,]", "\\", "{}", "é"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)
SIZES = st.lists(st.integers(1, 9), min_size=1)
SIGNS = st.lists(
    st.sampled_from([b'"', b"[", b"]", b"{", b"}", b",", b"1", b"\\", b" ", b"\n", b'"a"']),
    max_size=14,
).map(b"".join)


def read(data: bytes, sizes: list[int]) -> tuple[list[tuple[int, int, bytes]], int]:
    """Number, offset and bytes of every element, and the census."""
    form = Json()
    census = form.census()
    blocks = cut(data, [len(data) // 2 + 1, *sizes]) if data[:1] in b" \n" else cut(data, sizes)
    for block in blocks:
        census.feed(block)
    found = [
        record
        for batch in form.batches(blocks)
        for record in zip(batch.numbers(), batch.offsets(), batch.lines, strict=True)
    ]
    return found, census.records


@settings(max_examples=300)
@given(values=st.lists(JSON, max_size=6), sizes=SIZES, indent=st.sampled_from([None, 1]))
def test_elements_are_those_of_the_array_whatever_the_blocks(values, sizes, indent):
    data = json.dumps(values, indent=indent, ensure_ascii=False).encode() + b"\n"
    found, counted = read(data, sizes)
    assert [json.loads(text) for *_, text in found] == values
    assert [number for number, *_ in found] == [*range(1, 1 + len(values))]
    assert all(data[offset:].startswith(text) for _, offset, text in found)
    assert counted == len(values)


@settings(max_examples=600)
@given(middle=SIGNS, sizes=SIZES, end=st.sampled_from([b"]", b"", b"]]", b"]\n"]))
def test_of_any_signs_both_counts_are_equal_or_the_file_is_no_array(middle, sizes, end):
    with suppress(Permanent):
        found, counted = read(b"[" + middle + end, sizes)
        assert counted == len(found)


BROKEN = {
    "cut short": (b'[{"a":1},{"a":', "the file ends before the array does", "element 2"),
    "cut in a string": (b'[{"a":"x', "the file ends", "element 1"),
    "no end": (b"[{},{}", "the file ends", "element 2"),
    "a comma too many": (b"[{},,{}]", "expected an element", "byte 4"),
    "a comma at the end": (b"[{},]", "expected an element", "element 2"),
    "something behind": (b"[{}] {}", "nothing behind the array", "byte 5"),
    "a stray brace": (b"[{}},{}]", "expected a comma or ], found }", "byte 3"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_array_lands_nothing_and_says_where_it_breaks(name, database, tmp_path):
    data, *told = BROKEN[name]
    with pytest.raises(Permanent) as failure:
        road.land(database, tmp_path, "customers", data, format="json")
    assert failure.value.code is FailureCode.BAD_ARRAY
    assert all(part in str(failure.value) for part in told)
    assert database.rows("customers") == []


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_lands_as_its_elements_would_line_by_line(indent, database, tmp_path):
    entity = BY_NAME["orders"]
    records.land_parents(database, tmp_path, entity, range(9))
    rows = [json.loads(records.line(records.example(entity, number))) for number in range(9)]
    rows[3] = rows[3] | {"currency": "EURO"}
    rows[5] = [1]  # type: ignore[call-overload]
    data = json.dumps(rows, indent=indent).encode()
    ledger = road.land(database, tmp_path, entity.name, data, format="json")
    outcomes = ["inserted"] * 9
    outcomes[3] = outcomes[5] = "rejected"
    assert ledger.outcome_by_line() == outcomes
    found = [(one.line, one.code, one.field) for one in ledger.rejects]
    assert found == [(4, "too_long", "currency"), (6, "bad_json", "")]
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    again = road.land(database, tmp_path, entity.name, lines, format="json", number=2)
    assert [one and str(one) for one in again.outcome_by_line()].count("unchanged") == 7


def test_keys_that_an_element_of_several_lines_repeats_are_seen(database, tmp_path):
    key = records.key("customers", 1)
    members = f'"customer_id":\n"{key}","name"\n:"a","name"\n:"b","metadata":{{"\\n":"x"}}'
    data = f"[{{{members}}}]".encode()
    ledger = road.land(database, tmp_path, "customers", data, format="json")
    assert [one.code for one in ledger.rejects] == ["duplicate_key"]


def test_an_array_without_elements_has_no_lines(database, tmp_path):
    ledger = road.land(database, tmp_path, "customers", b" [ \n ]\n", format="json")
    assert (ledger.received, ledger.outcome_by_line()) == (0, [])


@pytest.mark.parametrize("part", [b'"x",', b"[[[]]],", b'"\\"",', b"12345,"])
def test_an_element_over_a_mebibyte_is_one_reject_in_flat_memory(part: bytes, tmp_path):
    peaks = []
    for mebibytes in (2, sizes.of(6, 4)):
        element = b"[" + part * (mebibytes * MIB // len(part)) + b"1]"
        data = b'[{"customer_id":"%s"},' % records.key("customers", 1).encode() + element + b"]"
        folder = tmp_path / str(mebibytes)
        folder.mkdir()
        tracemalloc.start()
        load = road.load_of("customers", data, format="json")
        found = verify(load, folder, lambda records: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert (found.received, found.rows.count) == (2, 1)
        [page] = found.reject_pages()
        assert [(group.code, group.line) for group in page.groups] == [("line_too_long", 2)]
    assert peaks[1] < 1.1 * peaks[0] + MIB, peaks


def test_what_was_cut_off_an_element_does_not_land_without_it(tmp_path):
    sound = json.dumps({"customer_id": records.key("customers", 1)}).encode()
    data = b"[" + sound + b" " * (2 * MIB) + sound + b"," + sound + b"]"
    load = road.load_of("customers", data, format="json")
    found = verify(load, tmp_path, lambda records: None)
    assert (found.received, found.rows.count) == (2, 1)
    [page] = found.reject_pages()
    assert [(group.code, group.line) for group in page.groups] == [("line_too_long", 1)]


def test_the_first_sign_decides_between_an_array_and_lines():
    dice = random.Random(3)
    for start in (b"", b"\n", b" \t\r\n"):
        for text, expected in ((b"[{}]", 1), (b"{}\n{}", 2), (b"", 0)):
            found, counted = read(start + text, [dice.randrange(1, 9)])
            kept = [one for one in found if one[2].strip()]
            assert (len(kept), counted) == (expected, expected)
