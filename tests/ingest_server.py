"""A small server that speaks the ingest contract, in memory, over real sockets; and a folder
of files to send to it.

It can be told to fail: `faults` are taken one by one by the files that arrive, `hold` stops an
arriving file until it is set, and `keys`, `rejects`, `parked` bend the answers. Each of `cuts`
ends a download of `records` after so many bytes.
"""

import gzip
import hashlib
import json
import threading
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

DROP_MIDWAY = "drop midway"  # hang up while the body is being read
DROP_ANSWER = "drop answer"  # accept the file, then hang up
ANN = "0a000000-0000-4000-8000-00000000000a"
BEN = "0b000000-0000-4000-8000-00000000000b"
SESSIONS = "/api/v1/ingest/sessions/"
OUTCOMES = ("inserted", "rejected", "parked")
FILES = "/api/v1/ingest/comprehensive/"


class IngestServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.RLock()
        self.uploads: dict[str, list[dict[str, Any]]] = {}
        self.answers: dict[str, tuple[str, bytes]] = {}
        self.arrived: list[str] = []  # names of files whose body came in whole, in order
        self.polls = 0
        self.faults: list[Any] = []  # DROP_MIDWAY, DROP_ANSWER or (status, headers, problem)
        self.keys: set[str] | None = None
        self.rejects: dict[str, int] = {}
        self.records = b""
        self.cuts: list[int] = []
        self.ranges: list[str | None] = []  # as they were asked for
        self.parked: list[int] = []  # parked lines at each look, the last one for good
        self.hold_from: int | None = None
        self.hold = threading.Event()
        self.holding = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients are killed in these tests; their broken pipes are no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: IngestServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        if not self._is_known_key():
            return
        if self.path == SESSIONS:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._once("session", self._open)
        elif self.path == FILES:
            self._receive()
        else:
            self._problem(404, "not_found", "no such address")

    def do_GET(self) -> None:
        token, _, what = self.path.removeprefix(SESSIONS).strip("/").partition("/")
        if not self._is_known_key():
            return
        if token not in self.server.uploads:
            self._problem(404, "not_found", "no such upload")
        elif what == "status":
            self._status(token)
        elif "form=records" in what:
            self._records()
        else:
            self._answer(200, self._reject_lines(token))

    def _is_known_key(self) -> bool:
        keys = self.server.keys
        if keys is None or self.headers["X-API-Key"] in keys:
            return True
        self.close_connection = True
        self._problem(401, "unknown_key", "the key is unknown")
        return False

    def _open(self) -> dict[str, Any]:
        token = uuid.uuid4().hex
        self.server.uploads[token] = []
        return {"upload_token": token, "status_url": f"{SESSIONS}{token}/status/"}

    def _receive(self) -> None:
        fault = self._fault()
        length = int(self.headers["Content-Length"])
        if fault == DROP_MIDWAY:
            self.rfile.read(length // 2)
            self._hang_up()
            return
        digest, lines = self._read_body(length)
        if self.headers["Upload-Token"] not in self.server.uploads:
            self._problem(404, "not_found", "no such upload")
        elif isinstance(fault, tuple):
            self._problem(fault[0], *fault[2], **fault[1])
        else:
            self._hold()
            self._once(digest, lambda: self._chunk(digest, length, lines), fault == DROP_ANSWER)

    def _fault(self) -> Any:
        with self.server.lock:
            return self.server.faults.pop(0) if self.server.faults else None

    def _read_body(self, length: int) -> tuple[str, int]:
        digest, lines, left = hashlib.sha256(), 0, length
        unzip = (
            zlib.decompressobj(31) if self.headers["Content-Type"] == "application/gzip" else None
        )
        while left:
            piece = self.rfile.read(min(left, 1 << 20))
            if not piece:
                raise ConnectionError("the client hung up")
            left -= len(piece)
            digest.update(piece)
            lines += (unzip.decompress(piece) if unzip else piece).count(b"\n")
        return digest.hexdigest(), lines

    def _hold(self) -> None:
        with self.server.lock:
            self.server.arrived.append(self.headers["X-Filename"])
            held = self.server.hold_from is not None
            held = held and len(self.server.arrived) > (self.server.hold_from or 0)
        if held:
            self.server.holding.set()
            self.server.hold.wait(120)

    def _chunk(self, digest: str, length: int, lines: int) -> dict[str, Any]:
        chunk = {
            "upload_token": self.headers["Upload-Token"],
            "chunk_id": sum(map(len, self.server.uploads.values())) + 1,
            "entity": self.headers["X-Filename"].split("_" + self._tenant())[0],
            "filename": self.headers["X-Filename"],
            "bytes": length,
            "sha256": digest,
            "status": "received",
            "status_url": f"{SESSIONS}{self.headers['Upload-Token']}/status/",
        }
        self.server.uploads[self.headers["Upload-Token"]].append({**chunk, "lines": lines})
        return chunk

    def _tenant(self) -> str:
        return self.headers["X-API-Key"].removeprefix("api_key_")

    def _once(self, fingerprint: str, effect: Any, drop_answer: bool = False) -> None:
        key = self.headers["Idempotency-Key"]
        with self.server.lock:
            replayed = key in self.server.answers
            if not replayed:
                self.server.answers[key] = (fingerprint, json.dumps(effect()).encode())
            known, body = self.server.answers[key]
        if drop_answer:
            self._hang_up()
        elif known != fingerprint:
            self._problem(422, "idempotency_mismatch", "same key, other payload")
        else:
            self._answer(201, body, **({"Idempotency-Replayed": "true"} if replayed else {}))

    def _status(self, token: str) -> None:
        with self.server.lock:
            self.server.polls += 1
            parked = self.server.parked
            waiting = (parked.pop(0) if len(parked) > 1 else parked[0]) if parked else 0
            status = self._status_of(token, self.server.uploads[token], waiting)
        body = json.dumps(status).encode()
        tag = f'"{zlib.crc32(body)}"'
        if self.headers["If-None-Match"] == tag:
            self._answer(304, b"", ETag=tag)
        else:
            self._answer(200, body, ETag=tag)

    def _status_of(self, token: str, chunks: list[dict[str, Any]], parked: int) -> dict[str, Any]:
        entities: dict[str, dict[str, Any]] = {}
        for chunk in chunks:
            entity = entities.setdefault(
                chunk["entity"],
                {"files": 0, "lines_received": 0, "outcomes": dict.fromkeys(OUTCOMES, 0)},
            )
            bad, late, parked = self.server.rejects.get(chunk["filename"], 0), parked, 0
            entity["files"] += 1
            entity["lines_received"] += chunk["lines"]
            for outcome, count in zip(
                OUTCOMES, (chunk["lines"] - bad - late, bad, late), strict=True
            ):
                entity["outcomes"][outcome] += count
        sums = {
            outcome: sum(one["outcomes"][outcome] for one in entities.values())
            for outcome in OUTCOMES
        }
        return {
            "upload_token": token,
            "status": "completed_with_rejects" if sums["rejected"] else "completed",
            "finished": True,
            "files": {"received": len(chunks), "finished": len(chunks), "failed": 0},
            "lines_received": sum(one["lines_received"] for one in entities.values()),
            "outcomes": sums,
            "entities": entities,
            "reject_codes": {"bad_number": sums["rejected"]} if sums["rejected"] else {},
            "chunks": [{**chunk, "status": "completed"} for chunk in chunks],
        }

    def _records(self) -> None:
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        part = self.server.records[start:]
        cut = self.server.cuts.pop(0) if self.server.cuts else len(part)
        self.send_response(206 if asked else 200)
        self.send_header("ETag", '"these"')
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part[:cut])
        if cut < len(part):
            self._hang_up()

    def _reject_lines(self, token: str) -> bytes:
        reject = {"line": 2, "offset": 10, "stage": "check", "code": "bad_number", "field": "price"}
        told = {"value": "abc", "message": "expected a number", "chunk_id": 1, "filename": "x"}
        return (json.dumps({**reject, **told}) + "\n").encode() * 2

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def _problem(self, status: int, code: str, detail: str, **headers: str) -> None:
        problem = {"type": "about:blank", "title": code, "status": status}
        self._answer(
            status, json.dumps({**problem, "detail": detail, "code": code}).encode(), **headers
        )

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[IngestServer]:
    """A server that answers in a thread of its own."""
    with IngestServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.hold.set()
        server.shutdown()


def data_folder(folder: Path) -> Path:
    """Two tenants, five files, 31 lines, and three files that cannot be sent."""
    folder.mkdir()
    write(folder / f"order_items_{ANN}_chunk_0000.ndjson", 10)
    write(folder / f"orders_{ANN}_chunk_0001.ndjson", 7)
    write(folder / f"orders_{ANN}_chunk_0000.ndjson", 8)
    (folder / f"customers_{ANN}.ndjson.gz").write_bytes(gzip.compress(b"{}\n" * 5))
    write(folder / f"products_{BEN}.ndjson", 1)
    (folder / "tenants.csv").write_text(f"tenant_id,name\n{BEN},Ben\n{ANN},Ann\n")
    (folder / "notes.txt").write_text("not data")
    write(folder / f"wishes_{ANN}.ndjson", 1)
    write(folder / f"orders_{ANN}.xlsx", 1)
    write(folder / "orders.ndjson", 1)
    return folder


def write(path: Path, lines: int) -> None:
    path.write_text("".join(f'{{"line": {number}}}\n' for number in range(lines)))
