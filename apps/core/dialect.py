"""The dialect of the configured database: the one place that maps Django's name to the engine's."""

from functools import cache
from typing import Any

from django.db import connections

from headrace.pipeline import dialects
from headrace.pipeline.dialects.base import Dialect


@cache
def current(alias: str = "default") -> Dialect:
    """The database's dialect. Asks the server when it is first called: MariaDB is not MySQL."""
    return dialects.dialect(str(connections[alias].display_name).lower())


def opened() -> Any:
    """Django's connection of this thread: tried, where that is due, and open."""
    found = connections["default"]
    found.close_if_health_check_failed()
    found.ensure_connection()
    return found
