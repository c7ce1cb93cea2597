"""The statements of a price event, beside the models: a call has a millisecond.

`price_portable` says what is done, one statement at a time; `price_postgresql` does the same in
fewer trips to the server.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from typing import Protocol
from uuid import UUID

from apps.analytics.price_portable import MARIADB, SQLITE, Portable
from apps.analytics.price_rows import Found, Outcome
from apps.core import dialect
from apps.core.idempotency import Key


class Statements(Protocol):
    """What a call asks of a database."""

    def transaction(self, tenant: UUID) -> AbstractContextManager[None]:
        """The tenant's transaction, for one `look` and one `write`, which may already commit."""

    def look(self, tenant: UUID, product: UUID, key: Key) -> Found | None:
        """Lock the tenant's product, then look; None if there is no such product."""

    def write(self, outcome: Outcome) -> None:
        """Write all of it."""


@cache
def current() -> Statements:
    """The statements of the configured database."""
    return _OF_DIALECTS[dialect.current().name]()


def _postgresql() -> Statements:
    # Imported when asked for: the embedded default needs no PostgreSQL driver.
    from apps.analytics.price_postgresql import PostgreSQL  # noqa: PLC0415

    return PostgreSQL()


_OF_DIALECTS: dict[str, Callable[[], Statements]] = {
    "postgresql": _postgresql,
    "sqlite": lambda: Portable(SQLITE),
    "mariadb": lambda: Portable(MARIADB),
    "mysql": lambda: Portable(MARIADB),
}
