"""docker-compose.yml and the Dockerfile as data, and their processes without an engine."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import yaml

from tests.service import ROOT

SCHEMA = ROOT / "tests" / "compose_spec" / "compose-spec.json"
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::-([^}]*))?\})")


class Instruction(NamedTuple):
    """A line of the Dockerfile: `COPY --from=packages /venv /venv`."""

    name: str
    options: dict[str, str]
    words: list[str]


class Stage(NamedTuple):
    """What stands between two FROM."""

    base: str
    instructions: list[Instruction]

    def of(self, name: str) -> list[Instruction]:
        return [one for one in self.instructions if one.name == name]


def compose(variables: Mapping[str, str]) -> dict[str, Any]:
    """The Compose file as an engine reads it with these variables set."""
    found = _resolved(yaml.safe_load((ROOT / "docker-compose.yml").read_text()), variables)
    for service in found["services"].values():
        own = service.get("environment", {})
        handed_on = {name: variables.get(name) for name, value in own.items() if value is None}
        merged = {**own, **handed_on}
        service["environment"] = {name: one for name, one in merged.items() if one is not None}
    return found


def variables_of_compose() -> set[str]:
    """The variables that a user may set for the Compose file."""
    text = (ROOT / "docker-compose.yml").read_text()
    named = {found[1] for found in _VARIABLE.finditer(text) if found[1]}
    services = yaml.safe_load(text)["services"].values()
    handed_on = [
        name
        for service in services
        for name, value in service.get("environment", {}).items()
        if value is None
    ]
    return named | set(handed_on)


def schema() -> dict[str, Any]:
    return json.loads(SCHEMA.read_text())


def stages() -> list[Stage]:
    """The Dockerfile with its arguments put in."""
    arguments: dict[str, str] = {}
    found: list[Stage] = []
    for one in _instructions():
        if one.name == "ARG":
            name, _, value = one.words[0].partition("=")
            arguments[name] = value
        elif one.name == "FROM":
            found.append(Stage(_resolved(one.words[0], arguments), []))
        else:
            found[-1].instructions.append(one)
    return found


def image_environment() -> dict[str, str]:
    """ENV of the last stage, without its PATH."""
    words = [word for one in stages()[-1].of("ENV") for word in one.words]
    pairs = dict(word.split("=", 1) for word in words)
    return {name: value for name, value in pairs.items() if name != "PATH"}


def context() -> list[str]:
    """The files that a build is given: everything here that .dockerignore leaves."""
    ignored = _ignored()
    found = []
    for folder, names, files in os.walk(ROOT):
        place = Path(folder).relative_to(ROOT)
        names[:] = [name for name in names if not ignored((place / name).as_posix())]
        found += [(place / name).as_posix() for name in files]
    return [path for path in found if not ignored(path)]


class Image:
    """A folder with what the image has in its work directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "app"
        made = [path.relative_to(ROOT) for path in ROOT.glob("headrace/pipeline/_scanner.*.so")]
        for path in (*context(), *made):
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, target)


class Container:
    """A service of the Compose file as a process; `replaced` is what differs without an engine."""

    def __init__(self, image: Image, service: dict[str, Any], **replaced: str) -> None:
        self._image = image
        self._service = service
        self._log = image.folder.parent / f"{uuid4().hex}.log"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {
            **image_environment(),
            **service["environment"],
            **replaced,
            "PATH": path,
        }
        self._process: subprocess.Popen | None = None

    @property
    def log(self) -> str:
        """What `docker-compose logs` shows."""
        return self._log.read_text()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                shlex.split(self._service["command"]),
                cwd=self._image.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self, seconds: float) -> int:
        """The exit code of a service that ends by itself."""
        assert self._process is not None
        return self._process.wait(seconds)

    def execute(self, *command: str, seconds: float = 120) -> subprocess.CompletedProcess:
        """`docker-compose exec`."""
        return subprocess.run(
            command,
            cwd=self._image.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    def check(self) -> subprocess.CompletedProcess:
        """Run the health check once."""
        kind, *words = self._service["healthcheck"]["test"]
        return self.execute(*(words if kind == "CMD" else ["/bin/sh", "-c", *words]))

    def wait_until_healthy(self, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while (checked := self.check()).returncode:
            assert self._process is not None
            assert self._process.poll() is None, self.log
            assert time.monotonic() < end, checked.stdout + checked.stderr + self.log
            time.sleep(0.2)

    def stop(self) -> int:
        """SIGTERM, and the exit code; TimeoutExpired where an engine would kill."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        grace = int(self._service.get("stop_grace_period", "10s").removesuffix("s"))
        return self._process.wait(grace)

    def kill(self) -> None:
        """End what is left of it."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(60)


def _instructions() -> list[Instruction]:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", "", text)
    return [_instruction(line) for line in joined.splitlines() if line]


def _instruction(line: str) -> Instruction:
    name, _, rest = line.partition(" ")
    words = shlex.split(rest)
    count = next((at for at, word in enumerate(words) if not word.startswith("--")), len(words))
    options = dict(word.removeprefix("--").split("=", 1) for word in words[:count])
    return Instruction(name, options, words[count:])


def _resolved(value: Any, variables: Mapping[str, str]) -> Any:
    """The value with ${NAME} and ${NAME:-default} replaced, and $$ by one dollar."""
    match value:
        case dict():
            return {name: _resolved(one, variables) for name, one in value.items()}
        case list():
            return [_resolved(one, variables) for one in value]
        case str():
            return _VARIABLE.sub(
                lambda found: (variables.get(found[1]) or found[2] or "") if found[1] else "$",
                value,
            )
    return value


def _ignored() -> Callable[[str], object]:
    """Whether .dockerignore leaves a path out. It knows `*` and `**/`, and no exceptions."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert not any(pattern.startswith("!") for pattern in patterns)
    parts = {r"\*\*/": "(?:.*/)?", r"\*": "[^/]*"}
    whole = "|".join(
        re.sub(r"\\\*\\\*/|\\\*", lambda found: parts[found[0]], re.escape(pattern))
        for pattern in patterns
    )
    return re.compile(f"(?:{whole})(?:/.*)?").fullmatch
