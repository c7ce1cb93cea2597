"""The invariants that must hold of a Headrace that came to rest; read-only.

    python -m tests.chaos.check --home DIR [--database-url URL] [--files DIR] [--journal FILE]

prints a sentence for everything that does not hold and ends with 1, or with 0 if all does. The
numbers are those of docs/guarantees.md. It shares no code with the service: rows are read by
plain SQL, sources are unpacked, split and decoded here, winners are those of tests/reference.py.

What it cannot decide, and leaves out: which of two files at once may have a natural key, or the
time of an interval (the rejects say who lost, and only the lines that landed are replayed); the
fields that only older lines of a key bring, where the outcomes say which of them were written;
times that the database chose; the rows of an export that was begun while other work of its tenant
was under way. Of places whose sources or outcomes retention has dropped it checks no values.
"""

import argparse
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from tests.chaos import accounts, effects, exports, figures, leaks, levels, rows, work
from tests.chaos.evidence import Evidence, active_jobs

GRACE_SECONDS = 3600.0


def violations(
    home: Path,
    database_url: str | None = None,
    *,
    files: Path | None = None,
    journal: Path | None = None,
    grace_seconds: float = GRACE_SECONDS,
    secrets: Collection[str] = (),
    canaries: Mapping[str, str] | None = None,
    status_of: accounts.Status | None = None,
) -> list[str]:
    """A sentence for everything that does not hold, by invariant; empty if all does.

    `grace_seconds` is how old an object without a chunk may be. `canaries` has texts that only
    the tenant of that id has sent. `status_of` asks the running service for an upload's status
    by tenant and token.
    """
    evidence = Evidence(home, database_url, files, journal)
    sent = rows.Found(evidence)
    found = [
        *accounts.check(evidence),
        *(accounts.statuses(evidence, status_of) if status_of else ()),
        *rows.check(evidence, sent),
        *levels.check(evidence, sent),
        *figures.check(evidence),
        *work.check(evidence),
        *effects.keys(evidence),
        *effects.files(evidence),
        *effects.objects(evidence, grace_seconds),
        *exports.check(evidence, grace_seconds),
        *leaks.check(evidence, secrets, canaries or {}),
    ]
    return sorted(found)


def wait_for_rest(
    home: Path, database_url: str | None = None, *, seconds: float = 60, quiet: float = 2
) -> bool:
    """Wait until no job was queued or running for `quiet` seconds; False if `seconds` are over.

    A look now and then would not do: a job that ends may be about to queue another.
    """
    end = time.monotonic() + seconds
    since = time.monotonic()
    while time.monotonic() - since < quiet:
        if time.monotonic() > end:
            return False
        if active_jobs(home, database_url):
            since = time.monotonic()
        time.sleep(0.1)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", type=Path, required=True, help="the service's HEADRACE_HOME")
    parser.add_argument("--database-url", help="of a server; SQLite in the home if left out")
    parser.add_argument("--files", type=Path, help="the folder of the files that were accepted")
    parser.add_argument("--journal", type=Path, help="answers as JSON lines: key, status, body")
    parser.add_argument("--grace", type=float, default=GRACE_SECONDS, help="seconds")
    parser.add_argument("--secret", action="append", default=[], help="text that nobody may show")
    parser.add_argument("--canary", action="append", default=[], metavar="TENANT=TEXT")
    given = parser.parse_args()
    found = violations(
        given.home,
        given.database_url,
        files=given.files,
        journal=given.journal,
        grace_seconds=given.grace,
        secrets=given.secret,
        canaries=dict(pair.split("=", 1) for pair in given.canary),
    )
    print("\n".join(found) or "every invariant holds")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
