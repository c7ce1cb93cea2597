"""The images of pages in PostgreSQL's log: who has them compressed, and whose word stays."""

import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.test_sparing import Made, made_by


@pytest.fixture(autouse=True)
def _lz4(postgresql_server) -> None:
    with psycopg.connect(postgresql_server) as connection:
        methods = "SELECT enumvals FROM pg_settings WHERE name = 'wal_compression'"
        if "lz4" not in connection.execute(methods).fetchone()[0]:
            pytest.skip("THE SERVER HAS BEEN BUILT WITHOUT LZ4")


def method(made: Made) -> str:
    [[found]] = made.ask("SHOW wal_compression")
    return found


def test_the_migration_has_them_compressed_and_leaves_an_operators_word(
    postgresql_server, tmp_path
):
    with made_by(postgresql_server, tmp_path, "SUPERUSER") as made:
        made.manage("migrate", "--verbosity", "0")
        assert method(made) == "lz4"
        [[database]] = made.ask("SELECT current_database()")
        made.ask(f"ALTER DATABASE {database} SET wal_compression = off")
        made.manage("migrate", "--verbosity", "0")
        assert method(made) == "off"


def test_who_is_second_at_the_same_moment_leaves_it_to_the_first(postgresql_server, tmp_path):
    with (
        made_by(postgresql_server, tmp_path, "SUPERUSER") as made,
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(postgresql_server) as first,
    ):
        made.manage("migrate", "--verbosity", "0")
        [[database]] = made.ask("SELECT current_database()")
        made.ask(f"ALTER DATABASE {database} RESET wal_compression")
        first.execute(f"ALTER DATABASE {database} SET wal_compression = pglz")
        waits = (
            "SELECT 1 FROM pg_stat_activity"
            " WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        second = pool.submit(made.manage, "migrate", "--verbosity", "0")
        while not made.ask(waits):
            assert not second.done(), second.result()
            time.sleep(0.05)
        first.commit()
        second.result(60)
        assert method(made) == "pglz"


def test_who_may_not_leaves_it_to_an_administrator(postgresql_server, tmp_path):
    with made_by(postgresql_server, tmp_path, "CREATEROLE") as made:
        made.manage("migrate", "--verbosity", "0")
        assert method(made) == "off"
        printed = made.manage("create_roles", "--sql").stdout
        with psycopg.connect(postgresql_server, autocommit=True) as administrator:
            administrator.execute(printed.rpartition("--")[2].partition("\n")[2])
        assert method(made) == "lz4"
