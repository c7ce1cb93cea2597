"""Request bodies as streams: raw or multipart, with a length or chunked, never held in memory.

Operator's note: with `Transfer-Encoding: chunked` Django's `request.read()` gives nothing, so
the server's own stream is read.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import unquote

from django.conf import settings
from django.http import HttpRequest
from python_multipart.multipart import (
    MAX_BOUNDARY_LENGTH,
    MultipartParser,
    parse_options_header,
)

from apps.core.pacing import BLOCK, Pace
from apps.core.problems import Problem
from apps.ingestions.readings import ACCEPTED

MAX_FIELD = 1_000
MAX_FIELDS = 20
# python-multipart bounds the headers of a part: eight of them, of 4 KiB each.
_AS_IT_IS = (b"binary", b"8bit", b"7bit")
_UNPRINTABLE = dict.fromkeys((*range(32), 127))


class Body(Protocol):
    """A file in a request. What it says of itself is complete once the blocks were read."""

    filename: str
    content_type: str

    def option(self, name: str) -> str | None:
        """A field beside the file, or a parameter of the address; None if it is not there.

        Raises Problem where it is said twice and not the same.
        """

    def blocks(self) -> Iterator[bytes]: ...


def body_of(request: HttpRequest) -> Body:
    """The file that a request brings. Raises Problem for formats that are not accepted."""
    kind, options = parse_options_header(request.headers.get("Content-Type", ""))
    if kind == b"multipart/form-data":
        return MultipartBody(request, options.get(b"boundary", b""))
    if kind in (b"application/zip", b"application/x-zip-compressed"):
        raise Problem("unsupported_format", f"Send {ACCEPTED}, not zip.")
    return RawBody(request)


def _agreed(name: str, said: list[str]) -> str | None:
    """The one value among those that are not empty. Raises Problem where there are two."""
    found = sorted(set(filter(None, said)))
    if len(found) > 1:
        raise Problem("invalid_request", f"Send one {name}, not {' and '.join(found)}.")
    return found[0] if found else None


def label(name: str) -> str:
    """A file's name as it may be shown; it never names a place in the store."""
    return name.translate(_UNPRINTABLE).replace("\\", "/").rpartition("/")[2][:255]


def _media_type(header: bytes) -> str:
    return parse_options_header(header)[0].decode("ascii", "replace").lower()


def _in_utf8(header: str) -> str:
    """A header as its sender wrote it: servers hand its bytes on as Latin-1."""
    return header.encode("latin-1", "replace").decode(errors="replace")


class RawBody:
    """The request's body is the file; X-Filename or parameters say what it holds."""

    def __init__(self, request: HttpRequest) -> None:
        self.filename = label(unquote(_in_utf8(request.headers.get("X-Filename", ""))))
        self.content_type = _media_type(request.headers.get("Content-Type", "").encode())
        self._request = request

    def option(self, name: str) -> str | None:
        return _agreed(name, self._request.GET.getlist(name))

    def blocks(self) -> Iterator[bytes]:
        return _incoming(self._request)


class MultipartBody:
    """One part with a file name, and fields beside it."""

    def __init__(self, request: HttpRequest, boundary: bytes) -> None:
        if not boundary:
            raise Problem("invalid_request", "Send multipart/form-data with its boundary.")
        if len(boundary) > MAX_BOUNDARY_LENGTH:
            raise Problem(
                "invalid_request", f"Send a boundary of {MAX_BOUNDARY_LENGTH} bytes at most."
            )
        self.filename = ""
        self.content_type = ""
        self._fields: dict[str, str] = {}
        self._request = request
        self._boundary = boundary

    def option(self, name: str) -> str | None:
        return _agreed(name, [self._fields.get(name, ""), *self._request.GET.getlist(name)])

    def blocks(self) -> Iterator[bytes]:
        parts = _Parts()
        parser = MultipartParser(self._boundary, parts.callbacks())
        for block in _incoming(self._request):
            _feed(parser, block)
            yield from parts.taken()
        if not parts.is_complete:
            raise Problem("invalid_request", "The multipart body ends too early.")
        if parts.filename is None:
            raise Problem("invalid_request", "Send the file as the part `file`.")
        self.filename = label(parts.filename)
        self.content_type = parts.content_type
        self._fields = parts.fields


class _Parts:
    """Callbacks of the parser: file data to hand on, small fields to keep."""

    def __init__(self) -> None:
        self.filename: str | None = None
        self.content_type = ""
        self.fields: dict[str, str] = {}
        self.is_complete = False
        self._count = 0
        self._data: list[bytes] = []
        self._header: list[bytes] = [b"", b""]
        self._disposition: Mapping[bytes, bytes] = {}
        self._is_file = False
        self._value = b""
        self._kind = b""

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._take,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def taken(self) -> list[bytes]:
        """File data since the last call."""
        data, self._data = self._data, []
        return data

    def _begin(self) -> None:
        self._disposition, self._value, self._kind = {}, b"", b""

    def _add(self, part: int, text: bytes) -> None:
        self._header[part] += text

    def _end_header(self) -> None:
        name, value = self._header[0].lower(), self._header[1]
        if name == b"content-disposition":
            self._disposition = parse_options_header(value)[1]
        elif name == b"content-type":
            self._kind = value
        elif name == b"content-transfer-encoding" and value.strip().lower() not in _AS_IT_IS:
            raise Problem("unsupported_format", "Send the parts of a form as they are.")
        self._header = [b"", b""]

    def _end_headers(self) -> None:
        self._is_file = b"filename" in self._disposition
        if self._is_file:
            if self.filename is not None:
                raise Problem("invalid_request", "Send one file a request.")
            self.filename = self._disposition[b"filename"].decode(errors="replace")
            self.content_type = _media_type(self._kind)

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._data.append(data[start:end])
        else:
            self._value += data[start:end]
            if len(self._value) > MAX_FIELD:
                raise Problem("invalid_request", "A field beside the file is too long.")

    def _end_part(self) -> None:
        if not self._is_file:
            self._count += 1  # of parts, also where they have one name
            if self._count > MAX_FIELDS:
                raise Problem("invalid_request", "There are too many fields beside the file.")
            name = self._disposition.get(b"name", b"").decode(errors="replace")
            if name in self.fields:
                raise Problem("invalid_request", f"Send the field {name} once.")
            self.fields[name] = self._value.decode(errors="replace")

    def _end(self) -> None:
        self.is_complete = True


def _feed(parser: MultipartParser, block: bytes) -> None:
    try:
        parser.write(block)
    except ValueError:  # python-multipart's errors, whose texts stay inside
        raise Problem("invalid_request", "The multipart body is malformed.") from None


def length_of(request: HttpRequest) -> int:
    """The body's announced length in bytes, 0 if there is none."""
    return int(request.META.get("CONTENT_LENGTH") or 0)


def check_size(size: int) -> None:
    """Raises Problem for a body of more bytes than are taken."""
    limit = settings.HEADRACE_MAX_BODY_BYTES
    if size > limit:
        raise Problem("too_large", f"Send files of at most {limit:,} bytes.")


def _incoming(request: HttpRequest) -> Iterator[bytes]:
    length = request.META.get("CONTENT_LENGTH")
    left = int(length) if length else None
    check_size(left or 0)
    with Pace(request) as pace:
        while left != 0:
            block = pace.read(BLOCK if left is None else min(BLOCK, left))
            if not block:
                break
            yield block
            left = None if left is None else left - len(block)
    if left:
        raise Problem("invalid_request", "The body ends before its Content-Length.")
