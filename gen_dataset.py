#!/usr/bin/env python
"""The documented `python gen_dataset.py …`: the same as `headrace generate …`."""

import typer

from headrace.cli import generate

if __name__ == "__main__":
    typer.run(generate)
