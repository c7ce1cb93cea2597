"""Figures to text and to JSON: medians of the rounds, ratios, and where they were measured."""

import dataclasses
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from bench import databases
from bench.dataset import Dataset
from bench.measure import Usage

ROLES = ("client", "server", "worker", "database")
RATIOS = (
    ("ours / \\copy over one connection", "ours", "\\copy, one connection", 0.8),
    ("ours / \\copy over two connections", "ours", "\\copy, two connections", None),
    ("ours / textbook bulk_create", "ours", "textbook bulk_create", 2.5),
    ("unchanged load / \\copy over one", "ours, unchanged", "\\copy, one connection", None),
)
SQLITE_TARGET = 12_000


@dataclass(frozen=True)
class Figure:
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


@dataclass(frozen=True)
class Report:
    """All figures of one run."""

    machine: dict[str, str]
    data: Dataset
    rounds: int
    figures: list[Figure]

    def of(self, name: str) -> list[Figure]:
        return [figure for figure in self.figures if figure.name == name]

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(figure.name for figure in self.figures))

    def rate(self, name: str) -> float:
        return median(figure.rate for figure in self.of(name))

    @property
    def ratios(self) -> list[tuple[str, float, float | None]]:
        """What is compared, the ratio, and its target if it has one."""
        return [(text, self.rate(a) / self.rate(b), target) for text, a, b, target in RATIOS]


def machine(server: str) -> dict[str, str]:
    """Where the figures come from."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{os.cpu_count()} x {_processor()}",
        "python": platform.python_version(),
        **databases.settings(server),
    }


def text(report: Report) -> str:
    """The page that `make bench` prints."""
    return "\n".join(
        (
            "",
            ", ".join(f"{name} {value}" for name, value in report.machine.items()),
            f"{report.data.rows:,} rows {report.data.counts}, digest {report.data.digest};"
            f" medians of {report.rounds} interleaved rounds",
            "",
            *table(_summary(report)),
            "",
            "rows/s by entity (copied at once: together)",
            *table(_by_entity(report)),
            "",
            *_verdicts(report),
        )
    )


def plain(report: Report) -> dict[str, Any]:
    """The report as JSON's own types."""
    return {
        "machine": report.machine,
        "rows": report.data.counts,
        "digest": report.data.digest,
        "rounds": report.rounds,
        "figures": [
            dataclasses.asdict(figure)
            | {"usage": {role: used._asdict() for role, used in figure.usage.items()}}
            for figure in report.figures
        ],
        "ratios": {name: round(ratio, 3) for name, ratio, _ in report.ratios},
    }


def _summary(report: Report) -> Iterable[list[str]]:
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


def _by_entity(report: Report) -> Iterable[list[str]]:
    steps = list(dict.fromkeys(step for figure in report.figures for step in figure.steps))
    yield ["", *steps]
    for name in report.names:
        figures = report.of(name)
        share = figures[0].rows / report.data.rows
        yield [name, *(_step_rate(report, figures, step, share) for step in steps)]


def _step_rate(report: Report, figures: list[Figure], step: str, share: float) -> str:
    if step not in figures[0].steps:
        return ""
    rows = share * sum(report.data.counts[entity] for entity in step.split("+"))
    return f"{rows / median(figure.steps[step] for figure in figures):,.0f}"


def _verdicts(report: Report) -> Iterable[str]:
    for name, ratio, target in report.ratios:
        yield f"{name:<36}{ratio:>8.2f}{_verdict(ratio, target, '.1f')}"
    rate = report.rate("ours on SQLite")
    yield f"{'ours on SQLite, rows/s':<36}{rate:>8,.0f}{_verdict(rate, SQLITE_TARGET, ',')}"


def _verdict(value: float, target: float | None, form: str) -> str:
    if target is None:
        return ""
    return f"   target ≥ {target:{form}}: {'reached' if value >= target else 'MISSED'}"


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
