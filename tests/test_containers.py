"""The containers, as far as they can be shown without an engine: the files are valid, and the
commands of docker-compose.yml run as processes, in what the image would hold.
"""

import importlib.metadata
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import jsonschema
import psycopg
import pytest

from tests import brokers, containers, documents
from tests.containers import Container, Image
from tests.road import ndjson
from tests.servers import free_port
from tests.service import ROOT
from tests.shop import customer

PROGRAM = ("migrate", "web", "celery_worker", "celery_beat")
SERVICES = {"web", "celery_worker", "celery_beat", "db", "redis"}


def documented(start: str) -> list[str]:
    """The documented commands that begin like this."""
    commands = documents.first_cells(documents.read("docs/commands.md"))
    return [command for command in commands if command.startswith(start)]


def compose() -> dict:
    return containers.compose({})


def test_the_compose_file_is_valid():
    errors = jsonschema.Draft7Validator(containers.schema()).iter_errors(compose())
    assert [error.message for error in errors] == []


def test_an_engine_that_is_here_accepts_the_compose_file():
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"]).returncode:
        pytest.skip("NO DOCKER COMPOSE: the file is compared with the schema only")
    subprocess.run([docker, "compose", "config", "--quiet"], cwd=ROOT, check=True)


def test_the_schema_finds_a_mistake():
    broken = compose()
    broken["services"]["web"]["healtcheck"] = {}
    with pytest.raises(jsonschema.ValidationError, match="healtcheck"):
        jsonschema.Draft7Validator(containers.schema()).validate(broken)


def test_every_documented_service_is_there_and_has_a_health_check():
    services = compose()["services"]
    assert services.keys() == SERVICES | {"migrate"}
    assert [name for name in SERVICES if "test" not in services[name]["healthcheck"]] == []


def test_what_serves_waits_for_one_migration():
    services = compose()["services"]
    finished = {"condition": "service_completed_successfully"}
    healthy = {"condition": "service_healthy"}
    assert services["migrate"]["depends_on"] == {"db": healthy}
    for name in ("web", "celery_worker", "celery_beat"):
        assert services[name]["depends_on"]["migrate"] == finished
        assert services[name]["depends_on"]["redis"] == healthy


def test_all_that_is_ours_shares_one_home_on_a_volume_that_is_named():
    found = compose()
    home = containers.image_environment()["HEADRACE_HOME"]
    for name in PROGRAM:
        service = found["services"][name]
        assert service["volumes"] == [f"headrace_home:{home}"]
        assert service["environment"]["HEADRACE_HOME"] == home
    mounted = [one for service in found["services"].values() for one in service.get("volumes", ())]
    assert {one.partition(":")[0] for one in mounted} == found["volumes"].keys()


def test_every_variable_of_the_compose_file_is_explained():
    explained = set(re.findall(r"^#(\w+)=", documents.read(".env.example"), re.MULTILINE))
    explained |= set(documents.first_cells(documents.read("docs/containers.md")))
    assert containers.variables_of_compose() - explained == set()


def test_every_variable_of_the_service_reaches_its_containers():
    service, _, _ = documents.read(".env.example").partition("# --- the client")
    named = set(re.findall(r"^#([A-Z_]+)=", service, re.MULTILINE))
    environment = containers.compose(dict.fromkeys(named, "1"))["services"]["web"]["environment"]
    assert named - {"HEADRACE_LOGS"} - environment.keys() == set()


def test_no_service_is_open_to_others_than_this_machine_by_default():
    services = compose()["services"]
    ports = {name: one["ports"] for name, one in services.items() if "ports" in one}
    assert ports == {"web": ["127.0.0.1:8000:8000"]}


