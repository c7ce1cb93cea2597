"""A move between databases: both halves, one after the other, each in a process of its own."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = (
        "Move all tenants from one database to another, of any kind, and compare both sides."
        " Run it again after an interruption: it goes on."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", help="URL of the database that has the rows")
        parser.add_argument("target", help="URL of the database that shall have them")
        parser.add_argument("--folder", type=Path, help="for the files between the two")

    def handle(self, *args: Any, **options: Any) -> None:
        source, target = options["source"], options["target"]
        if source == target:
            raise CommandError("Name two databases.")
        usual = _usual_folder(source, target)
        folder = options["folder"] or usual
        self._run(source, "export_data", str(folder))
        self._run(target, "migrate", "--verbosity", "0")
        self._run(target, "import_data", str(folder))
        if folder == usual:
            shutil.rmtree(folder)

    def _run(self, database: str, *arguments: str) -> None:
        """Raises CommandError with its exit code if a half does not succeed."""
        environment = {**os.environ, "DATABASE_URL": database}
        ended = subprocess.run([sys.executable, sys.argv[0], *arguments], env=environment)
        if ended.returncode:
            text = f"{arguments[0]} did not succeed. Mend what it says, and run the same again."
            raise CommandError(text, returncode=ended.returncode)


def _usual_folder(source: str, target: str) -> Path:
    """One for each pair of databases; it goes when all of it has landed."""
    pair = hashlib.sha256(f"{source} {target}".encode()).hexdigest()[:16]
    return Path(settings.HEADRACE_HOME / "moving" / pair)
