"""The checker trips over the mistakes that it is there for.

Each is put back into a copy of the program, a real service runs from the copy, and what it
leaves behind must break a fitting invariant. The same work of an unchanged copy must not.

Mistakes of what the service tells, not of what it leaves behind, are found by their own tests,
most of them in test_mistakes.py, which must fail on such a copy.
"""

import gzip
import inspect
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import reading, service
from tests import test_keys as keys
from tests import test_mistakes as mistakes
from tests import test_tenants_http as tenants
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
    end = time.monotonic() + 90
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
    end = time.monotonic() + 90
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
        with cursor_of(connection) as cursor:
            begun = f"{TRANSACTION}{LARGE}{LOOPS.format('off' if are_many else 'on')}"
            cursor.execute(f"{begun}{self._staging_table(entity)};{_emptied(entity)}")
""",
    """
        with cursor_of(connection) as cursor:
            cursor.execute(TRANSACTION)
        info = connection.info
        own = psycopg.connect(info.dsn, password=info.password, autocommit=True)
        with own, cursor_of(own) as cursor:
            cursor.execute(f"DELETE FROM {entity.name}_staging")
""",
)
PAUSE_AFTER_STAGING = Patch(  # else the other worker would seldom come at the right moment
    POSTGRESQL,
    """
            if not are_many:
                self._analyze(cursor, entity)
""",
    """
            cursor.execute("SELECT pg_sleep(0.3)")
""",
)
ERROR = """
        except Exception as error:
            meaning = _meaning(dialect, error)
            if isinstance(meaning, Race | DataRefused):
                dialect = dialect.wary
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
        rests = check.wait_for_rest(home, url, seconds=90 if mistake.needs_rest else 5)
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


@dataclass(frozen=True)
class Lie:
    """Patches that make a mistake of what is told, the test that finds it, and how that fails."""

    patches: tuple[Patch, ...]
    test: Callable[..., None]
    told: str
    settings: Callable[[], dict[str, str]] = dict


