"""docs/commands.md: the documented commands of the recognition loader, run as they are written."""

import os
import shlex
import subprocess
import sys

import pytest

from tests import documents, recognitions
from tests.recognition_sets import make
from tests.service import ROOT

US = "test_recognition_commands.py"
ROWS = [
    cells[0].strip("`")
    for cells in documents.rows(documents.read("docs/commands.md"))
    if cells[-1].strip("`") == US
]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a dataset where it is looked for, and both files of settings."""
    home = tmp_path_factory.mktemp("documented")
    with recognitions.world(home, "sqlite", None) as made:
        make(home / "RRS_Dataset", 3)
        said = "".join(f"{name}={value}\n" for name, value in made.environment.items())
        (home / ".env.local").write_text(said)
        (home / ".env.production").write_text(said)
        yield made


def test_the_documented_commands_are_there():
    assert len(ROWS) == 9


@pytest.mark.parametrize("row", ROWS)
def test_a_documented_command_of_the_loader_works(row, world):
    """As it is pasted into a shell of a folder that has the checkout's scripts."""
    if " reset " in row:
        batch = row.partition("--batch-id ")[2].split()[0]
        run(world, f"python scripts/ingest/cli.py load --force --batch-id {batch}")
    elif "load-qwen" in row:
        run(world, "python scripts/ingest/cli.py load")
    run(world, row, "y\n")
    if " reset " in row:
        assert world.counts().get("recognitions", 0) == 0


def run(world, row: str, answer: str = "") -> None:
    _, script, *arguments = shlex.split(row)
    done = subprocess.run(
        [sys.executable, ROOT / script, *arguments],
        cwd=world.home,
        env={name: value for name, value in os.environ.items() if not name.startswith("HEADRACE")},
        input=answer,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
