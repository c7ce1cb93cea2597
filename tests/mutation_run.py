"""Does the suite see every predicate that keeps tenants apart? `python -m tests.mutation_run`.

Takes one such predicate at a time out of a copy of the repository, and runs against the copy, on
SQLite, where no policy stands behind a predicate, the test that failed without it last time; if it
passes, the tests of the part that the predicate was taken from, then those of who sees what over
the whole surface. What passes them all has survived: a gap of the tests, or a predicate behind
which another one stands.

`--write` keeps each verdict in predicates.csv as it is found; what has one there is left out,
unless `--again`. A survivor needs a reason there (test_predicates.py). `--only` picks some.
"""

import argparse
import ast
import csv
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests import templates
from tests.service import ROOT

OVER_ALL = ("tests/test_matrix.py", "tests/test_tenants_http.py")
#: The tests of a part, by the beginning of its paths; the first that fits counts.
OWN_TESTS = {
    "apps/analytics/": "test_prices test_price_sensing test_anomalies",
    "apps/audit/": "test_erasing test_audit test_retention",
    "apps/core/jobs": "test_jobs test_lifecycle",
    "apps/core/table_buckets": "test_limits",
    "apps/core/": "test_jobs test_idempotency test_retention",
    "apps/exports/": "test_export_jobs test_lifecycle test_takeouts",
    "apps/ingestions/": "test_ingestion_http test_sessions test_waking test_races",
    "apps/lifecycle/": "test_erasing test_lifecycle",
    "apps/metrics/": "test_metrics test_metrics_histories",
    "apps/moving/": "test_moving",
    "apps/stocks/": "test_stock_http test_stock_levels_http",
    "apps/tenants/": "test_keys test_lifecycle test_operator",
    "apps/webhooks/": "test_webhooks test_webhook_turns",
    "headrace/pipeline/": "conformance",
    "headrace/reading/": "test_exports test_search test_reading_http conformance",
}
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv", ".headrace", "__pycache__", ".*_cache", "build"
)
CHOOSING = {"filter", "get", "exclude", "Q"}
NAMES = {"tenant", "tenant_id"}
#: In SQL the parameter stays where it is, and the comparison goes.
COMPARED = re.compile(
    r"(?:\{?\w+\}?\.)?(?:tenant_id|\{TENANT\}) = "
    r"(?P<value>%s|%\(tenant\)s|\{spelling\.tenant\}|\{self\._tenant\})"
)
ELSEWHERE = ("migrations", "postgresql", "mysql", "mariadb")  #: what SQLite never runs
ON_SQLITE = "not postgresql and not mariadb and not redis"
SECONDS = 1_200
VERDICTS = Path("tests", "predicates.csv")
Key = tuple[str, str, int]  #: path, name of what holds it, which of those that it holds


class Cut(NamedTuple):
    """A predicate: where it stands in a file, and what stands there without it."""

    path: str
    line: int
    start: int
    end: int
    instead: str
    text: str

    def apply(self, root: Path) -> None:
        path = root / self.path
        source = path.read_text()
        path.write_text(source[: self.start] + self.instead + source[self.end :])


class Verdict(NamedTuple):
    """A predicate by what stays when lines move, and the test that fails without it."""

    path: str
    within: str
    number: int
    text: str
    failing: str  #: "" where none does
    reason: str = ""  #: why none does

    @property
    def key(self) -> Key:
        return self.path, self.within, self.number


def verdicts() -> dict[Key, Verdict]:
    """What predicates.csv says."""
    if not (ROOT / VERDICTS).exists():
        return {}
    with (ROOT / VERDICTS).open(newline="") as file:
        rows = [
            Verdict(path, within, int(number), *rest)
            for path, within, number, *rest in list(csv.reader(file))[1:]
        ]
    return {row.key: row for row in rows}


def write(known: Iterable[Verdict]) -> None:
    with (ROOT / VERDICTS).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Verdict._fields)
        writer.writerows(sorted(known))


def keyed() -> dict[Key, Cut]:
    """Every predicate of the program by its key."""
    seen: Counter[tuple[str, str]] = Counter()
    found = {}
    for cut in cuts():
        within = _holder(cut)
        seen[cut.path, within] += 1
        found[cut.path, within, seen[cut.path, within]] = cut
    return found


def _holder(cut: Cut) -> str:
    """The innermost function, class or name of a module whose text a predicate is part of."""
    names = ""
    for node in ast.walk(ast.parse((ROOT / cut.path).read_text())):  # outer ones come first
        first, last = getattr(node, "lineno", 0), getattr(node, "end_lineno", 0) or 0
        if first <= cut.line <= last and (name := _named(node)):
            names = f"{names}.{name}" if names else name
    return names


def _named(node: ast.AST) -> str:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return ""


