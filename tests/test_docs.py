"""Documents that can be wrong: their claims are compared with the code, and their commands run."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

import headrace
from headrace.pipeline.report import Outcome
from tests import conftest, documents
from tests.documents import PAGES, ROOT, Block, Clone

# Pages that begin with nothing; every other one runs beside a service that all of them share.
FROM_NOTHING = ["README.md", "docs/quickstart.md"]
ELSEWHERE = {"docs/containers.md": "test_containers.py"}
ON_POSTGRESQL = ["README.md", "docs/quickstart.md"]
COMMANDS = [
    page
    for page in PAGES
    if page not in ELSEWHERE and any(one.language == "bash" for one in documents.blocks(page))
]
BESIDE_A_SERVICE = [page for page in COMMANDS if page not in FROM_NOTHING]
LANGUAGES = {"bash", "sql", "mermaid", "json", "python"}
NOT_RUN = {
    "make test": "it is the run that this test is part of",
    "DATABASE_URL='mysql://*": "test_mariadb.py runs it, as a user that it makes",
    "DB_ENGINE=django.db.backends.mysql *": "test_mariadb.py runs it, as a user that it makes",
    "docker-compose *": "test_containers.py runs it, without an engine",
    **dict.fromkeys(
        [f"celery -A main {verb}" for verb in ("worker -l info", "beat", "status", "events")],
        "test_celery.py runs it on real brokers",
    ),
}
PRINTED = {
    "README.md": ["Every line is accounted for.", "exit code 1", '"code": "required"'],
    "docs/quickstart.md": [
        "would be sent; nothing was",
        "unchanged",
        '"finished": true',
        '"code": "bad_number"',
        '"code": "natural_key_taken"',
    ],
    "docs/DATA_GENERATION.md": [
        "customer_id,tenant_id,name",
        "exit code 4",
        "load_tenants --file shop/tenants.csv",
        "all landed",
        '"fault":',
    ],
    "docs/formats.md": ["exit code 1", "_line;_code;_field;_message;_raw", "4;bad_csv;"],
    "docs/INGESTION_GUIDE.md": ["would be sent", '"finished":'],
    "docs/COMPREHENSIVE_INGESTION_GUIDE.md": ["order_items", "inserted"],
    "docs/mending.md": ["exit code 1", '"_code":"bad_json"', "all mended", "the same bytes"],
    "docs/exports.md": ["part.csv: OK", "the apostrophes are gone", '"unchanged": 7081'],
    "docs/keys.md": ['"status":"revoked"', "the office", "it is revoked", '"operator"'],
    "docs/recognitions.md": ["loaded 12", "Detections: loaded", "skipped 12", "objects 24"],
    "docs/webhooks.md": ['{"data":[],"next_cursor":null}', '"code":"address_refused"'],
    "docs/operations.md": ["ok  database", "ok  workers", '"event": "request"'],
}
HOSTS = {"localhost:8000", "headrace.example.org", "keepachangelog.com", "semver.org"}
TEXTS = [*PAGES, ".env.example", ".ci/run", "Makefile", "pyproject.toml", "docker-compose.yml"]
SHINGLE = 8


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """A copy in which `make serve` runs, for all pages that need no more than that."""
    clone = Clone(tmp_path_factory.mktemp("served"))
    with clone.serving():
        yield clone


@pytest.fixture
def documented_user(postgresql_server: str) -> Iterator[str]:
    """The user and database of the quickstart's SQL, under a name of their own."""
    name = f"headrace_docs_{uuid4().hex[:12]}"
    [sql] = [block.text for block in documents.blocks("docs/quickstart.md") if _is_sql(block)]
    with psycopg.connect(postgresql_server, autocommit=True) as administrator:
        for statement in filter(str.strip, sql.replace("headrace", name).split(";")):
            administrator.execute(statement)
        try:
            yield name
        finally:
            administrator.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            administrator.execute(f"DROP ROLE IF EXISTS {name}_app")
            administrator.execute(f"DROP ROLE IF EXISTS {name}")


def _is_sql(block: Block) -> bool:
    return block.language == "sql"


def _commands(page: str, *, postgresql: bool) -> list[Block]:
    found = [block for block in documents.blocks(page) if block.language == "bash"]
    return [block for block in found if ("postgresql" in block.text) is postgresql]


