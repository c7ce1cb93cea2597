"""How often something is tried that may be better in a moment."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import stamina

FIRST_WAIT, LONGEST_WAIT, JITTER = 0.2, 10.0, 0.2  # seconds
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Patience:
    """So many attempts, and what the wait between two is multiplied by."""

    attempts: int
    factor: float

    def through(self, passing: type[Exception], work: Callable[[], T]) -> T:
        """Do it, again while it raises what may pass. Raises what the last attempt raised."""
        try:
            return work()  # nearly always, and a retry context costs more than some work does
        except passing as error:
            first = error
        for attempt in stamina.retry_context(
            on=passing,
            attempts=self.attempts,
            timeout=None,
            wait_initial=FIRST_WAIT,
            wait_max=LONGEST_WAIT,
            wait_jitter=JITTER,
            wait_exp_base=self.factor,
        ):
            with attempt:
                if attempt.num == 1:
                    raise first
                return work()
        raise AssertionError("a retry context ends by returning or raising")
