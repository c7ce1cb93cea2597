"""The documents as data, and a working copy in which their commands run."""

import fnmatch
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tests import service
from tests.servers import free_port

ROOT = service.ROOT
PAGES = [
    "README.md",
    "CHANGELOG.md",
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(
    r"(?:localhost:8000(?=/)|`(?:[A-Z]+ )?(?=/(?:api|health|metrics|admin)\b))"
    r"((?:[\w/$.-]|<[\w-]+>|\{\w+\})+)"
)
_NOT_COPIED = (
    ".git",
    ".venv",
    ".headrace",
    ".*_cache",
    "__pycache__",
    "generated_data",
    "logs",
    "*.egg-info",
)
_READY = 'until curl -fs "http://localhost:$PORT/health/ready" > ready.json; do sleep 0.1; done'


class Block(NamedTuple):
    """A fenced block: the line of its fence, its language, its text."""

    line: int
    language: str
    text: str


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    text = read(page)
    return [
        Block(text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in _FENCE.finditer(text)
    ]


def prose(page: str) -> str:
    return _FENCE.sub("", read(page))


def sections(page: str) -> dict[str, str]:
    """The text under each second-level heading."""
    parts = re.split(r"^## (.+)$", read(page), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def first_cells(text: str) -> list[str]:
    """The first column of the tables in a text, without their heads."""
    return [row[0].strip("`") for row in rows(text)]


def table(text: str) -> dict[str, str]:
    """The first two columns of the tables in a text."""
    return {row[0].strip("`"): row[1] for row in rows(text)}


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    split = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return _bodies([[cell.strip() for cell in row] for row in split])


def _bodies(rows: list[list[str]]) -> list[list[str]]:
    rules = [at for at, row in enumerate(rows) if set(row[0]) == {"-"}]
    return [row for at, row in enumerate(rows) if at not in rules and at + 1 not in rules]


class Clone:
    """A copy of the checkout with a `.venv` that is this interpreter's, and a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "headrace"
        self.port = free_port()
        shutil.copytree(ROOT, self.folder, ignore=shutil.ignore_patterns(*_NOT_COPIED))
        _lend_interpreter(self.folder / ".venv")
        self.environment = {**service_environment(), "PORT": str(self.port)}
        self._is_serving = False

    def run(self, scripts: list[Block], not_run: dict[str, str], seconds: float) -> str:
        """Run the blocks as one terminal would, and return what they printed.

        `not_run` has the reason why by command; a name that ends with `*` is that of many.
        """
        script = "\n".join(
            ["set -euo pipefail", *(self._runnable(one, not_run) for one in scripts)]
        )
        log = self.folder / "commands.log"
        with log.open("wb") as output:
            terminal = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                code = terminal.wait(seconds)
            finally:
                self._end(terminal)
        printed = log.read_text(errors="replace")
        assert code == 0, printed[-6000:]
        return printed

    @contextmanager
    def serving(self) -> Iterator[str]:
        """`make serve` in the background, and the server's URL once it is ready."""
        with (self.folder / "serve.out").open("ab") as log:
            serving = subprocess.Popen(
                ["make", "serve"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait = f"timeout 60 bash -c '{_READY}'"
            subprocess.run(wait, shell=True, cwd=self.folder, env=self.environment, check=True)
            self._is_serving = True
            yield f"http://localhost:{self.port}"
        finally:
            self._is_serving = False
            self._end(serving)

    def _runnable(self, block: Block, not_run: dict[str, str]) -> str:
        """The block with our port; what serves goes to the background, until it is ready."""
        lines = [f"echo '##### line {block.line}'"]
        for line in block.text.replace("localhost:8000", f"localhost:{self.port}").splitlines():
            command = line.partition("  #")[0].strip()
            if (reason := reason_for(command, not_run)) is not None:
                lines.append(f"echo {shlex.quote(f'NOT RUN: {command}: {reason}')}")
            elif command == "make serve" and self._is_serving:
                lines.append("echo 'it serves already'")
            elif command == "make serve":
                lines += ["make serve > serve.out 2>&1 &", _READY]
            else:
                lines.append(line)
        return "\n".join(lines)

    def _end(self, terminal: subprocess.Popen) -> None:
        """End what the terminal left running; it waits for its workers itself."""
        try:
            os.killpg(terminal.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        terminal.wait(90)


def reason_for(command: str, not_run: dict[str, str]) -> str | None:
    """Why a command is not run, or None."""
    names = (name for name in not_run if fnmatch.fnmatchcase(command, name))
    return next((not_run[name] for name in names), None)


def addresses(page: str) -> set[str]:
    """The paths of the service that a page names; what stands for a value is `<>`."""
    found = _ADDRESS.findall(read(page))
    return {re.sub(r"\$\w+|\$?\{\w+\}|<[\w-]+>", "<>", path) for path in found}


def service_environment() -> dict[str, str]:
    """This process's environment without anything that would configure a service."""
    ours = ("DB_", "DATABASE_", "HEADRACE_", "DJANGO_", "MAKE", "MFLAGS")
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ours) and name not in ("PORT", "ALLOWED_HOSTS")
    }


def _lend_interpreter(venv: Path) -> None:
    """A `.venv` that make takes for finished: nothing is installed or changed."""
    venv.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name not in (".runtime", ".dev"):
            (venv / entry.name).symlink_to(entry)
    for stamp in (".runtime", ".dev"):
        (venv / stamp).touch()


def url_parts(server: str) -> tuple[str, int]:
    """Host and port of a PostgreSQL server's URL."""
    parts = urlsplit(server)
    return parts.hostname or "localhost", parts.port or 5432


@contextmanager
def listening() -> Iterator[int]:
    """A port of the loopback address that somebody listens on."""
    with socket.socket() as somebody:
        somebody.bind(("127.0.0.1", 0))
        somebody.listen()
        yield somebody.getsockname()[1]
