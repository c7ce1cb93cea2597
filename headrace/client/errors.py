"""What can go wrong between this client and a server, and whether trying again may help."""

import time
from email.utils import parsedate_to_datetime
from typing import ClassVar

import httpx2
import msgspec

_TEXT_SHOWN = 300


class HeadraceError(Exception):
    """A request that did not do its work.

    `code` is the stable word to branch on: the server's problem code, `http_<status>` where it
    sent none, or one of this client's own. `detail` is a sentence for people. `status` is the
    HTTP status, None when no answer came. `retry_after` is in seconds, None when not told.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self, code: str, detail: str, *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.status = status
        self.retry_after = retry_after


class Unreachable(HeadraceError):
    """No answer came: refused, dropped, silent for too long, or no Headrace behind the URL."""

    retryable = True


class Busy(HeadraceError):
    """The server cannot do it now: in flight, over a limit, out of space or out of order."""

    retryable = True


class Refused(HeadraceError):
    """The server will not do it, however often it is asked."""


class KeyRefused(Refused):
    """The API key is unknown, revoked, or lacks the scope (401, 403)."""


class UploadClosed(Refused):
    """The upload's token is unknown to the server, or the upload takes no more files."""


class NotExported(HeadraceError):
    """The export failed, was cancelled, is kept no longer, or came with other bytes than it has."""


class FileChanged(HeadraceError):
    """The file was written to while it was being sent."""


class BadAnswer(HeadraceError):
    """The server said yes in words that this client does not understand."""


class _Problem(msgspec.Struct):
    """The members of an RFC 9457 problem that this client reads."""

    code: str = ""
    title: str = ""
    detail: str = ""


def of_answer(response: httpx2.Response) -> HeadraceError:
    """The error that an answer outside 200-299 stands for; its body must have been read."""
    problem = _problem_of(response)
    kind = _kind_of(response)
    return kind(
        problem.code or f"http_{response.status_code}",
        problem.detail or problem.title or f"{response.status_code} {response.reason_phrase}",
        status=response.status_code,
        retry_after=_seconds_of(response.headers.get("Retry-After")),
    )


def of_transport(error: httpx2.TransportError) -> HeadraceError:
    """The error that a failed exchange stands for."""
    words = str(error) or type(error).__name__
    if isinstance(error, (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)):
        return Refused("bad_request_line", words)
    return Unreachable("unreachable", words)


def _kind_of(response: httpx2.Response) -> type[HeadraceError]:
    status = response.status_code
    if status in (401, 403):
        return KeyRefused
    if status in (408, 425, 429) or status >= 500:
        return Busy
    # A conflict that names a time is a request in flight; one without has ended.
    if status == 409:
        return Busy if "Retry-After" in response.headers else UploadClosed
    return UploadClosed if status in (404, 410) else Refused


def _problem_of(response: httpx2.Response) -> _Problem:
    try:
        return msgspec.json.decode(response.content, type=_Problem)
    except msgspec.MsgspecError:
        return _Problem(detail=_plain_detail(response))


def _plain_detail(response: httpx2.Response) -> str:
    if "html" in response.headers.get("Content-Type", ""):
        return ""
    return " ".join(response.text.split())[:_TEXT_SHOWN]


def _seconds_of(retry_after: str | None) -> float | None:
    """Retry-After in seconds: a number, or an HTTP date seen from this machine's clock."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
