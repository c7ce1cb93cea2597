"""Options that several commands have, declared once."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

ApiUrl: TypeAlias = Annotated[str, typer.Option(envvar="HEADRACE_API_URL", help="The server.")]
ApiKey: TypeAlias = Annotated[
    str | None,
    typer.Option(
        envvar="HEADRACE_API_KEY",
        help="The tenant's API key. Without it and --keys: api_key_<tenant-id>.",
    ),
]
KeysFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="FILE",
        help="Keys by tenant: lines tenant_id,key or load_tenants' CSV.",
    ),
]
AsJson: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print one JSON document to stdout.")
]
LOCAL = "http://localhost:8000"  #: where the server is unless it is told
