"""Downloads that can be continued: HTTP ranges (RFC 9110)."""

import re
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from django.http import HttpRequest, StreamingHttpResponse

from apps.core.problems import Problem

_RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?", re.ASCII)


class Content(NamedTuple):
    """What may be downloaded: `blocks` gives the bytes that the strong `etag` names, from a place
    on. How many there are is counted for a range where `length` does not tell.
    """

    etag: str
    headers: dict[str, str]
    blocks: Callable[[int], Iterator[bytes]]
    length: int | None = None


def answer(request: HttpRequest, content: Content) -> StreamingHttpResponse:
    """All of the content, or the part of it that was asked for. Raises Problem.

    Other ranges than `bytes=N-` and `bytes=N-M` are answered with all of it, as is a range
    whose If-Range names another content.
    """
    headers = {"Accept-Ranges": "bytes", "ETag": content.etag, **content.headers}
    asked = _RANGE.fullmatch(request.headers.get("Range", ""))
    if asked is None or request.headers.get("If-Range", content.etag) != content.etag:
        return _whole(content, headers)
    length = sum(map(len, content.blocks(0))) if content.length is None else content.length
    first, last = int(asked[1]), min(int(asked[2] or length), length - 1)
    if first >= length:
        raise Problem("range_not_satisfiable", f"There are {length} bytes.", length=length)
    if asked[2] and int(asked[2]) < first:
        return _whole(content, headers)
    headers["Content-Range"] = f"bytes {first}-{last}/{length}"
    headers["Content-Length"] = str(last - first + 1)
    part = _cut(content.blocks(first), 0, last + 1 - first)
    return StreamingHttpResponse(part, status=206, headers=headers)


def made_anew(blocks: Callable[[], Iterator[bytes]]) -> Callable[[int], Iterator[bytes]]:
    """The blocks from a place on, of content that can only be made from its beginning."""
    return lambda start: _cut(blocks(), start, sys.maxsize)


def _whole(content: Content, headers: dict[str, str]) -> StreamingHttpResponse:
    if content.length is not None:
        headers["Content-Length"] = str(content.length)
    return StreamingHttpResponse(content.blocks(0), headers=headers)


def _cut(blocks: Iterator[bytes], start: int, end: int) -> Iterator[bytes]:
    """The bytes from `start`, included, to `end`, excluded."""
    at = 0
    for block in blocks:
        if part := block[max(0, start - at) : end - at]:
            yield part
        at += len(block)
        if at >= end:
            return
