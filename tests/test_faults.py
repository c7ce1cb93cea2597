"""Faults on purpose: the road must answer each line as the truth file says."""

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.entities import BY_NAME
from headrace.pipeline.errors import RejectCode
from headrace.synth import dataset
from headrace.synth.faults import inject, prices
from headrace.synth.faults.kinds import Kind
from headrace.synth.faults.truth import TRUTH
from headrace.synth.progress import Progress
from headrace.synth.settings import FormatName, Settings, Sizes
from tests import digests, road, sizes, truth
from tests.conftest import DIALECTS, server_of
from tests.generated import contents, made, run

SMALL = Sizes(2, products=120, orders=150, customers=60, stock_events_per_product=4)
TINY = Sizes(1, products=30, orders=30, customers=20, stock_events_per_product=4)
MANY = Sizes(1, products=600, orders=800, customers=300)
SHARE = sizes.of(8, 1)
LARGE = Sizes(2, products=312 * SHARE, orders=1_500 * SHARE, customers=100 * SHARE)
OF_LEVELS = {RejectCode.NEGATIVE_LEVEL, RejectCode.LEVEL_CHANGED, RejectCode.REFUSED_TOGETHER}
NOT_OF_LINES = {RejectCode.REFERENCE_MISSING, RejectCode.DATABASE_REFUSED} | OF_LEVELS


def faulty(folder: Path, sizes: Sizes = SMALL, *, kinds=inject.KINDS, **more) -> Path:
    order = Settings(folder, sizes, **({"faults": 0.2, "chunk_size": 200} | more))
    dataset.generate(order, Progress(), kinds)
    return folder


@pytest.fixture(scope="module", params=DIALECTS)
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[road.Database]:
    """One database of each dialect; every seed is a tenant of its own."""
    with opened(request, request.param, tmp_path_factory.mktemp("faults")) as database:
        yield database


def opened(request: pytest.FixtureRequest, dialect: str, folder: Path):
    return road.new_database(dialect, server_of(request, dialect), folder / "test.sqlite3")


# --- the road says what the truth says --------------------------------------------------------


@pytest.mark.parametrize("format", truth.FORMATS)
def test_every_line_is_answered_as_the_truth_says(database, tmp_path, format):
    folder = faulty(tmp_path / "data", seed=ord(format[0]), format=FormatName(format))
    assert truth.differences(database, folder, tmp_path) == []


@pytest.mark.parametrize("kind", inject.KINDS, ids=lambda kind: kind.name)
def test_a_kind_of_fault_alone_is_answered_as_its_table_says(database, tmp_path, kind):
    assert_alone_as_told(database, tmp_path, kind, FormatName.NDJSON)


@pytest.mark.parametrize("kind", inject.KINDS, ids=lambda kind: kind.name)
def test_a_kind_of_fault_alone_is_answered_as_its_table_says_in_csv(tmp_path, kind):
    with road.sqlite_database(tmp_path / "test.sqlite3") as database:
        assert_alone_as_told(database, tmp_path, kind, FormatName.CSV)


def assert_alone_as_told(database: road.Database, path: Path, kind: Kind, format: FormatName):
    seed = 1_000 + inject.KINDS.index(kind)
    folder = faulty(path / "data", TINY, kinds=(kind,), seed=seed, faults=0.3, format=format)
    own = [entry for entry in truth.entries(folder) if entry["fault"] != inject.ORPHAN]
    assert {entry["fault"] for entry in own} == {kind.name}
    answers = {entry["code"] or entry["outcome"] for entry in own} - {None}
    assert answers <= set(kind.codes)
    assert truth.differences(database, folder, path) == []


@settings(
    max_examples=8,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**31),
    rate=st.sampled_from([0.01, 0.1, 0.5, 1]),
    chunk_size=st.integers(1, 300),
)
def test_whatever_the_seed_the_rate_and_the_cut(tmp_path, seed, rate, chunk_size):
    with tempfile.TemporaryDirectory(dir=tmp_path) as path:
        more = {"seed": seed, "faults": rate, "chunk_size": chunk_size}
        folder = faulty(Path(path) / "data", Sizes(1, 12, 15, 10, 3), **more)
        with road.sqlite_database(Path(path) / "test.sqlite3") as database:
            database.dialect.pause_seconds = 0
            assert truth.differences(database, folder, Path(path)) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_lines_end_alike_on_every_database_from_every_format(request, tmp_path):
    found = {}
    for format in (FormatName.NDJSON, FormatName.CSV):
        folder = faulty(tmp_path / format, LARGE, faults=0.01, chunk_size=10_000, format=format)
        for dialect in DIALECTS:
            scratch = tmp_path / f"{format}-{dialect}"
            scratch.mkdir()
            with opened(request, dialect, scratch) as database:
                database.dialect.pause_seconds = 0
                assert truth.differences(database, folder, scratch) == [], (format, dialect)
                found[format, dialect] = digests.of_tenants(database, folder)
                told, rows = len(truth.entries(folder)), found[format, dialect].values()
                landed = sum(digest.rows for digest in rows)
                assert landed > 25_000 * SHARE
                print(
                    f"{format} on {dialect}: {told:,} lines as told, {landed:,} rows as elsewhere"
                )
    first, *others = found.values()
    assert others
    assert all(other == first for other in others)
    assert all(digest.rows for digest in first.values())


