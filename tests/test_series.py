"""After new rows PostgreSQL takes the next ones for new; a wrong guess changes nothing."""

from pathlib import Path
from uuid import UUID, uuid4

import pytest

from headrace.pipeline.dialects.postgresql_series import Series
from tests import road
from tests.road import land, ndjson
from tests.shop import customer


def test_rows_are_looked_for_until_some_were_new_and_again_once_one_was_not(
    postgresql_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with road.postgresql_database(postgresql_server) as database:
        dialect = database.dialect
        dialect.new_so_far, looked = Series(), []
        matched = type(dialect)._matched
        monkeypatch.setattr(
            type(dialect), "_matched", lambda *given: looked.append(1) or matched(*given)
        )
        files = [[customer() for _ in range(3)] for _ in range(3)]
        files.append([{**files[0][0], "name": "Grace"}, files[1][1], customer()])
        files.append([customer()])
        told = []
        for number, rows in enumerate(files, 1):
            ledger = land(database, tmp_path, "customers", ndjson(*rows), number=number)
            told.append((len(looked), ledger.outcome_by_line()))
        assert told == [
            (1, ["inserted"] * 3),
            (1, ["inserted"] * 3),
            (1, ["inserted"] * 3),
            (2, ["updated", "unchanged", "inserted"]),
            (3, ["inserted"]),
        ]


def test_a_series_that_was_forgotten_is_looked_at_anew():
    series, tenant = Series(), uuid4()
    series.note((tenant, "orders", 1), is_new=True)
    assert (tenant, "orders", 1) in series
    assert (tenant, "orders", 2) not in series
    assert (UUID(int=1), "orders", 1) not in series
    for number in range(Series.MOST):
        series.note((UUID(int=number), "orders", 1), is_new=True)
    assert (tenant, "orders", 1) not in series
    series.note((UUID(int=999), "orders", 1), is_new=False)
    assert (UUID(int=999), "orders", 1) not in series
