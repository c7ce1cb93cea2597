"""What test_protocol.py runs in processes of their own: `python -m tests.protocol.inside`."""

import gc
import json
import os
import sys

STEPS = 20
SEGMENT_ROWS = 2


def main(sequences: str, number: str) -> None:
    """Run so many sequences from this seed; prints how often each deed was done."""
    _prepare()
    from tests.protocol import machine  # noqa: PLC0415 - its models need Django

    machine.seen.clear()
    machine.run(int(sequences), STEPS, int(number))
    print(json.dumps(machine.seen))


def _prepare() -> None:
    import django  # noqa: PLC0415 - the parent wants the constants only
    from django.conf import settings  # noqa: PLC0415

    # No power is cut here: what a disk does late is not what this is about.
    os.fsync = lambda handle: None
    database = settings.DATABASES["default"]
    database["OPTIONS"]["init_command"] += " PRAGMA synchronous = OFF;"
    database["CONN_MAX_AGE"] = None
    django.setup()
    gc.freeze()
    gc.set_threshold(100_000)
    from apps.ingestions import ledger  # noqa: PLC0415
    from tests.protocol.turnstile import skew_clocks  # noqa: PLC0415

    dialect = type(ledger.dialect())
    dialect.segment_rows, dialect.pause_seconds = SEGMENT_ROWS, 0
    skew_clocks()


if __name__ == "__main__":
    main(*sys.argv[1:])
