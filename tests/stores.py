"""Servers of objects for the tests: a real one of S3, and a double of Supabase Storage."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

from headrace.storage.base import StoreRefused, StoreUnavailable
from headrace.storage.s3 import S3Store
from tests.servers import free_port

ACCESS_KEY, SECRET, BUCKET = "a-key", "a-secret", "recognitions"
WEED = Path(sys.executable).parent / "weed"
_IDENTITY = {
    "name": "tests",
    "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET}],
    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
}


@contextmanager
def s3() -> Iterator[dict[str, str]]:
    """A SeaweedFS of our own with an empty bucket; the environment of who uses it."""
    with tempfile.TemporaryDirectory(prefix="headrace-s3-") as home:
        config = Path(home) / "s3.json"
        config.write_text(json.dumps({"identities": [_IDENTITY]}))
        port = free_port()
        with (Path(home) / "log").open("wb") as log:
            process = subprocess.Popen(_command(home, config, port), stdout=log, stderr=log)
        try:
            endpoint = f"http://127.0.0.1:{port}"
            _wait_for_bucket(endpoint, Path(home) / "log")
            yield {
                "HEADRACE_RECOGNITIONS_STORE": "s3",
                "HEADRACE_RECOGNITIONS_BUCKET": BUCKET,
                "HEADRACE_RECOGNITIONS_ENDPOINT": endpoint,
                "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET,
            }
        finally:
            process.kill()
            process.wait()


def _command(home: str, config: Path, port: int) -> list[str]:
    """It would listen at many ports, and report itself to its makers."""
    ports = [
        f"-{name}={free_port()}"
        for name in (
            *("master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
            *("filer.port", "filer.port.grpc", "s3.port.grpc"),
        )
    ]
    return [
        *(str(WEED), "server", f"-dir={home}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *(*ports, "-s3", f"-s3.port={port}", f"-s3.config={config}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false"),
        *("-master.volumeSizeLimitMB=256", "-volume.max=20"),
    ]


def _wait_for_bucket(endpoint: str, log: Path) -> None:
    store = S3Store(BUCKET, endpoint, "us-east-1", ACCESS_KEY, SECRET)
    for _ in range(600):
        with suppress(StoreUnavailable, StoreRefused):
            store.put("probe", [b"there"])  # it makes the bucket
            store.delete("probe")
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text()[-3000:])


class Supabase:
    """A double of Supabase Storage, with the requests that our store makes and no others.

    It answers as the published source does: what is refused is a 400 whose body has the status that
    is meant, and a HEAD has no body. `failing` is how many requests it answers with 503,
    once it has answered `patience` more.
    """

    def __init__(self) -> None:
        self.objects: dict[str, tuple[bytes, str, str]] = {}
        self.failing = 0
        self.patience = 0
        self.asked: list[str] = []
        self.lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (_Answers,), {"of": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        return {"NEXT_PUBLIC_SUPABASE_URL": self.url, "SUPABASE_SERVICE_ROLE_KEY": SECRET}

    @contextmanager
    def serving(self) -> "Iterator[Supabase]":
        Thread(target=self._server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


class _Answers(BaseHTTPRequestHandler):
    of: Supabase
    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path).removeprefix("/storage/v1/object/")
        with self.of.lock:
            self.of.asked.append(f"{self.command} {path}")
            if self._is_to_fail():
                self._send(503, {"statusCode": "503", "error": "busy", "message": "later"})
            elif "token=" not in self.path and self.headers["Authorization"] != f"Bearer {SECRET}":
                self._refuse(403, "invalid signature")
            else:
                self._answer(path, body)

    do_GET = do_HEAD = do_POST = do_DELETE = handle_one  # noqa: N815

    def _is_to_fail(self) -> bool:
        if self.of.patience:
            self.of.patience -= 1
            return False
        self.of.failing -= 1
        return self.of.failing >= 0

    def _answer(self, path: str, body: bytes) -> None:
        word, _, rest = path.partition("/")
        rest = rest.removeprefix("authenticated/")
        bucket, _, key = (rest if word in VERBS else path).partition("/")
        verb = word if word in VERBS else "object"
        if bucket != BUCKET:
            self._refuse(404, "Bucket not found")
        else:
            getattr(self, f"_{self.command.lower()}_{verb}")(key, body)

    def _post_object(self, key: str, body: bytes) -> None:
        assert self.headers["x-upsert"] == "true"
        now = datetime.now(UTC).isoformat()
        self.of.objects[key] = (body, self.headers["Content-Type"], now)
        self._send(200, {"Key": f"{BUCKET}/{key}"})

    def _delete_object(self, key: str, body: bytes) -> None:
        gone = [one for one in json.loads(body)["prefixes"] if self.of.objects.pop(one, None)]
        self._send(200, [{"name": one} for one in gone])

    def _get_authenticated(self, key: str, body: bytes) -> None:
        if key in self.of.objects:
            self._send_bytes(*self.of.objects[key][:2])
        else:
            self._refuse(404, "Object not found")

    _head_authenticated = _get_info = _get_authenticated
    _get_sign = _get_authenticated

    def _post_sign(self, key: str, body: bytes) -> None:
        if key in self.of.objects and json.loads(body)["expiresIn"] > 0:
            self._send(200, {"signedURL": f"/object/sign/{BUCKET}/{key}?token=t"})
        else:
            self._refuse(404, "Object not found")

    def _post_list(self, key: str, body: bytes) -> None:
        asked = json.loads(body)
        found: dict[str, Any] = {}
        for one, (data, _, changed) in sorted(self.of.objects.items()):
            if one.startswith(f"{asked['prefix']}/"):
                name, _, below = one.removeprefix(f"{asked['prefix']}/").partition("/")
                found[name] = (
                    {"name": name, "id": None}
                    if below
                    else {
                        "name": name,
                        "id": one,
                        "updated_at": changed,
                        "metadata": {"size": len(data)},
                    }
                )
        self._send(200, list(found.values())[asked["offset"] :][: asked["limit"]])

    def _refuse(self, status: int, message: str) -> None:
        self._send(400, {"statusCode": str(status), "error": "refused", "message": message})

    def _send(self, status: int, told: object) -> None:
        self._send_bytes(json.dumps(told).encode(), "application/json", status)

    def _send_bytes(self, data: bytes, media_type: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        """Tests have no use for a line a request."""


VERBS = ("authenticated", "info", "list", "sign")