def test_the_image_has_a_pinned_base_and_no_root():
    *_, last = stages = containers.stages()
    assert [
        one.base for one in stages if not re.fullmatch(r"python:3\.\d+\.\d+-\S+", one.base)
    ] == []
    [user] = last.of("USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user.words[0])  # numbers: a cluster can check them
    [command] = last.of("CMD")
    assert "manage.py" in command.words[1]
    assert last.instructions.index(user) < last.instructions.index(command)
    assert len(last.of("HEALTHCHECK")) == 1


def test_the_image_installs_locked_packages_only():
    installs = [
        one.words
        for stage in containers.stages()
        for one in stage.of("RUN")
        if "install" in one.words
    ]
    ours = [words for words in installs if words[0].endswith("pip")]
    locked, *program = ours
    assert {"--require-hashes", "requirements.txt"} <= set(locked)
    assert len(program) == 2  # where the compiler is, and where it is not
    assert all({"--no-deps", "--no-build-isolation"} <= set(words) for words in program)


def test_what_runs_in_the_image_needs_no_package_that_it_lacks(tmp_path: Path):
    missing = _distributions("requirements-dev.txt") - _distributions("requirements.txt")
    modules = [
        module
        for module, owners in importlib.metadata.packages_distributions().items()
        if {_normal(owner) for owner in owners} <= missing
    ]
    assert {"pytest", "psutil"} <= set(modules)
    program = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))
import django
django.setup()
import apps.core.tasks, headrace.cli, main.wsgi, tests.test_comprehensive_ingestion
"""
    environment = {**documents.service_environment(), "HEADRACE_HOME": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-c", program, *modules],
        cwd=ROOT,
        env={**environment, "DJANGO_SETTINGS_MODULE": "main.settings"},
        check=True,
    )


def _distributions(lock: str) -> set[str]:
    return set(map(_normal, re.findall(r"^([\w.-]+)==", documents.read(lock), re.MULTILINE)))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_image_has_no_secret():
    words = " ".join(
        word for stage in containers.stages() for one in stage.instructions for word in one.words
    )
    assert re.findall(r"(?i)secret|password|token|api_key", words) == []
    assert [path for path in containers.context() if Path(path).name.startswith(".env")] == []


def test_what_is_copied_is_there_and_state_is_left_out(tmp_path: Path):
    copies = [one for stage in containers.stages() for one in stage.of("COPY")]
    sources = [word for one in copies if "from" not in one.options for word in one.words[:-1]]
    assert [source for source in sources if not (ROOT / source).exists()] == []
    found = containers.context()
    assert {"manage.py", "requirements.txt", "LICENSE", "tests/service.py"} <= set(found)
    tops = {path.partition("/")[0] for path in found}
    assert tops & {".git", ".venv", ".headrace", ".pytest_cache", "logs", "generated_data"} == set()
    assert [path for path in found if "__pycache__" in path or path.endswith((".pyc", ".so"))] == []


def test_what_the_compiler_made_is_taken_from_its_stage():
    first, *_, last = containers.stages()
    [copied] = [one for one in last.of("COPY") if "_scanner" in one.words[0]]
    assert copied.options["from"] == "packages"
    made = Path(copied.words[0]).relative_to("/packages")
    assert list(ROOT.glob(str(made))) or shutil.which("cc") is None
    assert {"gcc", "libc6-dev"} <= {word for one in first.of("RUN") for word in one.words}


SIZES = " --products-per-tenant 12 --orders-per-tenant 20 --customers-per-tenant 4"


class Stack(dict[str, Container]):
    """Our services by name, each a process; the database and the broker are the machine's."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        image = self.image = Image(folder)
        self.variables = variables
        self.home = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        services = containers.compose(variables)["services"]
        for name in PROGRAM:
            own = {"HEADRACE_HOME": str(self.home), "PORT": str(self.port)}
            self[name] = Container(image, services[name], **own)

    def paste(self, line: str) -> subprocess.CompletedProcess:
        """Run a line of the page: `docker-compose exec` where its service runs, with our port and
        sizes of a few rows, all else beside it, in the same folder.
        """
        command = re.sub(r"^docker-compose exec (-T )?web |^\.venv/bin/", "", line)
        sizes = SIZES if "gen_dataset" in command else ""
        environment = {**self["web"].environment, "HEADRACE_API_URL": self.url}
        if not line.startswith("docker-compose"):
            ours = ("HEADRACE_HOME", "DB_")
            environment = {k: v for k, v in environment.items() if not k.startswith(ours)}
        words = ["env", "-i", *(f"{k}={v}" for k, v in environment.items())]
        return self["web"].execute(*words, "bash", "-c", command + sizes)


