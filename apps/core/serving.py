"""gunicorn's worker with threads, in which a request gets a thread once its head has come whole.

Its own worker gives a connection a thread at the first byte, and then waits there for the rest
without end: as many clients as there are threads, each silent after `GET /`, and nobody is served.
Here the loop that waits for connections gathers heads, which costs a client that stalls a few
kilobytes of memory and nobody a thread. A head must come within HEADRACE_HEADER_SECONDS, and be
no longer than MOST_HEAD. The socket then has HEADRACE_BODY_SILENCE_SECONDS for each read and
write, so that who takes no answer is cut, too; bodies have their own pace (`pacing`).

Neither loop nor thread waits for a client after the answer: a connection that is to end lingers
on the poller, and one whose body nobody read ends, unless the rest of it is here already.

With TLS, HTTP/2 or uWSGI spoken by gunicorn itself all is as gunicorn has it.
"""

import errno
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ
from socket import SHUT_WR
from typing import Any

from gunicorn.glogging import Logger
from gunicorn.http.errors import (
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    NoMoreData,
    ParseException,
)
from gunicorn.http2 import negotiation
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import TConn, ThreadWorker

from apps.core.logs import Redacting

MOST_HEAD = 32 << 10
BLOCK = 16 << 10
MOST_UNREAD = 64 << 10  # bytes of a body that nobody read, on a connection that is kept
LINGER_SECONDS = 2.0
MOST_LINGERED = 1 << 20  # bytes that are read and thrown away
_END = b"\r\n\r\n"
_PASSING = (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK)
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PAUSE_SECONDS = 0.5
OTHER_FILES = 100  # of a process, beside those of its connections
FILES_OF_A_THREAD = 8  # the database's, a spooled body, an answer
_TOO_LATE = ("408 Request Timeout", "too_slow", "Send the whole head of a request at once.")
_TOO_LONG = (
    "431 Request Header Fields Too Large",
    "too_large",
    f"Send no more than {MOST_HEAD:,} bytes of headers.",
)
_LINE_TOO_LONG = (
    "414 URI Too Long",
    "uri_too_long",
    "Send fewer parameters; what is long has a place in a body.",
)


class Connection(TConn):
    """A connection whose head is gathered before a thread has it."""

    head = b""
    until = 0.0
    left = MOST_LINGERED
    linger: Callable[["Connection"], None]

    def init(self) -> None:
        """In the thread, which has made the socket wait without end by now."""
        super().init()
        self.sock.settimeout(_settings().HEADRACE_BODY_SILENCE_SECONDS)

    def take_rest(self) -> None:
        """What came behind the last request is the beginning of the next one's head."""
        self.head = self.parser.unreader.take_buffered() if self.parser else b""

    @property
    def is_whole(self) -> bool:
        return _END in self.head

    def give_head(self) -> None:
        """Let the parser have it."""
        if not self.initialized:
            super().init()
        self.parser.unreader.unread(self.head)
        self.head, self.data_ready = b"", True

    def refuse(self, status: str, code: str, detail: str) -> None:
        """Answer, as far as that can be done without waiting, and close."""
        with suppress(OSError):
            self.sock.send(_answer(status, code, detail))
            self.sock.recv(MOST_HEAD)  # or the answer is lost in the reset of what was not read
        self.close()

    def close(self, graceful: bool = False) -> None:
        """End it; gracefully, by the loop, which gunicorn would let wait for the client."""
        if graceful and self._say_that_it_ends():
            self.linger(self)
        else:
            super().close()

    def _say_that_it_ends(self) -> bool:
        try:
            self.sock.shutdown(SHUT_WR)
            self.sock.setblocking(False)
        except OSError:  # it has ended
            return False
        return True


