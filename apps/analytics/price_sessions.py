"""What a connection of price events needs before its transactions, and the lock they begin with."""

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db import connection

from apps.core import dialect
from headrace.entities.price_history import PRICE_HISTORY

LOCK_SECONDS = 5  # what a bulk load waits for a lock, too


def share_history(tenant: UUID) -> None:
    """Before the product: who has the product never waits for a load of intervals."""
    dialect.current().serialize_shared(connection.connection, tenant, PRICE_HISTORY)


class _Session(threading.local):
    """The connection of a thread that was prepared last."""

    raw: Any = None


_session = _Session()


def prepare_once(prepare: Callable[[Any], None]) -> None:
    """Prepare the thread's connection unless it is; outside a transaction, which may roll back."""
    raw = dialect.opened().connection
    if _session.raw is not raw:
        prepare(raw)
        _session.raw = raw
