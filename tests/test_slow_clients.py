"""Clients that stall, on real sockets: they hold memory for some seconds, and no thread."""

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest

from tests import service
from tests.service import Service

SECONDS = 2.0  # for a head
HEAD = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory) -> Iterator[Service]:
    """A service with few threads that soon gives up."""
    settings = {
        "HEADRACE_HEADER_SECONDS": str(SECONDS),
        "HEADRACE_THREADS": "4",
        "HEADRACE_BODY_SILENCE_SECONDS": "2",
    }
    with service.running(tmp_path_factory.mktemp("slow"), workers=0, **settings) as opened:
        yield opened


def connect(running: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", running.port), timeout=60)


def read_all(client: socket.socket) -> bytes:
    """What comes until the server closes."""
    blocks = iter(lambda: client.recv(1 << 16), b"")
    return b"".join(blocks)


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def answer_to(client: socket.socket, request: bytes) -> int:
    client.sendall(request)
    return status(client.recv(1 << 16))


def test_heads_that_stall_hold_no_thread_and_are_cut(impatient):
    crowd = 10 * 4 * (os.cpu_count() or 1)  # ten times the threads of all processes
    with ExitStack() as opened:
        stalled = [opened.enter_context(connect(impatient)) for _ in range(crowd)]
        silent = [opened.enter_context(connect(impatient)) for _ in range(20)]
        began = time.monotonic()
        for client in stalled:
            client.sendall(HEAD[:-2])
        for _ in range(10):
            with connect(impatient) as other:
                assert answer_to(other, HEAD) == 200
        assert time.monotonic() - began < 4 * SECONDS, "they were waited for"
        assert {status(read_all(client)) for client in stalled} == {408}
        assert {read_all(client) for client in silent} == {b""}
        assert SECONDS - 0.5 < time.monotonic() - began < SECONDS + 12


def test_a_head_that_drips_is_cut_as_soon_as_one_that_stalls(impatient):
    with connect(impatient) as client:
        began = time.monotonic()
        client.sendall(b"GET /health/live HTTP/1.1\r\n")
        with suppress(OSError):  # reset once it is closed
            while time.monotonic() - began < 10 * SECONDS:
                time.sleep(0.1)
                client.sendall(b"X: y\r\n")
        assert time.monotonic() - began < 8 * SECONDS


def test_a_head_in_pieces_and_requests_in_one_piece_are_answered(impatient):
    with connect(impatient) as client:
        for place in range(0, len(HEAD), 7):
            client.sendall(HEAD[place : place + 7])
            time.sleep(0.005)
        assert status(client.recv(1 << 16)) == 200
        client.sendall(HEAD + HEAD + HEAD[:20])
        time.sleep(0.2)
        last = HEAD.replace(b"Host:", b"Connection: close\r\nHost:")
        client.sendall(HEAD[20:] + last)
        assert read_all(client).count(b"200 OK") == 4


def test_a_kept_connection_that_begins_again_and_stalls_is_cut(impatient):
    with connect(impatient) as client:
        assert answer_to(client, HEAD) == 200
        time.sleep(0.2)  # idle is allowed
        client.sendall(b"G")
        assert status(read_all(client)) == 408


@pytest.mark.parametrize(
    ("head", "code"),
    {
        b"GET /health/live HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n": 431,  # the whole head
        b"GET /health/live HTTP/1.1\r\nX: " + b"a" * 80_000: 431,  # without an end
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nX: y\r\n\r\n": 414,  # the first line
        b"GET /" + b"a" * 80_000: 414,
        b"GET /health/live HTTP/1.1\r\nX: " + b"a" * 9_000 + b"\r\n\r\n": 431,  # one field
        b"GET /health/live HTTP/1.1\r\n" + b"X: a\r\n" * 65 + b"\r\n": 431,  # how many
        b"GET /health/live?" + b"a" * 8_200 + b" HTTP/1.1\r\n\r\n": 414,  # the address
        b"\r\n\r\n": 400,
    }.items(),
    ids=("head", "endless", "line", "endless line", "field", "fields", "address", "nothing"),
)
def test_heads_that_are_too_large_are_refused(impatient, head, code):
    with connect(impatient) as client:
        client.sendall(head)
        assert status(client.recv(1 << 16)) == code


def test_who_takes_no_answer_loses_the_connection(impatient):
    """As many as there are threads ask for more than the kernel buffers, and read nothing of it."""
    path = b"GET /static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js HTTP/1.1\r\n"
    with ExitStack() as opened:
        for _ in range(4 * (os.cpu_count() or 1) + 4):
            client = opened.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.connect(("127.0.0.1", impatient.port))
            client.sendall((path + b"Host: 127.0.0.1\r\n\r\n") * 8)
        time.sleep(1)
        began = time.monotonic()
        with connect(impatient) as other:
            assert answer_to(other, HEAD) == 200
        assert time.monotonic() - began < 40


UNREADABLE = {
    b"GET /health/live?" + b"a" * 8_200 + b" HTTP/1.1\r\n\r\n": (414, "uri_too_long"),
    b"GET /health/live HTTP/1.1\r\n" + b"X: y\r\n" * 80 + b"\r\n": (431, "too_large"),
    b"GET /health/live HTTP/1.1\r\nbad header\r\n\r\n": (400, "invalid_request"),
    b"nonsense\r\n\r\n": (400, "invalid_request"),
}


@pytest.mark.parametrize("request_", UNREADABLE, ids=["line", "fields", "header", "nonsense"])
def test_what_cannot_be_read_is_refused_as_a_problem(impatient, request_):
    with connect(impatient) as client:
        client.sendall(request_)
        head, _, body = read_all(client).partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert (status(head), json.loads(body)["code"]) == UNREADABLE[request_]


ENDED = HEAD.replace(b"Host:", b"Connection: close\r\nHost:")
#: Clients for five rounds of all threads: if each held one for its 2 seconds, that would be 10.
FIVE_ROUNDS = 5 * 4 * (os.cpu_count() or 1)


@pytest.mark.parametrize("request_", [ENDED, b"nonsense\r\n\r\n"], ids=["close", "nonsense"])
def test_who_does_not_close_after_the_last_answer_keeps_nobody_waiting(impatient, request_):
    with ExitStack() as opened:
        lingering = [opened.enter_context(connect(impatient)) for _ in range(FIVE_ROUNDS)]
        began = time.monotonic()
        for client in lingering:
            client.sendall(request_)
        assert {status(read_all(client)) for client in lingering} <= {200, 400}
        for _ in range(5):
            with connect(impatient) as other:
                assert answer_to(other, HEAD) == 200
        assert time.monotonic() - began < 6, "they were waited for"


def test_who_does_not_close_is_closed_in_the_end(impatient):
    with connect(impatient) as client:
        client.sendall(ENDED)
        assert status(read_all(client)) == 200
        with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012
            for _ in range(600):
                client.sendall(b"more")
                time.sleep(0.1)


LONG = HEAD.replace(b"Host:", b"Content-Length: 5000\r\nHost:")
SHORT = HEAD.replace(b"Host:", b"Content-Length: 5\r\nHost:") + b"12345"
LAST = b"\r\n0\r\n\r\n"  # of an answer without a length
CHUNKED = HEAD.replace(b"Host:", b"Transfer-Encoding: chunked\r\nHost:")


@pytest.mark.parametrize("request_", [LONG, CHUNKED], ids=["length", "chunked"])
def test_a_body_that_nobody_reads_holds_no_thread(impatient, request_):
    with ExitStack() as opened:
        dripping = [opened.enter_context(connect(impatient)) for _ in range(FIVE_ROUNDS)]
        for client in dripping:
            client.sendall(request_ + b"5")
        time.sleep(0.5)
        began = time.monotonic()
        for _ in range(5):
            with connect(impatient) as other:
                assert answer_to(other, HEAD) == 200
        assert time.monotonic() - began < 5, "they were waited for"
        assert [read_all(client).endswith(LAST) for client in dripping] == [True] * FIVE_ROUNDS


def test_a_body_that_nobody_reads_and_that_is_here_leaves_the_connection(impatient):
    with connect(impatient) as client:
        for request_ in (SHORT, CHUNKED + b"5\r\n12345\r\n0\r\n\r\n", SHORT, HEAD):
            client.sendall(request_)
            answer = b""
            while not answer.endswith(LAST):
                block = client.recv(1 << 16)
                assert block, "it was closed"
                answer += block
            assert status(answer) == 200


def test_a_broken_body_that_nobody_reads_gets_no_second_answer(impatient):
    with connect(impatient) as client:
        client.sendall(CHUNKED + b"nonsense\r\n")
        assert read_all(client).count(b"HTTP/1.1") == 1


def servers_of(running: Service) -> list[psutil.Process]:
    """The processes that answer requests, without the one that starts them."""
    (arbiter,) = psutil.Process(running.pid).children()
    return arbiter.children()


@contextmanager
def few_files(processes: list[psutil.Process], more: int) -> Iterator[None]:
    """They may open so many more files than they have open now."""
    before = [resource.prlimit(process.pid, resource.RLIMIT_NOFILE) for process in processes]
    for process, (_, hard) in zip(processes, before, strict=True):
        limits = (process.num_fds() + more, hard)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)
    yield
    for process, limits in zip(processes, before, strict=True):
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limits)


