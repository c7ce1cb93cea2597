"""The second half of a move between databases."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.moving import folder, importing


class Command(BaseCommand):
    help = "Land a folder of export_data, and compare every table with what was written there."
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--json", action="store_true", help="the comparison as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if not (options["folder"] / folder.CONTROL).exists():
            raise CommandError(f"{options['folder']} has nothing that export_data wrote.")
        tell = (lambda text: None) if options["json"] else self.stdout.write
        try:
            told = importing.read_all(options["folder"], tell)
        except importing.NotMoved as failure:
            raise CommandError(f"Not everything moved: {failure}.") from None
        if options["json"]:
            self.stdout.write(json.dumps(told))
        else:
            rows = sum(row["rows"] for row in told)
            self.stdout.write(f"{rows:,} rows in {len(told)} tables of tenants are equal.")
