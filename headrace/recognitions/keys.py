"""Keys of JSON that readers take in two ways: each database would make other rows of them.

Of a key that comes twice SQLite reads the first and PostgreSQL the last, and one that is written
with an escape SQLite does not find.
"""

import json
import re
from collections import Counter
from typing import Any

from headrace.recognitions.errors import Code, Refused

#: What the loader reads. Others may have escapes: who writes ASCII only writes all others so.
READ = {
    *("Name", "ExternalId", "Count", "Dishes"),
    *("dishes", "plates", "qwen_detections", "bbox_2d", "label"),
}
_PLAIN = re.compile(rf'"(?:{"|".join(sorted(READ))})"\s*:')
_TOKEN = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")(\s*:)?|[{}\[\],]', re.DOTALL)


class Repeats:
    """Which keys come twice, as the hook of `json.loads` that is told of each object.

    `anywhere` tells whether some do; `of_last` has those of the object that ended last. `read`
    counts the keys that the loader reads.
    """

    def __init__(self) -> None:
        self.anywhere = False
        self.of_last: list[str] = []
        self.read = 0

    def __call__(self, pairs: list[tuple[str, Any]]) -> None:
        keys = dict(pairs)
        self.read += len(READ.intersection(keys))
        self.of_last = [] if len(keys) == len(pairs) else _twice(pairs)
        self.anywhere = self.anywhere or bool(self.of_last)


def scan(text: str) -> Repeats:
    """What repeats in a document. Raises json.JSONDecodeError, RecursionError.

    Numbers are read as fractions, which may have any number of digits.
    """
    found = Repeats()
    json.loads(text, object_pairs_hook=found, parse_int=float)
    return found


def check(text: str, name: str) -> None:
    """Raises Refused with the place of the first key that comes twice or, if it is one that is
    read, has an escape. The text is JSON.
    """
    found = scan(text)
    # Within a string no quotation mark stands without an escape: what looks like a key is one.
    if found.anywhere or found.read != len(_PLAIN.findall(text)):
        check_places(text, name)


def check_places(text: str, name: str) -> None:
    """The same, token by token: slower than `scan`, which does not know where it is."""
    open_: list[_Level] = []
    for found in _TOKEN.finditer(text):
        word, string, colon = found[0], found[1], found[2]
        if word in ("{", "["):
            open_.append(_Level(is_list=word == "["))
        elif word in ("}", "]"):
            open_.pop()
        elif word == ",":
            open_[-1].position += 1
        elif colon:
            _check_key(open_, string, name)


class _Level:
    """An object or a list that has begun and not ended: where in it the next value is."""

    def __init__(self, *, is_list: bool) -> None:
        self.is_list = is_list
        self.position = 0
        self.keys: set[str] = set()
        self.key = ""

    def __str__(self) -> str:
        return f"[{self.position}]" if self.is_list else f".{self.key}"


def _check_key(open_: list[_Level], string: str, name: str) -> None:
    level = open_[-1]
    level.key = json.loads(string)
    place = "$" + "".join(map(str, open_))
    if level.key in level.keys:
        raise Refused(name, place, Code.KEY_REPEATED, "the key comes twice")
    if "\\" in string and level.key in READ:
        raise Refused(name, place, Code.BAD_JSON, "expected a key without escapes")
    level.keys.add(level.key)


def _twice(pairs: list[tuple[str, Any]]) -> list[str]:
    return [key for key, times in Counter(key for key, _ in pairs).items() if times > 1]
