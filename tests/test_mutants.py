"""The checker trips over the mistakes that it is there for.

Each is put back into a copy of the program, a real service runs from the copy, and what it
leaves behind must break a fitting invariant. The same work of an unchanged copy must not.
"""

import gzip
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import service
from tests import test_mistakes as mistakes
from tests.chaos import check
from tests.road import ndjson
from tests.service import ROOT, Merchant, Service
from tests.shop import ask, customer

PROGRAM = ("apps", "headrace", "main", "manage.py")


@dataclass(frozen=True)
class Patch:
    """One exact text of a file, and what stands there instead."""

    path: str
    text: str
    instead: str

    def apply(self, root: Path) -> None:
        path = root / self.path
        source = path.read_text()
        found = source.count(self.text)
        assert found == 1, f"{self.path} has {found} times what is to be changed:\n{self.text}"
        path.write_text(source.replace(self.text, self.instead))


@dataclass(frozen=True)
class Mistake:
    """Patches that make it, work that it spoils, and the invariants of which one must break.

    `needs_rest` is false where the mistake keeps work from ever ending.
    """

    patches: tuple[Patch, ...]
    work: Callable[[Service], None]
    breaks: set[int]
    dialect: str = "sqlite"
    workers: int = 1
    needs_rest: bool = True


