"""docs/commands.md: every row that works is run, in a copy of the checkout beside a service."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import httpx2
import psycopg
import pymysql
import pytest

from tests import conftest, documents, servers
from tests.documents import ROOT, Clone

PAGE = "docs/commands.md"
US = "test_documented_commands.py"
SIZES = "--products-per-tenant 12 --orders-per-tenant 20 --customers-per-tenant 4"
SMALL = f"--tenants 2 {SIZES}"
SECONDS = 2
TIMEOUT = 124  # what timeout(1) exits with when it had to end the command
# What these rows need on the machine; where it is missing they are skipped loudly.
PROGRAMS = {"python manage.py dbshell": "sqlite3", "curl": "curl"}
# Rows with a test of their own below.
OWN_TESTS = ("git clone", "export ", "mysql -u")
AND_THEN = {
    "chmod +x gen_dataset.py": f" && ./gen_dataset.py {SMALL}",
    "python manage.py createsuperuser": " --noinput --username ada --email ada@example.com",
}


class Row(NamedTuple):
    """A documented command or address."""

    command: str
    verdict: str
    how: str
    test: str


def table_rows() -> list[Row]:
    found = [[*cells, ""][:4] for cells in documents.rows(documents.read(PAGE))]
    return [
        Row(command.strip("`"), verdict, how, test.strip("`"))
        for command, verdict, how, test in found
    ]


def is_address(row: Row) -> bool:
    return re.match(r"(GET|POST) /", row.command) is not None


ROWS = [row for row in table_rows() if not is_address(row)]
ADDRESSES = [row for row in table_rows() if is_address(row)]
OURS = [row for row in ROWS if row.verdict == "works" and row.test == US]


def params(rows: list[Row]) -> list:
    return [
        pytest.param(row, id=row.command[:70])
        for row in rows
        if not row.command.startswith(OWN_TESTS)
    ]


class Shop(NamedTuple):
    """A service in a copy of the checkout, with two tenants and a little data."""

    clone: Clone
    url: str
    tenant: str

    @property
    def key(self) -> str:
        return f"api_key_{self.tenant}"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **self.clone.environment,
            "PATH": f"{self.clone.folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.clone.folder),  # where curl finds that a refusal is a failure
            "HEADRACE_API_URL": self.url,
            "TENANT_ID": self.tenant,
            "API_KEY": self.key,
            "DJANGO_SUPERUSER_PASSWORD": uuid4().hex,
        }

    def run(self, command: str, **more: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.clone.folder,
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def open_upload(self) -> str:
        answer = self.ask("POST", "/api/v1/ingest/sessions/", json={})
        token: str = answer.json()["upload_token"]
        return token

    def ask(self, method: str, path: str, **options) -> httpx2.Response:
        return httpx2.request(
            method, self.url + path, headers={"X-API-Key": self.key}, timeout=120, **options
        )

    def fresh_data(self) -> None:
        """The prepared data set in generated_data, whatever a command has left there."""
        data = self.clone.folder / "generated_data"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(self.clone.folder / "prepared", data)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    clone = Clone(tmp_path_factory.mktemp("documented"))
    (clone.folder / ".curlrc").write_text("fail-with-body\n")
    with clone.serving() as url:
        opened = Shop(clone, url, "")
        prepare = f"python gen_dataset.py {SMALL} --output-dir prepared"
        load = "python manage.py load_tenants --file prepared/tenants.csv"
        done = opened.run(f"{prepare} && {load}")
        assert done.returncode == 0, done.stdout + done.stderr
        tenant = re.findall(r"api_key_([0-9a-f-]{36})", done.stdout)[0]
        yield opened._replace(tenant=tenant)


def test_every_row_has_a_verdict_its_reason_and_its_test():
    verdicts = {row.command: row.verdict for row in table_rows()}
    assert set(verdicts.values()) == {"works", "differs", "later"}
    assert [row for row in table_rows() if row.verdict != "works" and not row.how] == []
    tests = {row.test for row in ROWS if row.test}
    assert [name for name in tests if not (ROOT / "tests" / name).is_file()] == []
    unshown = [row.command for row in ROWS if row.verdict == "works" and not row.test]
    assert [command for command in unshown if not command.startswith(("sudo ", "brew "))] == []


def test_what_is_run_besides_a_row_belongs_to_one():
    assert AND_THEN.keys() <= {row.command for row in table_rows()}


def test_rows_that_are_run_in_another_way_say_so():
    run_small = {row.command for row in OURS if "run small" in row.how}
    generating = {row.command for row in OURS if "gen_dataset.py --" in row.command}
    as_written = {one for one in generating if one.endswith(("--preset small", "--seed 12345"))}
    assert run_small == generating - as_written


@pytest.mark.slow
@pytest.mark.parametrize("row", params(OURS))
def test_a_documented_command_works(row: Row, shop: Shop):
    for start, program in PROGRAMS.items():
        if row.command.startswith(start) and shutil.which(program) is None:
            pytest.skip(f"NO {program.upper()} on this machine: {row.command} is not run")
    shop.fresh_data()
    done = shop.run(_runnable(row, shop))
    code = TIMEOUT if "two seconds" in row.how else 0
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    if code:
        assert done.stdout


def _runnable(row: Row, shop: Shop) -> str:
    """The command with real ids and our port."""
    command = row.command.replace("http://localhost:8000", shop.url)
    command = command.replace("<tenant-id>", shop.tenant).replace("<api_key>", shop.key)
    if "<upload_token>" in command:
        command = command.replace("<upload_token>", shop.open_upload())
    if row.how == "in the folder `tests`":
        command = f"cd tests && {command}"
    if "run small" in row.how:
        command += f" {SMALL}"
    if "two seconds" in row.how:
        command = f"timeout {SECONDS} {command}"
    return command + AND_THEN.get(row.command, "")


@pytest.mark.slow
@pytest.mark.parametrize("row", params(ADDRESSES))
def test_a_documented_address_answers(row: Row, shop: Shop):
    method, path = row.command.split()
    path = path.replace("<token>", shop.open_upload()).replace("<tenant-id>", shop.tenant)
    answer = shop.ask(method, path.replace("<product-id>", str(uuid4())), follow_redirects=True)
    missing = answer.status_code in (404, 405) or answer.status_code >= 500
    assert missing is (row.verdict == "later"), answer.text


@pytest.mark.slow
def test_the_documented_variables_lead_to_postgresql(shop: Shop, postgresql_server: str):
    name = f"headrace_docs_{uuid4().hex[:12]}"
    with psycopg.connect(postgresql_server, autocommit=True) as administrator:
        administrator.execute(f"CREATE DATABASE {name}")
        try:
            place = administrator.info
            _migrated(shop, "postgresql", place.user, place.host, str(place.port), name)
            found = f"{postgresql_server.rpartition('/')[0]}/{name}"
            with psycopg.connect(found) as connection:
                [made] = connection.execute("SELECT to_regclass('order_items')").fetchone()
            assert made == "order_items"
        finally:
            administrator.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.slow
def test_the_documented_variables_lead_to_mariadb(shop: Shop, mariadb_server: str):
    name = f"headrace_docs_{uuid4().hex[:12]}"
    parts = servers.mysql_parts(mariadb_server)
    with pymysql.connect(**parts, autocommit=True) as administrator:
        cursor = administrator.cursor()
        cursor.execute("SELECT @@skip_name_resolve")
        user = f"'{name}'@'{'127.0.0.1' if cursor.fetchone()[0] else 'localhost'}'"
        cursor.execute(f"CREATE DATABASE {name}")
        cursor.execute(f"CREATE USER {user} IDENTIFIED BY 'any p@ss'")
        cursor.execute(f"GRANT ALL PRIVILEGES ON {name}.* TO {user}")
        try:
            _migrated(shop, "mysql", name, parts["host"], str(parts["port"]), name)
            assert cursor.execute(f"SHOW TABLES FROM {name} LIKE 'order_items'") == 1
        finally:
            cursor.execute(f"DROP DATABASE {name}")
            cursor.execute(f"DROP USER {user}")


def _migrated(shop: Shop, engine: str, user: str, host: str, port: str, name: str) -> None:
    """Run the row's exports, with real values where a reader puts theirs, and migrate."""
    [row] = [
        one
        for one in OURS
        if one.command.startswith(f'export DB_ENGINE="django.db.backends.{engine}"')
    ]
    real = {"NAME": name, "USER": user, "PASSWORD": "any p@ss", "HOST": host, "PORT": port}
    exports = re.sub(
        r'DB_(NAME|USER|PASSWORD|HOST|PORT)="[^"]*"',
        lambda found: f"DB_{found[1]}={shlex.quote(real[found[1]])}",
        row.command,
    )
    home = {"HEADRACE_HOME": str(shop.clone.folder / name)}
    done = shop.run(f"{exports}; python manage.py migrate --verbosity 0", **home)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_mssql_is_refused_in_words(shop: Shop):
    [row] = [one for one in ROWS if one.command.startswith('export DB_ENGINE="mssql"')]
    done = shop.run(f"{row.command}; python manage.py migrate")
    assert (done.returncode, row.verdict) == (1, "later")
    assert "no dialect for SQL Server yet" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_comes_later_is_not_there():
    later = [word for row in ROWS if row.verdict == "later" for word in row.command.split()]
    assert [word for word in later if word.endswith(".py") and (ROOT / word).exists()] == []


