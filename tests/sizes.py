"""How much the long tests do: a share of it by default, all of it with HEADRACE_TESTS=full."""

import os

IS_FULL = os.environ.get("HEADRACE_TESTS") == "full"


def of(whole: int, usual: int) -> int:
    """A size as the environment wants it."""
    return whole if IS_FULL else usual
