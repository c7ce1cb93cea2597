"""Figures and what becomes of them: medians of the rounds, ratios, verdicts, JSON."""

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench import databases
from bench.measure import Usage

ROLES = ("client", "server", "worker", "database")
OURS = "ours"
UNCHANGED = "ours, unchanged"
CHANGED = "ours, 10 % changed"
COPY_1 = "\\copy, one connection"
COPY_2 = "\\copy, two connections"
TEXTBOOK = "textbook bulk_create"
DLT = "dlt, merge"
DLT_RECORDS = "dlt, merge of records"
DLT_BARE = "dlt, no indexes"
MARIADB = "ours on MariaDB"
MARIADB_TEXTBOOK = "textbook on MariaDB"
SQLITE = "ours on SQLite"
GENERATOR = "generator, a core"
FIRST_MILLION = "first"
LAST_MILLION = "last"
FIRST_COPIED = "first copied"
LAST_COPIED = "last copied"


class Target(NamedTuple):
    """What a rate is held against: that of `other`, or itself, without one, in rows/s.

    Without `least` it is there to be read beside others. `stretch` is what we would like; it
    decides nothing.
    """

    text: str
    name: str
    other: str | None
    least: float | None
    stretch: float | None = None


TARGETS = (
    Target("ours / \\copy over one connection", OURS, COPY_1, 1.5, 2.0),
    Target("ours / \\copy over two connections", OURS, COPY_2, 0.85, 1.1),
    Target("ours / textbook bulk_create", OURS, TEXTBOOK, 5),
    Target("ours / dlt, given records", OURS, DLT_RECORDS, 5),
    Target("ours / dlt, by its fastest way", OURS, DLT, 5),
    Target("unchanged load / \\copy over one", UNCHANGED, COPY_1, 2),
    Target("10 % changed / first load", CHANGED, OURS, 1.2),
    Target("MariaDB: ours / textbook", MARIADB, MARIADB_TEXTBOOK, 1.5),
    Target("ours on SQLite, rows/s", SQLITE, None, 20_000),
    Target("generator, rows/s a core", GENERATOR, None, 400_000),
)
MILLIONS_TARGETS = (
    Target("last part / first", LAST_MILLION, FIRST_MILLION, 0.8),
    Target("the same of \\copy", LAST_COPIED, FIRST_COPIED, None),
)


class Figure(NamedTuple):
    """One load of one contestant. `steps` has seconds by entity, `wal` is in bytes."""

    name: str
    rows: int
    seconds: float
    steps: dict[str, float]
    usage: dict[str, Usage]
    wal: int = 0

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


class Verdict(NamedTuple):
    """A target and what was measured; None if a contestant was not there."""

    target: Target
    value: float | None

    @property
    def is_reached(self) -> bool | None:
        if self.value is None or self.target.least is None:
            return None
        return self.value >= self.target.least


@dataclass(frozen=True)
class Report:
    """All figures of one run. `counts` are the rows by entity that most contestants load."""

    machine: dict[str, str]
    counts: dict[str, int]
    digest: str
    rounds: int
    figures: list[Figure]
    notes: list[str]

    @property
    def rows(self) -> int:
        return sum(self.counts.values())

    def of(self, name: str) -> list[Figure]:
        return [figure for figure in self.figures if figure.name == name]

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(figure.name for figure in self.figures))

    def rate(self, name: str) -> float | None:
        """Rows a second, the median of all rounds."""
        return median(figure.rate for figure in self.of(name)) if self.of(name) else None

    @property
    def verdicts(self) -> list[Verdict]:
        return [Verdict(target, self._value(target)) for target in TARGETS]

    def _value(self, target: Target) -> float | None:
        rate = self.rate(target.name)
        if target.other is None or rate is None:
            return rate
        other = self.rate(target.other)
        return other and rate / other


def machine(server: str) -> dict[str, str]:
    """Where the figures come from."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{os.cpu_count()} x {_processor()}",
        "python": platform.python_version(),
        **databases.settings(server),
    }


def busy() -> dict[str, str]:
    """How much the machine had to do before the bench began; a figure is worth that much less."""
    return {"load average before": f"{os.getloadavg()[0]:.1f}"}


def plain(report: Report) -> dict[str, Any]:
    """The report as JSON's own types."""
    return {
        "machine": report.machine,
        "rows": report.counts,
        "digest": report.digest,
        "rounds": report.rounds,
        "figures": [
            figure._asdict()
            | {"usage": {role: used._asdict() for role, used in figure.usage.items()}}
            for figure in report.figures
        ],
        "verdicts": {verdict.target.text: verdict.value for verdict in report.verdicts},
        "notes": report.notes,
    }


def summary(report: Report) -> Iterable[list[str]]:
    """What each contestant needed, in rows of cells."""
    cpu = [f"{role} s/M" for role in ROLES]
    peaks = [f"{role} MiB" for role in ROLES[:3]]
    yield ["", "rows", "seconds", "rows/s", "spread", *cpu, *peaks, "WAL B/row"]
    for name in report.names:
        yield _summary_row(name, report.of(name))


def _summary_row(name: str, figures: list[Figure]) -> list[str]:
    rates = [figure.rate for figure in figures]
    rows = figures[0].rows
    return [
        name,
        f"{rows:,}",
        f"{median(figure.seconds for figure in figures):.1f}",
        f"{median(rates):,.0f}",
        f"{min(rates):,.0f}–{max(rates):,.0f}" if len(rates) > 1 else "",
        *(_median(figures, role, lambda used: used.cpu / rows * 1e6) for role in ROLES),
        *(_median(figures, role, lambda used: used.peak) for role in ROLES[:3]),
        f"{median(figure.wal for figure in figures) / rows:,.0f}" if figures[0].wal else "",
    ]


def _median(figures: list[Figure], role: str, value: Any) -> str:
    known = [value(figure.usage[role]) for figure in figures if role in figure.usage]
    return f"{median(known):,.1f}" if known else ""


def by_entity(report: Report) -> Iterable[list[str]]:
    """Rows a second of each entity; what was copied at once is one column."""
    every = dict.fromkeys((*report.counts, *(one for f in report.figures for one in f.steps)))
    steps = [step for step in every if set(step.split("+")) <= report.counts.keys()]
    yield ["", *steps]
    for name in report.names:
        figures = report.of(name)
        if figures[0].steps.keys() & set(steps):
            share = figures[0].rows / report.rows
            yield [name, *(_step_rate(report, figures, step, share) for step in steps)]


def _step_rate(report: Report, figures: list[Figure], step: str, share: float) -> str:
    if step not in figures[0].steps:
        return ""
    rows = share * sum(report.counts[entity] for entity in step.split("+"))
    return f"{rows / median(figure.steps[step] for figure in figures):,.0f}"


def judged(verdicts: Iterable[Verdict]) -> Iterable[list[str]]:
    """Verdicts as rows of cells."""
    yield ["", "measured", "target", "", "stretch"]
    for target, value in verdicts:
        form = ",.0f" if target.other is None else ".2f"
        yield [
            target.text,
            "" if value is None else f"{value:{form}}",
            f"≥ {target.least:{form}}" if target.least else "",
            _WORDS[Verdict(target, value).is_reached] if target.least else "",
            f"{target.stretch:{form}}" if target.stretch else "",
        ]


_WORDS = {True: "reached", False: "MISSED", None: "not measured"}


def table(rows: Iterable[list[str]]) -> Iterable[str]:
    """Rows of cells as lines, the first column to the left and all others to the right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        yield "  ".join((first.ljust(widths[0]), *cells)).rstrip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")
