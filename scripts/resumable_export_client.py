"""Launcher of `headrace export`: an export that goes on after any interruption.

python scripts/resumable_export_client.py --tenant-id ID --out FILE [--api-url URL]
    [--api-key KEY] [--entity orders] [--format csv] [--columns A,B] [--filter TEXT]…
    [--compression gzip] [--spreadsheet-safe] [--restart] [--json]
"""

import sys
from pathlib import Path

import typer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from headrace.client.export_command import export

if __name__ == "__main__":
    typer.run(export)
