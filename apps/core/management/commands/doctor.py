"""What is configured, reachable and missing."""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from apps.core import doctor
from apps.core.doctor import Diagnosis
from apps.core.findings import Finding

_UNWELL, _NO_DATABASE = 1, 3


class Command(BaseCommand):
    help = (
        "Say what is configured, reachable and missing. Exit code 0 when all is well, 1 when"
        " something is not, 3 when the database cannot be reached."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="the same, for programs")

    def handle(self, *args: Any, **options: Any) -> None:
        diagnosis = doctor.examine()
        if options["json"]:
            self.stdout.write(_as_json(diagnosis))
        else:
            self.stdout.writelines(map(_shown, diagnosis.findings))
        if not diagnosis.is_well:
            sys.exit(_UNWELL if diagnosis.has_database else _NO_DATABASE)


def _as_json(diagnosis: Diagnosis) -> str:
    findings = [finding._asdict() for finding in diagnosis.findings]
    return json.dumps({"is_well": diagnosis.is_well, "findings": findings}, indent=2)


def _shown(finding: Finding) -> str:
    mark = "ok" if finding.is_well else "!!"
    line = f"{mark}  {finding.name:<14} {finding.found}\n"
    return line if finding.is_well else f"{line}    {'':<14} {finding.advice}\n"
