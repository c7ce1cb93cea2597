"""Indexes that are declared but not made by default, because not everybody wants their cost."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from apps.core import dialect, isolation
from headrace.entities import ENTITIES

OPTIONAL = {index.name: entity for entity in ENTITIES for index in entity.indexes if index.optional}


class Command(BaseCommand):
    help = f"Make or drop an optional index: {', '.join(OPTIONAL)}."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", choices=OPTIONAL)
        parser.add_argument("--drop", action="store_true", help="drop it instead")

    def handle(self, *args: Any, **options: Any) -> None:
        if connection.vendor != "postgresql":
            raise CommandError(
                f"Optional indexes are PostgreSQL's; {connection.display_name} has no such index."
            )
        name, entity = options["name"], OPTIONAL[options["name"]]
        statement = f"DROP INDEX IF EXISTS {name}"
        if not options["drop"]:
            statement = dialect.current().index_statement(entity, name)
        with isolation.as_owner(), connection.cursor() as cursor:
            cursor.execute(statement)
        self.stdout.write(f"{name} is {'dropped' if options['drop'] else 'made'}.")
