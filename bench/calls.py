"""Small HTTP calls as cheaply as a client can make them, and how long each takes.

Client, server and database share a machine, so what the client uses is lost to the others: one
thread a connection, whole requests made beforehand, of an answer only the status and the length
are looked at.
"""

import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_BLOCK = 1 << 16


class Called(NamedTuple):
    """`latencies` are seconds, in no order; `cpu` is what this process used meanwhile."""

    seconds: float
    latencies: list[float]
    statuses: Counter[int]
    cpu: float

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """The latency that this share of the calls did not exceed, in seconds."""
        return sorted(self.latencies)[
            min(int(len(self.latencies) * share), len(self.latencies) - 1)
        ]


def request(method: str, path: str, key: str, body: bytes = b"", **headers: str) -> bytes:
    """A whole request, to be sent over a connection that is kept."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"X-API-Key: {key}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def as_fast_as_possible(port: int, requests: Sequence[bytes], connections: int) -> Called:
    """Send each request once; every connection sends its next when its last is answered."""
    return _call(port, connections, ((0.0, one) for one in requests))


def steadily(port: int, requests: Sequence[bytes], connections: int, rate: float) -> Called:
    """Send so many a second, whether or not earlier ones are answered, while connections are free.

    A latency begins when a call was due, so waiting for a connection counts too.
    """
    begins = time.perf_counter() + 0.05
    due = (begins + place / rate for place in range(len(requests)))
    return _call(port, connections, zip(due, requests, strict=True))


def _call(port: int, connections: int, work: Iterator[tuple[float, bytes]]) -> Called:
    turn, latencies, statuses = threading.Lock(), [], Counter[int]()
    failures: list[BaseException] = []
    ready = threading.Barrier(connections + 1)

    def client() -> None:
        try:
            with socket.create_connection(("127.0.0.1", port)) as opened:
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ready.wait()
                while (given := _next(turn, work)) is not None:
                    due, content = given
                    if (early := due - time.perf_counter()) > 0:
                        time.sleep(early)
                    began = due or time.perf_counter()
                    opened.sendall(content)
                    status = _status(opened)
                    latencies.append(time.perf_counter() - began)
                    statuses[status] += 1
        except BaseException as failure:
            failures.append(failure)
            ready.abort()

    threads = [threading.Thread(target=client) for _ in range(connections)]
    for thread in threads:
        thread.start()
    ready.wait()
    began, used = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return Called(time.perf_counter() - began, latencies, statuses, time.process_time() - used)


def _next(turn: threading.Lock, work: Iterator[tuple[float, bytes]]) -> tuple[float, bytes] | None:
    with turn:
        return next(work, None)


def _status(opened: socket.socket) -> int:
    """The status of the next answer, which is read to its end."""
    data = opened.recv(_BLOCK)
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += _more(opened)
    _, _, length = data[:end].lower().partition(b"content-length: ")
    if length:
        missing = end + 4 + int(length.split(b"\r", 1)[0]) - len(data)
        while missing > 0:
            missing -= len(_more(opened))
    else:  # in chunks, of which the last is empty
        while not data.endswith(b"\r\n0\r\n\r\n"):
            data += _more(opened)
    return int(data[9:12])


def _more(opened: socket.socket) -> bytes:
    if not (data := opened.recv(_BLOCK)):
        raise RuntimeError("the server closed the connection")
    return data


def repeated(requests: Sequence[bytes], number: int) -> list[bytes]:
    """So many requests, the same ones again and again."""
    return list(itertools.islice(itertools.cycle(requests), number))
