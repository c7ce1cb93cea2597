"""One request to a receiver, bounded in time and in what is read of its answer.

The connection goes to an address that was looked at, while Host, SNI and the certificate's check
are those of the name. No proxy of the environment is asked, and no redirect is followed.
"""

import io
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from functools import cache
from http.client import HTTPException, HTTPResponse
from typing import Any, NamedTuple

from apps.webhooks import addresses
from apps.webhooks.addresses import Lookup, Network, Refused, Target

ANSWER_BYTES = 1_000  # of a body, for the log
READ_BYTES = 64 << 10  # of an answer as a whole
BODY_SECONDS = 2.0  # for the body of an answer whose status is known


#: What an attempt that failed is called, and what that means.
ERRORS: Mapping[str, str] = {
    "bad_url": "the address is none that may be called here, since it was made",
    "dns_failed": "the host's name has no address",
    "dns_timeout": "the host's name was not resolved in 5 seconds",
    "address_refused": "the name has an address that is not public",
    "connect_failed": "nobody listens there, or the network did not let us through",
    "connect_timeout": "no connection in 5 seconds",
    "tls_failed": "the certificate is not valid for the name, or TLS could not be agreed on",
    "timeout": "no answer in 15 seconds",
    "bad_answer": "the answer is no HTTP, breaks off, or its headers do not end",
    "redirect": "a status from 300 to 399: redirects are not followed",
    "internal": "an error of ours, which the log of the service tells",
    "gone": "status 410: the endpoint is disabled",
    "status": "any other status but 200 to 299",
}


class Limits(NamedTuple):
    """Seconds: until there is a connection to a known address, and of the whole."""

    connect: float = 5.0
    total: float = 15.0


class Result(NamedTuple):
    """What came of it; `error` is empty where the receiver took it, `status` None without one."""

    status: int | None
    milliseconds: int
    error: str
    answer: str = ""


USUAL = Limits()
# A length that is no number, or a negative one, is a ValueError of http.client's.
_UNREADABLE = (OSError, HTTPException, ValueError)


class _Broken(Exception):
    """It ends here, for the reason of this code."""


def post(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    https_only: bool,
    allowed: Iterable[Network],
    limits: Limits = USUAL,
    lookup: Lookup = socket.getaddrinfo,
) -> Result:
    """Send a body once. It never raises for what a receiver, its network or its name does."""
    began = time.monotonic()
    status, answer, error = None, "", ""
    try:
        target = addresses.read(url, https_only=https_only)
        found = addresses.resolve(target, allowed, lookup)
        status, answer = _exchange(target, found, _request(target, headers, body), began, limits)
        error = _meaning(status)
    except Refused as refused:
        error = refused.code
    except _Broken as broken:
        error = str(broken)
    return Result(status, round((time.monotonic() - began) * 1_000), error, answer)


def _meaning(status: int) -> str:
    """The error that a status is."""
    if 200 <= status < 300:
        return ""
    if status == 410:
        return "gone"
    return "redirect" if 300 <= status < 400 else "status"


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = {
        "Host": target.authority,
        "User-Agent": "Headrace-Webhooks/1",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Accept": "*/*",
        "Connection": "close",
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {target.path} HTTP/1.1\r\n{head}\r\n".encode("ascii") + body


def _exchange(
    target: Target, found: list[str], request: bytes, began: float, limits: Limits
) -> tuple[int, str]:
    end = began + limits.total
    connected_by = min(time.monotonic() + limits.connect, end)
    with _connected(target, found, connected_by) as connection:
        try:
            connection.settimeout(_left(end))
            connection.sendall(request)
            response = _final(_Timed(connection, end))
        except TimeoutError:
            raise _Broken("timeout") from None
        except (*_UNREADABLE, _TooMuch):
            raise _Broken("bad_answer") from None
        return response.status, _beginning(response)


def _final(timed: Any) -> HTTPResponse:
    """The answer behind interim ones, of which http.client skips only 100."""
    while True:
        response = HTTPResponse(timed, method="POST")
        response.begin()
        if not 102 <= response.status < 200:
            return response
        response.fp = None  # type: ignore[assignment]  # or its end would close what is read from


def _connected(target: Target, found: list[str], end: float) -> socket.socket:
    """A connection to the first of the addresses that takes one. Raises _Broken."""
    broken = _Broken("connect_failed")
    for address in found:
        try:
            plain = socket.create_connection((address, target.port), timeout=_left(end))
            return _secured(plain, target, end) if target.scheme == "https" else plain
        except TimeoutError:
            broken = _Broken("connect_timeout")
        except OSError:
            broken = _Broken("connect_failed")
    raise broken


def _secured(plain: socket.socket, target: Target, end: float) -> socket.socket:
    try:
        plain.settimeout(_left(end))
        return _context().wrap_socket(plain, server_hostname=target.host)
    except TimeoutError:
        plain.close()
        raise
    except (OSError, ValueError):  # a name that TLS cannot have is a ValueError
        plain.close()
        raise _Broken("tls_failed") from None


@cache
def _context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _left(end: float) -> float:
    """The seconds that are left. Raises TimeoutError if there are none."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


class _TooMuch(Exception):
    """The answer is longer than is read."""


class _Timed(io.RawIOBase):
    """What HTTPResponse reads from: a connection until a moment, and so many bytes of it."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        super().__init__()
        self.end = end
        self._connection = connection
        self._bytes = 0
        self._reader = io.BufferedReader(self, 4_096)

    def makefile(self, mode: str) -> "io.BufferedReader[_Timed]":
        """Always the same: it may hold the beginning of the next answer already."""
        return self._reader

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(_left(self.end))
        size = self._connection.recv_into(buffer)
        self._bytes += size
        if self._bytes > READ_BYTES:
            raise _TooMuch
        return size


def _beginning(response: HTTPResponse) -> str:
    """How the body begins, as far as it comes: the status has said what matters."""
    timed: Any = response.fp.raw
    timed.end = min(timed.end, time.monotonic() + BODY_SECONDS)
    try:
        body = response.read(ANSWER_BYTES)
    except (*_UNREADABLE, _TooMuch):
        body = b""
    text = body.decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in text)