class Worker(ThreadWorker):
    """gunicorn's own, with heads gathered by its loop."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._gathering: set[Connection] = set()
        self._lingering: set[Connection] = set()
        self._resumes_at = 0.0

    def init_process(self) -> None:
        """In the new process: no more connections than it may have files for."""
        asked = self.cfg.worker_connections
        self.worker_connections = room_for_connections(asked, self.cfg.threads)
        self.max_keepalived = self.worker_connections - self.cfg.threads
        if self.worker_connections < asked:
            told = "%d connections at once instead of %d: raise the limit of open files (ulimit -n)"
            self.log.warning(told, self.worker_connections, asked)
        super().init_process()

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled and time.monotonic() >= self._resumes_at)

    def accept(self, listener: Any) -> None:
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in _FULL:
                self._pause(error)
            elif error.errno not in _PASSING:
                raise
            return
        self.nr_conns += 1
        conn = Connection(self.cfg, client, address, listener.getsockname())
        conn.linger = self._linger
        self.enqueue_req(conn)

    def _pause(self, error: OSError) -> None:
        """Who asks meanwhile waits with the kernel; files come back as connections end."""
        self.log.warning("no connection is accepted for a moment: %s", error.strerror)
        self._resumes_at = time.monotonic() + PAUSE_SECONDS
        self.set_accept_enabled(False)

    def enqueue_req(self, conn: Connection) -> None:
        """Called for a new connection, and for one that is kept and has something to read."""
        if _is_gunicorns_own(conn):
            super().enqueue_req(conn)
            return
        conn.until = time.monotonic() + _settings().HEADRACE_HEADER_SECONDS
        conn.sock.setblocking(False)
        conn.take_rest()
        self._gather(conn)

    def _gather(self, conn: Connection) -> None:
        """Read what has come; a thread, the loop or nobody has the connection afterwards."""
        while not conn.is_whole:
            try:
                block = conn.sock.recv(BLOCK)
            except BlockingIOError:
                self._wait(conn)
                return
            except OSError:
                block = b""
            conn.head += block
            if not block or len(conn.head) > MOST_HEAD + BLOCK:
                self._end(conn, self._what_is_long(conn) if block else None)
                return
        if conn.head.index(_END) > MOST_HEAD:
            self._end(conn, self._what_is_long(conn))
            return
        conn.give_head()
        super().enqueue_req(conn)

    def _what_is_long(self, conn: Connection) -> tuple[str, str, str]:
        """Of a head that is: its first line, or the rest."""
        line, _, _ = conn.head.partition(b"\r\n")
        return _LINE_TOO_LONG if len(line) > self.cfg.limit_request_line else _TOO_LONG

    def _wait(self, conn: Connection) -> None:
        self._gathering.add(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self._go_on, conn))

    def _go_on(self, conn: Connection, _: Any) -> None:
        """More has come."""
        self.poller.unregister(conn.sock)
        self._gathering.discard(conn)
        self._gather(conn)

    def murder_pending(self) -> None:
        """Called by the loop once a second at least."""
        super().murder_pending()
        now = time.monotonic()
        for conn in [conn for conn in self._gathering if self._is_over(conn, now)]:
            self.poller.unregister(conn.sock)
            self._gathering.discard(conn)
            self._end(conn, _TOO_LATE if conn.head else None)
        for conn in [conn for conn in self._lingering if now > conn.until]:
            self._let_go(conn)

    def _is_over(self, conn: Connection, now: float) -> bool:
        """Late; or not begun, where the worker is about to end."""
        return now > conn.until or not (self.alive or conn.head)

    def _end(self, conn: Connection, refusal: tuple[str, str, str] | None) -> None:
        self.nr_conns -= 1
        if refusal:
            conn.refuse(*refusal)
        else:
            conn.close()

    def _linger(self, conn: Connection) -> None:
        """Read what the client still sends: closed on unread bytes, it may lose the answer."""
        self.nr_conns += 1  # it holds a file of the process as any other
        conn.until = time.monotonic() + LINGER_SECONDS
        self.poller.register(conn.sock, EVENT_READ, partial(self._discard, conn))
        self._lingering.add(conn)

    def _discard(self, conn: Connection, _: Any) -> None:
        try:
            block = conn.sock.recv(BLOCK)
        except BlockingIOError:
            return
        except OSError:
            block = b""
        conn.left -= len(block)
        if not block or conn.left <= 0:
            self._let_go(conn)

    def _let_go(self, conn: Connection) -> None:
        self.poller.unregister(conn.sock)
        self._lingering.discard(conn)
        self._end(conn, None)

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        """Whether it may bring another request; nobody waits for a body that nobody reads.

        gunicorn's time limit for that begins anew with every byte.
        """
        if not keepalive or _is_gunicorns_own(conn):
            return bool(super()._keepalive_after(conn, keepalive))
        conn.sock.setblocking(False)
        try:
            return bool(conn.parser.finish_body(max_bytes=MOST_UNREAD))
        except (OSError, ParseException):  # it has not come, or is broken; the answer is given
            return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """What cannot be read is refused as a problem, and not in the parser's words."""
        if (refusal := _refusal(exc)) is None:
            super().handle_error(req, client, addr, exc)
            return
        # Its words quote what was sent, which may be a key.
        fault = type(exc).__name__
        self.log.warning("a request from %s cannot be read: %s", addr and addr[0], fault)
        with suppress(OSError):
            write_nonblock(client, _answer(*refusal))


class Log(Logger):
    """gunicorn's own log, without secrets: what it cannot handle it tells with its address."""

    def _set_handler(self, log: Any, output: Any, fmt: Any, stream: Any = None) -> None:
        super()._set_handler(log, output, Redacting(fmt._fmt, fmt.datefmt), stream)


def room_for_connections(asked: int, threads: int) -> int:
    """How many of `asked` connections this process may have files for.

    The limit of open files is raised as far as it must be and may be.
    """
    others = OTHER_FILES + FILES_OF_A_THREAD * threads
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = min(asked + others, _number(hard))
    if files > _number(soft):
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return max(threads + 1, min(asked, files - others))


def _number(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def _refusal(error: Exception) -> tuple[str, str, str] | None:
    """The answer to a head that gunicorn's parser refuses; None for anything else."""
    match error:
        case InvalidResponseHeader() | InvalidResponseHeaderName():  # which is our fault
            return None
        case LimitRequestLine():
            return _LINE_TOO_LONG
        case LimitRequestHeaders():
            return _TOO_LONG
        case ParseException() if not isinstance(error, NoMoreData):
            return "400 Bad Request", "invalid_request", "Send HTTP/1.1 as RFC 9112 has it."
    return None


def _is_gunicorns_own(conn: TConn) -> bool:
    return bool(
        conn.cfg.is_ssl
        or conn.is_http2
        or conn.cfg.protocol != "http"
        or negotiation.prior_knowledge_allowed(conn.cfg, conn.client)
    )


def _settings() -> Any:
    """Once the application is there: gunicorn reads this module before."""
    from django.conf import settings  # noqa: PLC0415

    return settings


def _answer(status: str, code: str, detail: str) -> bytes:
    """A problem as any other, but for what only the application knows."""
    number, _, title = status.partition(" ")
    body = (
        f'{{"type":"urn:headrace:problem:{code}","title":"{title}","status":{number},'
        f'"detail":"{detail}","code":"{code}"}}'
    ).encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
