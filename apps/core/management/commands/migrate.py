"""Django's migrate, as the database's owner, and on PostgreSQL the serving role's grants."""

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import ProgrammingError, connection

from apps.core import isolation, roles


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        with isolation.as_owner():
            super().handle(*args, **options)
            if connection.vendor == "postgresql":
                _grant()


def _grant() -> None:
    try:
        roles.grant()
    except ProgrammingError:
        raise CommandError(
            "The tables are made, but this database user may not make the serving role. Let an"
            " administrator run what `manage.py create_roles --sql` prints, then migrate again."
        ) from None
