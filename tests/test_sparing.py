"""The right to write rows without triggers: who gives it, who takes it away, what doctor says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests import documents, road, servers
from tests.road import ndjson
from tests.service import ROOT, Service
from tests.shop import ask, customer, order, order_item, product

ONCE = "looked at once, by loads"
TWICE = "looked at twice, by loads and row by row, as {} may not set session_replication_role"


class Made:
    """A service that is set up under a serving role of its own, and not started."""

    def __init__(self, service: Service, administrator: psycopg.Connection) -> None:
        self.manage = service.manage
        self.role = service.environment["HEADRACE_DB_ROLE"]
        self._url = service.environment["DATABASE_URL"]
        self._administrator = administrator

    def is_granted(self) -> bool:
        asked = "SELECT has_parameter_privilege(%s, 'session_replication_role', 'SET')"
        return self._administrator.execute(asked, [self.role]).fetchone()[0]

    def change_rights(self, statements: str) -> None:
        road.of_parameters(self._administrator, statements.format(role=self.role))

    def ask(self, statement: str) -> list[tuple]:
        with psycopg.connect(self._url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def doctor(self) -> str:
        told = json.loads(self.manage("doctor", "--json", check=False).stdout)
        [found] = [one for one in told["findings"] if one["name"] == "references"]
        assert found["is_well"]
        return found["found"]


@contextmanager
def made_by(server: str, home: Path, *attributes: str) -> Iterator[Made]:
    """One that a user with these attributes sets up."""
    name = f"headrace_test_{uuid4().hex[:12]}"
    roles = f"{name}_app", name
    url = f"postgresql://{name}:secret@{server.rpartition('@')[2].rpartition('/')[0]}/{name}"
    environment = {**documents.service_environment(), "HEADRACE_HOME": str(home)}
    environment |= {"DATABASE_URL": url, "HEADRACE_DB_ROLE": roles[0]}
    with psycopg.connect(server, autocommit=True) as administrator:
        administrator.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret' {' '.join(attributes)}")
        administrator.execute(f"CREATE DATABASE {name} OWNER {name}")
        try:
            yield Made(Service(home, environment, ROOT), administrator)
        finally:
            administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")
            for role in roles:
                road.of_parameters(administrator, f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_the_migration_that_makes_the_guards_gives_the_right_and_later_ones_let_be(
    postgresql_server, tmp_path
):
    with made_by(postgresql_server, tmp_path, "SUPERUSER") as made:
        made.manage("migrate", "--verbosity", "0")
        assert (made.is_granted(), made.doctor()) == (True, ONCE)
        made.change_rights(road.REVOKE)
        made.manage("migrate", "--verbosity", "0")
        not_granted = f"{TWICE.format(made.role)}: see docs/databases.md"
        assert (made.is_granted(), made.doctor()) == (False, not_granted)
        made.manage("create_roles")
        assert made.is_granted()
        made.ask(
            "CREATE TRIGGER own AFTER INSERT ON orders FOR EACH ROW"
            " EXECUTE FUNCTION suppress_redundant_updates_trigger();"
            "DROP TRIGGER products_parent_row ON products"
        )
        told = made.doctor()
        assert "orders has a trigger that is not ours, own" in told
        assert "what order_items refer to has lost a guard" in told


@pytest.fixture(params=["found", "newest"])
def any_server(request) -> Iterator[str]:
    if request.param == "found":
        yield request.getfixturevalue("postgresql_server")
        return
    with servers.newest_postgresql() as url:
        if url is None:
            pytest.skip("NO POSTGRESQL OF THE WHEEL: install the dev requirements")
        yield url


def test_who_may_not_give_it_goes_without_and_prints_what_an_administrator_may_run(
    any_server, tmp_path
):
    with made_by(any_server, tmp_path, "CREATEROLE") as made:
        made.manage("migrate", "--verbosity", "0")
        assert not made.is_granted()
        assert made.doctor().startswith(TWICE.format(made.role))
        made.change_rights(made.manage("create_roles", "--sql").stdout)
        assert (made.is_granted(), made.doctor()) == (True, ONCE)


def test_an_older_database_gets_its_guards_and_the_right(postgresql_server, tmp_path):
    with made_by(postgresql_server, tmp_path, "SUPERUSER") as made:
        made.manage("migrate", "--verbosity", "0")
        made.change_rights(road.REVOKE)
        always = [(kind, "A") for kind in ("truncate", "update")]
        guards = (
            "SELECT substring(tgname FROM '[a-z]+$'), tgenabled::text FROM pg_trigger"
            " WHERE tgrelid = '{}'::regclass AND NOT tgisinternal ORDER BY 1"
        )
        tables = ("audit_log", "audit_erasures")
        made.ask(
            "DROP FUNCTION headrace_keep_parents CASCADE;"
            "DELETE FROM django_migrations WHERE name IN ('0007_parents', '0002_always');"
            + ";".join(f"ALTER TABLE {table} ENABLE TRIGGER ALL" for table in tables)
        )
        assert made.ask(guards.format("audit_log")) != always
        made.manage("migrate", "--verbosity", "0")
        assert [made.ask(guards.format(table)) for table in tables] == [always, always]
        for table in ("customers", "products", "orders"):
            assert made.ask(guards.format(table)) == [("row", "O"), ("statement", "O")]
        assert (made.is_granted(), made.doctor()) == (True, ONCE)


@pytest.mark.parametrize("running_service", ["postgresql"], indirect=True, scope="session")
def test_the_service_looks_at_references_once(merchant):
    """A trigger that looks at a parent locks its row, and leaves that in the row."""
    buyers, goods = [customer() for _ in range(3)], product()
    bought = [order(customer_id=buyer["customer_id"]) for buyer in buyers]
    items = [order_item(one["order_id"], goods["product_id"]) for one in bought]
    token = merchant.open_upload()
    for name, rows in {
        "customers": buyers,
        "products": [goods],
        "orders": bought,
        "order_items": items,
    }.items():
        merchant.send(name, ndjson(*rows), token=token)
    assert merchant.wait(token)["outcomes"]["inserted"] == 10
    for table in ("customers", "products", "orders"):
        where = f"WHERE tenant_id = '{merchant.tenant}'"
        [(rows, locked)] = ask(
            merchant.service,
            f"SELECT count(*), count(*) FILTER (WHERE xmax::text <> '0') FROM {table} {where}",
        )
        assert (rows > 0, locked) == (True, 0)
