"""One JSON array whose elements are the records, numbered from 1 whatever lines they stand on.

Elements are cut at commas outside of strings and brackets; whether an element is JSON is the
checker's to say. An array that does not end, or has nothing between two commas, is no array:
where its elements begin cannot be trusted, and the file fails as a whole.
"""

import re
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import numpy.typing as npt

from headrace.pipeline.errors import FailureCode, Permanent
from headrace.pipeline.formats.base import MAX_LINE, Batch, Carry

Signs = npt.NDArray[np.uint8]
BLANKS = b" \t\r\n"
# The look ahead is for Python before 3.11.5, which ends a possessive group behind what it has
# half matched. Nothing here is ever read twice: the parts are atoms that share no first sign.
_IN_STRING = rb'[^"\\]*+(?:(?=\\.)\\.[^"\\]*+)*+'
_STRING = b'"' + _IN_STRING + b'"'
_OF_STRING = re.compile(_IN_STRING, re.DOTALL)
# What may stand before the next sign that matters, with whole strings.
_PART = rb'(?:[^"\[\]{}]++|' + _STRING + rb")"
_WITHIN = re.compile(_PART + b"*", re.DOTALL)
_BETWEEN = re.compile(rb'(?:[^"\[\]{},]++|' + _STRING + rb")*", re.DOTALL)
# An object with no more than one level of brackets in it, which most records are: 1 µs, where
# going from bracket to bracket takes 8.
_RECORD = re.compile(rb"\{(?:" + _PART + rb"|[\[{]" + _PART + rb"*[\]}])*\}(?=[,\]])", re.DOTALL)
_NOT_BLANK = re.compile(rb"[^ \t\r\n]")


class JsonArray:
    """base.Format of an array. Elements are never blank."""

    blanks = b""

    def census(self) -> "Census":
        return Census()

    def batches(self, blocks: Iterable[bytes], offset: int = 0) -> Iterator[Batch]:
        cutter = _Cutter(offset)
        for block in blocks:
            cutter.feed(block)
            yield from cutter.taken()
        cutter.check_end()
        yield from cutter.taken()


class _Cutter:
    """Takes blocks, and cuts elements off; `_step` reads from a place to the next."""

    def __init__(self, offset: int) -> None:
        self._step: Callable[[bytes, int], int] = self._before_array
        self._rest = b""  # of the last block: a backslash whose companion is not here yet
        self._base = offset  # where the block stands in the plain bytes
        self._depth = 0
        self._element = Carry()
        self._start = offset
        self._number = 1
        self._elements: list[bytes] = []
        self._starts: list[int] = []
        self._first_length = 0

    def feed(self, block: bytes) -> None:
        data, self._rest = self._rest + block, b""
        at = 0
        while at < len(data):
            at = self._step(data, at)
        self._base += len(data) - len(self._rest)

    def taken(self) -> Iterator[Batch]:
        """The elements that have ended since the last call."""
        if not self._elements:
            return
        strides = [*np.diff(self._starts).tolist(), len(self._elements[-1])]
        batch = Batch(
            self._number,
            self._starts[0],
            self._elements,
            self._first_length,
            strides=strides,
        )
        self._number += len(self._elements)
        self._elements, self._starts = [], []
        yield from batch.in_parts()

    def check_end(self) -> None:
        """Raises Permanent if the array has not ended."""
        if self._step != self._after_array:
            raise self._broken("the file ends before the array does", 0)

    def _broken(self, what: str, at: int) -> Permanent:
        number = self._number + len(self._elements)
        place = f"at byte {self._base + at:,}, element {number:,}"
        return Permanent(FailureCode.BAD_ARRAY, f"{what} ({place})")

    def _before_array(self, data: bytes, at: int) -> int:
        match = _NOT_BLANK.search(data, at)
        if match is None:
            return len(data)
        if match[0] != b"[":
            raise self._broken("expected [ at the start of an array", match.start())
        self._step = self._before_first
        return match.end()

    def _before_first(self, data: bytes, at: int) -> int:
        return self._before_element(data, at, may_end=True)

    def _after_comma(self, data: bytes, at: int) -> int:
        return self._before_element(data, at, may_end=False)

    def _before_element(self, data: bytes, at: int, *, may_end: bool) -> int:
        match = _NOT_BLANK.search(data, at)
        if match is None:
            return len(data)
        if match[0] == b"]" and may_end:
            self._step = self._after_array
            return match.end()
        if match[0] in (b",", b"]"):
            raise self._broken("expected an element", match.start())
        self._start = self._base + match.start()
        if record := _RECORD.match(data, match.start()):
            self._element.add(record[0])
            return self._end_element(data[record.end() : record.end() + 1], record.end())
        self._step = self._in_element
        return match.start()

    def _in_element(self, data: bytes, at: int) -> int:
        pattern = _WITHIN if self._depth else _BETWEEN
        match = pattern.match(data, at)
        end = at if match is None else match.end()
        sign = data[end : end + 1]
        if not self._depth and sign in (b",", b"]"):
            self._element.add(data[at:end])
            return self._end_element(sign, end)
        self._element.add(data[at : end + 1])
        self._enter(sign, end)
        return end + 1

    def _enter(self, sign: bytes, at: int) -> None:
        if sign == b'"':
            self._step = self._in_string
        elif sign in (b"[", b"{"):
            self._depth += 1
        elif sign and not self._depth:
            raise self._broken(f"expected a comma or ], found {sign.decode()}", at)
        elif sign:
            self._depth -= 1

    def _in_string(self, data: bytes, at: int) -> int:
        match = _OF_STRING.match(data, at)
        end = at if match is None else match.end()
        if data[end : end + 1] == b'"':
            self._element.add(data[at : end + 1])
            self._step = self._in_element
            return end + 1
        self._element.add(data[at:end])
        self._rest = data[end:]
        return len(data)

    def _end_element(self, sign: bytes, end: int) -> int:
        if not self._elements:
            self._first_length = self._element.length
        was_cut = self._element.length > MAX_LINE
        text = self._element.take()
        self._elements.append(text if was_cut else text.rstrip(BLANKS))
        self._starts.append(self._start)
        self._step = self._after_comma if sign == b"," else self._after_array
        return end + 1

    def _after_array(self, data: bytes, at: int) -> int:
        match = _NOT_BLANK.search(data, at)
        if match is not None:
            raise self._broken("expected nothing behind the array", match.start())
        return len(data)


