"""When an event is sent again to a receiver that did not take it."""

import random

HOUR = 3_600.0
# Seconds between an attempt and the next, as Standard Webhooks has them: 75.6 hours in all.
WAITS = (5.0, 300.0, HOUR / 2, *(hours * HOUR for hours in (2, 5, 10, 14, 20, 24)))
ATTEMPTS = len(WAITS) + 1
JITTER = 0.1  # of a wait, more or less
HOLDS = (5.0, 30.0, 300.0)  # seconds for which a lane rests after so many failures, and at most

SLOW_SECONDS = 2.0  # a sending that takes longer is slow
SLOW_RESTS = 1.0  # times as long as it took rests its lane


def wait_after(attempts: int) -> float | None:
    """Seconds after an attempt that so many came before; None if it was the last."""
    if attempts >= len(WAITS):
        return None
    return WAITS[attempts] * random.uniform(1 - JITTER, 1 + JITTER)


def rest_after(failures: int, seconds: float) -> float:
    """Seconds for which a lane rests after a sending that took so many: the last of so many
    failures, or a success (0). A slow one rests in proportion, so that it never has more than
    half of a worker; where files wait it is passed over besides.
    """
    held = HOLDS[min(failures, len(HOLDS)) - 1] if failures else 0.0
    return max(held, SLOW_RESTS * seconds) if seconds > SLOW_SECONDS else held
