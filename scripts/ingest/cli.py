"""Launcher of `headrace recognitions`, under the name that the documents give it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from headrace.recognitions.command import app

if __name__ == "__main__":
    app(prog_name="cli.py")
