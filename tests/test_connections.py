"""Connections to PostgreSQL that end while nobody uses them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.service import Merchant
from tests.shop import ask

END_ALL = (
    "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def statuses(merchant: Merchant, number: int) -> set[int]:
    """Of so many calls that read the database, by as many threads of the server as there are."""
    with ThreadPoolExecutor(16) as pool:
        path = "/ingest/sessions/"
        answers = pool.map(lambda _: merchant.request("GET", path), range(number))
        return {answer.status_code for answer in answers}


@pytest.mark.parametrize("running_service", ["postgresql"], indirect=True, scope="session")
def test_no_call_meets_a_connection_that_the_server_has_ended(running_service, merchant):
    assert statuses(merchant, 60) == {200}
    ((ended,),) = ask(running_service, END_ALL)
    assert ended > 4
    assert statuses(merchant, 60) == {200}
