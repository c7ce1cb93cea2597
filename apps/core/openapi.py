"""What holds for every operation of the OpenAPI document: its keys, its problems, its body."""

from collections.abc import Iterator
from typing import Any

from apps.core.problems import PROBLEMS

PROBLEM_BODY = "#/components/schemas/ProblemBody"
OF_KEYS = ("401", "403", "414", "429", "503")  #: what every operation that needs a key may answer


def complete(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook."""
    for operation in _operations(result):
        operation["security"] = [scheme for scheme in operation["security"] if scheme]
        operation["responses"] = _responses(operation)
        _close_body(result, operation)
    return result


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from item.values()


def _responses(operation: dict[str, Any]) -> dict[str, Any]:
    """By status; every refusal is a problem."""
    responses = operation["responses"]
    refusals = {status for status in responses if int(status) >= 400}
    refusals |= set(OF_KEYS if operation["security"] else ())
    return dict(sorted((responses | {status: _problem(status) for status in refusals}).items()))


def _problem(status: str) -> dict[str, Any]:
    known = [f"`{code}` ({title})" for code, (of, title) in PROBLEMS.items() if of == int(status)]
    content = {"application/problem+json": {"schema": {"$ref": PROBLEM_BODY}}}
    return {"description": f"Its `code` is one of {', '.join(known)}.", "content": content}


def _close_body(document: dict[str, Any], operation: dict[str, Any]) -> None:
    """An object that is sent has the members that are documented, and no others; it may be left out
    where it needs none.
    """
    content = operation.get("requestBody", {}).get("content", {})
    name = content.get("application/json", {}).get("schema", {}).get("$ref")
    if name:
        component = document["components"]["schemas"][name.rpartition("/")[2]]
        component["additionalProperties"] = False
        operation["requestBody"]["required"] = bool(component.get("required"))
