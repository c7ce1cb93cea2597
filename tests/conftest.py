"""Fixtures: databases of every dialect for the engine, whole services for the rest."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import reading, road, servers, service, templates

DIALECTS = ("sqlite", "postgresql", "mariadb")
PARTITIONED = "postgresql-partitioned"  # the other shape of the same dialect's tables
ROW_BY_ROW = "postgresql-row-by-row"  # also by triggers; tables are large, rows thought new
#: Where HTTP is what is tested: a third database would take its time and find nothing.
HTTP_DIALECTS = ("sqlite", "postgresql")
#: For tests of the running service whose SQL differs from database to database.
on_every_database = pytest.mark.parametrize(
    "running_service", DIALECTS, indirect=True, scope="session"
)
SHARED = service.ROOT.parent / "shared"

# A busy machine is no finding.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL server on which databases may be made."""
    with servers.postgresql() as url:
        if url is None:
            pytest.skip("NO POSTGRESQL: set TEST_DATABASE_URL, or install the dev requirements")
        yield url


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[str]:
    """The URL of a MariaDB server on which databases may be made."""
    with servers.mariadb() as url:
        if url is None:
            pytest.skip("NO MARIADB: set TEST_MYSQL_URL, or install mariadb-server")
        yield url


def server_of(request: pytest.FixtureRequest, dialect: str) -> str | None:
    """The URL of the server of a dialect, None for SQLite; skips loudly where there is none."""
    if dialect == "sqlite":
        return None
    return str(request.getfixturevalue(f"{dialect.partition('-')[0]}_server"))


@pytest.fixture(params=DIALECTS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[road.Database]:
    """A fresh database of each dialect, for the engine on a bare connection."""
    server = server_of(request, request.param)
    with road.new_database(request.param, server, tmp_path / "test.sqlite3") as opened:
        yield opened


@pytest.fixture(params=HTTP_DIALECTS, scope="session")
def running_service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[service.Service]:
    """One service of each dialect for all tests that leave it as it was: use a new tenant."""
    server = server_of(request, request.param)
    environment = {"HEADRACE_WEBHOOK_ALLOW": "127.0.0.0/8"}  # where the tests' receivers are
    environment |= {"HEADRACE_PARTITIONS": "on"} if request.param == PARTITIONED else {}
    # Tests send up to 16 bodies at once; which process takes them is chance.
    home = tmp_path_factory.mktemp(request.param)
    with service.running(home, server, HEADRACE_THREADS="32", **environment) as opened:
        yield opened


@pytest.fixture
def merchant(running_service: service.Service) -> service.Merchant:
    """A new tenant of the running service."""
    return running_service.add_tenant()


@pytest.fixture
def stranger(running_service: service.Service) -> service.Merchant:
    """Another new tenant, with a valid key of its own."""
    return running_service.add_tenant(name="A stranger")


_stocked: dict[service.Service, service.Merchant] = {}


@pytest.fixture
def stocked(running_service: service.Service) -> service.Merchant:
    """One tenant of the running service, with rows of every record type, for who only reads."""
    if running_service not in _stocked:
        _stocked[running_service] = running_service.add_tenant()
        reading.stock(_stocked[running_service])
    return _stocked[running_service]


@pytest.fixture
def shared_data() -> Path:
    """The folder of real data beside the project, where it is there."""
    if not (SHARED / "data").is_dir():
        pytest.skip("NO SHARED DATA beside the project: tests on real input are skipped")
    return SHARED / "data"


def pytest_configure(config: pytest.Config) -> None:
    """One folder of templates for the whole run, made where its processes are started."""
    if templates.FOLDER not in os.environ:
        templates.begin()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first, so that no process is alone with one of them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Figures that tests have recorded, whichever process ran them."""
    reports = [one for found in terminalreporter.stats.values() for one in found]
    figures = [
        value
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "figure" and report.when == "call"
    ]
    if figures:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n".join(map(str, figures)))
