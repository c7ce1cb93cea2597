"""Celery as its documentation starts it: worker nodes and a beat, real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil

from tests.service import Service

CONCURRENCY = 2


class Nodes:
    """Worker nodes and a beat beside a service that has a broker."""

    def __init__(
        self, service: Service, names: tuple[str, ...] = ("one", "two"), *, beat: bool = True
    ) -> None:
        self._service = service
        self._commands = {name: self._worker(name) for name in names}
        if beat:
            self._commands["beat"] = ["beat", "-l", "info"]
        self._processes: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Nodes":
        self.revive()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            for one in family(process.pid):
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            process.wait(60)

    def revive(self) -> None:
        """Start what is not running, as a supervisor would."""
        for name, arguments in self._commands.items():
            process = self._processes.get(name)
            if process is None or process.poll() is not None:
                self._processes[name] = self._start(name, arguments)

    def kill_workers(self) -> None:
        """kill -9 of all worker nodes and their pools."""
        for pid in self.worker_pids():
            kill(pid)
        for name, process in self._processes.items():
            if name != "beat":
                process.wait(60)

    def stop(self, name: str) -> int:
        """End a process as a deployment does; its exit code."""
        self._processes[name].send_signal(signal.SIGTERM)
        return self._processes[name].wait(60)

    def worker_pids(self) -> list[int]:
        """Worker nodes and the processes of their pools."""
        nodes = [process for name, process in self._processes.items() if name != "beat"]
        alive = [process.pid for process in nodes if process.poll() is None]
        return [one.pid for pid in alive for one in family(pid)]

    def pool_pids(self) -> list[int]:
        """The processes that work: those of the pools."""
        nodes = [process.pid for name, process in self._processes.items() if name != "beat"]
        return [one.pid for pid in nodes for one in family(pid) if one.pid != pid]

    def celery(self, *arguments: str, seconds: float = 60) -> subprocess.CompletedProcess:
        """Run `celery -A main …`; the result has its text."""
        return subprocess.run(
            self._command([*arguments]),
            cwd=self._service.root,
            env=self._service.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
        )

    @contextmanager
    def events(self) -> Iterator[IO[str]]:
        """The lines that `celery -A main events --dump` prints."""
        process = subprocess.Popen(
            self._command(["events", "--dump"]),
            cwd=self._service.root,
            env=self._service.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()
            process.wait()

    def log(self, name: str) -> str:
        return self._log(name).read_text()

    def _log(self, name: str) -> Path:
        return self._service.home / f"celery-{name}.txt"

    def _worker(self, name: str) -> list[str]:
        number = ["--concurrency", str(CONCURRENCY)]
        return ["worker", "-l", "info", *number, "-n", f"{name}@%h"]

    def _command(self, arguments: list[str]) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", "main", *arguments]

    def _start(self, name: str, arguments: list[str]) -> subprocess.Popen:
        with self._log(name).open("ab") as log:
            return subprocess.Popen(
                self._command(arguments),
                cwd=self._service.root,
                env=self._service.environment,
                stdout=log,
                stderr=log,
            )


def family(pid: int) -> list[psutil.Process]:
    """A process and all that it started."""
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
