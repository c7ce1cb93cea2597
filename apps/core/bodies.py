"""Small bodies, read whole: with a length or chunked, never more than is taken."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from django.http import HttpRequest
from rest_framework import serializers
from rest_framework.serializers import Serializer

from apps.core.pacing import Pace, small
from apps.core.problems import Problem

PLAIN = ("", "identity")
MOST_OPTIONS = 64 << 10  # bytes of a JSON object of options


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


def options(request: HttpRequest, shape: type[Serializer]) -> dict[str, Any]:
    """The checked JSON object of a body; an empty one has no options. Raises Problem."""
    body = read(request, MOST_OPTIONS)
    try:
        found = json.loads(body, parse_constant=_refuse) if body else {}
    except ValueError:
        raise Problem("invalid_request", "Send a JSON object.") from None
    return checked(found, shape)


def checked(found: Any, shape: type[Serializer]) -> dict[str, Any]:
    """Options as their shape has them. Raises Problem for one that does not exist."""
    if not isinstance(found, dict):
        raise Problem("invalid_request", "Send the options as a JSON object.")
    _check_letters(found)
    if unknown := set(found) - set(shape().fields):
        raise Problem("invalid_request", f"There is no option {', '.join(sorted(unknown))}.")
    _check_types(found, shape)
    asked = shape(data=found)
    if not asked.is_valid():
        raise Problem("invalid_request", _explained(asked.errors))
    return dict(asked.validated_data)


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


def _explained(errors: Mapping[str, Any]) -> str:
    return " ".join(f"{name}: {_first(texts)}" for name, texts in errors.items())


def _first(texts: Any) -> str:
    """The first of a field's errors; those of a list are by place."""
    return _first(next(iter(texts.values()))) if isinstance(texts, dict) else str(texts[0])


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _too_large(most: int) -> Problem:
    return Problem("too_large", f"Send at most {most:,} bytes.")