def test_faults_leave_what_goes_out_later_in_stock(tmp_path):
    """Movements that are not told of land, under the policy that refuses what is not there."""
    sizes = Sizes(1, products=60, orders=20, customers=20, stock_events_per_product=40)
    folder = faulty(tmp_path / "data", sizes, faults=0.5)
    told, codes = truth.read(folder), Counter()
    with road.sqlite_database(tmp_path / "test.sqlite3") as database:
        for file, ledger in truth.land(database, folder, tmp_path):
            if file.entity == "stock_events":
                answers = told[file.name].items()
                spoilt = {line for line, answer in answers if answer.outcome == "rejected"}
                assert {reject.line for reject in ledger.rejects} == spoilt
                codes.update(reject.code for reject in ledger.rejects)
    assert codes.total() > 300
    assert not OF_LEVELS & set(codes)


def test_a_truth_that_is_wrong_is_found(tmp_path):
    folder = faulty(tmp_path / "data", TINY)
    entries = truth.entries(folder)
    refused = next(entry for entry in entries if entry["code"] == RejectCode.REQUIRED)
    wrong = [{**entry, "field": "other"} if entry is refused else entry for entry in entries[:-1]]
    (folder / TRUTH).write_text("".join(json.dumps(entry) + "\n" for entry in wrong))
    with road.sqlite_database(tmp_path / "test.sqlite3") as database:
        found = truth.differences(database, folder, tmp_path)
    assert [difference.split(":")[0] for difference in found] == [
        f"{entry['file']}, line {entry['line']}" for entry in (refused, entries[-1])
    ]


def test_a_digest_tells_a_changed_cell(tmp_path):
    folder = made(tmp_path / "data", tenants=1, products_per_tenant=20, orders_per_tenant=20)
    with road.sqlite_database(tmp_path / "test.sqlite3") as database:
        assert [file.entity for file, _ in truth.land(database, folder, tmp_path)]
        before = digests.of_tenants(database, folder)
        with database.transaction() as connection:
            connection.execute(
                "UPDATE products SET price = price + 1 WHERE sku = (SELECT MIN(sku) FROM products)"
            )
        after = digests.of_tenants(database, folder)
    changed = {entity for (tenant, entity), one in before.items() if one != after[tenant, entity]}
    assert changed == {"products"}


# --- what is strewn ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[FormatName, Path]:
    return {
        format: faulty(tmp_path_factory.mktemp(format), MANY, chunk_size=10_000, format=format)
        for format in FormatName
    }


def test_all_codes_and_outcomes_that_a_line_can_have_are_there(folders):
    entries = [entry for folder in folders.values() for entry in truth.entries(folder)]
    assert set(RejectCode) - NOT_OF_LINES <= {entry["code"] for entry in entries}
    assert {"superseded", "unchanged", "parked", None} < {entry["outcome"] for entry in entries}


def test_every_kind_hits_and_the_rare_one_once(folders):
    for folder in folders.values():
        hits = Counter(entry["fault"] for entry in truth.entries(folder))
        assert set(hits) == {kind.name for kind in inject.KINDS} | {inject.ORPHAN}
        assert {hits[kind.name] for kind in inject.KINDS if kind.rare} == {1}


def test_every_record_type_is_hit(folders):
    own = [e for e in truth.entries(folders[FormatName.NDJSON]) if e["fault"] != inject.ORPHAN]
    hit = {name for name in BY_NAME if any(e["file"].startswith(f"{name}_") for e in own)}
    assert hit == set(BY_NAME)


