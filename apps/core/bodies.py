"""Small bodies, read whole: with a length or chunked, never more than is taken."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from django.http import HttpRequest
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.serializers import Serializer

from apps.core.pacing import Pace, small
from apps.core.problems import Problem
from headrace.pipeline import inspection
from headrace.pipeline.formats.base import BOM
from headrace.pipeline.inspection import Unreadable
from headrace.pipeline.report import Fault
from headrace.pipeline.values import JsonNumber

PLAIN = ("", "identity")
MOST_OPTIONS = 64 << 10  # bytes of a JSON object of options
#: What a body of JSON may be called: also nothing, and what curl calls all that `-d` sends.
JSON_TYPES = ("application/json", "", "application/x-www-form-urlencoded")


def read(request: HttpRequest, most: int) -> bytes:
    """The body of a request, at most `most` bytes. Raises Problem."""
    if request.META.get("HTTP_CONTENT_ENCODING", "").strip().lower() not in PLAIN:
        raise Problem("unsupported_format", "Send the body as it is, without Content-Encoding.")
    announced = request.META.get("CONTENT_LENGTH")
    length = int(announced) if announced else None
    if length is None and "HTTP_TRANSFER_ENCODING" not in request.META:
        return b""
    if length is not None and length > most:
        raise _too_large(most)
    with Pace(request, small(most if length is None else length)) as pace:
        body = pace.read(most + 1 if length is None else length)
    if len(body) > most:
        raise _too_large(most)
    if length is not None and len(body) < length:
        raise Problem("invalid_request", "The body ends before its Content-Length.")
    return body


def read_json(request: HttpRequest, most: int) -> bytes:
    """A body that is JSON, without a byte order mark. Raises Problem."""
    if request.content_type not in JSON_TYPES and _has_body(request):
        raise Problem("unsupported_format", "Send application/json.")
    return read(request, most).removeprefix(BOM)


def _has_body(request: HttpRequest) -> bool:
    length = request.META.get("CONTENT_LENGTH") or "0"
    return length != "0" or "HTTP_TRANSFER_ENCODING" in request.META


def json_object(request: HttpRequest, most: int) -> dict[str, Any]:
    """The JSON object of a body, its numbers as they are spelled; an empty body is an empty one.

    Raises Problem, also for a member that is there twice: which of them counts, nobody could tell.
    """
    body = read_json(request, most)
    try:
        return inspection.read_object(inspection.decoded(body)) if body else {}
    except Unreadable as unreadable:
        raise Problem("invalid_request", _unreadable(unreadable.faults[0])) from None


def _unreadable(fault: Fault) -> str:
    place = f"{fault.field}: " if fault.field else ""
    return f"Send a JSON object: {place}{fault.message}."


def options(request: HttpRequest, shape: type[Serializer]) -> dict[str, Any]:
    """The checked JSON object of a body; an empty one has no options. Raises Problem."""
    found = json_object(request, MOST_OPTIONS)
    return checked({name: _plain(name, value) for name, value in found.items()}, shape)


def _plain(name: str, value: Any) -> Any:
    """A number as Python's. Raises Problem for one of thousands of digits."""
    try:
        return json.loads(value) if isinstance(value, JsonNumber) else value
    except ValueError:
        raise Problem("invalid_request", f"{name}: Send a number of fewer digits.") from None


def checked(found: dict[str, Any], shape: type[Serializer]) -> dict[str, Any]:
    """Options as their shape has them. Raises Problem for one that does not exist."""
    _check_letters(found)
    check_names(found, shape().fields)
    _check_types(found, shape)
    asked = shape(data=found)
    if not asked.is_valid():
        raise Problem("invalid_request", _explained(asked.errors, shape))
    return dict(asked.validated_data)


def check_names(found: Iterable[str], known: Iterable[str]) -> None:
    """Raises Problem for the name of an option that does not exist."""
    if unknown := sorted(set(found) - set(known)):
        told = f"There is no option {', '.join(unknown)}; known are {', '.join(known)}."
        raise Problem("invalid_request", told)


def _check_letters(found: dict[str, Any]) -> None:
    """Raises Problem for half of a surrogate pair anywhere: only an escape can bring it."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Problem("invalid_request", "Send texts without lone surrogates.") from None


def _check_types(found: dict[str, Any], shape: type[Serializer]) -> None:
    """Raises Problem for a value of another JSON type than is documented: none is converted."""
    for name, field in shape().fields.items():
        kinds, told = next(_TYPES[kind] for kind in type(field).__mro__ if kind in _TYPES)
        value = found.get(name)
        if value is not None and (type(value) not in kinds or not _is_of_texts(value)):
            raise Problem("invalid_request", f"{name}: Send {told}.")


def _is_of_texts(value: Any) -> bool:
    return not isinstance(value, list) or all(type(one) is str for one in value)


#: By kind of field, the nearest first: the types that a value may have.
_TYPES: Mapping[type, tuple[tuple[type, ...], str]] = {
    serializers.MultipleChoiceField: ((list,), "an array of strings"),
    serializers.ListField: ((list,), "an array of strings"),
    serializers.BooleanField: ((bool,), "true or false"),
    serializers.IntegerField: ((int,), "a whole number"),
    serializers.FloatField: ((int, float), "a number"),
    serializers.Field: ((str,), "a string"),
}


def _explained(errors: Mapping[str, Any], shape: type[Serializer]) -> str:
    fields = shape().fields
    return " ".join(f"{name}: {_told(texts, fields.get(name))}" for name, texts in errors.items())


def _told(texts: Any, field: Any) -> str:
    """The first of a field's errors; a wrong choice is told the right ones."""
    error = _first(texts)
    if error.code != "invalid_choice":
        return str(error)
    return f"Send one of {', '.join(map(str, getattr(field, 'child', field).choices))}."


def _first(texts: Any) -> ErrorDetail:
    """Those of a list are by place."""
    found: ErrorDetail = _first(next(iter(texts.values()))) if isinstance(texts, dict) else texts[0]
    return found


def _too_large(most: int) -> Problem:
    return Problem("too_large", f"Send at most {most:,} bytes.")