@pytest.fixture(scope="module")
def stack(postgresql_server: str, tmp_path_factory) -> Iterator[Stack]:
    """What `docker-compose up` starts, healthy, with a database and a broker of its own."""
    parts = urlsplit(postgresql_server)
    database = f"headrace_compose_{uuid4().hex[:12]}"
    with ExitStack() as ending:
        administrator = ending.enter_context(psycopg.connect(postgresql_server, autocommit=True))
        administrator.execute(f"CREATE DATABASE {database}")
        ending.callback(administrator.execute, f"DROP DATABASE {database} WITH (FORCE)")
        broker = ending.enter_context(brokers.broker("redis", tmp_path_factory.mktemp("redis")))
        variables = {
            "DB_NAME": database,
            "DB_USER": parts.username or administrator.info.user,
            "DB_PASSWORD": parts.password or "any",
            "DB_HOST": parts.hostname or administrator.info.host,
            "DB_PORT": str(administrator.info.port),
            "CELERY_BROKER_URL": broker.url,
        }
        found = Stack(tmp_path_factory.mktemp("stack"), variables)
        for container in found.values():
            ending.callback(container.kill)
        found["migrate"].start()
        assert found["migrate"].wait(120) == 0, found["migrate"].log
        for name in ("web", "celery_worker", "celery_beat"):
            found[name].start()
        for name in ("web", "celery_worker", "celery_beat"):
            found[name].wait_until_healthy()
        yield found


@pytest.mark.slow
def test_a_file_lands_through_the_web_container_and_the_worker(stack: Stack, tmp_path: Path):
    tenant = str(uuid4())
    tenants = tmp_path / "tenants.csv"
    tenants.write_text(f"tenant_id,name\n{tenant},A shop\n")
    loaded = stack["web"].execute("python", "manage.py", "load_tenants", "--file", str(tenants))
    assert f"api_key_{tenant}" in loaded.stdout, loaded.stderr
    with httpx2.Client(base_url=stack.url, headers={"X-API-Key": f"api_key_{tenant}"}) as http:
        sent = http.post(
            "/api/v1/ingest/comprehensive/",
            content=ndjson(customer(), customer()),
            headers={"X-Filename": "customers.ndjson", "Idempotency-Key": "one"},
        )
        assert sent.status_code == 201, sent.text
        status = _finished(http, sent.json()["status_url"])
    assert status["outcomes"]["inserted"] == status["lines_received"] == 2
    assert "headrace.work" in stack["celery_worker"].log


def _finished(http: httpx2.Client, url: str) -> dict:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if (status := http.get(url).json())["finished"]:
            return status
        time.sleep(0.05)
    raise AssertionError(status)


