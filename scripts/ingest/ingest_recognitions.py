"""The deprecated way to load recognitions; `cli.py load` is the new one."""

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from headrace.recognitions.command import load


def main(
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many recognitions.")
    ] = None,
) -> None:
    """Load recognitions as `cli.py load --limit N` does, which is to be used instead."""
    print(
        "Deprecated: ingest_recognitions.py will go; use `python scripts/ingest/cli.py load` with"
        " the same options.",
        file=sys.stderr,
    )
    load(limit=limit)


if __name__ == "__main__":
    typer.run(main)
