"""Does the suite see every predicate that keeps tenants apart? `python -m tests.mutation_run`.

Takes one such predicate at a time out of a copy of the repository, and runs against the copy, on
SQLite, where no policy stands behind a predicate, the tests of the part that it was taken from; if
they pass, those of who sees what over the whole surface. What then passes has survived: a gap of
the tests, or a predicate behind which another one stands. By hand: each costs a run or two, and
`--only` picks some.
"""

import argparse
import ast
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.service import ROOT

OVER_ALL = ("tests/test_matrix.py", "tests/test_tenants_http.py")
#: The tests of a part, by the beginning of its paths; the first that fits counts.
OWN_TESTS = {
    "apps/analytics/": "test_prices test_price_sensing test_anomalies",
    "apps/audit/": "test_erasing test_audit test_retention",
    "apps/core/table_buckets": "test_limits",
    "apps/core/": "test_jobs test_idempotency test_retention",
    "apps/exports/": "test_export_jobs test_lifecycle",
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


def failing_without(cut: Cut, original: Path) -> str | None:
    """The test that fails in a copy without the predicate; None where it survives."""
    with _copied(original) as root:
        cut.apply(root)
        return _failing(root, own_tests(cut)) or _failing(root, OVER_ALL)


def failing_anyway(tests: Iterable[str], original: Path) -> str | None:
    """The test that fails in a copy with all predicates in their places."""
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


def _failing(root: Path, tests: Iterable[str]) -> str | None:
    chosen = ("-k", ON_SQLITE, "-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *tests, *chosen, f"--basetemp={root / 'tmp'}"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"nothing for certain: its tests took more than {SECONDS:,} s"
    if done.returncode == 0:
        return None
    failed = re.search(r"^(?:FAILED|ERROR) \S*?::(\w+)", done.stdout, re.MULTILINE)
    return failed[1] if failed else f"{done.stdout[-300:]}{done.stderr[-300:]}"


def _copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=NOT_COPIED, dirs_exist_ok=True)


def main() -> None:
    options = _options()
    chosen = [cut for cut in cuts() if options.only.search(f"{cut.path}:{cut.line}")]
    print(f"{len(chosen)} predicates", flush=True)
    if options.list:
        print("\n".join(f"{cut.path}:{cut.line}  {cut.text}" for cut in chosen))
        return
    with tempfile.TemporaryDirectory(prefix="headrace-original-") as folder:
        _copy(ROOT, Path(folder))  # whoever works on the repository meanwhile changes no verdict
        _run(chosen, Path(folder), options.jobs)


def _run(chosen: list[Cut], original: Path, jobs: int) -> None:
    survived = 0
    with ThreadPoolExecutor(jobs) as pool:
        used = {OVER_ALL, *map(own_tests, chosen)}
        for broken in filter(None, pool.map(failing_anyway, used, [original] * len(used))):
            raise SystemExit(f"with all predicates in their places: {broken}")
        verdicts = pool.map(failing_without, chosen, [original] * len(chosen))
        for cut, failed in zip(chosen, verdicts, strict=True):
            survived += failed is None
            told = f"killed by {failed}" if failed else "SURVIVED"
            print(f"{cut.path}:{cut.line}  {cut.text}  {told}", flush=True)
    print(f"{len(chosen) - survived} killed, {survived} survived")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation_run", description=__doc__)
    parser.add_argument(
        "--only", type=re.compile, default=re.compile(""), help="path:line, a regex"
    )
    parser.add_argument("--jobs", type=int, default=1, help="copies at once")
    parser.add_argument("--list", action="store_true", help="print the predicates, and run nothing")
    return parser.parse_args()


if __name__ == "__main__":
    main()
