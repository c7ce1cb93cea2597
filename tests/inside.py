"""Migrated databases that no service works on, for tests inside of processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import servers
from tests.service import ROOT, Service

INSIDE = """
import importlib, json, sys, django
django.setup()
module = importlib.import_module(f"tests.{sys.argv[1]}")
print(json.dumps(getattr(module, sys.argv[2])(*sys.argv[3:])))
"""


class Inside:
    """Calls functions of the module `tests.<module>` where Django is set up for a database."""

    def __init__(self, service: Service, module: str) -> None:
        self.service = service
        self._module = module

    def do(self, function: str, *arguments: object, **settings: str) -> Any:
        """What the function returns; `settings` are variables of its process."""
        result = subprocess.run(
            [sys.executable, "-c", INSIDE, self._module, function, *map(str, arguments)],
            cwd=ROOT,
            env=self.environment(**settings),
            capture_output=True,
            text=True,
            timeout=800,
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def environment(self, **settings: str) -> dict[str, str]:
        pointer = {"DJANGO_SETTINGS_MODULE": "main.settings"}
        return {**self.service.environment, **pointer, **settings}


@contextmanager
def database(home: Path, server: str | None) -> Iterator[Service]:
    """A database without tables: SQLite under `home`, or one of its own on this server."""
    ours = ("DB_", "DATABASE_", "HEADRACE_", "DJANGO_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment = {**inherited, "HEADRACE_HOME": str(home)}
    if server is None:
        yield Service(home, environment)
        return
    with servers.new_database(server) as url:
        yield Service(home, {**environment, "DATABASE_URL": url})
