"""The bench itself: its arithmetic, its page and its data; `make bench` measures, this does not."""

import json
import re
from itertools import chain
from pathlib import Path

import pytest

from bench import changed, contests, databases, dataset, merging, millions, page, report
from bench.contests import Arena
from bench.dataset import Dataset
from bench.measure import Usage
from bench.report import Figure, Report
from tests import documents

ROWS = 140
TITLES = [text for text, *_ in report.TARGETS]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """The pinned dataset with 140 rows, in a folder of its own."""
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    return dataset.pinned(ROWS / sum(dataset.WHOLE.values()))


def made_up(name: str, *rates: int) -> list[Figure]:
    """A figure a rate, each of a thousand rows."""
    used = {"client": Usage(0.25, 60.0), "worker": Usage(0.5, 120.0)}
    return [Figure(name, 1_000, 1_000 / rate, {"orders": 0.5}, used, 500_000) for rate in rates]


def reported(*figures: list[Figure]) -> Report:
    counts = {"orders": 600, "order_items": 400}
    return Report({"python": "3"}, counts, "abc", 3, list(chain(*figures)), ["a note"])


def lines(data: Dataset, entity: str) -> list[dict]:
    texts = [path.read_text() for path in data.files(entity)]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def test_a_verdict_compares_the_medians_of_all_rounds():
    ours = made_up(report.OURS, 900, 3_000, 2_000)
    found = reported(ours, made_up(report.COPY_1, 1_000, 1_600, 700))
    assert found.verdicts[0].value == pytest.approx(2.0)
    assert [one.is_reached for one in found.verdicts] == [True, *[None] * (len(TITLES) - 1)]


def test_a_rate_below_its_target_is_missed():
    found = reported(made_up(report.SQLITE, 19_999), made_up(report.GENERATOR, 400_000))
    judged = {row[0]: row[1:] for row in report.judged(found.verdicts)}
    assert list(judged) == ["", *TITLES]
    assert judged["ours on SQLite, rows/s"] == ["19,999", "≥ 20,000", "MISSED", ""]
    assert judged["generator, rows/s a core"] == ["400,000", "≥ 400,000", "reached", ""]
    assert judged[TITLES[0]] == ["", "≥ 1.50", "not measured", "2.00"]


def test_the_section_has_what_each_contestant_used():
    found = reported(made_up(report.OURS, 1_000, 3_000, 2_000), made_up(report.DLT, 100))
    rows = {row[0]: row[1:] for row in documents.rows(page.loads(found))}
    assert {*TITLES, report.OURS, report.DLT} <= rows.keys()
    assert list(report.summary(found))[1] == [
        *("ours", "1,000", "0.5", "2,000", "1,000–3,000", "250.0", "", "500.0", ""),
        *("60.0", "", "120.0", "500"),
    ]
    assert rows[report.OURS] == ["1,200", ""]  # the last table: by entity, 600 orders in 0.5 s
    assert json.loads(json.dumps(report.plain(found)))["figures"][0]["usage"]["worker"] == {
        "cpu": 0.5,
        "peak": 120.0,
    }


def test_a_run_writes_its_own_section_and_keeps_the_other(tmp_path: Path):
    path = tmp_path / "page.md"
    for title, text in [(page.MILLIONS, "many"), (page.LOADS, "old"), (page.LOADS, "new")]:
        page.write(path, title, text)
    assert path.read_text().endswith(f"## {page.LOADS}\n\nnew\n\n## {page.MILLIONS}\n\nmany\n")
    assert re.findall("^# .+", path.read_text(), re.MULTILINE) == ["# Benchmarks"]


def test_the_page_is_one_that_the_bench_wrote(tmp_path: Path):
    text = documents.read("docs/benchmarks.md")
    copy = tmp_path / "page.md"
    for title, section in documents.sections("docs/benchmarks.md").items():
        page.write(copy, title, section)
    assert copy.read_text() == text
    judged = documents.table(text)
    assert set(TITLES) <= judged.keys()


def test_every_tenth_row_is_another_and_no_key_is(tiny: Dataset):
    other = changed.changed(tiny)
    differ = 0
    for entity in dataset.ENTITIES:
        before, after = lines(tiny, entity), lines(other, entity)
        key = merging.BY_NAME[entity].key
        assert [row[key] for row in before] == [row[key] for row in after]
        differ += sum(one != two for one, two in zip(before, after, strict=True))
    assert changed.expected(tiny) == {"updated": differ, "unchanged": ROWS - differ}
    assert differ == sum(rows // changed.EVERY for rows in tiny.counts.values())


def test_parts_are_of_one_tenant_and_share_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    one, two = millions.made(2_000)
    assert (one.rows, two.rows, two.tenant) == (1_000, 1_000, one.tenant)
    for entity in dataset.ENTITIES:
        declared = merging.BY_NAME[entity]
        both = [*lines(one, entity), *lines(two, entity)]
        assert {row["tenant_id"] for row in both} == {str(one.tenant)}
        for name in (declared.key, *declared.natural_keys):
            assert len({row[name] for row in both}) == len(both)


def test_dlt_is_told_every_column_and_key(tiny: Dataset, tmp_path: Path):
    told = json.loads(merging.order(tiny, merging.WAYS[0], "postgresql:///x", tmp_path).read_text())
    for table in told["tables"]:
        row = lines(tiny, table["name"])[0]
        assert row.keys() <= table["columns"].keys()
        assert [table["columns"][name]["nullable"] for name in table["key"]] == [False, False]
        assert table["files"]
        unique = f"CREATE UNIQUE INDEX ON {table['name']} ({', '.join(table['key'])})"
        assert unique in told["indexes"]
    assert [one for one in told["indexes"] if "orders_search_idx" in one]


def test_dlt_is_no_package_of_ours():
    locked = documents.read("requirements-bench.txt")
    assert re.findall(r"^dlt==\d", locked, re.MULTILINE)
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert re.findall(r"^dlt==", documents.read(name), re.MULTILINE) == []


@pytest.mark.slow  # a migration
def test_competitors_load_all_rows_of_a_tiny_dataset(tiny: Dataset, postgresql_server: str):
    with databases.migrated(postgresql_server) as template:
        arena = Arena(postgresql_server, template)
        loads = [contests.copy_1, contests.copy_2, contests.textbook]
        found = [figure for contest in loads for figure in contest(arena, tiny)]
    assert [(one.name, one.rows) for one in found] == [
        (name, ROWS) for name in (report.COPY_1, report.COPY_2, report.TEXTBOOK)
    ]
    assert all(one.seconds > 0 and one.wal > 0 for one in found)
    assert found[-1].steps.keys() == tiny.counts.keys()