def test_a_process_that_may_open_no_more_files_accepts_later(impatient):
    processes = servers_of(impatient)
    with few_files(processes, more=5):
        with ExitStack() as opened:
            for _ in range(5 * len(processes) + 40):
                opened.enter_context(connect(impatient))
            time.sleep(0.5)
        began = time.monotonic()
        with connect(impatient) as other:
            assert answer_to(other, HEAD) == 200
        assert time.monotonic() - began < 30
    assert servers_of(impatient) == processes, "one ended, with what it was doing"
    assert "accepted for a moment" in (impatient.home / "serve.log").read_text()


ROOM = """
import resource, sys
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
from apps.core import serving
print(serving.room_for_connections(1000, 12), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "told"),
    [(300, 400, "204 400 400"), (300, 4000, "1000 1196 4000"), (60, 60, "13 60 60")],
)
def test_a_process_has_no_more_connections_than_files_for_them(soft, hard, told):
    command = [sys.executable, "-c", ROOM, str(soft), str(hard)]
    answer = subprocess.run(command, cwd=service.ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == told.split()


DRIPPING = {
    "options": b"POST /api/v1/ingest/sessions/ HTTP/1.1\r\nX-API-Key: {key}\r\n"
    b"Content-Type: application/json\r\n",
    "a form of the admin": b"POST /admin/login/ HTTP/1.1\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n",
    "a body of nobody": b"POST /api/v1/ingest/sessions/ HTTP/1.1\r\n",
}


@pytest.mark.parametrize("what", DRIPPING)
def test_a_small_body_that_drips_holds_its_thread_for_seconds(impatient, what):
    key = impatient.add_tenant().key.encode() if what == "options" else b""
    head = (
        DRIPPING[what].replace(b"{key}", key) + b"Host: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n"
    )
    with connect(impatient) as client:
        began = time.monotonic()
        client.sendall(head)
        with suppress(OSError):
            while time.monotonic() - began < 40:
                client.settimeout(0.4)
                with suppress(TimeoutError):
                    if client.recv(1 << 16):
                        break
                client.sendall(b"a")
        assert time.monotonic() - began < 30


def test_the_rest_of_a_body_that_was_given_up_is_no_request(impatient):
    key = impatient.add_tenant().key.encode()
    head = DRIPPING["options"].replace(b"{key}", key)
    with connect(impatient) as client:
        client.sendall(head + b"Host: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{")
        first = client.recv(1 << 16)
        with suppress(OSError):
            client.sendall(HEAD)
            first += read_all(client)
    assert first.count(b"HTTP/1.1 ") == 1
    assert status(first) == 408