KEYS, STATEMENTS = "apps/tenants/keys.py", "headrace/pipeline/dialects/statements.py"
SQLITE = "headrace/pipeline/dialects/sqlite.py"
HASH_IS_A_KEY = Patch(
    KEYS,
    """
    if key_id is None:
        return None
    return _known""",
    """
    if row := valid().filter(secret_hash=key).select_related("tenant").first():
        return _known_of(row.key_id, row.tenant_id, row.scopes, None, "", row.tenant.state)
    if key_id is None:
        return None
    return _known""",
)
DEMO_KEYS_FOR_ALL = (
    Patch(
        "main/settings.py",
        '"HEADRACE_DEMO_KEYS", default=not PRODUCTION',
        '"HEADRACE_DEMO_KEYS", default=True',
    ),
    Patch("apps/core/readiness.py", "_secret(), _demo_keys(), _hosts()", "_secret(), _hosts()"),
)
UNSAID_IS_OPEN = Patch(
    "apps/tenants/authentication.py",
    """
        if need is None:
            return False
""",
    """
        if need is None:
            return True
""",
)
NO_PERMISSION_ASKED = Patch(
    "main/settings.py",
    '"DEFAULT_PERMISSION_CLASSES": ["apps.tenants.authentication.HasScope"]',
    '"DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"]',
)
VIEW_NOBODY_KNOWS = Patch(
    "main/urls.py",
    """
    path("api/v1/whoami/", WhoAmI.as_view()),
""",
    """
    path("api/v1/whoami/", WhoAmI.as_view()),
    path("api/v1/whoever/", WhoAmI.as_view()),
""",
)
NAMES_REACH_SQL = Patch(
    "headrace/reading/selection.py",
    """
    shown = name[:40] if name""",
    """
    return Field(name, entity.field("currency").type, "whatever was asked for")
    shown = name[:40] if name""",
)
FILTERS_PASSED_OVER = Patch(
    "apps/catalog/asking.py",
    """
    pages.check(asked, *known, pages.FIELDS, repeatable=(*known, pages.FIELDS))
""",
    "\n",
)
ID_IS_THE_WHOLE_KEY = (
    Patch(
        "headrace/pipeline/dialects/tables.py",
        "_pkey PRIMARY KEY ({TENANT}, {entity.key})",
        "_pkey PRIMARY KEY ({entity.key}), UNIQUE ({TENANT}, {entity.key})",
    ),
    Patch(STATEMENTS, "ON CONFLICT ({TENANT}, {entity.key})", "ON CONFLICT ({entity.key})"),
)
NO_GUARD_OF_UPDATES = Patch(
    SQLITE, "{ours.format('OLD')} AND {ours.format('NEW')}", "{ours.format('OLD')} OR 1"
)
PARENT_OF_ANYBODY = Patch(
    STATEMENTS,
    "       ON p.{TENANT} = {spelling.tenant} AND p.{parent_key} = s.{reference.field}\nWHERE",
    "       ON p.{parent_key} = s.{reference.field}\nWHERE",
)
READ_THEN_WRITE = Patch(  # with a pause, else two would seldom read at the right moment
    "apps/core/table_buckets.py",
    """
            with transaction.atomic(durable=True):
                known = self._known(self.lock, tenant, buckets)
                if len(known) == len(buckets):
""",
    """
            if True:
                known = self._known(self.read, tenant, buckets)
                if len(known) == len(buckets):
                    __import__("time").sleep(0.02)
""",
)
PUBLIC_FOLDER = Patch(
    "main/urls.py",
    """
urlpatterns = [
""",
    """
from django.conf import settings
from django.views.static import serve
urlpatterns = [
    path("media/<path:path>", serve, {"document_root": settings.HEADRACE_HOME}),
""",
)
DOWNLOAD_FOR_ANY_KEY = Patch(
    "apps/exports/views.py",
    """
        tenant = tenant_at(request, tenant_id)
        return downloaded""",
    """
        tenant = tenant_id
        return downloaded""",
)
NO_FILTERS = Patch(
    "apps/exports/asked.py",
    """
    return Selection(entity, columns_of(entity, export.columns), conditions)
""",
    """
    return Selection(entity, columns_of(entity, export.columns), ())
""",
)
BEGUN_ANEW = Patch(
    "apps/exports/selectors.py",
    "lambda start: _bytes(export.parts, start)",
    "lambda start: _bytes(export.parts, 0)",
)
FORMAT = """
        format=_choice(body, "format", FORMATS, CSV),
"""
ANY_FORMAT = Patch("apps/exports/asked.py", FORMAT, FORMAT.replace("FORMATS", "(*FORMATS, 'xlsx')"))
HASHES = mistakes.test_1_the_stored_hash_of_a_key_is_not_a_key
GUESSES = tenants.test_in_production_no_key_follows_from_the_id_of_a_tenant
CLOSED = mistakes.test_2_a_view_is_closed_by_default_and_known_to_the_authorisation_table
UNSAID = keys.test_a_view_that_does_not_say_what_it_needs_is_closed
NAMES = mistakes.test_3_fields_and_filters_name_columns_of_the_record_type_and_nothing_else
EQUAL_IDS = mistakes.test_4_a_tenant_cannot_overwrite_or_block_rows_of_another_with_the_same_id
LIMITS = mistakes.test_11_exactly_so_many_calls_pass_a_limit_and_refused_ones_do_not_extend_it
DOWNLOADS = mistakes.test_17_received_files_and_exports_leave_by_their_downloads_only
EXPORTS = mistakes.test_18_an_export_has_what_was_asked_for_once_or_is_refused_at_once
LIES = {
    "1 the stored hash is a key": Lie((HASH_IS_A_KEY,), HASHES, "assert 200 == 401"),
    "1 in production a key follows from the tenant's id": Lie(
        DEMO_KEYS_FOR_ALL, GUESSES, "assert 200 == 401", tenants.as_in_production
    ),
    "2 a view that says nothing is open": Lie((UNSAID_IS_OPEN,), UNSAID, "At index 0 diff"),
    "2 views are open by default": Lie((NO_PERMISSION_ASKED,), CLOSED, "== 401"),
    "2 a route is in no table": Lie((VIEW_NOBODY_KNOWS,), CLOSED, "whoever"),
    "3 what fields names reaches SQL": Lie((NAMES_REACH_SQL,), NAMES, "assert 200 == 400"),
    "3 filters that nobody knows are passed over": Lie(
        (FILTERS_PASSED_OVER,), NAMES, "assert 200 == 400"
    ),
    "4 an id is the whole key of an upsert": Lie(
        (*ID_IS_THE_WHOLE_KEY, NO_GUARD_OF_UPDATES), EQUAL_IDS, "assert"
    ),
    "4 the same, and triggers guard rows": Lie(ID_IS_THE_WHOLE_KEY, EQUAL_IDS, "assert"),
    "4 a parent of anybody will do": Lie((PARENT_OF_ANYBODY,), EQUAL_IDS, "assert"),
    "11 a limit is read, then written": Lie((READ_THEN_WRITE,), LIMITS, "in range"),
    "17 the store is a public folder": Lie((PUBLIC_FOLDER,), DOWNLOADS, "assert 200 == 404"),
    "17 any key opens a download": Lie((DOWNLOAD_FOR_ANY_KEY,), DOWNLOADS, "assert 200 == 404"),
    "18 an export ignores its filters": Lie((NO_FILTERS,), EXPORTS, "At index 0 diff"),
    "18 a continued download begins anew": Lie((BEGUN_ANEW,), EXPORTS, "At index"),
    "18 an unknown format is taken": Lie((ANY_FORMAT,), EXPORTS, "assert 202 == 400"),
}


def told_to(running: Service, test: Callable[..., None]) -> list[Service | Merchant]:
    """What the test takes: the service itself, or new tenants of it."""
    names = inspect.signature(test).parameters
    return [argument(running, name) for name in names]


def argument(running: Service, name: str) -> Service | Merchant:
    if name in ("running_service", "production"):
        return running
    merchant = running.add_tenant()
    if name == "stocked":
        reading.stock(merchant)
    return merchant


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_mistake_of_what_is_told_fails_its_own_test(lie, tmp_path):
    root, home = copy_of_the_program(tmp_path, lie.patches), tmp_path / "home"
    home.mkdir()
    with service.running(home, root=root, **lie.settings()) as running:
        given = told_to(running, lie.test)
        with pytest.raises(AssertionError, match=lie.told):
            lie.test(*given)


def test_a_text_that_the_program_has_no_more_is_told(tmp_path):
    with pytest.raises(AssertionError, match="has 0 times"):
        copy_of_the_program(tmp_path, [Patch("manage.py", "no such text", "")])
