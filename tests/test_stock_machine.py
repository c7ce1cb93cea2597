"""Stock calls against a model, in hundreds of random sequences with crashes and repetitions."""

import os
import random
from pathlib import Path

import pytest

from tests import inside, sizes
from tests.conftest import DIALECTS, server_of
from tests.inside import Inside

SEQUENCES = {
    "sqlite": sizes.of(200, 80),
    "postgresql": sizes.of(60, 30),
    "mariadb": sizes.of(60, 30),
}
NOT_MISSED = (
    "repetitions",
    "replays",
    "keys used again",
    "keys that expired",
    "late events",
    "products refused",
    "troubles before_it_lands",
    "troubles after_it_landed",
    "troubles before_the_commit",
    "troubles behind_the_commit",
)


@pytest.mark.slow
@pytest.mark.timeout(900)  # a failure is shrunk before it is shown
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_order_of_calls_crashes_and_repetitions_moves_stock_twice_or_not_at_all(
    request: pytest.FixtureRequest, dialect: str, tmp_path: Path
):
    """STOCK_SEED repeats a run."""
    seed = os.environ.get("STOCK_SEED") or str(random.randrange(2**32))
    with inside.database(tmp_path, server_of(request, dialect)) as service:
        service.migrate()
        machine = Inside(service, "stock_machine")
        done = machine.do("run", SEQUENCES[dialect], seed, HEADRACE_LOG_LEVEL="CRITICAL")
    print("\n".join(f"{number:6} {name}" for name, number in sorted(done.items())))
    assert done["sequences"] >= SEQUENCES[dialect], f"STOCK_SEED={seed}"
    assert [name for name in NOT_MISSED if not done.get(name)] == []
