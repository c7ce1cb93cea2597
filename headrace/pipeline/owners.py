"""Records of one owner that are landed together or not at all, and the names of their events."""

import re
from collections.abc import Callable
from functools import cache, partial
from uuid import UUID, uuid5

from headrace.pipeline.errors import RejectCode
from headrace.pipeline.report import Fault

_EVENTS = UUID("6f6f1c2e-9a52-5a0e-8d0f-2c1f0a6f3b57")


def event_names(tenant: UUID, key: str) -> Callable[[int], UUID]:
    """Ids of the events that have none, by their line in the request with this idempotency key.

    The same file with the same key is the same events, for ever and not only while the key is
    kept. An id is uuid5 (RFC 9562) within the tenant.
    """
    return partial(_name, uuid5(_EVENTS, tenant.hex), key)


def _name(namespace: UUID, key: str, line: int) -> UUID:
    return uuid5(namespace, f"{line} {key}")


def told_owner(field: str, raw: bytes) -> str | None:
    """The id that a JSON record which cannot be decoded seems to give in `field`, in lower case;
    None if there is none to be seen."""
    found = _pattern(field).search(raw)
    return found[1].decode().lower() if found else None


def refused_with(field: str, line: int, code: str) -> Fault:
    """The fault of a record whose owner has another one, on `line`, that was refused."""
    message = f"expected all events of its {field} to be possible; line {line} is not ({code})"
    return Fault(RejectCode.REFUSED_TOGETHER, field, "", message)


@cache
def _pattern(field: str) -> re.Pattern[bytes]:
    uuid = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    return re.compile(rf'"{field}"[ \t\r\n]*:[ \t\r\n]*"({uuid})"'.encode())
