"""Django's migrate, as the database's owner, and on PostgreSQL the serving role's grants."""

from typing import Any

from django.core.management.commands import migrate
from django.db import connection

from apps.core import isolation, roles


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        with isolation.as_owner():
            super().handle(*args, **options)
            if connection.vendor == "postgresql":
                roles.grant()
