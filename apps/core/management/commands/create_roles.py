"""The role that serves under row-level security (PostgreSQL)."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from apps.core import isolation, page_images, roles

_SPARING = """
-- Optional, for a superuser: loads then look at the references of all rows at once, and spare the
-- triggers that look again at each, half of the time that order lines take to be written.
"""
_COMPRESSING = """
-- Optional, for a superuser: large tables then write a fraction of the write-ahead log.
"""


class Command(BaseCommand):
    help = (
        "Make the role HEADRACE_DB_ROLE and grant it what serving needs. `migrate` does this"
        " too; --sql prints what an administrator must run where its user may not make roles."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--sql", action="store_true", help="print the statements only")

    def handle(self, *args: Any, **options: Any) -> None:
        if connection.vendor != "postgresql":
            raise CommandError(
                f"Only PostgreSQL has roles; {connection.display_name} is guarded by triggers."
            )
        if options["sql"]:
            self.stdout.write(";\n".join(roles.administrator_statements()) + ";")
            self.stdout.write(f"{_SPARING}{roles.sparing_statement()};")
            if page_images.is_undecided():
                self.stdout.write(f"{_COMPRESSING}{page_images.statement()};")
            return
        with isolation.as_owner():
            roles.grant(may_spare=True)
        self.stdout.write(f"{roles.name()} may serve this database.")
