"""Names of loads. One that nobody names has that of its second, and no two have the same.

While a load is at work an intent has its name, since it may have no row yet. What a kill leaves of
that is what a kill leaves of any intent.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain, count
from uuid import UUID, uuid4

from headrace.recognitions import resetting
from headrace.recognitions.assembly import Parts
from headrace.recognitions.database import RowsRefused, Session, Unavailable, check_tenant
from headrace.recognitions.schema import INTENTS, Intent

_COLUMNS = ("attempt_id", "object_key", "state", "batch_id")
_GIVEN_BACK = """
DELETE FROM {recognition_intents}
WHERE tenant_id = :tenant AND attempt_id = :attempt"""


@contextmanager
def named(parts: Parts, given: str | None) -> Iterator[str]:
    """The name of a load: the one that is given, or the next that is free. Raises Unavailable."""
    if given is not None:
        yield given
        return
    attempt = uuid4()
    name = _taken(parts, attempt)
    try:
        yield name
    finally:
        _give_back(parts, attempt)


def _give_back(parts: Parts, attempt: UUID) -> None:
    """Where that fails, a later load takes it for one that was killed."""
    with (
        suppress(Unavailable, RowsRefused),
        parts.database.transaction(parts.settings.tenant) as session,
    ):
        session.run(_GIVEN_BACK, attempt=attempt)


def _taken(parts: Parts, attempt: UUID) -> str:
    settings = parts.settings
    with parts.database.transaction(settings.tenant) as session:
        check_tenant(session, parts.database, settings.tenant)
        session.lock(exclusive=True)
        name = _free(session, _of_now())
        key = f"{settings.folder}/{settings.tenant}/{name}"  # of no object
        session.fill(INTENTS, _COLUMNS, [(attempt, key, Intent.PUT.value, name)])
    return name


def _free(session: Session, first: str) -> str:
    names = chain([first], (f"{first}_{number}" for number in count(2)))
    return next(name for name in names if not resetting.counted(session, name))


def _of_now() -> str:
    return f"batch_{datetime.now(UTC):%Y%m%d_%H%M%S}"