def test_the_same_rows_are_hit_by_the_same_faults_in_every_format(folders):
    usual = [_place(entry, "ndjson", 0) for entry in truth.entries(folders[FormatName.NDJSON])]
    for format in (FormatName.CSV, FormatName.TSV):
        assert [_place(e, format, 1) for e in truth.entries(folders[format])] == usual


def _place(entry: dict, format: str, header: int) -> tuple:
    name = entry["file"].removesuffix(f".{format}")
    return name, entry["line"] - header, entry["fault"], entry["outcome"]


def test_lines_that_are_not_told_of_are_those_without_faults(folders, tmp_path):
    for format, folder in folders.items():
        sound = faulty(tmp_path / format, MANY, faults=0, chunk_size=10_000, format=format)
        for name, told in truth.read(folder).items():
            physical = enumerate((folder / name).read_bytes().split(b"\n"), 1)
            untold = {line for number, line in physical if number not in told}
            assert untold <= set((sound / name).read_bytes().split(b"\n"))


def test_the_same_seed_gives_the_same_faults(folders, tmp_path):
    again = faulty(tmp_path, MANY, chunk_size=10_000)
    assert contents(again) == contents(folders[FormatName.NDJSON])


def test_at_the_highest_rate_there_is_nothing_left_that_stops_the_generator(tmp_path):
    folder = faulty(tmp_path / "data", TINY, faults=1, seed=5)
    with road.sqlite_database(tmp_path / "test.sqlite3") as database:
        assert truth.differences(database, folder, tmp_path) == []


def test_an_orphan_names_a_row_that_the_truth_tells_of_or_its_child(folders):
    for entry in truth.entries(folders[FormatName.NDJSON]):
        if entry["fault"] == inject.ORPHAN:
            reference = next(
                reference
                for entity in BY_NAME.values()
                if entry["file"].startswith(f"{entity.name}_")
                for reference in entity.references
                if reference.field == entry["field"]
            )
            assert reference.entity == entry["parent"]


@pytest.mark.parametrize("kind", prices.KINDS, ids=lambda kind: kind.name)
def test_a_slipped_point_is_the_only_difference_to_the_sound_line(tmp_path, kind):
    folder = faulty(tmp_path / "faulty", TINY, kinds=(kind,))
    sound = faulty(tmp_path / "sound", TINY, faults=0)
    assert truth.entries(folder)
    for entry in truth.entries(folder):
        before, after = (_row(path / entry["file"], entry["line"]) for path in (sound, folder))
        assert entry["file"].startswith("price_history_")
        assert (entry["outcome"], entry["code"], entry["field"]) == ("inserted", "", "")
        assert after == {**before, "price": before["price"] * prices.FACTORS[kind.name]}
        assert before["price"] > 0


def _row(path: Path, line: int) -> dict:
    return json.loads(path.read_text().splitlines()[line - 1], parse_float=Decimal)


# --- the file and the command -----------------------------------------------------------------


def test_the_summary_names_the_truth_file_and_counts_the_faults(tmp_path):
    result = run(tmp_path, "--faults", "0.05", "--json")
    told = truth.entries(tmp_path)
    assert f"{len(told):,} lines" in result.stderr
    assert str(tmp_path / TRUTH) in result.stderr
    assert json.loads(result.stdout)["faults"] == Counter(entry["fault"] for entry in told)


def test_lines_are_counted_as_the_road_will(tmp_path):
    summary = json.loads(run(tmp_path, "--faults", "0.05", "--json").stdout)
    files = [n for n in contents(tmp_path) if n not in (TRUTH, "tenants.csv")]
    blanks = sum(entry["outcome"] is None for entry in truth.entries(tmp_path))
    physical = sum((tmp_path / name).read_bytes().count(b"\n") for name in files)
    assert summary["total_rows"] == physical - blanks + 2  # the tenants


@pytest.mark.parametrize("rate", ["-0.1", "1.5", "many"])
def test_a_rate_that_is_none_is_refused(tmp_path, rate):
    result = run(tmp_path / "none", "--faults", rate)
    assert result.exit_code == 2
    assert "--faults" in result.stderr


def test_a_dataset_without_faults_leaves_no_truth_of_an_earlier_one(tmp_path):
    made(tmp_path / "d", "--faults", "0.1")
    assert contents(made(tmp_path / "d")) == contents(made(tmp_path / "fresh"))


def test_the_truth_of_somebody_else_is_not_overwritten(tmp_path):
    (tmp_path / TRUTH).write_text("mine")
    assert run(tmp_path, "--faults", "0.1").exit_code == 2
    assert contents(tmp_path) == {TRUTH: b"mine"}