def _on_server(block: Block, name: str, server: str) -> Block:
    """A block with the documented user, database and server replaced by real ones."""
    host, port = documents.url_parts(server)
    text = block.text
    for documented, real in (
        ("//headrace:p@ss@localhost:5432/headrace", f"//{name}:p@ss@{host}:{port}/{name}"),
        ("DB_NAME=headrace DB_USER=headrace", f"DB_NAME={name} DB_USER={name}"),
        ("DB_HOST=localhost DB_PORT=5432", f"DB_HOST={host} DB_PORT={port}"),
    ):
        text = text.replace(documented, real)
    assert text != block.text
    return block._replace(text=text)


@pytest.mark.slow
@pytest.mark.parametrize("page", FROM_NOTHING)
def test_the_commands_of_a_document_run_as_they_are_pasted(page: str, clone: Clone):
    printed = clone.run(_commands(page, postgresql=False), NOT_RUN, 240)
    assert [text for text in PRINTED[page] if text not in printed] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", BESIDE_A_SERVICE)
def test_the_commands_of_a_document_run_beside_a_service(page: str, served: Clone):
    printed = served.run(_commands(page, postgresql=False), NOT_RUN, 240)
    assert [text for text in PRINTED.get(page, ()) if text not in printed] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", ON_POSTGRESQL)
def test_the_commands_for_postgresql_run_as_the_documented_user(
    page: str, clone: Clone, documented_user: str, postgresql_server: str
):
    # A role of its own: the serving role of other tests has another owner.
    clone.environment["HEADRACE_DB_ROLE"] = f"{documented_user}_app"
    found = _commands(page, postgresql=True)
    real = [_on_server(one, documented_user, postgresql_server) for one in found]
    printed = clone.run(real, NOT_RUN, 240)
    assert ("Every line is accounted for." in printed) is (page == "README.md")
    host, port = documents.url_parts(postgresql_server)
    with psycopg.connect(
        host=host, port=port, dbname=documented_user, user=documented_user, password="p@ss"
    ) as connection:
        assert connection.execute("SELECT to_regclass('order_items') IS NOT NULL").fetchone() == (
            True,
        )


