"""`headrace …`: the commands that need no service on this machine."""

from typing import Annotated

import typer

import headrace
from headrace.client.command import ingest
from headrace.synth.command import generate

app = typer.Typer(
    name="headrace",
    help="Multi-tenant e-commerce data ingestion that accounts for every line.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals hold API keys
)
app.command()(generate)
app.command()(ingest)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"headrace {headrace.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; the console script `headrace`."""
    app()
