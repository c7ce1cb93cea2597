"""Transactions that are run again where the database gives them up, while their caller waits."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import Error, connection

from apps.core import dialect
from apps.core.problems import Problem
from headrace.pipeline.errors import HeadraceError, Race, Retryable

Done = TypeVar("Done")
TRIES = 10
PATIENCE_SECONDS = 8.0  # of all tries together, but for the last one's wait for a lock


def until_done(transaction: Callable[[], Done]) -> Done:
    """What a transaction gives, run again as a whole after a deadlock, a race or a lost connection.

    There is a moment between two tries, longer each time, which differs from caller to caller.
    If only the acknowledgement of a commit was lost, the transaction must find that out itself.
    Raises Problem once it has taken too long, and whatever else the transaction raises.
    """
    end = time.monotonic() + PATIENCE_SECONDS
    for attempt in range(TRIES):
        try:
            return transaction()
        except Exception as error:
            check_repeatable(error)
        if time.monotonic() > end:
            break
        time.sleep(random.uniform(0.002, 0.02) * 2 ** min(attempt, 6))
        connection.close_if_unusable_or_obsolete()
    raise Problem("unavailable", "Send the same request again in a moment.")


def check_repeatable(error: Exception) -> None:
    """Raises the error unless the same transaction may succeed when it is run again."""
    if isinstance(error, Problem):
        raise error
    # The engine uses the connection past Django, who would not notice that it broke.
    connection.errors_occurred = True
    meaning = error if isinstance(error, HeadraceError) else _meaning(error)
    if not isinstance(meaning, Retryable | Race):
        raise error


def _meaning(error: Exception) -> HeadraceError | None:
    cause = error.__cause__ if isinstance(error, Error) else None
    return dialect.current().translated(cause if isinstance(cause, Exception) else error)
