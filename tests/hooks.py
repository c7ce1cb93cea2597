"""A receiver of webhooks: a real server that keeps what comes and answers as it is told."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from standardwebhooks import Webhook

from tests.service import Merchant

Answer = Callable[["Received"], tuple[int, dict[str, str], bytes]]


class Received(NamedTuple):
    """A request that came; its names are small letters."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def verified(self, secret: str) -> dict[str, Any]:
        """What it says, if it was signed by the secret; raises WebhookVerificationError."""
        return Webhook(secret).verify(self.body, self.headers)

    def told(self) -> dict[str, Any]:
        return json.loads(self.body)


class Receiver:
    """`answer` gives the answer to a request: its status, headers and body."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Answer = lambda received: (200, {}, b"thanks")
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hooks"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, count: int = 1, seconds: float = 90, kind: str = "") -> list[Received]:
        """The first requests, once so many have come."""
        end = time.monotonic() + seconds
        while len(found := self.of(kind)) < count:
            assert time.monotonic() < end, (count, [one.body for one in self.received])
            time.sleep(0.02)
        return found[:count]

    def of(self, kind: str = "") -> list[Received]:
        """Those of a type that have come."""
        return [one for one in self.received if not kind or one.told()["type"] == kind]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                names = {name.lower(): value for name, value in self.headers.items()}
                received = Received(self.path, names, body)
                receiver.received.append(received)
                status, headers, content = receiver.answer(received)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def receiving() -> Iterator[Receiver]:
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.close()


class Hooks:
    """A merchant's webhooks."""

    def __init__(self, merchant: Merchant) -> None:
        self.merchant = merchant
        self.base = f"/tenants/{merchant.tenant}/webhooks/"

    def call(self, method: str, path: str = "", status: int = 200, **options) -> Any:
        answer = self.merchant.request(method, self.base + path, **options)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def make(self, url: str, *events: str, **more: object) -> tuple[str, str]:
        """A new endpoint: its id and its secret."""
        asked = {"url": url, **({"events": events} if events else {}), **more}
        made = self.call("POST", status=201, json=asked)
        return made["endpoint_id"], made["secret"]

    def deliveries(self, endpoint: str, **asked: object) -> list[dict[str, Any]]:
        return self.call("GET", f"{endpoint}/deliveries/", params=asked)["data"]

    def attempted(self, endpoint: str) -> list[dict[str, Any]]:
        """Its deliveries, once each has had an attempt."""
        return self._once(endpoint, lambda one: bool(one["attempts"]))

    def ended(self, endpoint: str) -> list[dict[str, Any]]:
        """Its deliveries, once each has ended."""
        return self._once(endpoint, lambda one: one["state"] != "pending")

    def attempts(self, endpoint: str, count: int) -> list[dict[str, Any]]:
        """Its deliveries, once the last that was made has had so many attempts."""
        return self._once(endpoint, lambda one: len(one["attempts"]) == count)

    def _once(
        self, endpoint: str, holds: Callable[[dict[str, Any]], bool], seconds: float = 90
    ) -> list[dict[str, Any]]:
        end = time.monotonic() + seconds
        while True:
            found = self.deliveries(endpoint)
            if found and all(map(holds, found)):
                return found
            assert time.monotonic() < end, found
            time.sleep(0.05)