def cuts() -> Iterator[Cut]:
    """Every predicate of the program that SQLite meets."""
    for folder in ("apps", "headrace"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if not any(word in name for word in ELSEWHERE):
                source = path.read_text()
                yield from sorted((*_keywords(name, source), *_comparisons(name, source)))


def _keywords(path: str, source: str) -> Iterator[Cut]:
    """`tenant_id=…` among what chooses rows."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _name(node.func) in CHOOSING:
            for word in node.keywords:
                if word.arg in NAMES and not isinstance(word.value, ast.Constant):
                    yield _without(path, source, word)


def _name(called: ast.expr) -> str:
    return called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")


def _without(path: str, source: str, word: ast.keyword) -> Cut:
    assert word.end_lineno is not None
    assert word.end_col_offset is not None
    start = _offset(source, word.lineno, word.col_offset)
    end = _offset(source, word.end_lineno, word.end_col_offset)
    text = source[start:end]
    if comma := re.match(r"\s*,\s*", source[end:]):
        end += comma.end()
    return Cut(path, word.lineno, start, end, "", text)


def _offset(source: str, line: int, column: int) -> int:
    """Of a place that ast tells in bytes of a line."""
    lines = source.splitlines(keepends=True)
    return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())


def _comparisons(path: str, source: str) -> Iterator[Cut]:
    """`tenant_id = <parameter>` in the texts of statements."""
    for found in COMPARED.finditer(source):
        line = source.count("\n", 0, found.start()) + 1
        instead = f"{found['value']} IS NOT NULL"
        yield Cut(path, line, found.start(), found.end(), instead, found[0])


def failing_without(cut: Cut, known: str, original: Path) -> str:
    """The test that fails in a copy without the predicate; "" where it survives."""
    with _copied(original) as root:
        cut.apply(root)
        ways = ((known,) if known else (), own_tests(cut), OVER_ALL)
        return next(filter(None, (_failing_alone(root, tests) for tests in ways if tests)), "")


def failing_by(cut: Cut, test: str, original: Path) -> str:
    """The test, if it fails in a copy without the predicate; "" if it passes."""
    with _copied(original) as root:
        cut.apply(root)
        return _failing(root, (test,))


def failing_anyway(tests: Iterable[str], original: Path) -> str:
    """The test that fails in a copy with all predicates in their places; "" as it should be."""
    with _copied(original) as root:
        return _failing(root, tests)


@contextmanager
def _copied(original: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="headrace-mutant-") as folder:
        _copy(original, Path(folder))
        yield Path(folder)


def own_tests(cut: Cut) -> tuple[str, ...]:
    """The tests of the part that a predicate is of, which need not know of tenants."""
    names = next(own for start, own in OWN_TESTS.items() if cut.path.startswith(start)).split()
    return tuple(f"tests/{name}" if name == "conformance" else f"tests/{name}.py" for name in names)


def _failing_alone(root: Path, tests: Iterable[str]) -> str:
    """Of these tests one that fails by itself, too: what fails beside others may be chance."""
    doubtful: list[str] = []
    while failing := _failing(root, tests, doubtful):
        if not failing.startswith("tests/") or _failing(root, (failing,)):
            break
        doubtful.append(failing)
    return failing


def _failing(root: Path, tests: Iterable[str], but: Iterable[str] = ()) -> str:
    chosen = ("-k", ON_SQLITE, "-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider")
    without = [f"--deselect={test}" for test in but]
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                *tests,
                *without,
                *chosen,
                f"--basetemp={root / 'tmp'}",
            ],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"nothing for certain: its tests took more than {SECONDS:,} s"
    if done.returncode == 0 or "ERROR: not found" in done.stderr:  # the test bears another name now
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (tests/.+?)(?: - |$)", done.stdout, re.MULTILINE)
    return failed[1] if failed else f"{done.stdout[-300:]}{done.stderr[-300:]}"


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=NOT_COPIED, dirs_exist_ok=True)


def main() -> None:
    options = _options()
    known = {} if options.again else verdicts()
    chosen = {
        key: cut
        for key, cut in keyed().items()
        if key not in known and options.only.search(f"{cut.path}:{cut.line}")
    }
    print(f"{len(chosen)} predicates", flush=True)
    if options.list:
        print("\n".join(f"{cut.path}:{cut.line}  {cut.text}" for cut in chosen.values()))
        return
    templates.begin()  # no predicate changes what a migration makes
    with tempfile.TemporaryDirectory(prefix="headrace-original-") as folder:
        _copy(ROOT, Path(folder))  # whoever works on the repository meanwhile changes no verdict
        found = []
        for verdict in _run(chosen, Path(folder), options.jobs):
            found.append(verdict)
            if options.write:
                write({**_still_there(), verdict.key: verdict}.values())
    survived = sum(not verdict.failing for verdict in found)
    print(f"{len(found) - survived} killed, {survived} survived")


def _still_there() -> dict[Key, Verdict]:
    return {key: verdict for key, verdict in verdicts().items() if key in keyed()}


def _run(chosen: dict[Key, Cut], original: Path, jobs: int) -> Iterator[Verdict]:
    known = verdicts()
    with ThreadPoolExecutor(jobs) as pool:
        used = {OVER_ALL, *map(own_tests, chosen.values())}
        for broken in filter(None, pool.map(failing_anyway, used, [original] * len(used))):
            raise SystemExit(f"with all predicates in their places: {broken}")
        earlier = [known[key].failing if key in known else "" for key in chosen]
        told = pool.map(failing_without, chosen.values(), earlier, [original] * len(chosen))
        for (key, cut), failing in zip(chosen.items(), told, strict=True):
            reason = known[key].reason if key in known and not failing else ""
            verdict = f"killed by {failing}" if failing else f"SURVIVED {reason}"
            print(f"{cut.path}:{cut.line}  {cut.text}  {verdict}", flush=True)
            yield Verdict(*key, cut.text, failing, reason)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation_run", description=__doc__)
    parser.add_argument(
        "--only", type=re.compile, default=re.compile(""), help="path:line, a regex"
    )
    parser.add_argument("--write", action="store_true", help=f"keep the verdicts in {VERDICTS}")
    parser.add_argument("--again", action="store_true", help="those that have a verdict, too")
    parser.add_argument("--jobs", type=int, default=1, help="copies at once")
    parser.add_argument("--list", action="store_true", help="print the predicates, and run nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
