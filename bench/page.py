"""docs/benchmarks.md, written by the bench and by nobody else.

Each kind of run writes its own section and leaves the other one as it is.
"""

import re
import textwrap
from collections.abc import Iterable
from pathlib import Path

from bench import report
from bench.measure import ROOT
from bench.report import Report, Verdict

PAGE = ROOT / "docs" / "benchmarks.md"
LOADS = "Beside other loaders"
MILLIONS = "Many millions"
SECTIONS = (LOADS, MILLIONS)
_HEAD = """\
# Benchmarks

<!-- Written by `make bench`: do not edit. -->

Figures of one machine, written by the programs that measured them. Repeat them on yours:
`make bench` loads customers, products, orders and order items into an empty database and writes the
first section in less than 12 minutes; `make bench ROWS=10_000_000` loads so many, a million at a
time, and writes the second. `make bench-all` runs the benchmarks of calls, searches, metrics,
exports and the rest, which other pages quote; they take much longer and compare nothing with other
loaders. A server of PostgreSQL is found as the tests find it; `BENCH_DATABASE_URL` names another.
"""
_WHAT = """\
The clock of ours runs from the first request of the client to the commit that makes the last row
visible: HTTP, storing the file, checking every line, an outcome for each, statistics. Programs are
started and connected before. All load the same lines into tables with the project's indexes and
references, dlt excepted; each begins in a fresh database after a checkpoint. Ours and `\\copy`
take turns, every other round backwards; figures are medians. The slow ones load a part of the
rows, into tables that are as much smaller, which favours them. Processor seconds are for a million
rows; of a database they are those of its own processes.

What the others do not do:

- `\\copy` gets finished rows, in memory: nothing is parsed, checked or accounted for, and a second
  load of the same rows fails. Statistics are refreshed between its tables while the clock stands.
- The textbook loader checks nothing either: `json.loads`, a model, `bulk_create` of 1,000, one
  transaction a file; statistics as with `\\copy`.
- dlt makes its own tables: ids are texts, there are no references and no checks, and no line has
  an outcome of its own. "dlt, merge" is into such tables that were given the unique keys and
  indexes of ours while the clock stood; "no indexes" is what dlt makes by itself, which a search or
  a second merge would pay for. It merges (strategy "upsert") on the same keys, with declared types,
  two processes that normalize and its parallel load, in that of its ways which was the fastest on a
  small part in this run. "Merge of records" is the way of its guides: a resource yields
  dictionaries. Its tables are empty at first, so that it misses no statistics; those of
  its staging tables are the server's own business. It opens connections for each file, and what a
  very short one used is not seen: the processor time of its database is too low.
"""
_PARTS = """\
One tenant, loaded in equal parts of the same mixture, one after the other, each row new. Rates are
those of the whole service as above; memory is that of the larger worker after the part. After each
part `\\copy` puts the same rows, ready-made, into tables of its own over one connection: what both
lose, the database loses.
"""


def loads(found: Report) -> str:
    """The section of a run beside other loaders."""
    counts = ", ".join(f"{rows:,} {name}" for name, rows in found.counts.items())
    return "\n".join(
        (
            f"{found.rows:,} rows ({counts}; digest `{found.digest}`); rounds: {found.rounds}.",
            "",
            *_where(found.machine),
            "",
            *(f"- {note}" for note in found.notes),
            "",
            _WHAT,
            *_table(report.judged(found.verdicts)),
            "",
            *_table(report.summary(found)),
            "",
            "Rows a second by entity; what was copied at once is one column:",
            "",
            *_table(report.by_entity(found)),
        )
    )


def millions(machine: dict[str, str], rows: Iterable[list[str]], verdicts: list[Verdict]) -> str:
    """The section of a run of many parts."""
    return "\n".join(
        (
            _PARTS,
            *_where(machine),
            "",
            *_table(rows),
            "",
            *_table(report.judged(verdicts)),
        )
    )


def write(path: Path, title: str, text: str) -> None:
    """Put the section where it belongs, and keep the other."""
    sections = {**_sections(path), title: text}
    parts = (f"## {name}\n\n{sections[name].strip()}\n" for name in SECTIONS if name in sections)
    path.write_text("\n".join((_HEAD, *parts)), encoding="utf-8")


def _sections(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _where(machine: dict[str, str]) -> Iterable[str]:
    yield textwrap.fill("; ".join(f"{name} {value}" for name, value in machine.items()) + ".", 99)


def _table(rows: Iterable[list[str]]) -> Iterable[str]:
    """Cells as a table of Markdown that is legible in a terminal too."""
    head, *body = rows
    widths = [max(3, *map(len, column)) for column in zip(head, *body, strict=True)]
    yield _line(head, widths)
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    yield _line(rule, widths)
    for row in body:
        yield _line(row, widths)


def _line(cells: list[str], widths: list[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = (first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others))
    return f"| {' | '.join(padded)} |"
