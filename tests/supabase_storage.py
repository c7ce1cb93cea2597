"""Supabase Storage for the tests: a double of it, and the real one where somebody has it.

The real server is one to which TEST_SUPABASE_URL and TEST_SUPABASE_KEY lead: the address of a
project and its service role key, as for the loader. Buckets of their own are made there, and
removed. Without them, what is the same against both is skipped loudly for the real one.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import httpx2
import pytest

KINDS = ("double", "real")
KEY, BUCKET = "a-key", "recognitions"
MOST_BYTES = 1_000_000  # of an object
KEYS = re.compile(r"[A-Za-z0-9_/!.*'() &$=@;:+,?-]+")  # what objects may be called
Objects = dict[str, tuple[bytes, str, str]]  # bytes, media type and age by key


class Double:
    """A double of Supabase Storage, with the requests that our store makes and no others.

    `test_supabase_storage.py` shows that it answers as the real one: what is refused is a 400 whose
    body has the status that is meant, and a bucket that is not there lists nothing. `failing` is
    how many requests it answers with `failure`, once it has answered `patience` more.
    """

    def __init__(self) -> None:
        self.objects: Objects = {}
        self.links: dict[str, str] = {}
        self.failing = 0
        self.failure = 503
        self.patience = 0
        self.asked: list[str] = []
        self.lock = Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (_Answers,), {"of": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "NEXT_PUBLIC_SUPABASE_URL": self.url,
            "SUPABASE_SERVICE_ROLE_KEY": KEY,
            "HEADRACE_RECOGNITIONS_BUCKET": BUCKET,
        }

    @contextmanager
    def serving(self) -> "Iterator[Double]":
        Thread(target=self._server.serve_forever, daemon=True).start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


class _Answers(BaseHTTPRequestHandler):
    of: Double
    protocol_version = "HTTP/1.1"

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = urlsplit(self.path)
        path = unquote(asked.path).removeprefix("/storage/v1/")
        token = asked.query.removeprefix("token=")
        with self.of.lock:
            self.of.asked.append(f"{self.command} {path}")
            if self._is_to_fail():
                self._refuse(self.of.failure, "Busy", "later")
            elif token:
                self._read_signed(path, token)
            elif self.headers["Authorization"] != f"Bearer {KEY}":
                self._refuse(403, "AccessDenied", "Invalid Compact JWS")
            else:
                self._answer(path, body)

    do_GET = do_POST = do_DELETE = handle_one  # noqa: N815

    def _is_to_fail(self) -> bool:
        if self.of.patience:
            self.of.patience -= 1
            return False
        self.of.failing -= 1
        return self.of.failing >= 0

    def _answer(self, path: str, body: bytes) -> None:
        """The first of ROUTES that fits; what follows it are a bucket and a key."""
        for method, place, answer in ROUTES:
            if method == self.command and path.startswith(place):
                bucket, _, key = path.removeprefix(place).partition("/")
                if answer not in BUCKETLESS and bucket != BUCKET:
                    self._refuse(404, "NoSuchBucket", "Bucket not found")
                else:
                    held = self.of.objects if bucket == BUCKET else {}
                    getattr(self, f"_{answer}")(held, key, body)
                return
        self._refuse(404, "NotFound", "Route not found")

    def _show_bucket(self, held: Objects, key: str, body: bytes) -> None:
        self._send({"id": BUCKET, "name": BUCKET, "public": False})

    def _put(self, held: Objects, key: str, body: bytes) -> None:
        if not KEYS.fullmatch(key):
            self._refuse(400, "InvalidKey", f"Invalid key: {key}")
        elif len(body) > MOST_BYTES:
            self._refuse(413, "EntityTooLarge", "The object exceeded the maximum allowed size")
        elif key in held and self.headers["x-upsert"] != "true":
            self._refuse(409, "KeyAlreadyExists", "The resource already exists")
        else:
            now = datetime.now(UTC).isoformat()
            held[key] = (body, self.headers["Content-Type"], now)
            self._send({"Key": f"{BUCKET}/{key}", "Id": str(uuid4())})

    def _remove(self, held: Objects, key: str, body: bytes) -> None:
        gone = [one for one in json.loads(body)["prefixes"] if held.pop(one, None)]
        self._send([{"name": one, "bucket_id": BUCKET} for one in gone])

    def _read(self, held: Objects, key: str, body: bytes) -> None:
        if key in held:
            self._send_bytes(*held[key][:2])
        else:
            self._refuse(404, "NoSuchKey", "Object not found")

    def _tell(self, held: Objects, key: str, body: bytes) -> None:
        if key in held:
            data, media_type, _ = held[key]
            self._send({"name": key, "size": len(data), "content_type": media_type})
        else:
            self._refuse(404, "NoSuchKey", "Object not found")

    def _sign(self, held: Objects, key: str, body: bytes) -> None:
        if json.loads(body)["expiresIn"] < 1:
            self._refuse(400, "InvalidRequest", "body/expiresIn must be >= 1")
        elif key not in held:
            self._refuse(404, "NoSuchKey", "Object not found")
        else:
            token = uuid4().hex
            self.of.links[token] = place = f"object/sign/{BUCKET}/{key}"
            self._send({"signedURL": f"/{place}?token={token}"})

    def _read_signed(self, path: str, token: str) -> None:
        if self.of.links.get(token) == path:
            self._read(self.of.objects, path.removeprefix(f"object/sign/{BUCKET}/"), b"")
        else:
            self._refuse(400, "InvalidJWT", "Invalid Compact JWS")

    def _list(self, held: Objects, key: str, body: bytes) -> None:
        asked = json.loads(body)
        found: dict[str, Any] = {}
        for one, (data, _, changed) in sorted(held.items()):
            if one.startswith(f"{asked['prefix']}/"):
                name, _, below = one.removeprefix(f"{asked['prefix']}/").partition("/")
                found[name] = (
                    {"name": name, "id": None, "updated_at": None, "metadata": None}
                    if below
                    else {
                        "name": name,
                        "id": one,
                        "updated_at": changed,
                        "metadata": {"size": len(data)},
                    }
                )
        self._send(list(found.values())[asked["offset"] :][: asked["limit"]])

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send({"statusCode": str(status), "code": code, "message": message}, 400)

    def _send(self, told: object, status: int = 200) -> None:
        data = json.dumps(told).encode()
        self._send_bytes(data, "application/json; charset=utf-8", status)

    def _send_bytes(self, data: bytes, media_type: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        """Tests have no use for a line a request."""


ROUTES = (
    ("GET", "bucket/", "show_bucket"),
    ("GET", "object/authenticated/", "read"),
    ("GET", "object/info/authenticated/", "tell"),
    ("POST", "object/list/", "list"),
    ("POST", "object/sign/", "sign"),
    ("POST", "object/", "put"),
    ("DELETE", "object/", "remove"),
)
#: Answers for which a bucket that is not there is one without objects.
BUCKETLESS = ("list", "sign", "remove")


@contextmanager
def real_supabase() -> Iterator[dict[str, str]]:
    """The environment of who uses a new bucket of the real server that TEST_SUPABASE_URL and
    TEST_SUPABASE_KEY name; skips loudly where they name none.
    """
    url, key = os.environ.get("TEST_SUPABASE_URL"), os.environ.get("TEST_SUPABASE_KEY")
    if not (url and key):
        pytest.skip("NO SUPABASE STORAGE: set TEST_SUPABASE_URL and TEST_SUPABASE_KEY")
    bucket = f"headrace-{uuid4().hex[:12]}"
    with httpx2.Client(
        base_url=f"{url}/storage/v1", headers={"Authorization": f"Bearer {key}", "apikey": key}
    ) as client:
        made = client.post("/bucket", json={"name": bucket, "file_size_limit": MOST_BYTES})
        assert made.is_success, made.text
        try:
            yield {
                "NEXT_PUBLIC_SUPABASE_URL": url,
                "SUPABASE_SERVICE_ROLE_KEY": key,
                "HEADRACE_RECOGNITIONS_BUCKET": bucket,
            }
        finally:
            _remove_bucket(client, bucket)


def _remove_bucket(client: httpx2.Client, bucket: str) -> None:
    """Bucket and objects; the server empties it in its own time."""
    client.post(f"/bucket/{bucket}/empty").raise_for_status()
    for _ in range(300):
        if client.delete(f"/bucket/{bucket}").is_success:
            return
        time.sleep(0.1)
    raise AssertionError(f"the bucket {bucket} could not be removed")


@contextmanager
def environment_of(kind: str) -> Iterator[dict[str, str]]:
    """The environment of who uses the "double", or the "real" server."""
    if kind == "real":
        with real_supabase() as environment:
            yield environment
    else:
        with Double().serving() as double:
            yield double.environment
