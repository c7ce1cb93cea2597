"""Django's migrate, as the database's owner, and on PostgreSQL the serving role's grants."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import ProgrammingError, connection

from apps.core import isolation, partitions, roles


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        with isolation.as_owner():
            super().handle(*args, **options)
            if connection.vendor == "postgresql":
                _grant()
                if options["verbosity"]:
                    self._tell_partitions()

    def _tell_partitions(self) -> None:
        self.stdout.write(f"  {partitions.described().capitalize()}.")
        if not partitions.is_as_configured():
            self.stdout.write(
                f"  HEADRACE_PARTITIONS={settings.HEADRACE_PARTITIONS} changed nothing: it is read"
                " when the tables are made. docs/partitions.md says how to move to other tables."
            )


def _grant() -> None:
    try:
        roles.grant()
    except ProgrammingError:
        raise CommandError(
            "The tables are made, but this database user may not make the serving role. Let an"
            " administrator run what `manage.py create_roles --sql` prints, then migrate again."
        ) from None
