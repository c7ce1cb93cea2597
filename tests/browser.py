"""A real browser, Debian's chromium, spoken to through its debugging pipe: JSON and a NUL."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium")
_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe")


class Chromium:
    """One page. `failures` are the answers of 400 and above, and what the page complained of."""

    def __init__(self, commands: int, answers: int) -> None:
        self.failures: list[str] = []
        self._commands = commands
        self._answers = os.fdopen(answers, "rb", buffering=0)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None

    def open(self, url: str) -> None:
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self._call(f"{domain}.enable")
        self._call("Page.navigate", url=url)

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; None while there is no page."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True)
        return found.get("result", {}).get("value")

    def wait(self, script: str, seconds: float = 90) -> None:
        """Until the expression is true."""
        end = time.monotonic() + seconds
        while self.evaluate(f"document.readyState === 'complete' && Boolean({script})") is not True:
            if time.monotonic() > end:
                raise AssertionError(f"never: {script}\n{self.evaluate('document.body.innerText')}")
            time.sleep(0.05)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self._notice(answer)
        return answer.get("result", {})

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            block = self._answers.read(1 << 16)
            if not block:
                raise AssertionError("chromium has ended")
            self._buffer += block
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _notice(self, event: dict[str, Any]) -> None:
        facts = event.get("params", {})
        if event["method"] == "Network.responseReceived":
            status, url = facts["response"]["status"], facts["response"]["url"]
            if status >= 400 and not url.endswith("/favicon.ico"):  # which no page asks for
                self.failures.append(f"{status} {url}")
        if event["method"] == "Runtime.exceptionThrown":
            self.failures.append(facts["exceptionDetails"]["text"])


@contextmanager
def chromium(profile: Path) -> Iterator[Chromium]:
    """A browser with a profile of its own, ended with the block."""
    (to_read, commands), (answers, to_write) = os.pipe(), os.pipe()
    script = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
    arguments = [PROGRAM, *_FLAGS, f"--user-data-dir={profile}"]
    process = subprocess.Popen(
        ["bash", "-c", script, *arguments], pass_fds=(to_read, to_write), stderr=subprocess.DEVNULL
    )
    os.close(to_read)
    os.close(to_write)
    try:
        yield Chromium(commands, answers)
    finally:
        os.close(commands)
        process.terminate()
        process.wait(60)
