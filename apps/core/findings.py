"""What doctor says about one thing that it looked at."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from django.conf import settings

SPARE_CONNECTIONS = 3  # migrate, doctor and somebody with a client of the database


class Finding(NamedTuple):
    """One thing looked at. `advice` says what to do where it is not well."""

    name: str
    is_well: bool
    found: str
    advice: str = ""


def budget(allowed: int) -> Finding:
    """Whether the server allows the connections that this host may have at once."""
    parts = dict(_connections())
    needed = sum(parts.values())
    shown = " + ".join(f"{number} {name}" for name, number in parts.items())
    advice = "Raise max_connections, or run fewer workers (HEADRACE_WORKERS) on this host."
    found = f"{needed} of {allowed} may be used at once by this host: {shown}"
    return Finding("connections", needed <= allowed, found, advice)


def _connections() -> Iterator[tuple[str, int]]:
    workers = settings.HEADRACE_WORKERS
    yield "server threads", (os.cpu_count() or 1) * settings.HEADRACE_THREADS
    yield "workers", workers
    yield "heartbeats", workers
    yield "commands", SPARE_CONNECTIONS
