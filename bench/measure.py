"""What a contestant costs: CPU seconds and peak memory of its processes, seen through /proc.

A sampler looks at every process four times a second. CPU is what a process used between its
first and its last look, so what a process did in its last quarter second is lost; peak memory is
the kernel's own high-water mark (VmHWM). The CPU of programs that we start and wait for is exact:
the kernel hands over their account (wait4).
"""

import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

import psutil

from tests import service

ROOT = Path(__file__).resolve().parent.parent
INTERVAL = 0.25
BACKGROUND = ("checkpointer", "background writer", "walwriter")
Roles = Callable[[], Iterator[tuple[str, psutil.Process]]]


class Usage(NamedTuple):
    """CPU seconds of all processes of a role, and the peak of the largest of them in MiB."""

    cpu: float
    peak: float


class Finished(NamedTuple):
    """A program that ended well: what it printed and what it used."""

    output: str
    usage: Usage


def run(command: list[str], environment: dict[str, str], python: str = sys.executable) -> Finished:
    """Run a Python program of the repository to its end. Raises RuntimeError if it fails."""
    program = subprocess.Popen(
        [python, *command],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    complaints: list[str] = []
    reader = threading.Thread(target=lambda: complaints.append(program.stderr.read()))
    watcher = Meter(lambda: _family(program.pid))
    reader.start()
    with watcher:
        output = program.stdout.read()
    _, status, used = os.wait4(program.pid, 0)
    program.returncode = os.waitstatus_to_exitcode(status)
    reader.join()
    if program.returncode:
        raise RuntimeError(f"{command} ended with {program.returncode}: {complaints[0][-2000:]}")
    # Not ru_maxrss: a program begins with that of the process that started it.
    peak = watcher.usage["program"].peak
    return Finished(output, Usage(used.ru_utime + used.ru_stime, peak))


class Meter:
    """Measures the processes that `roles` names while the context lasts; then `usage` by role."""

    def __init__(self, roles: Roles) -> None:
        self._roles = roles
        self._began = time.time()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._first: dict[psutil.Process, float] = {}
        self._last: dict[psutil.Process, tuple[str, float, float]] = {}

    def __enter__(self) -> Self:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    @property
    def usage(self) -> dict[str, Usage]:
        found: dict[str, Usage] = defaultdict(lambda: Usage(0.0, 0.0))
        for process, (role, cpu, peak) in self._last.items():
            known = found[role]
            used = cpu - self._first[process]
            found[role] = Usage(known.cpu + used, max(known.peak, peak))
        return dict(found)

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        """Note every process; what one born since we began has used, it used in our time."""
        for role, process in self._roles():
            try:
                times = process.cpu_times()
                cpu, peak = times.user + times.system, _peak(process.pid)
            except (psutil.Error, OSError):
                continue
            is_ours = process.create_time() > self._began
            self._first.setdefault(process, 0.0 if is_ours else cpu)
            known = self._last.get(process, (role, 0.0, 0.0))
            self._last[process] = (role, cpu, max(peak, known[2]))  # a zombie has no memory


def _family(pid: int) -> Iterator[tuple[str, psutil.Process]]:
    """A program and the processes that it has started."""
    with suppress(psutil.Error):
        program = psutil.Process(pid)
        for process in (program, *program.children(recursive=True)):
            yield "program", process


def service_roles() -> Iterator[tuple[str, psutil.Process]]:
    """The processes of the service that this process has started: `server` and `worker`."""
    for process in psutil.Process().children(recursive=True):
        if service.is_worker(process.pid):
            yield "worker", process
        elif "gunicorn" in service.command_line(process.pid):
            yield "server", process


def database_roles(name: str) -> Roles:
    """The backends of a database, and its server's writers, if the server is on this machine."""

    def roles() -> Iterator[tuple[str, psutil.Process]]:
        servers = [
            (process, line)
            for process in psutil.process_iter(["ppid"])
            if process.info["ppid"] and (line := service.command_line(process.pid))
        ]
        backends = [process for process, line in servers if f" {name} " in line]
        parents = {process.info["ppid"] for process in backends}
        yield from (("database", process) for process in backends)
        for process, line in servers:
            if process.info["ppid"] in parents and line.strip().endswith(BACKGROUND):
                yield "database", process

    return roles


def process_roles(pid: int | None) -> Roles:
    """One process that is the whole database server, if it is on this machine."""

    def roles() -> Iterator[tuple[str, psutil.Process]]:
        with suppress(psutil.Error):
            if pid is not None:
                yield "database", psutil.Process(pid)

    return roles


def resident(role: str) -> float:
    """What the largest process of a role of our service holds in memory now, in MiB."""
    held = [process.memory_info().rss for name, process in service_roles() if name == role]
    return max(held, default=0) / 2**20


def together(*all_roles: Roles) -> Roles:
    def roles() -> Iterator[tuple[str, psutil.Process]]:
        for one in all_roles:
            yield from one()

    return roles


def _peak(pid: int) -> float:
    """The high-water mark of a process's resident memory, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