def test_commands_that_are_not_run_are_those_with_a_reason():
    lines = {
        line.partition("  #")[0].strip()
        for page in PAGES
        for block in documents.blocks(page)
        for line in block.text.splitlines()
    }
    reasons = {documents.reason_for(line, NOT_RUN) for line in lines}
    assert set(NOT_RUN.values()) <= reasons
    assert [name for name in ELSEWHERE.values() if not (ROOT / "tests" / name).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_of_a_language_that_something_reads(page: str):
    found = documents.blocks(page)
    assert {block.language for block in found} <= LANGUAGES
    assert documents.read(page).count("\n```") == 2 * len(found)
    for block in found:
        if block.language == "json":
            json.loads(block.text)


def test_every_address_in_a_document_is_one_of_the_service(tmp_path: Path):
    program = """
import json, sys
import django
django.setup()
from django.urls import Resolver404, resolve
def is_there(path):
    for value in ("x", "7c9e6679-7425-40de-944b-e07fc1f90001"):
        for end in ("", "/"):
            try:
                return bool(resolve(path.replace("<>", value) + end))
            except Resolver404:
                pass
print(json.dumps([path for path in json.load(sys.stdin) if not is_there(path)]))
"""
    pages = [page for page in PAGES if page != "docs/commands.md"]  # asked for over HTTP
    named = set().union(*(documents.addresses(page) for page in pages))
    environment = {**documents.service_environment(), "HEADRACE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**environment, "DJANGO_SETTINGS_MODULE": "main.settings"},
        input=json.dumps(sorted(named)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"/", "/metrics", "/api/v1/ingest/sessions/<>/rejects/"} <= named
    assert json.loads(done.stdout) == []


def test_generated_pages_say_what_the_code_declares():
    checked = subprocess.run(
        [sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_a_stale_generated_page_is_found_and_mended(clone: Clone):
    page = clone.folder / "docs" / "errors.md"
    current = page.read_text()
    page.write_text(current.replace("bad_json", "bad_yaml"))
    command = [sys.executable, "scripts/docs.py"]
    assert subprocess.run([*command, "--check"], cwd=clone.folder).returncode == 1
    assert subprocess.run(command, cwd=clone.folder).returncode == 0
    assert page.read_text() == current


def test_the_readme_fits_one_screen():
    assert len(documents.read("README.md").splitlines()) <= 60


def test_the_changelog_begins_with_this_version():
    versions = re.findall(
        r"^## \[([\d.]+)\] - \d{4}-\d\d-\d\d$", documents.read("CHANGELOG.md"), re.MULTILINE
    )
    assert versions[0] == headrace.__version__


def test_ci_runs_the_test_command_of_the_readme():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()
    assert "run make test" in script.read_text().splitlines()
    assert "make test" in documents.read("README.md")
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str):
    links = re.findall(r"\]\(([^)\s]+)\)", documents.prose(page))
    inside = [link for link in links if "://" not in link]
    assert [link for link in inside if not _leads_somewhere(page, link)] == []


def _leads_somewhere(page: str, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    if not anchor:
        return target.exists()
    headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
    return anchor in {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}


def test_the_example_environment_has_every_variable_with_its_meaning():
    lines = documents.read(".env.example").splitlines()
    at = {re.match(r"#(\w+)", line)[1]: at for at, line in enumerate(lines) if _is_set(line)}
    assert at.keys() == _variables_read()
    assert [name for name, number in at.items() if not lines[number - 1].startswith("# ")] == []


def test_the_example_environment_has_the_defaults(tmp_path: Path):
    lines = documents.read(".env.example").splitlines()
    example = dict(re.match(r"#([A-Z_]+)=(.*)", line).groups() for line in lines if _is_set(line))
    own = {"HEADRACE_HOME": str(tmp_path)}
    assert _configured(own) == _configured({**example, **own})


def _is_set(line: str) -> bool:
    return re.match(r"#[A-Z_]+=", line) is not None


def _configured(environment: dict[str, str]) -> dict:
    """The settings of the service in this environment."""
    program = (
        "import json; from main import settings; print(json.dumps(vars(settings), default=str))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**documents.service_environment(), **environment},
        capture_output=True,
        check=True,
    )
    found = json.loads(done.stdout)
    return {name: value for name, value in found.items() if name.isupper()}


def _variables_read() -> set[str]:
    """Names in the code that are read from the environment; Django's own pointer to it aside."""
    code = _sources("main", "apps", "headrace", "scripts", "bench")
    code += [ROOT / "tests/servers.py", ROOT / "tests/supabase_storage.py"]
    pattern = r"""(?:environ(?:ment)?\.\w+\(|environ\[|_flag\(|envvar=)\s*"([A-Z_]+)\""""
    found = {name for path in code for name in re.findall(pattern, path.read_text())}
    found |= set(re.findall(r'"(D[A-Z]+_[A-Z]+)"', documents.read("headrace/databases.py")))
    found |= set(re.findall(r"^(?:export )?(\w+) \?=", documents.read("Makefile"), re.MULTILINE))
    return found - {"DJANGO_SETTINGS_MODULE"}


def _sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_every_direct_dependency_has_its_reason():
    declarations = tomllib.loads(documents.read("pyproject.toml"))
    project, groups = declarations["project"], declarations["dependency-groups"]
    declared = {"The library": project["dependencies"]}
    declared |= {f"Group `{name}`": of for name, of in groups.items()}
    declared |= {f"Extra `{name}`": of for name, of in project["optional-dependencies"].items()}
    names = {
        title: sorted(re.match(r"[\w.-]+", one)[0] for one in of) for title, of in declared.items()
    }
    sections = documents.sections("docs/dependencies.md")
    assert {title: documents.first_cells(text) for title, text in sections.items()} == names
    assert all(reason for text in sections.values() for reason in documents.table(text).values())


def test_the_page_of_keys_names_the_scopes_and_states_of_the_code(tmp_path: Path):
    program = """
import django, json
django.setup()
from apps.tenants.models import TenantState
from apps.tenants.scopes import Scope
print(json.dumps([dict(Scope.choices), dict(TenantState.choices)]))
"""
    environment = {**documents.service_environment(), "HEADRACE_HOME": str(tmp_path)}
    environment["DJANGO_SETTINGS_MODULE"] = "main.settings"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    sections = documents.sections("docs/keys.md")
    told = [documents.table(sections[name]) for name in ("Scopes", "A tenant that is held")]
    assert told == json.loads(done.stdout)


def test_the_lifecycle_names_the_states_of_the_code(tmp_path: Path):
    program = """
import django, json
django.setup()
from apps.core.models import JobState
from apps.ingestions.models import ChunkState
from apps.ingestions.serializers import UploadStatus
states = {"Chunk": dict(ChunkState.choices), "Job": dict(JobState.choices)}
print(json.dumps([states, sorted(UploadStatus().fields["status"].choices)]))
"""
    environment = {**documents.service_environment(), "HEADRACE_HOME": str(tmp_path)}
    environment["DJANGO_SETTINGS_MODULE"] = "main.settings"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    states, upload_states = json.loads(done.stdout)
    states["Line"] = {outcome.value: outcome.about for outcome in Outcome}
    sections = documents.sections("docs/lifecycle.md")
    assert {name: documents.table(sections[name]) for name in states} == states
    assert sorted(documents.first_cells(sections["Upload"])) == upload_states


@pytest.mark.parametrize("section", ["Upload", "Chunk", "Job", "Line"])
def test_the_drawings_have_the_states_of_their_tables(section: str):
    text = documents.sections("docs/lifecycle.md")[section]
    arrows = re.findall(r"^ +(\S+) --> (\w+)", text, re.MULTILINE)
    drawn = {state for arrow in arrows for state in arrow} - {"[*]"}
    assert drawn == set(documents.first_cells(text))


def test_the_architecture_names_every_room():
    rooms = set(documents.first_cells(documents.sections("docs/architecture.md")["Rooms"]))
    assert [room for room in rooms if not (ROOT / room).exists()] == []
    packages = {
        str(path.parent.relative_to(ROOT))
        for path in _sources("headrace", "apps", "main")
        if path.name == "__init__.py" and path.parent.name not in ("migrations", "commands")
    }
    tops = {"headrace", "apps"}
    assert {one for one in packages - tops if not _has_room(one, rooms)} == set()


def _has_room(package: str, rooms: set[str]) -> bool:
    return package in rooms or (package.endswith("/management") and package[:-11] in rooms)


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_names_a_registry_or_a_place_on_a_machine(text: str):
    content = documents.read(text)
    assert set(re.findall(r"https?://([\w.:-]+)", content)) <= HOSTS
    assert re.findall(r"(?<![\w.~:/>{}])/(?:work|home|root|tmp|Users|opt|var)/\S*", content) == []


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "requirements-bench.txt"]
)
def test_lock_files_name_no_registry(name: str):
    assert re.findall(r"://\S+|^-\S*-url.*", documents.read(name), re.MULTILINE) == []


def test_no_sentence_is_copied_from_the_source_documents():
    if not conftest.SHARED.is_dir():
        pytest.skip("NO SHARED DOCUMENTS beside the project: nothing to compare with")
    sources = [*conftest.SHARED.glob("*.md"), *conftest.SHARED.glob("seeds/*.md")]
    known = {shingle for path in sources for shingle in _shingles(path.read_text())}
    copied = {page: known & _shingles(_sentences(page)) for page in PAGES}
    assert {page: shingles for page, shingles in copied.items() if shingles} == {}


def _sentences(page: str) -> str:
    """A page without commands and tables: those have the words that they must have."""
    return re.sub(r"^\|.*$", "", documents.prose(page), flags=re.MULTILINE)


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"[\w'-]+", text.lower())
    return set(zip(*(words[start:] for start in range(SHINGLE)), strict=False))


def test_the_tests_that_the_page_of_security_names_are_there():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "security.md").read_text()))
    texts = [path.read_text() for path in (ROOT / "tests").glob("test_*.py")]
    defined = {name for text in texts for name in re.findall(r"^def (test_\w+)\(", text, re.M)}
    assert len(named) > 30
    assert named <= defined, named - defined


def test_the_page_of_the_audit_log_has_every_action(tmp_path: Path):
    program = """
import django, json
django.setup()
from apps.audit.models import Action
print(json.dumps(Action.values))
"""
    environment = {**documents.service_environment(), "HEADRACE_HOME": str(tmp_path)}
    environment["DJANGO_SETTINGS_MODULE"] = "main.settings"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    section = documents.sections("docs/audit.md")["What is in it"]
    told = re.findall(r"`([a-z]+\.[a-z]+)`", section)
    assert sorted(told) == sorted(json.loads(done.stdout))
