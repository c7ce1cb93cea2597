"""One database of each dialect for all conformance tests; every test is a tenant of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from headrace.pipeline import dialects
from headrace.pipeline.dialects.postgresql_series import Series
from headrace.schema import Entity
from tests import records, road
from tests.conftest import DIALECTS, PARTITIONED, ROW_BY_ROW, server_of

Land = Callable[..., road.LocalLedger]


class Hopeful(Series):
    """Takes any segment for new, however often it is wrong."""

    def __contains__(self, series: object) -> bool:
        return True


@pytest.fixture(params=(*DIALECTS, PARTITIONED, ROW_BY_ROW), scope="package")
def shared_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[road.Database]:
    path = tmp_path_factory.mktemp("conformance") / "test.sqlite3"
    server = server_of(request, request.param)
    with road.new_database(request.param, server, path) as opened:
        if request.param == "sqlite":
            opened.connection.execute("PRAGMA synchronous = OFF")
        opened.has_large_tables = request.param == ROW_BY_ROW
        yield opened


@pytest.fixture
def database(shared_database: road.Database) -> road.Database:
    shared_database.tenant = uuid4()
    shared_database.dialect = dialects.dialect(shared_database.dialect.name)
    shared_database.dialect.pause_seconds = 0.0
    if shared_database.has_large_tables:
        shared_database.dialect.large_bytes = -1
        shared_database.dialect.new_so_far = Hopeful()
    return shared_database


@pytest.fixture
def land(database: road.Database, tmp_path: Path) -> Land:
    """Lands records and gives the ledger; each call is a newer file unless `number` says."""
    numbers = iter(range(1, 1000))

    def landed(
        entity: Entity, *rows: records.Record | bytes, data: bytes | None = None, **more
    ) -> road.LocalLedger:
        data = records.file(*rows) if data is None else data
        more = {"number": next(numbers), "tenant": database.tenant} | more
        return road.land(database, tmp_path, entity.name, data, **more)

    return landed


@pytest.fixture
def parents(database: road.Database, tmp_path: Path) -> Callable[..., None]:
    """Lands the parents of the examples with these numbers."""

    def landed(entity: Entity, *numbers: int) -> None:
        records.land_parents(database, tmp_path, entity, numbers)

    return landed
