"""What a command line asks to be exported, in the words of the server's request."""

import csv
import io
import re
from collections.abc import Iterable
from typing import Any

from headrace.entities import BY_NAME
from headrace.schema import Boolean

_FILTER = re.compile(r"\s*(\w+)\s*(>=|<=|!=|[<>=~])(.*)", re.DOTALL)
_WORDS = {">=": "from", "<": "before", "~": "contains"}
_BOOLEANS = {"true": True, "false": False}


class BadFilter(Exception):
    """A filter cannot be understood; the text says what is expected."""


def filters(entity: str, given: Iterable[str]) -> dict[str, Any]:
    """The request's filters: `column=a,b` is one of them and `column=` null, `column>=a` from,
    `column<b` before, `column~text` contains. Raises BadFilter.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = _parts(text)
        if sign == "=":
            _set(found, name, _one_of(entity, name, value), text)
        else:
            ends = found.setdefault(name, {})
            if not isinstance(ends, dict):
                raise BadFilter(f"{text!r} and {name}= cannot both hold; give one of them")
            _set(ends, _WORDS[sign], value, text)
    return found


def names(columns: str) -> list[str]:
    """Names separated by commas."""
    return [name.strip() for name in columns.split(",") if name.strip()]


def _parts(text: str) -> tuple[str, str, str]:
    found = _FILTER.fullmatch(text)
    if found is None or (found[2] != "=" and found[2] not in _WORDS):
        raise BadFilter(
            f"{text!r} is no filter: expected column=a,b or column>=a or column<b or column~text"
        )
    return found[1], found[2], found[3]


def _set(members: dict[str, Any], name: str, value: Any, text: str) -> None:
    if name in members:
        raise BadFilter(f"{text!r} says again what another filter said; give one of them")
    members[name] = value


def _one_of(entity: str, name: str, value: str) -> Any:
    """Values are cells of CSV, so that one in quotes may hold a comma."""
    if not value:
        return None
    try:
        [cells] = csv.reader(io.StringIO(value, newline=""), strict=True)
    except (csv.Error, ValueError):
        raise BadFilter(f"{name}={value}: a value in quotes must end in quotes") from None
    values = [_typed(entity, name, cell) for cell in cells]
    return values[0] if len(values) == 1 else values


def _typed(entity: str, name: str, cell: str) -> str | bool:
    """Numbers and times may travel as texts; true and false may not."""
    columns = BY_NAME[entity].columns if entity in BY_NAME else ()
    is_boolean = any(isinstance(one.type, Boolean) for one in columns if one.name == name)
    return _BOOLEANS.get(cell, cell) if is_boolean else cell
