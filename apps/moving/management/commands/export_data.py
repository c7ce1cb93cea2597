"""The first half of a move between databases."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.moving import exporting
from apps.moving.folder import OtherFolder


class Command(BaseCommand):
    help = "Write every tenant's rows into a folder. Run it again and it goes on where it stopped."
    requires_migrations_checks = True

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            exporting.write_all(options["folder"], self.stdout.write)
        except OtherFolder as other:
            raise CommandError(f"{other}.") from None
