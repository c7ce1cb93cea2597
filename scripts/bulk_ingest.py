"""Launcher of `headrace ingest`, under the name that the documents give it."""

import sys
from pathlib import Path

import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from headrace.client.command import ingest

if __name__ == "__main__":
    typer.run(ingest)