def test_no_command_of_the_source_documents_is_left_out():
    folder = conftest.SHARED / "seeds"
    if not folder.is_dir():
        pytest.skip("NO SHARED DOCUMENTS beside the project: nothing to compare with")
    known = {_signature(line) for row in ROWS for line in re.split(r"; | && ", row.command)}
    missing = [
        f"{path.name}: {line}"
        for path in sorted(folder.glob("*.md"))
        for line in _commands(path)
        if _signature(line) not in known
    ]
    assert missing == []


def _commands(document: Path) -> list[str]:
    """Its lines that begin with a program, wherever they stand: some blocks are never closed."""
    text = document.read_text().replace("\\\n", " ")
    found = [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines()]
    return [line for line in found if _PROGRAM.match(line) and "[OPTIONS]" not in line]


_PROGRAM = re.compile(
    r"(python|pip|docker-compose|celery|curl|psql|mysql|redis-cli|tail|chmod|git|source|sudo|brew"
    r"|npx|export) "
)


def _signature(line: str) -> tuple:
    """What makes a command another one: program, subcommands, names of options, a preset."""
    words = line.replace('"', " ").replace("'", " ").split()
    if words[0] == "curl":
        address = next(word for word in words if word.startswith("http"))
        return ("curl", re.sub(r"<[\w-]+>", "<>", address))
    if words[0] == "export":
        return ("export", words[1].partition("=")[0])
    named = next((at for at, word in enumerate(words) if word.startswith("-")), len(words))
    options = frozenset(word for word in words if word.startswith("-"))
    presets = frozenset(words[at + 1] for at, word in enumerate(words) if word == "--preset")
    return (*words[:named], options, presets)
