"""The job table in the operator's hands."""

import json
import logging
import sys
from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error
from rich.console import Console
from rich.table import Table

from apps.core import backlog, interventions
from apps.core.backlog import ListedJob
from apps.core.models import Job, JobState

log = logging.getLogger(__name__)
_UNCHANGED, _NO_DATABASE = 1, 3
_WIDE = 300  # columns of what is piped: nothing is cut


class Command(BaseCommand):
    help = (
        "Look at jobs and intervene. Exit code 0 when everything asked for was done, 1 when"
        " something was not, 2 for wrong usage, 3 when the database cannot be reached."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        _describe_list(actions.add_parser("list", help="show jobs, the newest first"))
        for name, about in _ABOUT.items():
            action = actions.add_parser(name, help=about, description=about)
            action.add_argument("ids", metavar="ID", type=int, nargs="+")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["action"] == "list":
                self._list(options)
            else:
                self._intervene(options["action"], options["ids"])
        except Error:
            log.exception("the database did not do it")
            raise CommandError(
                "The database is away or has no tables yet: `headrace doctor` says which.",
                returncode=_NO_DATABASE,
            ) from None

    def _list(self, options: dict[str, Any]) -> None:
        found = backlog.listed(options["state"], options["kind"], options["limit"])
        if options["json"]:
            rows = [job._asdict() for job in found]
            self.stdout.write(json.dumps(rows, indent=2, default=str))
        else:
            Console(width=None if sys.stdout.isatty() else _WIDE).print(_table(found))

    def _intervene(self, action: str, ids: list[int]) -> None:
        unchanged = [number for number in ids if not self._act(action, number)]
        if unchanged:
            raise CommandError(f"{len(unchanged)} of {len(ids)} unchanged", returncode=_UNCHANGED)

    def _act(self, action: str, number: int) -> bool:
        job = Job.objects.filter(pk=number).first()
        if job is None:
            self.stderr.write(f"job {number}: there is none; `headrace jobs list` shows them")
            return False
        try:
            done = interventions.ACTIONS[action](job)
        except interventions.NothingChanged as reason:
            self.stderr.write(f"job {number}: nothing changed: {reason}")
            return False
        self.stdout.write(f"job {number}: {done}")
        return True


_ABOUT = {
    "retry": "Queue what failed, quarantined or cancelled jobs worked on again.",
    "quarantine": "Take queued or running jobs out; what they worked on ends as failed.",
    "release": (
        "End the leases of running jobs, so that other workers take them at once. A holder that"
        " lives takes its lease back with its next sign of life: this is for workers that died."
    ),
}


def _describe_list(parser: ArgumentParser) -> None:
    parser.add_argument("--state", choices=JobState.values, help="only jobs in this state")
    parser.add_argument("--kind", help="only jobs of this kind")
    parser.add_argument("--limit", type=int, default=50, help="most jobs shown (default 50)")
    parser.add_argument("--json", action="store_true", help="all columns, for programs")


def _table(found: list[ListedJob]) -> Table:
    table = Table(*(name.replace("_seconds", "") for name in ListedJob._fields), box=None)
    for job in found:
        shown = job._replace(
            lease_seconds_left=_span(job.lease_seconds_left), age_seconds=_span(job.age_seconds)
        )
        table.add_row(*map(str, shown))
    return table


def _span(seconds: float | None) -> Any:
    return "" if seconds is None else str(timedelta(seconds=round(seconds)))