@pytest.mark.slow
@pytest.mark.parametrize("line", documented("docker-compose exec "))
def test_a_command_that_is_documented_for_inside_a_container_works(stack: Stack, line: str):
    _, _, service, program, *arguments = shlex.split(line)
    if program == "python" and arguments[-1] == "dbshell" and shutil.which("psql") is None:
        pytest.skip("NO PSQL on this machine; the image has it")
    done = stack[service].execute(program, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    if program == "celery":
        assert done.stdout.count(": OK") == 1


@pytest.mark.slow
@pytest.mark.parametrize("line", documented("docker-compose logs "))
def test_the_documented_logs_have_lines(stack: Stack, line: str):
    assert stack[line.split()[-1]].log.splitlines()


@pytest.mark.slow
def test_the_program_in_the_web_container_uses_its_server(stack: Stack):
    doctor = stack["web"].execute("headrace", "doctor")
    assert "!!" not in doctor.stdout, doctor.stdout
    counted = stack["web"].execute("python", "manage.py", "count_rows")
    assert isinstance(json.loads(counted.stdout), dict)  # the log goes to standard error, beside it
    requests = [json.loads(line) for line in stack["web"].log.splitlines() if '"request"' in line]
    assert requests[0]["path"] == "/health/ready"


@pytest.mark.slow
def test_the_commands_of_the_page_load_data_of_ones_own(stack: Stack):
    text = documents.sections("docs/containers.md")["Data of your own"]
    lines = re.findall(r"^(?:docker-compose|\.venv/bin/python) .*", text, re.MULTILINE)
    assert len(lines) == 6
    for line in lines:
        done = stack.paste(line)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "unchanged" in done.stdout


@pytest.mark.slow
def test_the_health_checks_of_database_and_broker_tell_who_answers(stack: Stack):
    broker = str(urlsplit(stack.variables["CELERY_BROKER_URL"]).port)
    ports = {"db": stack.variables["DB_PORT"], "redis": broker}
    for name, port in ports.items():
        assert _checked(stack, name, port).returncode == 0
        assert _checked(stack, name, str(free_port())).returncode != 0


def _checked(stack: Stack, name: str, port: str) -> subprocess.CompletedProcess:
    """The check of a service that is not ours, asked of a port of this machine."""
    service = containers.compose(stack.variables)["services"][name]
    kind, command = service["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"NO {command.split()[0]} on this machine: the check of {name} is not run")
    environment = {**service["environment"], "PATH": os.environ["PATH"], "PGPORT": port}
    asked = command.replace("redis-cli", f"redis-cli -p {port}")
    return subprocess.run(["/bin/sh", "-c", asked], env=environment, capture_output=True)


@pytest.mark.slow
def test_redis_shows_who_is_told_of_work(stack: Stack):
    if shutil.which("redis-cli") is None:
        pytest.skip("NO REDIS-CLI on this machine: MONITOR is not looked at")
    port = str(urlsplit(stack.variables["CELERY_BROKER_URL"]).port)
    [command] = documented("redis-cli ")
    program, *arguments = command.split()
    shown = subprocess.run(
        ["timeout", "4", program, "-p", port, *arguments], capture_output=True, text=True
    )
    assert shown.returncode == 124
    assert "headrace" in shown.stdout


@pytest.mark.slow
def test_beat_is_healthy_while_it_turns_and_no_longer(stack: Stack):
    end = time.monotonic() + 120
    while "Sending due task sweep" not in stack["celery_beat"].log and time.monotonic() < end:
        time.sleep(0.2)
    assert "Sending due task sweep" in stack["celery_beat"].log
    for file in stack.home.glob("celerybeat-schedule*"):
        os.utime(file, (time.time() - 600,) * 2)
    assert stack["celery_beat"].check().returncode == 1
    stack["celery_beat"].wait_until_healthy()


@pytest.mark.slow
def test_in_production_the_container_asks_for_a_secret_and_is_healthy_with_it(stack: Stack):
    secret = {"DJANGO_SECRET_KEY": uuid4().hex, "ALLOWED_HOSTS": "shop.example"}
    for more, code in (({}, 1), (secret, 0)):
        variables = {**stack.variables, "HEADRACE_ENV": "production", **more}
        web = containers.compose(variables)["services"]["web"]
        own = {"HEADRACE_HOME": str(stack.home / "production"), "PORT": str(free_port())}
        container = Container(stack.image, web, **own)
        container.start()
        try:
            if not code:
                container.wait_until_healthy()
            assert (container.wait(90) if code else container.stop()) == code
        finally:
            container.kill()
        assert ("needs DJANGO_SECRET_KEY" in container.log) is bool(code)


@pytest.mark.slow
def test_each_container_stops_by_itself_when_told_to(stack: Stack):
    codes = {name: stack[name].stop() for name in ("celery_beat", "celery_worker", "web")}
    assert codes == {"celery_beat": 0, "celery_worker": 0, "web": 0}
    assert stack["web"].check().returncode == 1
