"""Downloads that can be continued: HTTP ranges (RFC 9110) of content made anew each time."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from django.http import HttpRequest, StreamingHttpResponse

from apps.core.problems import Problem

_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?", re.ASCII)


class Content(NamedTuple):
    """What may be downloaded: `blocks` makes the bytes that the strong `etag` names."""

    etag: str
    headers: dict[str, str]
    blocks: Callable[[], Iterator[bytes]]


def answer(request: HttpRequest, content: Content) -> StreamingHttpResponse:
    """All of the content, or the part of it that was asked for. Raises Problem.

    Other ranges than `bytes=N-` and `bytes=N-M` are answered with all of it, as is a range
    whose If-Range names another content. A part costs a first pass, which counts the whole.
    """
    headers = {"Accept-Ranges": "bytes", "ETag": content.etag, **content.headers}
    asked = _RANGE.fullmatch(request.headers.get("Range", ""))
    if asked is None or request.headers.get("If-Range", content.etag) != content.etag:
        return StreamingHttpResponse(content.blocks(), headers=headers)
    length = sum(map(len, content.blocks()))
    first, last = int(asked[1]), min(int(asked[2] or length), length - 1)
    if first >= length:
        raise Problem("range_not_satisfiable", f"There are {length} bytes.", length=length)
    if asked[2] and int(asked[2]) < first:
        return StreamingHttpResponse(content.blocks(), headers=headers)
    headers["Content-Range"] = f"bytes {first}-{last}/{length}"
    headers["Content-Length"] = str(last - first + 1)
    return StreamingHttpResponse(
        _cut(content.blocks(), first, last + 1), status=206, headers=headers
    )


def _cut(blocks: Iterator[bytes], start: int, end: int) -> Iterator[bytes]:
    """The bytes from `start`, included, to `end`, excluded."""
    at = 0
    for block in blocks:
        if part := block[max(0, start - at) : end - at]:
            yield part
        at += len(block)
        if at >= end:
            return