class Census:
    """base.Census by the depth of brackets, of a whole block at once."""

    _STRINGS = re.compile(_STRING, re.DOTALL)
    _WHOLE = re.compile(rb'(?:[^"]++|' + _STRING + rb")*", re.DOTALL)
    _ENDING = re.compile(_IN_STRING + b'"', re.DOTALL)
    _STEPS = np.zeros(256, np.int8)
    _STEPS[list(b"[{")], _STEPS[list(b"]}")] = 1, -1

    def __init__(self) -> None:
        self._commas = 0
        self._has_elements = False
        self._depth = 0
        self._tail: bytes | None = None  # in a string: a backslash that escapes what comes

    @property
    def records(self) -> int:
        return self._commas + self._has_elements

    def feed(self, block: bytes) -> None:
        signs = np.frombuffer(self._without_strings(block), np.uint8)
        depths = self._depth + np.cumsum(self._STEPS[signs], dtype=np.int64)
        self._commas += int(np.count_nonzero((signs == ord(",")) & (depths == 1)))
        if not self._has_elements:
            self._has_elements = _has_content(signs, depths)
        if len(depths):
            self._depth = int(depths[-1])

    def _without_strings(self, block: bytes) -> bytes:
        """What stands outside of strings, with a dot for each string that begins."""
        if self._tail is not None:
            block = self._tail + block
            ending = self._ENDING.match(block)
            if ending is None:
                self._tail = _dangling(block)
                return b""
            block, self._tail = block[ending.end() :], None
        whole = self._WHOLE.match(block)
        end = 0 if whole is None else whole.end()
        outside = self._STRINGS.sub(b".", block[:end])
        if end == len(block):
            return outside
        self._tail = _dangling(block[end:])
        return outside + b"."


def _dangling(text: bytes) -> bytes:
    """The backslash at the end of a string's part that escapes the next byte, if there is one."""
    return b"\\" * ((len(text) - len(text.rstrip(b"\\"))) % 2)


def _has_content(signs: Signs, depths: npt.NDArray[np.int64]) -> bool:
    is_blank = np.isin(signs, list(BLANKS))
    is_first = (signs == ord("[")) & (depths == 1)
    return bool(np.any((depths >= 1) & ~is_blank & ~is_first))
