"""Django's migrate, as the database's owner, with what a database needs before or after it."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import ProgrammingError, connection

from apps.core import isolation, mariadb, page_images, partitions, roles
from headrace.pipeline.dialects import CAN_PARTITION


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        with isolation.as_owner(), _SETTING_UP.get(connection.vendor, nullcontext)():
            super().handle(*args, **options)
            if connection.vendor in CAN_PARTITION and options["verbosity"]:
                self._tell_partitions()

    def _tell_partitions(self) -> None:
        self.stdout.write(f"  {partitions.described().capitalize()}.")
        if not partitions.is_as_configured():
            self.stdout.write(
                f"  HEADRACE_PARTITIONS={settings.HEADRACE_PARTITIONS} changed nothing: it is read"
                " when the tables are made. docs/partitions.md says how to move to other tables."
            )


@contextmanager
def _on_postgresql() -> Iterator[None]:
    """The run that makes the guards of parents lets the role spare triggers. Later ones leave that
    as they find it: an administrator may have taken the right away.
    """
    knew_parents = roles.knows_parents()
    yield
    _grant(may_spare=roles.knows_parents() and not knew_parents)
    page_images.compress()


def _grant(*, may_spare: bool) -> None:
    try:
        roles.grant(may_spare=may_spare)
    except ProgrammingError:
        raise CommandError(
            "The tables are made, but this database user may not make the serving role. Let an"
            " administrator run what `manage.py create_roles --sql` prints, then migrate again."
        ) from None


_SETTING_UP: dict[str, Any] = {"postgresql": _on_postgresql, "mysql": mariadb.migration}
