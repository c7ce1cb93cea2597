#!/usr/bin/env python
"""Launcher of `headrace ingest`, under the name that the documents give it."""

import typer

from headrace.client.command import ingest

if __name__ == "__main__":
    typer.run(ingest)
