"""Trips to PostgreSQL: a failure leaves no connection that fails for ever."""

import psycopg
import pytest

from headrace.pipeline.dialects.trips import Statement, trip


def test_a_connection_that_could_not_prepare_is_not_used_again(postgresql_server: str):
    sound, broken = Statement("SELECT 1"), Statement("SELECT * FROM no_such_table")
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.UndefinedTable):
            trip(connection, sound, broken)
        assert connection.closed
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        assert trip(connection, sound) == [[(1,)]]


def test_a_connection_whose_statement_was_refused_goes_on(postgresql_server: str):
    divide = Statement("SELECT 6 / CAST(%(by)s AS integer)")
    with psycopg.connect(postgresql_server, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            trip(connection, (divide, {"by": 0}))
        assert trip(connection, (divide, {"by": 2})) == [[(3,)]]