def send_a_truncated_file(running: Service) -> None:
    merchant = running.add_tenant()
    data = gzip.compress(ndjson(*(customer() for _ in range(3_000))))
    assert merchant.send("customers.ndjson.gz", data[: len(data) * 3 // 5]).status_code == 201


def load_two_shops_at_once(running: Service) -> None:
    """Files of equal length by two workers, with a table at hand that both could stage in."""
    columns = "customer_id, name, email, metadata, created_at"
    ask(
        running,
        "CREATE UNLOGGED TABLE customers_staging AS"
        f" SELECT 0::bigint AS line, 0 AS mask, {columns} FROM customers LIMIT 0;"
        " GRANT ALL ON customers_staging TO PUBLIC",
    )

    shops = [running.add_tenant(name=name) for name in ("First", "Second")]
    end = time.monotonic() + 40
    while len(ask(running, "SELECT DISTINCT worker FROM jobs WHERE worker <> ''")) < 2:
        assert time.monotonic() < end, "the second worker took no job"
        send_to_each(shops)
        time.sleep(0.2)
    for _ in range(4):
        send_to_each(shops)


def send_to_each(shops: list[Merchant]) -> None:
    for merchant in shops:
        data = ndjson(*(customer() for _ in range(200)))
        assert merchant.send("customers.ndjson", data).status_code == 201


def send_what_the_database_refuses(running: Service) -> None:
    merchant = running.add_tenant()
    rows = [customer() for _ in range(100)]
    rows[40]["name"] = "refused"
    with mistakes.refusing(running, "refused"):
        response = merchant.send("customers.ndjson", ndjson(*rows))
        assert response.status_code == 201
        assert check.wait_for_rest(running.home, quiet=1)


def kill_the_worker_between_segments(running: Service) -> None:
    merchant = running.add_tenant()
    data = ndjson(*(customer() for _ in range(25_000)))
    assert merchant.send("customers.ndjson", data).status_code == 201
    end = time.monotonic() + 20
    while not ask(running, "SELECT id FROM segments WHERE report IS NOT NULL"):
        assert time.monotonic() < end, running.log()
        time.sleep(0.002)
    (victim,) = running.worker_pids()
    os.kill(victim, signal.SIGKILL)


POSTGRESQL = "headrace/pipeline/dialects/postgresql.py"
TRUNCATION_UNNOTICED = Patch(
    "headrace/pipeline/formats/compression.py",
    """
    if member is not None:
        raise Permanent(FailureCode.CORRUPT, f"the {kind} data ends in the middle of a member")
""",
    "",
)
STAGING_SHARED = Patch(
    POSTGRESQL,
    """
        with _cursor(connection) as cursor:
            cursor.execute(_TRANSACTION + _staging_table(entity))
            cursor.execute(f"DELETE FROM {entity.name}_staging")
""",
    """
        with _cursor(connection) as cursor:
            cursor.execute(_TRANSACTION)
        info = connection.info
        own = psycopg.connect(info.dsn, password=info.password, autocommit=True)
        with own, _cursor(own) as cursor:
            cursor.execute(f"DELETE FROM {entity.name}_staging")
""",
)
PAUSE_AFTER_STAGING = Patch(  # else the other worker would seldom come at the right moment
    POSTGRESQL,
    """
            cursor.execute(f"ANALYZE {entity.name}_staging ({entity.key})")
""",
    """
            cursor.execute("SELECT pg_sleep(0.3)")
""",
)
ERROR = """
        except Exception as error:
            meaning = _meaning(dialect, error)
            races += isinstance(meaning, Race)
"""
ERROR_SWALLOWED = Patch(
    "headrace/pipeline/run.py",
    ERROR,
    """
        except Exception as error:
            with transaction():
                record(SegmentReport())
            return
""",
)
ERROR_CALLED_SUCCESS = Patch(
    "headrace/pipeline/run.py",
    ERROR,
    """
        except Exception as error:
            report = SegmentReport()
            report.add(Outcome.INSERTED, rows.index["line"].astype("int64"))
            with transaction():
                record(report)
            return
""",
)
NO_SUM_RULE = Patch(
    "apps/ingestions/accounts.py",
    """
    if by_line[Outcome.UNPROCESSED]:
""",
    """
    if False:
""",
)
DONE_BEFORE_PROMOTION = Patch(
    "apps/ingestions/ledger.py",
    """
                state=ChunkState.PROMOTING,
""",
    """
                state=ChunkState.COMPLETED,
                ended_at=Now(),
""",
)
DONE_IS_LEFT_ALONE = Patch(
    "apps/ingestions/processing.py",
    """
    chunk = Chunk.objects.select_related("upload").get(pk=lease.subject)
""",
    """
    chunk = Chunk.objects.select_related("upload").get(pk=lease.subject)
    if chunk.ended_at:
        with tenant_transaction(chunk.tenant_id):
            lease.end("done")
        return
""",
)
NEVER_RETAKEN = Patch(
    "apps/core/jobs.py",
    """
    return due | abandoned
""",
    """
    return due
""",
)
MISTAKES = {
    "5 a truncated file is applied": Mistake((TRUNCATION_UNNOTICED,), send_a_truncated_file, {1}),
    "6 workers share what they stage in": Mistake(
        (STAGING_SHARED, PAUSE_AFTER_STAGING),
        load_two_shops_at_once,
        {2},
        dialect="postgresql",
        workers=2,
    ),
    "7 an error is swallowed": Mistake((ERROR_SWALLOWED,), send_what_the_database_refuses, {1}),
    "7 an error is swallowed, and nobody sums": Mistake(
        (ERROR_SWALLOWED, NO_SUM_RULE), send_what_the_database_refuses, {1}
    ),
    "7 an error is called success": Mistake(
        (ERROR_CALLED_SUCCESS,), send_what_the_database_refuses, {2}
    ),
    "8 a file is done before its rows are": Mistake(
        (DONE_BEFORE_PROMOTION, DONE_IS_LEFT_ALONE), kill_the_worker_between_segments, {1}
    ),
    "8 what was left behind stays there": Mistake(
        (NEVER_RETAKEN,), kill_the_worker_between_segments, {3}, needs_rest=False
    ),
}
WORKS = {mistake.work.__name__: mistake for mistake in reversed(MISTAKES.values())}
SHORT_LEASE = {"HEADRACE_LEASE_SECONDS": "1", "HEADRACE_SWEEP_SECONDS": "1"}


def copy_of_the_program(folder: Path, patches: Iterable[Patch]) -> Path:
    root = folder / "program"
    for name in PROGRAM:
        if (ROOT / name).is_dir():
            without = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, root / name, ignore=without)
        else:
            shutil.copy(ROOT / name, root / name)
    for patch in patches:
        patch.apply(root)
    return root


def left_behind(request, folder: Path, mistake: Mistake, patches: Iterable[Patch]) -> list[str]:
    """The violations after the mistake's work, done by a program with these patches."""
    root = copy_of_the_program(folder, patches)
    server = None
    if mistake.dialect == "postgresql":
        server = request.getfixturevalue("postgresql_server")
    home = folder / "home"
    home.mkdir()
    with service.running(
        home, server, root=root, workers=mistake.workers, **SHORT_LEASE
    ) as running:
        mistake.work(running)
        url = running.environment.get("DATABASE_URL")
        rests = check.wait_for_rest(home, url, seconds=40 if mistake.needs_rest else 5)
        assert rests or not mistake.needs_rest
        return check.violations(home, url)


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_that_was_put_back_is_found(mistake, request, tmp_path):
    found = left_behind(request, tmp_path, mistake, mistake.patches)
    broken = {int(sentence.split()[1].rstrip(":")) for sentence in found}
    assert broken & mistake.breaks, found


@pytest.mark.slow
@pytest.mark.parametrize("mistake", WORKS.values(), ids=WORKS)
def test_nothing_is_found_after_the_same_work_without_the_mistake(mistake, request, tmp_path):
    assert left_behind(request, tmp_path, mistake, ()) == []


def test_a_text_that_the_program_has_no_more_is_told(tmp_path):
    with pytest.raises(AssertionError, match="has 0 times"):
        copy_of_the_program(tmp_path, [Patch("manage.py", "no such text", "")])
