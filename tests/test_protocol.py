"""Leases, epochs, segments and parking against a model, in hundreds of random sequences."""

import json
import os
import random
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import inside, sizes
from tests.inside import Inside
from tests.protocol.inside import STEPS
from tests.service import ROOT

PROCESSES = 2
SEQUENCES = sizes.of(500, 120)
NOT_MISSED = (
    "claim",
    "stall_and_be_overtaken",
    "die",
    "lose_the_acknowledgement_of_a_commit",
    "claim_and_die_repeatedly",
    "cancel",
    "resume",
    "let_parked_lines_expire",
    "sweep",
)


@pytest.mark.slow
@pytest.mark.timeout(900)  # a failure is shrunk before it is shown
def test_no_order_of_crashes_stalls_and_lost_messages_loses_or_doubles_a_line(tmp_path):
    """PROTOCOL_SEED repeats a run; a failure names its seed."""
    seed = int(os.environ.get("PROTOCOL_SEED", random.randrange(2**32)))
    with ThreadPoolExecutor(PROCESSES) as pool:
        runs = [pool.submit(_run, tmp_path / str(n), seed + n) for n in range(PROCESSES)]
        taken = sum((run.result() for run in runs), Counter())
    print("\n".join(f"{number:6} {name}" for name, number in taken.most_common()))
    assert taken["sequences"] >= SEQUENCES
    assert not [name for name in NOT_MISSED if not taken[name]], f"never in {STEPS} steps"


def _run(home: Path, seed: int) -> Counter[str]:
    """How often each deed was done in a process of its own."""
    with inside.database(home, None) as service:
        service.migrate()
        environment = Inside(service, "").environment(
            HEADRACE_LEASE_SECONDS="3600", HEADRACE_LOG_LEVEL="CRITICAL"
        )
        command = [sys.executable, "-m", "tests.protocol.inside", SEQUENCES // PROCESSES, seed]
        result = subprocess.run(
            [str(part) for part in command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=880,
        )
    assert result.returncode == 0, f"PROTOCOL_SEED={seed}\n{result.stderr}"
    return Counter(json.loads(result.stdout))
